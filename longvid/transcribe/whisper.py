"""Recognise speech with a checkpoint of transformers: Whisper, Moonshine, Wav2Vec2, Parakeet."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from longvid.errors import ConfigError, ModelError
from longvid.models import checkpoint_files
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.transformers_logging import quiet
from longvid.transcribe.recogniser import SAMPLE_RATE, SpeechReader
from longvid.transcribe.utterances import Utterance
from longvid.types import CheckpointRef

#: Tried in this order: words, pieces, and no times at all. Not every checkpoint can do the first.
_TIMES: tuple[Any, ...] = ("word", True, None)


@dataclass(frozen=True, slots=True)
class Whisper:
    """Speech by any checkpoint that transformers recognises speech with.

    Args:
        model: Folder of the checkpoint, or its name in the local hub cache.
        language: ISO 639-1 code; "" lets the model tell. It chooses the sound track too.
        dtype: "auto", "float32", "bfloat16" or "float16".
    """

    source: ClassVar[Literal["speech"]] = "speech"

    model: str = "openai/whisper-small"
    language: str = ""
    dtype: str = "auto"

    @property
    def sample_rate(self) -> int:
        return SAMPLE_RATE

    def identity(self) -> str:
        weights = checkpoint_files.identity(checkpoint_files.locate(self.model))
        version = importlib.metadata.version("transformers")
        try:
            voice = importlib.metadata.version("silero-vad")
        except importlib.metadata.PackageNotFoundError as error:
            raise ConfigError(
                "The text source whisper needs the package silero-vad, which is not installed; "
                "install longvid[speech]."
            ) from error
        return f"transformers {version}, {weights}, silero-vad {voice}"

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        from longvid.models.checkpoint_ref import hub_checkpoint

        return (hub_checkpoint("speech", "text_sources.model", self.model),)

    def setup(self, device: str = "cpu") -> SpeechReader:
        return SpeechReader(
            _Engine(self, checkpoint_files.locate(self.model), device), self.language
        )


class _Engine:
    def __init__(self, part: Whisper, folder: Path, device: str) -> None:
        from transformers import pipeline

        checkpoint_files.weight_files(folder)
        try:
            with quiet():
                self._pipeline: Any = pipeline(
                    "automatic-speech-recognition",
                    model=str(folder),
                    dtype=resolve_dtype(part.dtype, device),
                    device=device,
                    trust_remote_code=False,
                )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(f"{folder} cannot be loaded to recognise speech: {reason}") from error
        self._options: dict[str, Any] = {}
        if self._pipeline.type == "seq2seq_whisper":
            settings = self._pipeline.model.generation_config
            if getattr(settings, "is_multilingual", False):
                self._options = {"task": "transcribe"}
                if part.language:
                    self._options["language"] = part.language
        self._times = list(_TIMES)

    def __call__(self, samples: npt.NDArray[np.float32], /) -> Sequence[Utterance]:
        seconds = len(samples) / SAMPLE_RATE
        found = self._recognised(samples)
        chunks = found.get("chunks") or []
        if not chunks:
            return [Utterance(0.0, seconds, found["text"])]
        pieces = [(*_span(chunk, seconds), chunk["text"]) for chunk in chunks]
        if self._times[0] == "word":
            return [Utterance(pieces[0][0], pieces[-1][1], found["text"], tuple(pieces))]
        return [Utterance(*piece) for piece in pieces]

    def _recognised(self, samples: npt.NDArray[np.float32]) -> dict[str, Any]:
        """Ask for times as fine as this checkpoint can tell them, and remember how fine."""
        while True:
            how = self._times[0]
            options: dict[str, Any] = {} if how is None else {"return_timestamps": how}
            if self._options:
                options["generate_kwargs"] = self._options
            try:
                with quiet():
                    sound = {"raw": samples.copy(), "sampling_rate": SAMPLE_RATE}
                    result: dict[str, Any] = self._pipeline(sound, **options)
                    return result
            except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
                if len(self._times) == 1:
                    raise ModelError(f"The speech model failed: {error}.") from error
                self._times.pop(0)


def _span(chunk: dict[str, Any], seconds: float) -> tuple[float, float]:
    """Return the times of a chunk; a last one may have no end."""
    start, end = chunk["timestamp"]
    start = min(float(start or 0.0), seconds)
    return start, max(start, min(seconds if end is None else float(end), seconds))
