"""Recognise English speech with CMU PocketSphinx, whose wheel holds its model.

It follows a clear narrator and little else: it is for tests, demonstrations and laptops without a
checkpoint of Whisper.

Source: https://github.com/cmusphinx/pocketsphinx, 5.1.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from longvid.errors import ConfigError
from longvid.transcribe.recogniser import SAMPLE_RATE, SpeechReader
from longvid.transcribe.utterances import Utterance
from longvid.types import CheckpointRef

_FRAME_SECONDS = 0.01
#: It tells no usable probability; its words are right about four times in five at best.
_LOG_PROBABILITY = float(np.log(0.5))


@dataclass(frozen=True, slots=True)
class PocketSphinx:
    """English speech by PocketSphinx; it has no settings."""

    source: ClassVar[Literal["speech"]] = "speech"

    @property
    def sample_rate(self) -> int:
        return SAMPLE_RATE

    @property
    def language(self) -> str:
        return "en"

    def identity(self) -> str:
        """Name the engine and the voice detector; their wheels hold the weights."""
        return ", ".join(f"{name} {_version(name)}" for name in ("pocketsphinx", "silero-vad"))

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return ()

    def setup(self, device: str = "cpu") -> SpeechReader:
        """Load the model; it runs on the CPU whatever the device.

        Raises:
            ConfigError: pocketsphinx, silero-vad or onnxruntime is not installed.
        """
        return SpeechReader(_Engine(), self.language)


class _Engine:
    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise _not_installed("pocketsphinx") from error
        self._decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")

    def __call__(self, samples: npt.NDArray[np.float32], /) -> Sequence[Utterance]:
        data = (np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes()
        self._decoder.start_utt()
        self._decoder.process_raw(data, full_utt=True)
        self._decoder.end_utt()
        words = tuple(
            (
                piece.start_frame * _FRAME_SECONDS,
                (piece.end_frame + 1) * _FRAME_SECONDS,
                piece.word.partition("(")[0],
            )
            for piece in self._decoder.seg() or ()
            if piece.word[:1].isalpha()  # <s>, <sil>, [NOISE] and their like are no words
        )
        if not words:
            return []
        text = " ".join(word for _, _, word in words)
        return [Utterance(words[0][0], words[-1][1], text, words, _LOG_PROBABILITY)]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise _not_installed(name) from error


def _not_installed(name: str) -> ConfigError:
    return ConfigError(
        f"The text source pocketsphinx needs the package {name}, which is not installed; install "
        "pocketsphinx and longvid[speech]."
    )
