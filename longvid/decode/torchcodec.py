"""torchcodec as a decoder, behind the same protocol."""

from __future__ import annotations

from dataclasses import dataclass, field

from longvid.decode.process import Limits
from longvid.decode.pyav import PyAVDecoder
from longvid.decode.running import RunningDecoder
from longvid.decode.torchcodec_engine import why_no_torchcodec
from longvid.errors import ConfigError
from longvid.parts import RUN_ONLY
from longvid.types import FrameSize

__all__ = ["TorchcodecDecoder"]


@dataclass(frozen=True, slots=True)
class TorchcodecDecoder:
    """Decodes with torchcodec, in a child process with the same limits.

    Frames are scaled after torchcodec has made RGB of them, so pixels differ from PyAV's by
    rounding. Its child process imports torch and takes a second to start.

    Args:
        size: The size at which frames leave; the encoder says it.
        num_threads: Of torchcodec's decoder.
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
            ConfigError: torchcodec cannot be used here.
        """
        reason = why_no_torchcodec()
        if reason:
            raise ConfigError(reason)
        options = {
            **PyAVDecoder(size=self.size, max_pixels=self.max_pixels).engine_options(),
            "num_threads": self.num_threads,
        }
        limits = Limits(self.deadline_seconds, self.stall_seconds, self.memory_bytes)
        return RunningDecoder("longvid.decode.torchcodec_engine:torchcodec_engine", options, limits)
