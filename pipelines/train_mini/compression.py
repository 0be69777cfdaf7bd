"""Random compression of visual tokens: the augmentation that makes the decoder robust.

The shipped compressors are many and their outputs ragged; what they have in common is that a frame
keeps some tokens, each a mean of patches, in order. Training draws from that family: average pools
of any grid, slow and fast frames, fine frames around one moment and coarse ones elsewhere (as
selectors guided by the question show), merging by similarity to random seeds (as ToMe, without its
exact choice of pairs), a content token with a context token (LLaMA-VID, the query replaced by a
random patch), pruning against an anchor frame (LongVU) and plain dropping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PATCH_GRID = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What the films and tokens of one batch are like.

    `kind`: grid, slowfast, guided, merge, content, prune, drop. `grid` is the tokens' grid (for
    merge: 8), `kept` the tokens a frame keeps after merging, `share` the share dropped or the
    pruning threshold, `window` the frames between anchors when pruning. `sampling` says which
    frames of a film are shown: even (the whole film), windows (`num_windows` stretches with
    `spacing_seconds` between frames, as segments found by a search are), places (the shot that
    the questions are about, and those beside it) or sparse (any).
    """

    num_films: int
    num_shots: int
    num_frames: int
    kind: str
    grid: int
    fast_grid: int = 1
    slow_every: int = 1
    kept: int = 0
    share: float = 0.0
    prefix: bool = True
    window: int = 8
    sampling: str = "even"
    num_windows: int = 1
    spacing_seconds: float = 0.5

    @property
    def tokens_per_frame(self) -> float:
        """Return how many tokens a frame has before dropping, on average."""
        if self.kind in ("slowfast", "guided"):
            fast = self.fast_grid**2
            return fast + (self.grid**2 - fast) / self.slow_every
        if self.kind == "merge":
            return self.kept
        if self.kind == "content":
            return 2
        return self.grid**2


@dataclass(frozen=True, slots=True)
class Compressed:
    """Tokens of B films and F frames: data (B, F, n, D), keep (B, F, n), patch (B, F, n).

    `patch` is the token's place on the plan's grid, for the auxiliary losses; -1 where it has none.
    """

    data: Tensor
    keep: Tensor
    patch: Tensor


def pool(features: Tensor, grid: int) -> Tensor:
    """Average-pool (B, F, 64, D) patches to a (grid, grid): (B, F, grid*grid, D)."""
    if grid == PATCH_GRID:
        return features
    b, f, _, d = features.shape
    image = features.reshape(b * f, PATCH_GRID, PATCH_GRID, d).permute(0, 3, 1, 2)
    pooled = F.adaptive_avg_pool2d(image, grid)
    return pooled.permute(0, 2, 3, 1).reshape(b, f, grid * grid, d)


def compress(features: Tensor, plan: Plan, rng: np.random.Generator) -> Compressed:
    """Compress projected patches (B, F, 64, D) as the plan says."""
    b, f, _, d = features.shape
    device = features.device
    if plan.kind == "merge":
        return _merge(features, plan.kept, rng)
    if plan.kind == "content":
        query = torch.from_numpy(rng.integers(0, 64, (b, f, 1, 1))).to(device)
        seed = features.gather(2, query.expand(-1, -1, 1, d))
        score = (features * seed).sum(-1) / d**0.5 * float(rng.uniform(0.5, 4.0))
        context = (score.softmax(-1)[..., None] * features).sum(2, keepdim=True)
        data = torch.cat([context, features.mean(2, keepdim=True)], dim=2)
        keep = torch.ones(b, f, 2, dtype=torch.bool, device=device)
        return Compressed(data, keep, torch.full((b, f, 2), -1, device=device))
    data = pool(features, plan.grid)
    n = data.shape[2]
    keep = torch.ones(b, f, n, dtype=torch.bool, device=device)
    patch = torch.arange(n, device=device).expand(b, f, n)
    if plan.kind in ("slowfast", "guided"):
        fast = pool(features, plan.fast_grid)
        count = fast.shape[2]
        index = torch.arange(f, device=device)
        if plan.kind == "slowfast":
            slow = (index % plan.slow_every == int(rng.random() * plan.slow_every))[None, :, None]
        else:
            num_slow = max(1, f // plan.slow_every)
            start = torch.from_numpy(rng.integers(0, f - num_slow + 1, (b, 1))).to(device)
            slow = ((index >= start) & (index < start + num_slow))[..., None]
        fast = F.pad(fast, (0, 0, 0, n - count))
        data = torch.where(slow[..., None], data, fast)
        keep = slow | (torch.arange(n, device=device) < count)
        keep = keep.expand(b, f, n)
        patch = torch.where(slow, patch, -1)
    elif plan.kind == "prune":
        window = torch.arange(f, device=device) // plan.window * plan.window
        anchor = data[:, window]
        same = F.cosine_similarity(data.float(), anchor.float(), dim=-1)
        first = (torch.arange(f, device=device) == window)[None, :, None]
        limit = torch.quantile(same[:, 1:].flatten(), 1 - plan.share) if f > 1 else same.max()
        keep = first | (same < limit)
    elif plan.kind == "drop":
        keep = torch.from_numpy(rng.random((b, f, n)) >= plan.share).to(device)
        keep[..., 0] |= ~keep.any(-1)
    return Compressed(data, keep, patch)


def _merge(features: Tensor, kept: int, rng: np.random.Generator) -> Compressed:
    """Merge each frame's patches into the most similar of a few seed patches."""
    b, f, p, d = features.shape
    order = rng.random((b, f, p)).argsort(-1)[..., :kept]
    seed = torch.from_numpy(np.sort(order, axis=-1)).to(features.device)  # (B, F, k)
    unit = F.normalize(features.detach().float(), dim=-1)
    chosen = unit.gather(2, seed[..., None].expand(-1, -1, -1, d))
    nearest = (unit @ chosen.transpose(-1, -2)).argmax(-1)  # (B, F, P)
    assign = F.one_hot(nearest, kept).to(features.dtype)  # (B, F, P, k)
    total = assign.transpose(-1, -2) @ features
    size = assign.sum(2)[..., None]
    keep = torch.ones(b, f, kept, dtype=torch.bool, device=features.device)
    return Compressed(total / size.clamp(min=1), keep, seed)
