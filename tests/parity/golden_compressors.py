"""Golden checks of the question-free compressors of 2025 and 2026."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from longvid.methods import dtd, evs, flashvid, flashvid_merging, vcast, vidcom2
from tests.parity.golden_file import GoldenFile
from tests.reference.methods import score_slowly


def _tokens(golden: GoldenFile, key: str = "x") -> Tensor:
    return golden.tensor(key).flatten(1, 2)


def _check_kept(golden: GoldenFile, x: Tensor, keep: Tensor) -> None:
    golden.same("keep_index", keep.flatten().nonzero().flatten())
    golden.close("out", x[keep])
    golden.same("tokens_per_frame", keep.sum(1))


def check_vcast_allocation(golden: GoldenFile) -> None:
    table = np.full(golden.array("tokens_per_frame").shape, -1)
    shares = golden.tensor("weights")
    numbers = [golden.array(key) for key in ("frames", "total", "min_k", "max_k")]
    for row, share, frames, total, min_k, max_k in zip(table, shares, *numbers, strict=True):
        row[:frames] = vcast.allocate(share[:frames], int(total), int(min_k), int(max_k))
    golden.same("tokens_per_frame", table)


def check_vcast_two_videos(golden: GoldenFile) -> None:
    ratio, min_k = float(golden.array("ratio")), golden.number("min_k")
    videos = [_tokens(golden, key) for key in ("x0", "x1")]
    keep = [vcast.keep_outstanding(x, ratio, min_k) for x in videos]
    golden.same("keep_index", torch.cat([k.flatten() for k in keep]).nonzero().flatten())
    golden.close("out", torch.cat([x[k] for x, k in zip(videos, keep, strict=True)]))


def check_vcast(golden: GoldenFile) -> None:
    x = _tokens(golden)
    keep = vcast.keep_outstanding(x, float(golden.array("ratio")), golden.number("min_k"))
    _check_kept(golden, x, keep)
    if "curvature" in golden:
        curve = vcast.curvature(vcast.directions(vcast.frame_means(x)))
        golden.close("curvature", curve)
        golden.close("weights", vcast.weights(curve))
    else:
        assert len(x) == 1
    if "deepstack" in golden:
        levels = golden.tensor("deepstack").flatten(2, 3)
        golden.close("deepstack_out", levels[:, keep])


def check_vidcom2(golden: GoldenFile) -> None:
    x, base = _tokens(golden), float(golden.array("base_scale"))
    _check_kept(golden, x, vidcom2.keep_unlike(x, base))
    channels = vidcom2.steady_channels(x)
    golden.same("channels", channels)
    for score in (score_slowly, vidcom2.score):
        scores = score(x, channels)
        golden.close("vid_score", scores.video)
        golden.close("frame_score", scores.frame)
    # The softmax at 0.01 multiplies rounding by 100.
    golden.close("scales", vidcom2.frame_scales(scores.video, base), tolerance=1e-4)


def check_vidcom2_newlines(golden: GoldenFile) -> None:
    x = golden.tensor("x")
    width = x.shape[2]
    x = x.flatten(1, 2)
    keep = vidcom2.keep_unlike(x, float(golden.array("base_scale")))
    out, places = vidcom2.with_newlines(x, keep, width, golden.tensor("newline"))
    golden.close("out", out)
    golden.same("keep_index", keep.flatten().nonzero().flatten())
    assert places.tolist() == [
        i // width * (width + 1) + i % width for i in golden.array("keep_index").tolist()
    ]


def check_evs(golden: GoldenFile) -> None:
    x = _tokens(golden)
    _check_kept(golden, x, evs.keep_changed(x, float(golden.array("q"))))


def check_dtd(golden: GoldenFile) -> None:
    x, threshold = _tokens(golden), float(golden.array("threshold"))
    absolute = golden.flag("absolute")
    if golden.text("method") == "pixel":
        pixels = golden.tensor("pixel_values")
        keep = dtd.keep_different_pixels(pixels, *x.shape[:2], threshold, absolute=absolute)
    elif absolute:
        keep = dtd.keep_different(x, threshold)
    else:
        keep = dtd.keep_least_similar(x, threshold)
    _check_kept(golden, x, keep)


def check_flashvid_scenes(golden: GoldenFile) -> None:
    table = np.full(golden.array("segment_lengths").shape, -1)
    x = golden.tensor("x")
    settings = [
        golden.array(key)
        for key in ("frames", "segment_threshold", "min_segment_num", "complementary")
    ]
    for row, means, frames, threshold, least, complementary in zip(
        table, x, *settings, strict=True
    ):
        lengths = flashvid.scene_lengths(
            means[:frames], float(threshold), int(least), complementary=bool(complementary)
        )
        row[: len(lengths)] = lengths
    golden.same("segment_lengths", table)


def check_flashvid_choice(golden: GoldenFile) -> None:
    x, attention = _tokens(golden), golden.tensor("attn")
    for key in golden.keys("keep/"):
        method = key.removeprefix("keep/")
        golden.same(
            key, flashvid.choose(x, golden.number("num_retained_tokens"), method, attention)
        )


def check_flashvid_merging(golden: GoldenFile) -> None:
    x, free = _tokens(golden), golden.tensor("free")
    roots = flashvid_merging.merge_along_time(
        x,
        free,
        float(golden.array("temporal_threshold")),
        golden.number("num_attn_div_tokens") + golden.number("num_sttm_tokens"),
    )
    golden.same("keep_index", roots.alive.flatten().nonzero().flatten())
    golden.close("out", roots.data)


def check_flashvid_clusters(golden: GoldenFile) -> None:
    x, num_clusters = golden.tensor("x"), golden.number("num_clusters")
    assert golden.number("k") == min(num_clusters, 7)
    noise = golden.tensor("noise")
    label, centres = flashvid.cluster(x, num_clusters, noise)
    golden.same("cluster", label)
    golden.same("centre", centres)
    if "noise_decides" not in golden.name:
        label, centres = flashvid.cluster(x, num_clusters)
        golden.same("cluster", label)
        golden.same("centre", centres)


def check_flashvid(golden: GoldenFile) -> None:
    x = _tokens(golden)
    settings = flashvid.FlashVIDSettings(
        ratio=float(golden.array("retention")),
        expansion=float(golden.array("expansion")),
        alpha=float(golden.array("alpha")),
        method=golden.text("method"),
        temporal_threshold=float(golden.array("temporal_threshold")),
        segment=golden.flag("do_segment"),
        segment_threshold=float(golden.array("segment_threshold")),
        min_scenes=golden.number("min_segment_num"),
        complementary=golden.flag("complementary"),
    )
    noise = golden.tensor("noise") if "noise" in golden else None
    merged = flashvid.compress(x, settings, golden.tensor("attn"), noise)
    golden.same("segment_lengths", merged.lengths)
    golden.same("keep_index", merged.index)
    twice = len(merged.index) - len(merged.index.unique())
    golden.same("duplicates", twice)
    golden.close("out", _as_set(merged.data, merged.index, golden.tensor("out")))


def _as_set(actual: Tensor, index: Tensor, expected: Tensor) -> Tensor:
    """Bring vectors that share a place into the order of the stored ones: theirs is not defined."""
    actual = actual.clone()
    for first in (index.diff() == 0).nonzero().flatten().tolist():
        swapped = actual[[first + 1, first]]
        pair = slice(first, first + 2)
        if (swapped - expected[pair]).abs().max() < (actual[pair] - expected[pair]).abs().max():
            actual[pair] = swapped
    return actual
