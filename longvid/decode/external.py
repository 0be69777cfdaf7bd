"""What the decoders of other libraries have in common: their settings, and how they start.

Each decodes in the same child process with the same limits; `PyAVEngine` opens the file, refuses
what is not allowed and tells the times, and the other library makes the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from longvid.decode.decoder import RunningDecoder
from longvid.decode.process import Limits
from longvid.decode.pyav import PyAVDecoder
from longvid.errors import ConfigError
from longvid.protocols import RUN_ONLY
from longvid.types import FrameSize


@dataclass(frozen=True, slots=True)
class OtherDecoder:
    """Settings of a decoder whose pictures come from another library than PyAV.

    Such a library converts frames to RGB at their full size, and scaling comes after. The default
    decoder does both in one pass. Two things differ:

    colour      Most video keeps one colour sample for 2x2 pixels. The conversion at full size
                repeats the sample, the single pass interpolates between samples. At colour edges a
                value may be off by 50 to 150 of 255.
    rounding    Pixels are rounded to 8 bits twice.

    Over the clips of tests/data, at 224x224, the mean difference of a clip is 0.8 to 3.8 of 255 (of
    brightness 0.4 to 1.2); without colour subsampling (4:4:4) it is 0.2. With frames of an even
    size and 8 bits, the pixels are exactly those of the default decoder's picture at full size,
    scaled. For odd sizes and more bits they also depend on the FFmpeg that the library brings.

    Args:
        size: The size at which frames leave; the encoder says it.
        num_threads: Of the library's decoder.
        pictures, max_pixels, deadline_seconds, stall_seconds, memory_bytes: As in `PyAVDecoder`.
    """

    size: FrameSize = field(default_factory=FrameSize)
    num_threads: int = field(default=1, metadata=RUN_ONLY)
    pictures: str = field(default="none", metadata=RUN_ONLY)
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

    def running(self, engine: str, why_not: str) -> RunningDecoder:
        """Return a decoder; its child starts at the first request.

        Args:
            engine: "module:factory" of the engine.
            why_not: Why the library cannot be used here; "" if it can.

        Raises:
            ConfigError: The library cannot be used here.
        """
        if why_not:
            raise ConfigError(why_not)
        options = {
            **PyAVDecoder(
                size=self.size, max_pixels=self.max_pixels, pictures=self.pictures
            ).engine_options(),
            "num_threads": self.num_threads,
        }
        limits = Limits(self.deadline_seconds, self.stall_seconds, self.memory_bytes)
        return RunningDecoder(engine, options, limits)
