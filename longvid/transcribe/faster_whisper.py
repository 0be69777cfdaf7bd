"""Recognise speech with faster-whisper: Whisper in CTranslate2, quick on a CPU in int8.

Source: https://github.com/SYSTRAN/faster-whisper, 1.2.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from longvid.errors import ConfigError, ModelError
from longvid.models import checkpoint_files
from longvid.protocols import RUN_ONLY
from longvid.transcribe.recogniser import SAMPLE_RATE, SpeechReader
from longvid.transcribe.utterances import Utterance
from longvid.types import CheckpointRef


@dataclass(frozen=True, slots=True)
class FasterWhisper:
    """Speech by a CTranslate2 checkpoint of Whisper.

    Args:
        model: Folder of the checkpoint, or its name in the local hub cache, such as
            "Systran/faster-whisper-small".
        language: ISO 639-1 code; "" lets the model tell. It chooses the sound track too.
        compute_type: As CTranslate2 names it: "default", "int8", "float16", "float32", ...
        beam_size: Texts that are followed at a time.
    """

    source: ClassVar[Literal["speech"]] = "speech"

    model: str = "Systran/faster-whisper-small"
    language: str = ""
    compute_type: str = field(default="default")
    beam_size: int = 5
    threads: int = field(default=0, metadata=RUN_ONLY)

    @property
    def sample_rate(self) -> int:
        return SAMPLE_RATE

    def identity(self) -> str:
        weights = checkpoint_files.file_identity([self._folder() / "model.bin"])
        return f"faster-whisper {_version()}, {weights}"

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        from longvid.models.checkpoint_ref import hub_checkpoint

        named = hub_checkpoint("speech", "text_sources.model", self.model)
        return (replace(named, find=self._folder, has_weights=False),)

    def setup(self, device: str = "cpu") -> SpeechReader:
        return SpeechReader(_Engine(self, self._folder(), device), self.language, find_speech=False)

    def _folder(self) -> Path:
        folder = checkpoint_files.locate(self.model)
        if not (folder / "model.bin").is_file():
            raise ModelError(
                f"{folder} holds no model.bin, so it is no checkpoint of faster-whisper; name one, "
                "or take the text source whisper for a checkpoint of transformers."
            )
        return folder


class _Engine:
    def __init__(self, part: FasterWhisper, folder: Path, device: str) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise _not_installed() from error
        kind, _, index = device.partition(":")
        try:
            self._model: Any = WhisperModel(
                str(folder),
                device=kind,
                device_index=int(index or 0),
                compute_type=part.compute_type,
                cpu_threads=part.threads,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelError(f"{folder} cannot be loaded by faster-whisper: {error}.") from error
        self._part = part

    def __call__(self, samples: npt.NDArray[np.float32], /) -> Sequence[Utterance]:
        segments, info = self._model.transcribe(
            samples,
            language=self._part.language or None,
            beam_size=self._part.beam_size,
            word_timestamps=True,
            vad_filter=True,
            condition_on_previous_text=False,
        )
        return [
            Utterance(
                segment.start,
                segment.end,
                segment.text,
                tuple((word.start, word.end, word.word) for word in segment.words or ()),
                segment.avg_logprob,
                segment.no_speech_prob,
                info.language or "",
            )
            for segment in segments
        ]


def _version() -> str:
    try:
        return importlib.metadata.version("faster-whisper")
    except importlib.metadata.PackageNotFoundError as error:
        raise _not_installed() from error


def _not_installed() -> ConfigError:
    return ConfigError(
        "The text source faster_whisper needs the package faster-whisper, which is not installed; "
        "install longvid[speech]."
    )
