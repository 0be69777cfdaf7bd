"""FlashVID before the language model: choose diverse tokens, merge the others along time, cluster.

A video is cut into scenes (`scene_lengths`), each frame chooses tokens by attention and diversity
(`choose`), the others join their like in the frame before (`merge_along_time`), and what is then
left is clustered (`cluster`). The half that works inside a language model is not here: it sees the
question.

Source: FlashVID, arXiv 2602.08024; `flashvid_compression`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longvid.errors import ConfigError, OpError, require_at_least, require_one_of
from longvid.lazy_import import ops, torch
from longvid.methods.flashvid_merging import merge_along_time, unit
from longvid.methods.vcast import frame_means

if TYPE_CHECKING:
    from torch import Tensor

CHOICES = ("attn", "div", "attn_div", "attn_div_v2")
_NEIGHBOURS = 7  # whose distances make the density of a token
_NOISE = 1e-6
_LARGE = 1e6  # the original multiplies attention, so that its products are not tiny


@dataclass(frozen=True, slots=True)
class FlashVIDSettings:
    """The settings of a run.

    Args:
        ratio: Share of the tokens that stay, about, in (0, 1].
        expansion: Times the share, where the language model prunes more later; 1 for a store.
        alpha: Share of the budget that is chosen; the rest is merged.
        method: One of CHOICES; all but "div" need the vision tower's attention.
        temporal_threshold: Cosine above which a token joins one of the frame before.
        segment: Cut the video into scenes; otherwise it is one.
        segment_threshold: Cosine of neighbouring frames below which a scene ends.
        min_scenes: Cut at least so many, where `complementary`.
        complementary: Cut more at the lowest cosines when there are too few scenes.
        exact: Divide a merged token by the tokens that are in it. The original divides by one
            more than its direct children, although it added their children too.
    """

    ratio: float = 0.25
    expansion: float = 1.0
    alpha: float = 0.7
    method: str = "div"
    temporal_threshold: float = 0.8
    segment: bool = True
    segment_threshold: float = 0.9
    min_scenes: int = 8
    complementary: bool = True
    exact: bool = False

    def __post_init__(self) -> None:
        require_one_of("flashvid.method", self.method, CHOICES)
        if not 0 < self.ratio <= 1:
            raise ConfigError(
                f"flashvid.ratio is the share of the tokens that stay, in (0, 1], got {self.ratio}."
            )
        if not (math.isfinite(self.expansion) and self.expansion > 0):
            raise ConfigError(f"flashvid.expansion must be above 0, got {self.expansion}.")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"flashvid.alpha must be in [0, 1], got {self.alpha}.")
        for name in ("temporal_threshold", "segment_threshold"):
            value = getattr(self, name)
            if not -1 <= value <= 1:
                raise ConfigError(f"flashvid.{name} is a cosine in [-1, 1], got {value}.")
        require_at_least("flashvid.min_scenes", self.min_scenes, 1)

    def counts(self, num_tokens: int) -> tuple[int, int]:
        """Return how many tokens of a frame are chosen and how many are left by merging."""
        budget = math.ceil(num_tokens * self.ratio * self.expansion)
        chosen = math.ceil(budget * self.alpha)
        return min(chosen, num_tokens), budget - chosen


@dataclass(frozen=True, slots=True)
class Merged:
    """A compressed video, in time order.

    Args:
        data: (K, D) float32.
        index: (K,) int64, flat place t * n + i that each token keeps. A place can occur twice: as
            chosen token and as centre of a cluster.
        size: (K,) float32, patches that the tokens in each stand for.
        lengths: Frames of each scene.
    """

    data: Tensor
    index: Tensor
    size: Tensor
    lengths: tuple[int, ...]


def scene_lengths(
    means: Tensor, threshold: float, least: int, *, complementary: bool = True
) -> tuple[int, ...]:
    """Cut a video into scenes of alike frames (DySeg).

    Args:
        means: (T, D) float, the mean token of each frame.
        threshold: A scene ends where the cosine to the next frame is below.
        least: Scenes wanted, where `complementary`.
        complementary: Cut at the lowest other cosines when there are fewer.

    Returns:
        Frames of each scene. A length may be 0: a cut that is wanted twice, as in the original.
    """
    directions = unit(means)
    similarity = (directions[:-1] * directions[1:]).sum(1)
    cuts = (similarity < threshold).nonzero().flatten()
    missing = least - (len(cuts) + 1)
    if complementary and missing > 0:
        similarity[cuts] = 1.0
        order = similarity.sort(stable=True).indices
        cuts = torch.cat([cuts, order[: min(missing, len(means) - 1)]])
    ends = [-1, *sorted(cuts.tolist()), len(means) - 1]
    return tuple(ends[i + 1] - ends[i] for i in range(len(ends) - 1))


def choose(x: Tensor, num_chosen: int, method: str, attention: Tensor | None = None) -> Tensor:
    """Choose tokens of each frame of one scene: the most attended, or the most diverse.

    Args:
        x: (L, n, D) float.
        num_chosen: Of each frame.
        method: One of CHOICES.
        attention: (L, n) float, what each token receives; "div" needs none.

    Returns:
        (L, num_chosen) int64 places, rising.

    Raises:
        OpError: The method needs attention and none was given.
    """
    if method != "div" and attention is None:
        raise OpError(
            f"FlashVID's {method} needs the vision tower's attention of every token, which a "
            "store does not hold; use div."
        )
    if method == "attn":
        assert attention is not None
        order = attention.sort(dim=1, descending=True, stable=True).indices
        return order[:, :num_chosen].sort(dim=1).values
    distance = 1 - ops.window_gram(x.flatten(0, 1), x.shape[1])
    if attention is not None and method != "div":
        column = attention.float() * _LARGE
        if method == "attn_div_v2":
            column = column * (x.float() @ x.float().mean(1).T).mean(2)
        distance = distance * column.unsqueeze(1)
    return _farthest(distance, num_chosen, once=method != "attn_div_v2")


def _farthest(distance: Tensor, num_chosen: int, *, once: bool) -> Tensor:
    """Choose, one after another, the column that is farthest from all rows chosen before.

    Args:
        distance: (L, n, n) float32.
        num_chosen: Columns to choose.
        once: A column that was chosen is out. Otherwise only its distance of 0 speaks against it.
    """
    frames = torch.arange(len(distance), device=distance.device)
    chosen: list[Tensor] = []
    nearest = distance.new_empty(0)
    for step in range(num_chosen):
        if step == 0:  # the column whose second smallest distance is largest
            second = min(2, distance.shape[1])
            best = distance.kthvalue(second, dim=1).values.argmax(1)
            nearest = distance[frames, best]
        else:
            best = nearest.argmax(1)
            nearest = torch.minimum(nearest, distance[frames, best])
        if once:
            nearest[frames, best] = -1
        chosen.append(best)
    if not chosen:
        return torch.zeros((len(distance), 0), dtype=torch.int64, device=distance.device)
    return torch.stack(chosen, dim=1).sort(dim=1).values


def cluster(x: Tensor, num_clusters: int, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cluster tokens around density peaks (DPC-kNN).

    Args:
        x: (N, D) float.
        num_clusters: At most N.
        noise: (N,) in [0, 1), what the original draws to tell equal densities apart. Without it
            the earlier of equals is the denser: one of its possible draws.

    Returns:
        (N,) int64 cluster of each token, and (num_clusters,) int64 centre of each cluster.
    """
    num_tokens = len(x)
    rows = x.float()
    square = (rows * rows) @ rows.new_ones(rows.shape[1])
    distance = square.unsqueeze(1) + square - 2 * (rows @ rows.T)
    distance = (distance.clamp_(min=0) / x.shape[1]).sqrt_().fill_diagonal_(0)
    k = min(num_clusters, _NEIGHBOURS)
    density = (-distance.topk(k, dim=1, largest=False).values.square().mean(1)).exp()
    if noise is not None:
        density = density + _NOISE * noise.to(density)
    rank = torch.empty(num_tokens, dtype=torch.int64, device=x.device)
    order = density.sort(descending=True, stable=True).indices
    rank[order] = torch.arange(num_tokens, device=x.device)
    denser = rank.unsqueeze(0) < rank.unsqueeze(1)  # [i, j]: j is denser than i
    delta = distance.masked_fill(~denser, float(distance.max())).amin(1)
    centres = (delta * density).sort(descending=True, stable=True).indices[:num_clusters]
    label = distance[:, centres].argmin(1)
    label[centres] = torch.arange(num_clusters, device=x.device)
    return label, centres


def compress(
    x: Tensor,
    settings: FlashVIDSettings,
    attention: Tensor | None = None,
    noise: Tensor | None = None,
    size: Tensor | None = None,
) -> Merged:
    """Compress a video.

    Args:
        x: (T, n, D) float.
        settings: Of the run.
        attention: (T, n) float, what each token receives in the last layer of the vision tower.
        noise: (K,) float, one number for each clustered token, in the order of clustering.
        size: (T, n) float, patches that each token stands for; 1 where not given.

    Raises:
        OpError: The method needs attention and none was given.
    """
    num_tokens = x.shape[1]
    means = frame_means(x)
    lengths: tuple[int, ...] = (len(x),)
    if settings.segment:
        lengths = scene_lengths(
            means,
            settings.segment_threshold,
            settings.min_scenes,
            complementary=settings.complementary,
        )
    pieces: list[tuple[Tensor, Tensor, Tensor]] = []
    if size is None:
        size = torch.ones(x.shape[:2], device=x.device)
    start = 0
    for length in lengths:
        if length:
            scene = slice(start, start + length)
            weight = None if attention is None else attention[scene]
            new, noise = _compress_scene(x[scene], size[scene], settings, weight, noise)
            pieces += [(data, index + start * num_tokens, count) for data, index, count in new]
        start += length
    data, index, counts = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    order = index.sort(stable=True).indices
    return Merged(data[order], index[order], counts[order], lengths)


def _compress_scene(
    x: Tensor,
    size: Tensor,
    settings: FlashVIDSettings,
    attention: Tensor | None,
    noise: Tensor | None,
) -> tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor | None]:
    """Compress one scene: (data, flat index, size) of its pieces, and the noise left over."""
    num_frames, num_tokens, _ = x.shape
    num_chosen, num_clusters = settings.counts(num_tokens)
    chosen = choose(x, num_chosen, settings.method, attention)
    offsets = torch.arange(num_frames, device=x.device).unsqueeze(1) * num_tokens
    index = (chosen + offsets).flatten()
    pieces = [(x.flatten(0, 1)[index].float(), index, size.flatten()[index])]
    free = torch.ones((num_frames, num_tokens), dtype=torch.bool, device=x.device)
    if num_frames > 1:  # of a single frame, the chosen tokens are clustered too
        free.scatter_(1, chosen, False)
    roots = merge_along_time(
        x,
        free,
        settings.temporal_threshold,
        num_chosen + num_clusters,
        exact=settings.exact,
        size=size,
    )
    num_roots = len(roots.data)
    share = num_clusters * num_frames / num_roots if num_roots else 1.0
    per_frame = roots.alive.sum(1).tolist()
    parts = (torch.split(tensor, per_frame) for tensor in (roots.data, roots.size))
    split = zip(*parts, strict=True)
    for frame, (data, count) in enumerate(split):
        place = roots.alive[frame].nonzero().flatten()
        if share < 1:
            draw = None
            if noise is not None:
                draw, noise = noise[: len(place)], noise[len(place) :]
            data, count, place = _cluster_means(data, count, place, share, settings.exact, draw)
        pieces.append((data, place + frame * num_tokens, count))
    return pieces, noise


def _cluster_means(
    data: Tensor, size: Tensor, place: Tensor, share: float, exact: bool, noise: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Replace the N tokens of a frame by the means of ceil(N * share) clusters."""
    num_clusters = math.ceil(len(data) * share)
    if num_clusters == 0:
        return data[:0], size[:0], place[:0]
    label, centres = cluster(data, num_clusters, noise)
    belongs = (label == torch.arange(num_clusters, device=data.device).unsqueeze(1)).float()
    weights = belongs * size if exact else belongs  # (clusters, N)
    means = (weights @ data) / weights.sum(1, keepdim=True)
    return means, belongs @ size, place[centres]
