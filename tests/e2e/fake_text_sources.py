"""Text sources for tests: what they say is written in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from longvid.types import Audio, FrameBatch, FrameSize, TextLine

#: How often each was set up or called, by name.
CALLS: dict[str, int] = {}
#: Raised by the next block or frame, once.
FAIL: list[BaseException] = []


@dataclass(frozen=True, slots=True)
class FakeSpeech:
    """Says one sentence a block."""

    source: ClassVar[Literal["speech"]] = "speech"

    sentence: str = "the harbor opens at nine"

    @property
    def language(self) -> str:
        return ""

    @property
    def sample_rate(self) -> int:
        return 16_000

    def checkpoints(self) -> tuple[()]:
        return ()

    def identity(self) -> str:
        return "fake speech 1"

    def setup(self, device: str = "cpu") -> FakeSpeech:
        CALLS["speech setup"] = CALLS.get("speech setup", 0) + 1
        return self

    def __call__(self, audio: Iterable[Audio], /) -> Iterator[TextLine]:
        for block in audio:
            CALLS["speech blocks"] = CALLS.get("speech blocks", 0) + 1
            if FAIL:
                raise FAIL.pop()
            end = min(block.end_seconds, block.start_seconds + 2)
            yield TextLine(block.start_seconds, end, self.sentence, "speech")


@dataclass(frozen=True, slots=True)
class FakeScreen:
    """Reads one word in every second frame."""

    source: ClassVar[Literal["screen"]] = "screen"

    word: str = "MUSEUM"

    @property
    def every_seconds(self) -> float:
        return 2.0

    def frame_size(self) -> FrameSize:
        return FrameSize(64, 64)

    def checkpoints(self) -> tuple[()]:
        return ()

    def identity(self) -> str:
        return "fake screen 1"

    def setup(self, device: str = "cpu") -> FakeScreen:
        return self

    def __call__(self, frames: Iterable[FrameBatch], /) -> Iterator[TextLine]:
        for batch in frames:
            CALLS["screen frames"] = CALLS.get("screen frames", 0) + len(batch)
            assert max(batch.data.shape[-2:]) == 64
            for seconds in batch.pts_seconds.tolist()[::2]:
                yield TextLine(seconds, seconds + 2.0, self.word, "screen", box=(0, 0, 1, 1))
