"""The rules by which published selectors choose frames: functions of scores and embeddings.

Scores are s (F,), embeddings f (F, E) of unit norm, costs are tokens per frame. Ties go to the
earlier frame. Nothing here knows of segments or of the language model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from longvid.lazy_import import torch

if TYPE_CHECKING:
    from torch import Tensor

# A frame that keeps less than this share of its own volume repeats the frames chosen.
_NO_VOLUME = 1e-5

#: So many frames' products with all others are made ahead, at 4 bytes each.
_MOST_AHEAD = 256


def min_max(scores: Tensor) -> Tensor:
    """Scale scores to [0, 1] in float64; equal scores become 1, so that none is ruled out."""
    scores = scores.double()
    spread = scores.max() - scores.min()
    if spread == 0:
        return torch.ones_like(scores)
    return (scores - scores.min()) / spread


def by_score(scores: Tensor) -> Tensor:
    """Order frames by falling score, (F,) int64."""
    return scores.sort(descending=True, stable=True).indices


def uniform(num_frames: int, count: int) -> Tensor:
    """Take the middle frame of each of `count` equal parts: floor((k + 1/2) F / count).

    >>> uniform(10, 4).tolist()
    [1, 3, 6, 8]
    """
    return (2 * torch.arange(count) + 1) * num_frames // (2 * count)


def inverse_transform(scores: Tensor, count: int, power: float) -> Tensor:
    """Sample frames at equal steps of the cumulative score (BOLT).

    u = (s - min) / (max - min), p = u^power / sum, and frame k is the first whose cumulative p
    reaches the k-th of `count` points spaced evenly on [1/count, 1 - 1/count]. A frame hit twice
    counts once and the next largest p fills its place. Equal scores give `uniform`; a single
    point lies in the middle, where the formula would put it at the end.

    Source: BOLT, section 3.2; the official code keeps repeated frames.
    """
    num_frames = len(scores)
    count = min(count, num_frames)
    if bool((scores == scores[0]).all()):
        return uniform(num_frames, count)
    weight = min_max(scores) ** power
    share = weight / weight.sum()
    cumulative = share.cumsum(0)
    points = torch.linspace(1 / count, 1 - 1 / count, count, dtype=torch.float64)
    if count == 1:
        points = torch.tensor([0.5], dtype=torch.float64)
    hit = torch.searchsorted(cumulative, points).clamp_max(num_frames - 1)
    return _completed(torch.unique(hit), share, count)


def adaptive_keyframes(
    scores: Tensor, count: int, gap: float, deviation: float, max_depth: int
) -> Tensor:
    """Halve the video where no few frames stand out, and take the best of each piece (AKS).

    A piece of depth d is left whole when the mean of its best `count` scores exceeds its mean by
    more than `gap` and its standard deviation exceeds `deviation`, or at the greatest depth; it
    gives its best floor(count / 2^d) frames. Where that makes fewer than `count`, the best frames
    left fill up. Equal scores give `uniform`.

    Source: AKS, section 3.3; the official code returns fewer frames instead of filling up.
    """
    num_frames = len(scores)
    count = min(count, num_frames)
    if bool((scores == scores[0]).all()):
        return uniform(num_frames, count)
    scaled = min_max(scores)
    chosen: list[Tensor] = []
    pieces = [(0, num_frames, 0)]
    while pieces:
        start, end, depth = pieces.pop()
        piece = scaled[start:end]
        best = piece[by_score(piece)[:count]]
        stands_out = best.mean() - piece.mean() > gap and piece.std(correction=0) > deviation
        if stands_out or depth == max_depth or end - start < 2:
            chosen.append(start + by_score(piece)[: count // 2**depth])
        else:
            middle = (start + end) // 2
            pieces += [(start, middle, depth + 1), (middle, end, depth + 1)]
    return _completed(torch.cat(chosen).sort().values, scaled, count)


def gumbel_order(scores: Tensor, temperature: float, seed: int) -> Tensor:
    """Order frames by log softmax(s / temperature) + Gumbel noise: draws without replacement.

    Temperature 0 gives `by_score`.

    Source: Q-Frame, section 3.2.
    """
    if temperature == 0:
        return by_score(scores)
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(len(scores), generator=generator, dtype=torch.float64)
    noise = -torch.log(-torch.log(draw.clamp(1e-300, 1 - 1e-16)))
    return by_score(torch.log_softmax(scores.double() / temperature, dim=0) + noise)


def marginal_relevance(
    embeddings: Tensor, scores: Tensor, costs: Tensor, budget: int, balance: float
) -> Tensor:
    """Choose greedily the frame with the largest balance * s - (1 - balance) * max f_i . f_j.

    The maximum is over the frames j chosen before (0 for the first); only frames that the rest of
    the budget holds are compared. Returns them in the order chosen.

    Source: Carbonell and Goldstein, The use of MMR, 1998.
    """
    closest = torch.full_like(scores, -torch.inf)
    chosen: list[int] = []
    free = _Free(costs, budget)
    products = _Products(embeddings, scores, _most_picks(costs, budget))
    while free.any():
        repeated = closest if chosen else torch.zeros_like(scores)
        value = balance * scores - (1 - balance) * repeated
        pick = int(torch.where(free.mask, value, -torch.inf).argmax())
        chosen.append(pick)
        free.spend(pick)
        torch.maximum(closest, products(pick), out=closest)
    return torch.tensor(chosen, dtype=torch.int64)


def determinantal(embeddings: Tensor, relevance: Tensor, costs: Tensor, budget: int) -> Tensor:
    """Choose greedily the frames of largest log det L, L_ij = r_i (f_i . f_j) r_j (DPP).

    A frame's gain d_i^2 starts as L_ii and falls by e_i^2 with every pick j, where
    e_i = (L_ji - c_j . c_i) / d_j and c_i grows by e_i. When what is left adds no volume, as with
    repeated frames, the most relevant fill the budget. Returns frames in the order chosen.

    Source: Chen et al., Fast greedy MAP inference for determinantal point processes, 2018.
    """
    start = (torch.linalg.vector_norm(embeddings, dim=1) * relevance).square()
    gain = start.clone()
    free = _Free(costs, budget)
    # More picks than the embeddings have dimensions add no volume; pages unused cost nothing.
    capacity = min(embeddings.shape[1], _most_picks(costs, budget))
    products = _Products(embeddings, relevance, capacity)
    factors = embeddings.new_empty((capacity, len(costs)))  # row k is e of pick k, for all frames
    chosen: list[int] = []
    while len(chosen) < capacity and free.any():
        value = torch.where(free.mask & (gain > _NO_VOLUME * start), gain, -torch.inf)
        pick = int(value.argmax())
        if value[pick] == -torch.inf:
            break
        known = factors[: len(chosen)]
        row = relevance * products(pick) * relevance[pick]
        row = (row - known[:, pick] @ known) / gain[pick].sqrt()
        factors[len(chosen)] = row
        gain -= row.square()
        chosen.append(pick)
        free.spend(pick)
    rest = by_score(relevance)
    rest = rest[free.mask[rest]]
    more = rest[fill(costs[rest], free.budget)]
    return torch.cat([torch.tensor(chosen, dtype=torch.int64), more])


def fill(costs: Tensor, budget: int) -> Tensor:
    """Take frames in the order given while the budget holds them, passing over those too big.

    Returns:
        (K,) int64 indices into `costs`.
    """
    ends = costs.cumsum(0)
    fitting = int((ends <= budget).sum())
    taken = list(range(fitting))
    left = budget - (int(ends[fitting - 1]) if fitting else 0)
    for index, cost in enumerate(costs[fitting:].tolist(), start=fitting):
        if cost <= left:
            taken.append(index)
            left -= cost
    return torch.tensor(taken, dtype=torch.int64)


def fit_count(choose: Callable[[int], Tensor], costs: Tensor, budget: int) -> Tensor:
    """Find by bisection a count whose frames fit the budget while one more would not.

    Frames of equal cost need one call. With ragged costs the count is the largest if bigger
    choices cost more, which rules of frames almost always do.

    Args:
        choose: Gives the frames for a count, (K,) int64.
        costs: (F,) tokens per frame.
        budget: The most tokens.

    Returns:
        The frames chosen; none when not even one frame chosen alone fits.
    """
    sums = costs.sort().values.cumsum(0)
    most = int((sums <= budget).sum())
    fits, fails = 0, most + 1
    best = torch.zeros(0, dtype=torch.int64)
    count = most
    while fails - fits > 1:
        chosen = choose(count)
        if int(costs[chosen].sum()) <= budget:
            fits, best = count, chosen
        else:
            fails = count
        count = (fits + fails) // 2
    return best


def _most_picks(costs: Tensor, budget: int) -> int:
    """Return how many of the cheapest frames a budget holds."""
    return int((costs.sort().values.cumsum(0) <= budget).sum())


class _Products:
    """Inner products of every frame with one.

    Those with the most relevant frames, among which most picks are, come ahead from one matrix
    product: it reads the frames once, where as many vector products read them each time.

    Args:
        embeddings: (F, E).
        relevance: (F,).
        num_picks: How many will be asked for at most.
    """

    def __init__(self, embeddings: Tensor, relevance: Tensor, num_picks: int) -> None:
        self._embeddings = embeddings
        ahead = by_score(relevance)[: min(2 * num_picks, _MOST_AHEAD)]
        self._place = {frame: place for place, frame in enumerate(ahead.tolist())}
        self._rows = embeddings[ahead] @ embeddings.T

    def __call__(self, pick: int) -> Tensor:
        place = self._place.get(pick)
        if place is None:
            return self._embeddings @ self._embeddings[pick]
        return self._rows[place]


class _Free:
    """Which frames are not chosen yet and fit what is left of the budget."""

    def __init__(self, costs: Tensor, budget: int) -> None:
        self.costs = costs
        self.budget = budget
        self.mask = costs <= budget

    def any(self) -> bool:
        return bool(self.mask.any())

    def spend(self, pick: int) -> None:
        self.budget -= int(self.costs[pick])
        self.mask[pick] = False
        self.mask &= self.costs <= self.budget


def _completed(chosen: Tensor, scores: Tensor, count: int) -> Tensor:
    """Fill `chosen` up to `count` frames with the best of the others; sorted, (count,) int64."""
    masked = scores.clone()
    masked[chosen] = -torch.inf
    more = by_score(masked)[: count - len(chosen)]
    return torch.cat([chosen, more]).sort().values
