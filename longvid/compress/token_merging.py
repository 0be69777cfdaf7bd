"""Token merging (ToMe): similar tokens become one, and nothing that a token stood for is lost.

Matching and averaging are ops; this part decides which tokens may meet, and how far to go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from longvid.compress.grid import Placed, concatenate, equal_groups, gather
from longvid.errors import ConfigError, require_at_least, require_one_of
from longvid.lazy_import import ops, torch
from longvid.methods.token_pooling import mean_rows, require_finite
from longvid.types import Segment, Tokens

if TYPE_CHECKING:
    from torch import Tensor

_UNITS = ("ratio", "r", "target", "kth")


@dataclass(frozen=True, slots=True)
class TokenMerging:
    """Merge the most similar tokens of a frame, or of a clip of frames, into weighted means.

    Each round splits the tokens in two sets, links every token of the first to its most similar
    one of the second, and merges along the best links; rounds repeat until enough are gone.
    A merged token lies at the mean position of its patches, in the frame of the token that the
    others joined, and its size is the sum of theirs.

    Args:
        unit: What `amount` counts: "ratio" is the share of tokens to remove, "r" the number to
            remove in one round (at most half), "target" the number to leave, "kth" leaves every
            k-th token and merges all others into those.
        amount: In that unit; 0 removes nothing under "ratio" and "r".
        frames_per_clip: Consecutive frames whose tokens may merge with each other; 1 merges
            within frames, 4 with target 64 is VideoChat-Flash.
        protected: The first tokens of every clip take no part and stay as they are.
        heads: Compare tokens by the mean of this many equal slices of their channels; 1 compares
            all channels. VideoChat-Flash uses slices of 64 channels.

    Source: Token Merging, section 3 (formulas only); VideoChat-Flash, section 3.1. In the
    official ToMe ties are in no defined order; here they go to the lower index. Under "kth" the
    official code drops the last N mod k tokens (2 of 14 for k = 3); here they are merged too, so
    sizes still add up to N.
    """

    conserves_size: ClassVar[bool] = True

    unit: str = "ratio"
    amount: float = 0.5
    frames_per_clip: int = 1
    protected: int = 0
    heads: int = 1

    def __post_init__(self) -> None:
        require_one_of("tome.unit", self.unit, _UNITS)
        if self.unit == "ratio" and not 0 <= self.amount < 1:
            raise ConfigError(f"tome.amount must be a ratio in [0, 1), got {self.amount}.")
        least = {"ratio": 0, "r": 0, "target": 1, "kth": 2}[self.unit]
        if self.unit != "ratio" and (self.amount < least or self.amount != int(self.amount)):
            raise ConfigError(
                f"tome.amount must be a whole number of at least {least} for unit {self.unit!r}, "
                f"got {self.amount}."
            )
        for name, lowest in (("frames_per_clip", 1), ("protected", 0), ("heads", 1)):
            require_at_least(f"tome.{name}", getattr(self, name), lowest)

    def setup(self, device: str = "cpu") -> TokenMerging | Placed:
        return self if device == "cpu" else Placed(self, device)

    def __call__(self, segment: Segment) -> Segment:
        """Merge the tokens of every clip.

        Raises:
            OpError: A token is not finite, or `heads` does not divide the token width.
        """
        require_finite("tome", segment)
        tokens = segment.tokens
        counts = tokens.counts(segment.num_frames)
        clip = torch.arange(segment.num_frames, device=counts.device) // self.frames_per_clip
        num_clips = -(-segment.num_frames // self.frames_per_clip)
        counts = torch.zeros(num_clips, dtype=torch.int64, device=counts.device).index_add_(
            0, clip, counts
        )
        pieces = [
            piece
            for _, index in equal_groups(counts.cumsum(0) - counts, counts)
            for piece in self._merge(tokens, index)
        ]
        return segment.with_tokens(concatenate(pieces, tokens))

    def num_removed(self, num_tokens: int) -> int:
        """Say how many of the tokens of one clip are merged into others."""
        free = num_tokens - self.protected
        if self.unit == "ratio":
            removed = int(num_tokens * self.amount)
        elif self.unit == "r":
            removed = min(int(self.amount), free // 2)
        elif self.unit == "target":
            removed = num_tokens - int(self.amount)
        else:
            kept = free // int(self.amount)
            removed = free - kept if kept else 0
        return max(0, min(removed, free - 1))

    def _merge(self, tokens: Tokens, index: Tensor) -> list[Tokens]:
        """Merge (G, n) clips of equal count; results are sorted by frame, then by index."""
        removed = self.num_removed(index.shape[1])
        if removed == 0:
            return [tokens.keep(index.flatten())]
        protected, index = index[:, : self.protected], index[:, self.protected :]
        num_clips, num_tokens = index.shape
        flat = index.flatten()
        metric = gather(tokens.data, index)
        if self.heads > 1:
            metric = ops.head_mean(metric, self.heads)
        size = gather(tokens.size, index)
        if self.unit == "kth":
            a_index, b_index = ops.kth_split(num_tokens, int(self.amount), num_clips, metric.device)
            plan = ops.match(metric, removed, a_index=a_index, b_index=b_index)
            offsets, members = plan.offsets, plan.members
        else:
            rounds = ops.clip_rounds(num_tokens, num_tokens - removed)
            offsets, members, _, _ = ops.merge_rounds(metric, rounds, size)
        # The first member of a row is the token that the others joined.
        survivor = flat[members[offsets[:-1]]]
        order = survivor.sort().indices
        lengths = offsets.diff()[order]
        ends = lengths.cumsum(0)
        steps = torch.arange(len(members), device=members.device)
        first = torch.repeat_interleave(offsets[:-1][order] - (ends - lengths), lengths)
        merged = mean_rows(
            tokens,
            torch.cat([ends.new_zeros(1), ends]),
            flat[members[first + steps]],
            tokens.frame[survivor[order]],
        )
        return [tokens.keep(protected.flatten()), merged] if self.protected else [merged]
