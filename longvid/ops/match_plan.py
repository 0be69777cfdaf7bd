"""The result of matching: which tokens merge into which, apart from any data that is merged."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class MatchPlan(NamedTuple):
    """One plan for G groups of N tokens: merges features, sizes and positions alike.

    S = N - r tokens of every group remain. Rows of a merged tensor are numbered over all groups,
    group after group, so the merged tensor is (G * S, C).

    Attributes:
        source: (G, r) int64 position of each merged token, most similar first.
        destination: (G, r) int64 position of the token it merges into.
        score: (G, r) float32 cosine similarity of the two.
        segment: (G, N) int64 row of the merged tensor that each token went to, in [0, G * S).
        offsets: (G * S + 1,) int64; members[offsets[s]:offsets[s + 1]] are the tokens of row s.
        members: (G * N,) int64 flat token g * N + n: first the surviving one, then the ones
            merged into it by position.
    """

    source: Tensor
    destination: Tensor
    score: Tensor
    segment: Tensor
    offsets: Tensor
    members: Tensor

    @property
    def keep(self) -> Tensor:
        """(G, S) int64 position of the surviving token of every row."""
        num_groups, num_tokens = self.segment.shape
        survivors = self.members[self.offsets[:-1]] % max(num_tokens, 1)
        return survivors.view(num_groups, num_tokens - self.source.shape[1])
