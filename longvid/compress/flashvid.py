"""FlashVID as a compressor: the half of it that needs neither a question nor attention."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from longvid.compress.grid import Placed, gather, same_grid
from longvid.compress.ranking import require_width, scored
from longvid.errors import require_at_least
from longvid.lazy_import import torch
from longvid.methods import flashvid
from longvid.methods.token_pooling import require_finite
from longvid.protocols import ADDED_LATER
from longvid.types import Segment, Tokens


@dataclass(frozen=True, slots=True)
class FlashVID:
    """Choose diverse tokens, let the others join their like in the frame before, then cluster.

    A merged token keeps the place of the one that the others joined. Tokens are chosen by
    diversity alone ("div"): the published methods weigh it by the vision tower's attention, which
    is not stored.

    Args:
        ratio: Share of the tokens that stay, about, in (0, 1]; every frame rounds up.
        alpha: Share of those that are chosen; the rest is merged.
        temporal_threshold: Cosine above which a token joins one of the frame before.
        min_scenes: Scenes that a segment is cut into at least, where frames differ most. 8 as
            published, for a whole video; in a segment of 8 frames nothing would then be merged.
        scene_threshold: Cosine of neighbouring frames below which a scene ends; -1 never.
        exact: Merged tokens are true means. The published divisor leaves out indirect children.
        score_width: Channels compared and merged, from the first, 0 is all; the others, such as
            Qwen3-VL's DeepStack, are those of the token whose place is kept.
        num_segments: Consecutive segments that are merged together.

    Source: FlashVID, arXiv 2602.08024.
    """

    conserves_size: ClassVar[bool] = False

    ratio: float = 0.25
    alpha: float = 0.7
    temporal_threshold: float = 0.8
    min_scenes: int = 1
    scene_threshold: float = 0.9
    exact: bool = True
    score_width: int = 0
    num_segments: int = field(default=1, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        self.settings()  # refuses what is out of range
        require_width("flashvid", self.score_width)
        require_at_least("flashvid.num_segments", self.num_segments, 1)

    def settings(self) -> flashvid.FlashVIDSettings:
        return flashvid.FlashVIDSettings(
            ratio=self.ratio,
            alpha=self.alpha,
            temporal_threshold=self.temporal_threshold,
            segment_threshold=self.scene_threshold,
            min_scenes=self.min_scenes,
            exact=self.exact,
        )

    def setup(self, device: str = "cpu") -> FlashVID | Placed:
        return self if device == "cpu" else Placed(self, device)

    def __call__(self, segment: Segment) -> Segment:
        if len(segment.tokens) == 0:
            return segment
        require_finite("flashvid", segment)
        index = same_grid("flashvid", segment)
        tokens, settings = segment.tokens, self.settings()
        if sum(settings.counts(index.shape[1])) >= index.shape[1]:
            return segment
        x = scored("flashvid", gather(tokens.data, index), self.score_width)
        merged = flashvid.compress(x, settings, size=tokens.size[index])
        kept = index.flatten()[merged.index]
        data = merged.data.to(tokens.data.dtype)
        if x.shape[2] < tokens.data.shape[1]:
            data = torch.cat([data, tokens.data[kept][:, x.shape[2] :]], dim=1)
        return segment.with_tokens(
            Tokens(data, tokens.frame[kept], tokens.position[kept], merged.size)
        )
