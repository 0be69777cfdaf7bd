"""What all recognisers of speech share: blocks in, spans of speech recognised, lines out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from longvid.transcribe.utterances import Utterance, lines_of, without_silence
from longvid.transcribe.voice_activity import SAMPLE_RATE, VoiceActivity
from longvid.types import Audio, TextLine

__all__ = ["SAMPLE_RATE", "Recognise", "SpeechReader"]


class Recognise(Protocol):
    """Recognises one span of speech."""

    def __call__(self, samples: npt.NDArray[np.float32], /) -> Sequence[Utterance]:
        """Return what is said in (S,) float32 at 16 kHz, with times from its start."""


class SpeechReader:
    """Writes down what is said: only spans in which somebody speaks reach the recogniser.

    Args:
        recognise: The engine.
        language: Written into lines whose language the engine does not tell.
        find_speech: Whether to look for speech first; an engine that does so itself needs no help.
    """

    def __init__(
        self, recognise: Recognise, language: str = "", *, find_speech: bool = True
    ) -> None:
        self._recognise = recognise
        self._language = language
        self._voice = VoiceActivity() if find_speech else None

    def __call__(self, audio: Iterable[Audio], /) -> Iterator[TextLine]:
        for block in audio:
            samples = block.data.numpy()
            whole = [(0.0, len(samples) / block.sample_rate)]
            for start, end in self._voice(samples) if self._voice is not None else whole:
                first, last = (round(seconds * block.sample_rate) for seconds in (start, end))
                spoken = samples[first:last]
                yield from lines_of(
                    [
                        without_silence(one, spoken, block.sample_rate)
                        for one in self._recognise(spoken)
                    ],
                    block.start_seconds + start,
                    block.start_seconds + end,
                    self._language,
                )
