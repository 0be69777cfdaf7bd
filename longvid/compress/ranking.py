"""Question-free pruning since 2025: tokens are ranked over all frames of a segment.

All were published on a whole video of 32 to 64 frames. A segment is shorter, and what they keep of
it differs: `num_segments` ranks the tokens of several consecutive segments together, of a whole
video where that many hold it. DTD alone looks at nothing but the frame before.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from longvid.compress.prune import GridPruning
from longvid.errors import ConfigError, OpError, require_at_least
from longvid.lazy_import import ops
from longvid.methods import dtd, evs, vcast, vidcom2
from longvid.protocols import ADDED_LATER

if TYPE_CHECKING:
    from torch import Tensor

    from longvid.types import Segment


def scored(name: str, data: Tensor, score_width: int) -> Tensor:
    """Return the channels that tokens are compared by: the first `score_width`, or all for 0.

    Raises:
        OpError: The tokens are narrower.
    """
    if score_width > data.shape[-1]:
        raise OpError(
            f"{name}.score_width is {score_width}, and tokens here are {data.shape[-1]} wide; set "
            "it to the width of the language model, or to 0 for all."
        )
    return data[..., :score_width] if score_width else data


def require_width(name: str, score_width: int) -> None:
    """Refuse a negative number of channels.

    Raises:
        ConfigError: It is negative.
    """
    if score_width < 0:
        raise ConfigError(
            f"{name}.score_width must be 0 (all channels) or more, got {score_width}."
        )


class _Ranking(GridPruning):
    """Prune by marking tokens, compared by their first channels."""

    __slots__ = ()

    score_width: int
    #: Whether the op that compares tokens looks at each of several frames, on the CPU.
    compares_all: ClassVar[bool] = False

    def _refuses(self, segment: Segment) -> bool:
        return self.compares_all and segment.num_frames > 1 and self.score_width == 0

    def _prune(self, data: Tensor) -> tuple[Tensor, Tensor]:
        keep = self._keep(scored(self.name, data, self.score_width))
        packed, _ = ops.compact(data, keep, rows=int(keep.sum()))
        return packed, keep

    @abstractmethod
    def _keep(self, x: Tensor) -> Tensor:
        """Mark those of the tokens (T, n, C) that stay, (T, n) bool."""


@dataclass(frozen=True, slots=True)
class EfficientVideoSampling(_Ranking):
    """Keep the tokens that differ most from the same place of the frame before (EVS).

    The first frame is kept whole, and the tokens of all other frames compete for what is left.
    On a segment of 8 frames at 0.75 the first frame is half of all that stays.

    Args:
        ratio: Share of the tokens that go, in [0, 1); at least one frame's stay.
        score_width: Channels compared, from the first; 0 compares all.
        num_segments: Consecutive segments whose tokens are ranked together.

    Source: EVS, arXiv 2510.14624, in the cosine form of serving engines.
    """

    name: ClassVar[str] = "evs"
    compares_all: ClassVar[bool] = True

    ratio: float = 0.75
    score_width: int = 0
    num_segments: int = field(default=1, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise ConfigError(
                f"evs.ratio is the share of the tokens that go, in [0, 1), got {self.ratio}."
            )
        require_width(self.name, self.score_width)
        require_at_least(f"{self.name}.num_segments", self.num_segments, 1)

    def _keep(self, x: Tensor) -> Tensor:
        return evs.keep_changed(x, self.ratio)


@dataclass(frozen=True, slots=True)
class VidCom2(_Ranking):
    """Keep what is unlike the segment and unlike its frame; unlike frames keep more (VidCom2).

    Args:
        ratio: Share of the tokens that stay, about, in (0, 1]; every frame keeps at least one.
            1 does not keep all.
        score_width: Channels that may be compared, from the first; 0 is all. The steadier half
            of them is compared. Qwen3-VL's tokens carry DeepStack behind the first quarter, which
            was published without: give the language model's width.
        num_segments: Consecutive segments whose tokens are ranked together.

    Source: VidCom2, arXiv 2505.14454.
    """

    name: ClassVar[str] = "vidcom2"

    ratio: float = 0.25
    score_width: int = 0
    num_segments: int = field(default=1, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise ConfigError(
                f"vidcom2.ratio is the share of the tokens that stay, in (0, 1], got {self.ratio}."
            )
        require_width(self.name, self.score_width)
        require_at_least(f"{self.name}.num_segments", self.num_segments, 1)

    def _keep(self, x: Tensor) -> Tensor:
        return vidcom2.keep_unlike(x, self.ratio)


@dataclass(frozen=True, slots=True)
class VCast(_Ranking):
    """Keep more of frames where the video turns, and of each what stands out (V-CAST).

    Args:
        ratio: Share of the tokens that stay, in (0, 1]; the count is exact.
        min_k: Tokens that every frame keeps at least.
        score_width: Channels compared, from the first; 0 compares all. Published for the first
            quarter of Qwen3-VL's tokens: give the language model's width.
        num_segments: Consecutive segments whose tokens are ranked together.

    Source: V-CAST, arXiv 2603.27650.
    """

    name: ClassVar[str] = "vcast"
    compares_all: ClassVar[bool] = True

    ratio: float = 0.25
    min_k: int = 1
    score_width: int = 0
    num_segments: int = field(default=1, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise ConfigError(
                f"vcast.ratio is the share of the tokens that stay, in (0, 1], got {self.ratio}."
            )
        if self.min_k < 0:
            raise ConfigError(f"vcast.min_k must be 0 or a number of tokens, got {self.min_k}.")
        require_width(self.name, self.score_width)
        require_at_least(f"{self.name}.num_segments", self.num_segments, 1)

    def _keep(self, x: Tensor) -> Tensor:
        return vcast.keep_outstanding(x, self.ratio, self.min_k)


@dataclass(frozen=True, slots=True)
class DifferentialTokenDrop(_Ranking):
    """Drop what repeats the same place of the frame before (TimeChat-Online's DTD).

    Within a segment it looks at no later frame, so a live stream can be compressed frame by frame.
    The first frame of every segment stays whole.

    Args:
        threshold: Cosines above it are dropped, in [-1, 1]; 1 drops nothing.
        share: Instead, this share of each later frame's tokens, the most similar first, in
            (0, 1]; 0 goes by the threshold.
        score_width: Channels compared, from the first; 0 compares all.
        num_segments: Consecutive segments whose tokens are ranked together.

    Source: TimeChat-Online, arXiv 2504.17343.
    """

    name: ClassVar[str] = "dtd"
    compares_all: ClassVar[bool] = True

    threshold: float = 0.5
    share: float = 0.0
    score_width: int = 0
    num_segments: int = field(default=1, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if not -1 <= self.threshold <= 1:
            raise ConfigError(f"dtd.threshold is a cosine in [-1, 1], got {self.threshold}.")
        if not 0 <= self.share <= 1:
            raise ConfigError(
                f"dtd.share is the share of a frame's tokens that go, in [0, 1], got {self.share}."
            )
        require_width(self.name, self.score_width)
        require_at_least(f"{self.name}.num_segments", self.num_segments, 1)

    def _keep(self, x: Tensor) -> Tensor:
        if self.share:
            return dtd.keep_least_similar(x, self.share)
        return dtd.keep_different(x, self.threshold)
