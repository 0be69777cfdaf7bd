"""Lay out a video and a question as the text that a checkpoint was trained to read.

This module knows templates and token ids; it computes nothing with a model.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from longvid.errors import ModelError, QuestionError
from longvid.lazy_import import torch
from longvid.models.families.protocol import Family, FramePiece, Piece, Prompt, TextPiece
from longvid.models.tokenizer import Span, TextTokenizer, outside, split_spans
from longvid.types import Question, Selection

_FIELD = re.compile(r"\{(video|question|choices)\}")
_FRAME_FIELD = re.compile(r"\{(seconds|whole_seconds|clock|index)\}")

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def prompt_of(folder: Path, family: Family, tokenizer: Any) -> Prompt:
    """Return the prompt of a checkpoint.

    A `prompt.json` beside the weights says it in longvid's own terms (mini has one). Else the
    checkpoint's chat template is rendered once with a video and a question, if it knows videos;
    else the family's published prompt counts.

    Raises:
        ModelError: prompt.json has fields that are not known.
    """
    path = folder / "prompt.json"
    if path.is_file():
        known = {field.name for field in dataclasses.fields(Prompt)}
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            return Prompt(**table)
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"{path} is not a prompt ({error}); its fields are {', '.join(sorted(known))}."
            ) from error
    template = _chat_template(folder, tokenizer)
    if not template:
        return family.prompt
    rendered = _rendered(template, family, tokenizer)
    if rendered:
        return dataclasses.replace(family.prompt, template=rendered)
    note = (
        f"The chat template of {folder} cannot be rendered around a video; the prompt published "
        f"for {family.name} is used, write llm.template for another."
    )
    return dataclasses.replace(family.prompt, note=note)


def _chat_template(folder: Path, tokenizer: Any) -> str:
    """Return the chat template of a checkpoint, "" where it has none."""
    template = tokenizer.chat_template
    path = folder / "chat_template.json"
    if path.is_file():
        try:
            template = json.loads(path.read_text(encoding="utf-8"))["chat_template"]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{path} holds no chat_template ({error}); download it again."
            ) from error
    if isinstance(template, dict):  # several by name
        template = template.get("default")
    return template if isinstance(template, str) else ""


def _rendered(template: str, family: Family, tokenizer: Any) -> str | None:
    """Render a chat template around fields; None if it does not show a video and a question."""
    from jinja2.exceptions import TemplateError

    text = "{question}{choices}"
    by_type = [{"type": family.content_type}, {"type": "text", "text": text}]
    # A template made for text alone refuses a list, or writes it out as Python does.
    as_text = f"{family.placeholder}\n{text}"
    for content in (by_type, as_text):
        try:
            rendered: str = tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                chat_template=template,
                tokenize=False,
                add_generation_prompt=True,
            )
        except (TemplateError, TypeError, ValueError):
            continue
        for written, wanted in family.rewrites:
            rendered = rendered.replace(written, wanted)
        if rendered.count(family.placeholder) == 1 and rendered.count(text) == 1:
            return rendered
    return None


def render(template: str, placeholder: str, question: str, choices: str) -> tuple[Span, ...]:
    """Fill a template in one pass, so that braces in a question stay what they are.

    >>> filled = render("{video} Q: {question}{choices} A:", "<image>", "Is {video} a field?", "")
    >>> "".join(span.text for span in filled)
    '<image> Q: Is {video} a field? A:'

    Returns:
        The parts of the prompt; the question and the choices are from outside.
    """
    values = {
        "video": Span(placeholder),
        "question": outside(question.strip()),
        "choices": outside(choices),
    }
    parts = _FIELD.split(template)  # fixed texts, and the names of fields between them
    spans = [values[part] if index % 2 else Span(part) for index, part in enumerate(parts)]
    return tuple(span for span in spans if span.text)


def prompt_ids(
    tokenizer: Any,
    text_tokenizer: TextTokenizer,
    spans: Sequence[Span],
    video: tuple[str, int] | None = None,
) -> tuple[int, ...]:
    """Tokenize a prompt; one that begins with the model's own start token gets no other.

    Args:
        tokenizer, text_tokenizer: Of the checkpoint.
        spans: Parts of the prompt.
        video: The placeholder of the video and its id, where it goes before the start token.
    """
    if video is not None:
        parts = split_spans(spans, video[0])
        text = [span for part in parts for span in part]
        return (video[1],) * (len(parts) - 1) + prompt_ids(tokenizer, text_tokenizer, text)
    mark = tokenizer.bos_token
    first = next((span for span in spans if span.text), Span(""))
    has_start = mark is not None and not first.is_outside and first.text.startswith(mark)
    ids = text_tokenizer.ids(spans, start=not has_start)
    end = tokenizer.eos_token_id
    # Some tokenizers close every text; a prompt goes on.
    return ids[:-1] if ids and end is not None and ids[-1] == end else ids


def letters(count: int) -> tuple[str, ...]:
    """Return the letters that name choices: A, B, C, ...

    Raises:
        QuestionError: There are more choices than letters.
    """
    if count > 26:
        raise QuestionError(f"The question has {count} choices; at most 26 can be lettered.")
    return tuple(chr(ord("A") + index) for index in range(count))


def list_choices(choices: Sequence[str], *, lettered: bool) -> str:
    """Return the choices as the lines that follow a question; "" if there are none.

    >>> list_choices(("red", "blue"), lettered=True)
    "\\nA. red\\nB. blue\\nAnswer with the option's letter from the given choices directly."
    """
    if not choices:
        return ""
    if lettered:
        lines = [f"{letter}. {c}" for letter, c in zip(letters(len(choices)), choices, strict=True)]
        lines.append("Answer with the option's letter from the given choices directly.")
    else:
        lines = ["Options:", *choices, "Answer with one of the options."]
    return "\n" + "\n".join(lines)


def split_at_video(
    ids: Sequence[int], placeholder_id: int, template: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids before and after the one placeholder of the video.

    Raises:
        ModelError: The prompt does not hold the placeholder exactly once.
    """
    places = [index for index, token in enumerate(ids) if token == placeholder_id]
    if len(places) != 1:
        raise ModelError(
            f"The prompt template must hold the video exactly once, but it holds it {len(places)} "
            f"times as this tokenizer reads it: {template!r}; write {{video}} once in llm.template."
        )
    return tuple(ids[: places[0]]), tuple(ids[places[0] + 1 :])


def lay_out(
    prompt: Prompt,
    head: Sequence[int],
    tail: Sequence[int],
    selection: Selection,
    tokenize: Callable[[Sequence[Sequence[Span]]], Sequence[Sequence[int]]],
) -> list[Piece]:
    """Put the frames of a selection, in order, between two ends of a prompt.

    A frame without tokens is silent. What stands between two frames is tokenized in one, so that
    the ids are those of the whole text wherever frames lie between special tokens.

    Args:
        prompt: Says what stands around frames.
        head, tail: Ids before and after the video.
        selection: What is shown, and what is said after each frame.
        tokenize: Turns texts into ids, without special tokens of its own.
    """
    frames: list[FramePiece] = []
    said: list[str] = []  # after each frame
    origins: dict[str, float] = {}
    for index, segment in enumerate(selection.segments):
        spoken = selection.spoken[index] if selection.spoken else ("",) * segment.num_frames
        if segment.segment_index == 0:
            origins[segment.video_id] = float(segment.pts_seconds[0])
        origin = origins.get(segment.video_id, 0.0)
        counts = segment.tokens.counts(segment.num_frames).tolist()
        data = torch.split(segment.tokens.data, counts)
        position = torch.split(segment.tokens.position, counts)
        frames += [
            FramePiece(data[frame], position[frame], pts_seconds, segment.grid, origin)
            for frame, pts_seconds in enumerate(segment.pts_seconds.tolist())
            if counts[frame]
        ]
        said += [text for text, count in zip(spoken, counts, strict=True) if count]
    end_seconds = max((segment.end_seconds for segment in selection.segments), default=0.0)
    texts = texts_around(prompt, [frame.pts_seconds for frame in frames], end_seconds)
    between = [
        tuple(span for span in (outside(line), Span(text)) if span.text)
        for line, text in zip(["", *said], texts, strict=True)
    ]
    different = [spans for spans in dict.fromkeys(between) if spans]
    ids = dict(zip(different, tokenize(different), strict=True)) if different else {}
    pieces: list[Piece] = [TextPiece(tuple(head))]
    for spans, frame in itertools.zip_longest(between, frames):
        if spans:
            pieces.append(TextPiece(tuple(ids[spans])))
        if frame is not None:
            pieces.append(frame)
    return [*pieces, TextPiece(tuple(tail))]


def texts_around(prompt: Prompt, pts_seconds: Sequence[float], end_seconds: float) -> list[str]:
    """Return the texts before, between and after frames, one more than there are frames.

    >>> texts_around(Prompt("", "{index} at {clock}: ", frame_separator=", "), [61.5, 62.5], 63.0)
    ['1 at 01:01: ', ', 2 at 01:02: ', '']
    """
    if not pts_seconds:
        return [""]
    prefixes, suffixes = (
        [_fill_frame(text, index, seconds) for index, seconds in enumerate(pts_seconds, start=1)]
        for text in (prompt.frame_prefix, prompt.frame_suffix)
    )
    opening = prompt.video_prefix.replace("{num_frames}", in_words(len(pts_seconds)))
    opening = opening.replace("{duration}", str(timedelta(seconds=int(end_seconds))))
    return [
        opening + prefixes[0],
        *(
            suffix + prompt.frame_separator + prefix
            for suffix, prefix in zip(suffixes, prefixes[1:], strict=False)
        ),
        suffixes[-1],
    ]


def _fill_frame(text: str, index: int, seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    values = {
        "seconds": f"{seconds:.1f}",
        "whole_seconds": str(int(seconds)),
        "clock": f"{minutes:02d}:{rest:02d}",
        "index": str(index),
    }
    return _FRAME_FIELD.sub(lambda match: values[match[1]], text)


def in_words(number: int) -> str:
    """Write a whole number below a million in words.

    >>> in_words(128), in_words(1064)
    ('one hundred and twenty-eight', 'one thousand and sixty-four')
    """
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_ONES[hundreds]} hundred" + (f" and {in_words(rest)}" if rest else "")
    thousands, rest = divmod(number, 1000)
    seam = " and " if rest < 100 else ", "
    return f"{in_words(thousands)} thousand" + (seam + in_words(rest) if rest else "")


def with_subtitles(question: str, lines: Iterable[str]) -> str:
    """List subtitles before a question, as Video-MME does.

    >>> with_subtitles("Who is it?", ["Hello."])
    "This video's subtitles are listed below:\\nHello.\\nWho is it?"
    """
    return "\n".join(("This video's subtitles are listed below:", *lines, question))


def with_history(
    question: Question, num_tokens: Callable[[str], int], most_tokens: int
) -> Question:
    """Put the turns before a question in front of it: the latest that fit, oldest first.

    They follow the video in the prompt, so what a model has read of a selection still serves.

    Args:
        question: With its history.
        num_tokens: Counts the tokens of a text.
        most_tokens: Room for the turns.
    """
    kept: list[str] = []
    for asked, answered in reversed(question.history):
        turn = f"Question: {asked.strip()}\nAnswer: {answered.strip()}\n"
        if num_tokens("".join([turn, *kept])) > most_tokens:
            break
        kept.insert(0, turn)
    if not kept:
        return dataclasses.replace(question, history=())
    text = f"Earlier in this conversation:\n{''.join(kept)}\n{question.text.strip()}"
    return dataclasses.replace(question, text=text, history=())
