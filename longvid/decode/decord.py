"""decord as a decoder, behind the same protocol. Its project is no longer maintained."""

from __future__ import annotations

from dataclasses import dataclass, field

from longvid.decode.decord_engine import why_no_decord
from longvid.decode.process import Limits
from longvid.decode.pyav import PyAVDecoder
from longvid.decode.running import RunningDecoder
from longvid.errors import ConfigError
from longvid.parts import RUN_ONLY
from longvid.types import FrameSize

__all__ = ["DecordDecoder"]


@dataclass(frozen=True, slots=True)
class DecordDecoder:
    """Decodes with decord, in a child process with the same limits.

    Frames are converted and scaled after decord has made RGB of them, so pixels differ from
    PyAV's by rounding.

    Args:
        size: The size at which frames leave; the encoder says it.
        num_threads: Of decord's decoder.
        max_pixels, deadline_seconds, stall_seconds, memory_bytes: As in `PyAVDecoder`.
    """

    size: FrameSize = field(default_factory=FrameSize)
    num_threads: int = field(default=1, metadata=RUN_ONLY)
    max_pixels: int = field(default=33_554_432, metadata=RUN_ONLY)
    deadline_seconds: float = field(default=600.0, metadata=RUN_ONLY)
    stall_seconds: float = field(default=60.0, metadata=RUN_ONLY)
    memory_bytes: int = field(default=8 * 2**30, metadata=RUN_ONLY)

    def __post_init__(self) -> None:
        # The settings that both have obey the same rules.
        PyAVDecoder(
            max_pixels=self.max_pixels,
            deadline_seconds=self.deadline_seconds,
            stall_seconds=self.stall_seconds,
            memory_bytes=self.memory_bytes,
        )

    def setup(self, device: str = "cpu") -> RunningDecoder:
        """Return a decoder; its child starts at the first request.

        Args:
            device: Frames always leave on the CPU.

        Raises:
            ConfigError: decord cannot be used here.
        """
        reason = why_no_decord()
        if reason:
            raise ConfigError(reason)
        options = {
            **PyAVDecoder(size=self.size, max_pixels=self.max_pixels).engine_options(),
            "num_threads": self.num_threads,
        }
        limits = Limits(self.deadline_seconds, self.stall_seconds, self.memory_bytes)
        return RunningDecoder("longvid.decode.decord_engine:decord_engine", options, limits)
