"""The default decoder: PyAV, whose wheel carries FFmpeg."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from longvid.decode.decoder import InProcessDecoder, RunningDecoder
from longvid.decode.process import Limits
from longvid.errors import ConfigError, require_one_of
from longvid.protocols import RUN_ONLY
from longvid.types import FrameSize

#: Longer than any video takes, and short enough for a socket's timer.
_MOST_SECONDS = 1e9


@dataclass(frozen=True, slots=True)
class PyAVDecoder:
    """Decodes with PyAV by a plan of groups of pictures, exactly unless told otherwise.

    Args:
        size: The size at which frames leave; the encoder says it.
        approximate: "none"; "reference" takes the nearest frame that other frames refer to, and
            "keyframe" the nearest keyframe, where one lies within tolerance_seconds of the exact
            frame. A frame's pts_seconds are always its own, true ones, so the error is at most
            tolerance_seconds and `max_pts_error_seconds` of the running decoder says how large it
            was.
        tolerance_seconds: For the two above.
        loop_filter: False leaves out the deblocking filter: times stay exact, decoding of H.264
            takes about a quarter less time, and pictures differ (about 40 dB PSNR at 384x216).
        drop_disposable: Leave out packets that nothing refers to; changes no frame.
        plan: False decodes every frame from the start, as a check on the plan.
        pictures: Also give small JPEG pictures: none, one a segment, or one a frame; the store says
            it.
        max_pixels: Refuse larger frames.
        deadline_seconds: For one chunk or probe, counted while the caller waits.
        stall_seconds: Without any progress, after which the child is killed.
        memory_bytes: Memory of the child beyond its start.
        isolate: False decodes in this process, where nothing can stop a decoder that hangs.
    """

    size: FrameSize = field(default_factory=FrameSize)
    approximate: str = "none"
    tolerance_seconds: float = 0.0
    loop_filter: bool = True
    drop_disposable: bool = field(default=True, metadata=RUN_ONLY)
    plan: bool = field(default=True, metadata=RUN_ONLY)
    pictures: str = field(default="none", metadata=RUN_ONLY)
    max_pixels: int = field(default=33_554_432, metadata=RUN_ONLY)
    deadline_seconds: float = field(default=600.0, metadata=RUN_ONLY)
    stall_seconds: float = field(default=30.0, metadata=RUN_ONLY)
    memory_bytes: int = field(default=4 * 2**30, metadata=RUN_ONLY)
    isolate: bool = field(default=True, metadata=RUN_ONLY)

    def __post_init__(self) -> None:
        require_one_of("decoder.approximate", self.approximate, ("none", "reference", "keyframe"))
        if self.tolerance_seconds < 0:
            raise ConfigError(
                f"decoder.tolerance_seconds must not be negative, got {self.tolerance_seconds}."
            )
        if max(self.deadline_seconds, self.stall_seconds) > _MOST_SECONDS:
            raise ConfigError(
                f"decoder.deadline_seconds and stall_seconds must be at most {_MOST_SECONDS:g}, "
                f"got {self.deadline_seconds} and {self.stall_seconds}."
            )
        if min(self.max_pixels, self.memory_bytes, self.deadline_seconds, self.stall_seconds) <= 0:
            raise ConfigError(
                "decoder needs max_pixels, memory_bytes, deadline_seconds and stall_seconds above "
                f"0, got {self.max_pixels}, {self.memory_bytes}, {self.deadline_seconds} and "
                f"{self.stall_seconds}."
            )

    def setup(self, device: str = "cpu") -> RunningDecoder | InProcessDecoder:
        options = self.engine_options()
        if not self.isolate:
            from longvid.decode.pyav_engine import PyAVEngine

            return InProcessDecoder(PyAVEngine, options)
        options["count_messages"] = True  # a child's messages are its engine's alone
        limits = Limits(self.deadline_seconds, self.stall_seconds, self.memory_bytes)
        return RunningDecoder("longvid.decode.pyav_engine:PyAVEngine", options, limits)

    def engine_options(self) -> dict[str, Any]:
        """Return what the engine must know, as plain data."""
        return {
            "size": asdict(self.size),
            "approximate": self.approximate,
            "tolerance_seconds": self.tolerance_seconds,
            "loop_filter": self.loop_filter,
            "drop_disposable": self.drop_disposable,
            "plan": self.plan,
            "pictures": self.pictures,
            "max_pixels": self.max_pixels,
        }
