"""Golden checks of SlowFast-LLaVA."""

from __future__ import annotations

import numpy as np

from longvid.methods.slowfast_pooling import aggregate
from longvid.sample import segment_midpoints, slow_indices
from tests.parity.golden_file import GoldenFile
from tests.reference.slowfast_setting import parse_setting


def check_aggregation(golden: GoldenFile) -> None:
    x = golden.tensor("x")
    layout = parse_setting(golden.text("setting"))
    tokens = aggregate(x, layout)
    golden.close("y", tokens[None])
    num_frames, num_patches, width = x.shape
    side = round(num_patches**0.5)
    assert len(tokens) == layout.num_tokens(num_frames, side)
    for key, value in (("T", num_frames), ("side", side), ("D", width)):
        if key in golden:
            golden.same(key, value)
    if "slow_idx" in golden:
        golden.same("slow_idx", layout.slow_frames(num_frames))
    # Which of its own kernels the original needed on a CPU; the values do not depend on it.
    assert golden.number("kernel_mode") in (0, 1)


def check_seq_frames(golden: GoldenFile) -> None:
    totals, desired = golden.array("totals"), golden.number("desired")
    indices = np.full((len(totals), desired), -1)
    for row, total in zip(indices, totals, strict=True):
        chosen = segment_midpoints(int(total), desired)
        row[: len(chosen)] = chosen
    golden.same("indices", indices)


def check_slow_index_table(golden: GoldenFile) -> None:
    num_frames, num_slow = golden.array("T"), golden.array("n")
    table = np.full((len(num_slow), len(num_frames), golden.array("idx").shape[2]), -1)
    for i, n in enumerate(num_slow):
        for j, t in enumerate(num_frames):
            table[i, j, :n] = slow_indices(int(t), int(n))
    golden.same("idx", table)
