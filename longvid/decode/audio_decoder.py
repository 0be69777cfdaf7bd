"""Read the sound of videos in blocks, through a child process that can be killed."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from longvid.decode.audio_engine import SAMPLE_RATE
from longvid.decode.process import ChildFailure, ChildProcess, Limits
from longvid.errors import VideoError
from longvid.lazy_import import torch
from longvid.types import Audio, SegmentPlan

__all__ = ["SAMPLE_RATE", "AudioReader"]

_LIMITS = Limits(deadline_seconds=3600.0, stall_seconds=60.0, memory_bytes=1 << 30)
_END = 1e12  # JSON has no infinity


class AudioReader:
    """Reads the sound of videos, one after the other; close it at the end.

    Args:
        language: ISO 639-1 or -2 code of the track that is wanted where there are several; ""
            takes the default one.
    """

    def __init__(self, language: str = "") -> None:
        self._language = language
        self._child: ChildProcess | None = None

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def blocks(
        self,
        path: str,
        video_id: str = "",
        start_seconds: float = -math.inf,
        end_seconds: float = math.inf,
    ) -> Iterator[Audio]:
        """Yield the sound of a span in time order, at most 30 s at a time; none without sound.

        Args:
            path: A local file.
            video_id: Written into the blocks.
            start_seconds, end_seconds: In presentation time of the file.

        Raises:
            VideoError: The sound cannot be decoded; the stage is "text".
        """
        start, end = max(start_seconds, -_END), min(end_seconds, _END)
        span = SegmentPlan(0, start, end, (start,), (False,))
        request = {"kind": "decode", "path": path, "segments": [asdict(span)]}
        for message, memory in self._ask(request, path):
            if memory is not None:
                count = math.prod(message["shape"]) // 4
                data = torch.frombuffer(memory, dtype=torch.float32, count=count).clone()
                yield Audio(video_id, message["pts_seconds"][0], SAMPLE_RATE, data)
                del memory

    @property
    def pid(self) -> int:
        return 0 if self._child is None else self._child.pid

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _ask(
        self, request: dict[str, Any], path: str
    ) -> Iterator[tuple[dict[str, Any], mmap.mmap | None]]:
        try:
            if self._child is None or not self._child.alive:
                self.close()
                engine = "longvid.decode.audio_engine:AudioEngine"
                self._child = ChildProcess(engine, {"language": self._language}, _LIMITS)
            yield from self._child.ask(request)
        except ChildFailure as failure:
            self.close()
            sentence = str(failure)
            if path not in sentence:
                sentence = f"The sound of {path} cannot be read: {sentence}."
            raise VideoError(sentence, kind=failure.kind, path=path, stage="text") from failure
