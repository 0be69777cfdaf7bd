"""From what a recogniser wrote to lines: what nobody can have said is dropped, words get times.

Recognisers of the Whisper kind write fluent text over music and silence, and fall into loops. The
rules are those of Whisper's own decoder: text that compresses too well is a loop, and a segment
that the model itself takes for silence is none.

Source: Radford et al. 2022, section 4.5; openai/whisper, transcribe.py.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from longvid.types import TextLine, Word

_MAX_NO_SPEECH = 0.6
_MIN_LOG_PROBABILITY = -1.0
_MAX_COMPRESSION = 2.4
_MAX_REPEATS = 4
_MAX_LINE_SECONDS, _MAX_LINE_WORDS = 8.0, 16
_PAUSE_SECONDS = 0.6
#: Sound of a word is where its level, in steps of 10 ms, is above this share of its highest.
_STEP_SECONDS, _QUIET = 0.01, 0.05
#: Sound goes on for up to so many steps before and after what a recogniser gave the word.
_GROWS = 15


@dataclass(frozen=True, slots=True)
class Utterance:
    """A piece of recognised speech, in seconds from the start of what was recognised.

    Args:
        start_seconds, end_seconds: The span.
        text: What was recognised.
        words: (start_seconds, end_seconds, word) each, where the engine times words.
        log_probability: Mean of the tokens, where the engine gives it.
        no_speech: Probability that nobody speaks, where the engine gives it.
        language: Detected, "" where it was not.
    """

    start_seconds: float
    end_seconds: float
    text: str
    words: tuple[tuple[float, float, str], ...] = ()
    log_probability: float | None = None
    no_speech: float = 0.0
    language: str = ""


def compression_ratio(text: str) -> float:
    """Return the bytes of a text over those that zlib makes of it."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def is_loop(text: str) -> bool:
    """Tell whether one to six words are repeated more than four times in a row.

    >>> is_loop("thank you thank you thank you thank you thank you"), is_loop("no no no, not so")
    (True, False)
    """
    words = text.casefold().split()
    for size in range(1, 7):
        repeats = 1
        for start in range(size, len(words) - size + 1):
            same = words[start : start + size] == words[start - size : start]
            if not same:
                repeats = 1
            elif (repeats := repeats + 1) > size * (_MAX_REPEATS - 1) + 1:
                return True
    return False


def is_hallucination(utterance: Utterance) -> bool:
    """Tell whether an utterance has the marks of text that nobody said."""
    unsure = utterance.log_probability is None or utterance.log_probability < _MIN_LOG_PROBABILITY
    if utterance.no_speech > _MAX_NO_SPEECH and unsure:
        return True
    text = utterance.text
    # Short text does not compress, whatever it says.
    return is_loop(text) or compression_ratio(text) > _MAX_COMPRESSION


def lines_of(
    utterances: Sequence[Utterance], start_seconds: float, end_seconds: float, language: str = ""
) -> Iterator[TextLine]:
    """Yield lines of speech in time order, on the clock of the video.

    An utterance with word times is cut at pauses, and into parts of at most 8 s and 16 words.

    Args:
        utterances: Of one stretch of sound.
        start_seconds, end_seconds: Of that stretch, on the clock of the video; no line leaves it.
        language: Where the utterance has none.
    """
    for utterance in utterances:
        if not utterance.text.strip() or is_hallucination(utterance):
            continue
        sure = 1.0 if utterance.log_probability is None else math.exp(utterance.log_probability)
        for words in _cut(utterance.words) or [()]:
            begin = words[0][0] if words else utterance.start_seconds
            end = words[-1][1] if words else utterance.end_seconds
            text = " ".join(word.strip() for _, _, word in words) if words else utterance.text

            def placed(seconds: float) -> float:
                return min(max(start_seconds + seconds, start_seconds), end_seconds)

            yield TextLine(
                placed(begin),
                max(placed(begin), placed(end)),
                " ".join(text.split()),
                "speech",
                utterance.language or language,
                min(1.0, max(0.0, sure)),
                None,
                tuple(
                    Word(placed(first), max(placed(first), placed(last)), word.strip())
                    for first, last, word in words
                ),
            )


def without_silence(
    utterance: Utterance, samples: npt.NDArray[np.float32], sample_rate: int
) -> Utterance:
    """Move the times of words to where they are heard.

    Recognisers of the Whisper kind give the silence before a word to the word; others cut off a
    soft beginning or end that no other word has.

    Args:
        utterance: Its words have times.
        samples: (S,) what was recognised.
        sample_rate: Of the samples.
    """
    step = round(_STEP_SECONDS * sample_rate)
    blocks = samples[: len(samples) // step * step].reshape(-1, step)
    level = np.sqrt(np.square(blocks, dtype=np.float64).mean(axis=1))
    words: list[tuple[float, float, str]] = []
    places = [(round(a / _STEP_SECONDS), round(b / _STEP_SECONDS)) for a, b, _ in utterance.words]
    taken = 0  # the steps that words have so far
    for index, (start, end, word) in enumerate(utterance.words):
        first, last = places[index]
        following = places[index + 1][0] if index + 1 < len(places) else len(level)
        begin, stop = _heard(level, first, last, taken, following)
        # Times that are right keep their own precision.
        start = start if begin == first else begin * _STEP_SECONDS
        end = max(start, end if stop == last else stop * _STEP_SECONDS)
        taken = stop
        words.append((start, end, word))
    return replace(utterance, words=tuple(words))


def _heard(
    level: npt.NDArray[np.float64], first: int, last: int, taken: int, following: int
) -> tuple[int, int]:
    """Return the steps in which a word is heard: without silence, with sound that goes on.

    Args:
        level: (L,) of each step.
        first, last: Steps that the recogniser gave the word.
        taken: Steps before this one belong to words before.
        following: The first step of the next word.
    """
    inside = level[first:last]
    quiet = _QUIET * inside.max(initial=0.0)
    loud = np.flatnonzero(inside > quiet)
    if not len(loud):
        return first, last
    begin, stop = first + int(loud[0]), first + int(loud[-1]) + 1
    if begin == first:
        earliest = max(taken, first - _GROWS)
        while begin > earliest and level[begin - 1] > quiet:
            begin -= 1
    if stop == last:
        latest = min(following, last + _GROWS, len(level))
        while stop < latest and level[stop] > quiet:
            stop += 1
    return begin, stop


_Words = Sequence[tuple[float, float, str]]


def _cut(words: _Words) -> list[_Words]:
    """Cut words into lines: at pauses and ends of sentences, then long ones into equal parts."""
    pieces: list[list[tuple[float, float, str]]] = []
    for word in words:
        last = pieces[-1][-1] if pieces else None
        pause = last is not None and word[0] - last[1] > _PAUSE_SECONDS
        if last is None or pause or last[2].rstrip().endswith((".", "?", "!")):
            pieces.append([])
        pieces[-1].append(word)
    lines: list[_Words] = []
    for piece in pieces:
        seconds = piece[-1][1] - piece[0][0]
        parts = math.ceil(max(len(piece) / _MAX_LINE_WORDS, seconds / _MAX_LINE_SECONDS, 1))
        borders = [round(index * len(piece) / parts) for index in range(parts + 1)]
        lines += [piece[a:b] for a, b in itertools.pairwise(borders) if a < b]
    return lines
