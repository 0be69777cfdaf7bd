"""LongVU's steps one by one, against loops and the edges its specification names."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from longvid.errors import BudgetError, ConfigError, OpError
from longvid.methods.longvu_config import LongVUConfig
from longvid.methods.stc import (
    cut_tails,
    fit_to_budget,
    frame_scores,
    num_high_frames,
    query_guided_frames,
    spatial_token_compression,
)
from longvid.methods.temporal_reduction import (
    frame_similarity,
    max_num_frames,
    select_frames,
    text_length,
)
from longvid.systems.longvu.padded_grid import (
    content_box,
    content_mask,
    crop_to_content,
    group_patches,
    resize_grid,
    with_newlines,
)
from tests.reference.longvu_paper import PAPER
from tests.reference.longvu_positions import frame_positions
from tests.reference.methods import frame_similarity_slowly

SIZES = [(100, 100), (1280, 720), (720, 1280), (640, 480), (568, 320), (1000, 10), (1, 1), (3, 2)]


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _reducing(**changes: object) -> LongVUConfig:
    """Return a configuration whose context is so short that reduction is always at work."""
    return LongVUConfig(max_length=100, lowres_side=4, **changes)  # type: ignore[arg-type]


# --- temporal reduction -----------------------------------------------------------------------


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("window", [1, 2, 8, 16])
@pytest.mark.parametrize("num_frames", [1, 2, 15, 16, 17, 40])
def test_similarity_equals_its_twin(num_frames: int, window: int, include_self: bool) -> None:
    dino = _random(num_frames, 4, 6, seed=num_frames)
    torch.testing.assert_close(
        frame_similarity(dino, window, include_self=include_self),
        frame_similarity_slowly(dino, window, include_self=include_self),
        atol=1e-6,
        rtol=0.0,
    )


@pytest.mark.parametrize("num_frames", [1, 15, 16, 17, 33, 40])
def test_selection_equals_loops(num_frames: int) -> None:
    dino = _random(num_frames, 4, 6, seed=num_frames) + 0.7
    config = _reducing(dino_threshold=0.5)
    expected = []
    for start in range(0, num_frames, 16):
        frames = F.normalize(dino[start : start + 16].flatten(1).double(), dim=1)
        for i, mean in enumerate((frames @ frames.T).mean(1).tolist()):
            if i == len(frames) // 2 or mean < 0.5:
                expected.append(start + i)
    assert select_frames(dino, 60, config).tolist() == expected


def test_nothing_is_dropped_below_the_budget() -> None:
    config = LongVUConfig(max_length=200, lowres_side=4, image_token_len=36, query_num=36)
    assert max_num_frames(20, config) == 10
    alike = torch.ones(10, 4, 6)
    assert select_frames(alike[:9], 20, config).tolist() == list(range(9))
    assert select_frames(alike, 20, config).tolist() == [5]  # equal to the budget: at work
    assert max_num_frames(20, LongVUConfig(max_length=400, image_token_len=36, highres=False)) == 10
    assert max_num_frames(500, config) == 1


def test_frames_all_alike_leave_the_middle_of_every_window() -> None:
    alike = torch.ones(40, 4, 6)
    assert select_frames(alike, 60, _reducing()).tolist() == [8, 24, 36]
    assert select_frames(alike[:33], 60, _reducing()).tolist() == [8, 24, 32]
    assert select_frames(alike[:1], 60, _reducing()).tolist() == [0]


def test_black_frames_are_dropped_only_where_they_repeat() -> None:
    dino = torch.zeros(4, 2, 2)
    assert 2 in select_frames(dino, 60, _reducing()).tolist()
    assert not frame_similarity(dino, 16).isnan().any()


def test_at_most_400_frames_evenly() -> None:
    dino = _random(900, 1, 64)
    config = _reducing(dino_threshold=2.0)
    kept = select_frames(dino, 60, config)
    assert kept.tolist() == [int(900 / 400 * i) for i in range(400)]
    assert len(select_frames(dino[:400], 60, config)) == 400
    assert len(select_frames(dino, 60, _reducing(dino_threshold=2.0, max_frames=0))) == 900


def test_the_paper_reduces_always_and_forces_no_frame() -> None:
    paper = PAPER
    dino = _random(24, 8, 64)  # nothing alike
    assert select_frames(dino, 20, paper).tolist() == list(range(24))
    dino[8:16] = dino[8]  # the second window stands still
    assert select_frames(dino, 20, paper).tolist() == [*range(8), 12, *range(16, 24)]
    # A frame that differs survives; its window then needs no other.
    dino[10] = _random(8, 64, seed=5)
    assert select_frames(dino, 20, paper).tolist() == [*range(8), 10, *range(16, 24)]
    # The released code, on so short a video, drops nothing.
    assert len(select_frames(dino, 20, LongVUConfig())) == 24


def test_text_ends_at_its_first_padding() -> None:
    ids = torch.tensor([1, 2, -200, 151643, 5, 151643])
    assert text_length(ids, 151643) == 3
    assert text_length(ids, 128002) == 6


def test_no_frames_and_impossible_settings_are_refused() -> None:
    with pytest.raises(OpError, match="T >= 1"):
        select_frames(torch.zeros(0, 4, 6), 20, LongVUConfig())
    for changes in (
        {"dino_threshold": 0.0},
        {"image_token_len": 143},
        {"query_num": 0},
        {"window": 0},
        {"orientation": "hwc"},
        {"score_resolution": "mid"},
        {"max_frames": -1},
    ):
        with pytest.raises(ConfigError):
            LongVUConfig(**changes)  # type: ignore[arg-type]


# --- grids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [4, 6, 8, 12, 24])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_content_area_is_centred_and_marked(side: int, width: int, height: int) -> None:
    mask = content_mask(side, width, height)
    assert torch.equal(mask, mask.flip(0))
    assert torch.equal(mask, mask.flip(1))
    rows, columns = content_box(side, width, height)
    assert mask.sum() == len(range(side)[rows]) * len(range(side)[columns])
    assert torch.equal(mask.T, content_mask(side, height, width))


def test_landscape_keeps_its_columns() -> None:
    assert content_box(12, width=1280, height=720) == (slice(3, 9), slice(0, 12))
    # The released code hands a video's (height, width) over as (width, height).
    assert content_box(12, width=720, height=1280) == (slice(0, 12), slice(3, 9))
    with pytest.raises(OpError, match="at least 1"):
        content_box(12, width=0, height=10)


def test_an_empty_content_area_falls_back_to_the_whole_grid() -> None:
    x = _random(2, 6, 6, 3)
    assert crop_to_content(x, 10, 1000) is x
    assert crop_to_content(x, 720, 1280).shape == (2, 6, 4, 3)


@pytest.mark.parametrize("unpad", [False, True])
@pytest.mark.parametrize(("width", "height"), [(100, 100), (1280, 720), (720, 1280)])
@pytest.mark.parametrize(("side", "query_side"), [(8, 4), (12, 4), (6, 6)])
def test_groups_equal_loops(
    side: int, query_side: int, width: int, height: int, unpad: bool
) -> None:
    x = _random(2, side * side, 3)
    groups, mask = group_patches(x, query_side, width, height, unpad=unpad)
    inside, r = content_mask(side, width, height), side // query_side
    rows, columns = content_box(query_side, width, height)
    cells = [
        (f, i, j)
        for f in range(2)
        for i in range(query_side)[rows if unpad else slice(None)]
        for j in range(query_side)[columns if unpad else slice(None)]
    ]
    assert len(groups) == len(mask) == len(cells)
    for group, seen, (f, i, j) in zip(groups, mask, cells, strict=True):
        block = x[f].reshape(side, side, 3)[i * r : (i + 1) * r, j * r : (j + 1) * r]
        assert torch.equal(group, block.reshape(-1, 3))
        expected = inside[i * r : (i + 1) * r, j * r : (j + 1) * r].flatten()
        assert torch.equal(
            seen, expected if expected.any() else torch.ones(r * r, dtype=torch.bool)
        )


def test_a_grid_that_does_not_divide_is_refused() -> None:
    with pytest.raises(OpError, match="query_num"):
        group_patches(_random(1, 36, 3), 4, 10, 10)
    with pytest.raises(OpError, match="query_num"):
        group_patches(_random(1, 35, 3), 5, 10, 10)


def test_newlines_end_the_rows() -> None:
    x, newline = _random(2, 3, 4, 5), _random(5)
    tokens = with_newlines(x, newline).reshape(2, 3, 5, 5)
    assert torch.equal(tokens[:, :, :4], x)
    assert (tokens[:, :, 4] == newline).all()


def test_low_resolution_is_bilinear() -> None:
    x = _random(2, 144, 3)
    images = x.reshape(2, 12, 12, 3).permute(0, 3, 1, 2)
    expected = F.interpolate(images, size=(8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize_grid(x, 8), expected.permute(0, 2, 3, 1).reshape(2, 64, 3))
    half = resize_grid(x.half(), 8)
    assert half.dtype == torch.float16


def test_frame_positions_released_and_corrected() -> None:
    t, width = torch.tensor([0, 1, 17, 300]), 12
    released = frame_positions(t, width)
    corrected = frame_positions(t, width, cosine_of_sine=False)
    for i, frame in enumerate(t.tolist()):
        for m in range(width // 2):
            angle = frame / 10000 ** (2 * m / width)
            assert released[i, 0, 2 * m] == pytest.approx(math.sin(angle), abs=1e-5)
            assert released[i, 0, 2 * m + 1] == pytest.approx(math.cos(math.sin(angle)), abs=1e-5)
            assert corrected[i, 0, 2 * m + 1] == pytest.approx(math.cos(angle), abs=1e-5)
    with pytest.raises(OpError, match="even"):
        frame_positions(t, 11)


# --- question-guided selection ----------------------------------------------------------------


def test_how_many_frames_keep_their_detail() -> None:
    assert num_high_frames(571, num_frames=20, num_low=20, num_high=42) == 7
    assert num_high_frames(400, 20, 20, 42) == 0  # exactly the low resolution
    assert num_high_frames(421, 20, 20, 42) == 0
    assert num_high_frames(422, 20, 20, 42) == 1
    assert num_high_frames(10_000, 20, 20, 42) == 20
    assert num_high_frames(100, 20, 20, 42) == 0
    assert num_high_frames(10_000, 20, 42, 42) == 0
    assert num_high_frames(10_000, 20, 72, 36) == 0


def test_scores_are_mean_dot_products_and_ties_go_to_the_earlier_frame() -> None:
    frames, text = _random(5, 7, 4), _random(3, 4, seed=1)
    expected = (frames @ text.T).mean((1, 2))
    torch.testing.assert_close(frame_scores(frames, text), expected)
    scores = torch.tensor([1.0, 3.0, 3.0, 0.0, 3.0])
    assert query_guided_frames(scores, 2).tolist() == [1, 2]
    assert query_guided_frames(scores, 4).tolist() == [0, 1, 2, 4]
    with pytest.raises(OpError, match="without tokens"):
        frame_scores(frames, text[:0])


def test_the_best_frames_are_shown_in_detail() -> None:
    low, high, text = _random(6, 4, 3), _random(6, 9, 3, seed=1), _random(2, 3, seed=2)
    budget = 6 * 4 + 2 * 5 + 4
    best = query_guided_frames(frame_scores(low, text), 2).tolist()
    expected = torch.cat([high[t] if t in best else low[t] for t in range(6)])
    assert torch.equal(fit_to_budget(low, high, text, budget), expected)
    # The paper scores what would be shown.
    best_high = query_guided_frames(frame_scores(high, text), 2).tolist()
    assert best_high != best
    shown = fit_to_budget(low, high, text, budget, score_resolution="high")
    assert torch.equal(shown, torch.cat([high[t] if t in best_high else low[t] for t in range(6)]))
    # Exactly the low resolution, or one frame too few: nothing is done.
    for same in (24, 28):
        assert torch.equal(fit_to_budget(low, high, text, same), low.flatten(0, 1))
    assert torch.equal(fit_to_budget(low, None, text, budget), low.flatten(0, 1))
    # More than enough for all.
    assert torch.equal(fit_to_budget(low, high, text, 1000), high.flatten(0, 1))


# --- spatial token compression ----------------------------------------------------------------


def _stc_by_loops(x: Tensor, chunk: int, threshold: float, budget: int) -> Tensor:
    pieces = []
    for start in range(0, len(x), chunk):
        frames = x[start : start + chunk]
        rows = list(frames[0])
        for frame in frames[1:]:
            cosine = F.cosine_similarity(frames[0], frame, dim=-1)
            rows += [row for row, c in zip(frame, cosine, strict=True) if c < threshold]
        pieces.append(torch.stack(rows))
    excess = sum(map(len, pieces)) - budget
    if excess > 0:
        cut = math.ceil(excess / len(pieces))
        pieces = [piece[:-cut] for piece in pieces]
    return torch.cat(pieces)[:budget]


@pytest.mark.parametrize("budget", [1, 7, 30, 61, 1000])
@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.8, 1.1])
@pytest.mark.parametrize("num_frames", [1, 2, 8, 9, 17, 20])
def test_stc_equals_loops(num_frames: int, threshold: float, budget: int) -> None:
    x = _random(num_frames, 5, 3, seed=num_frames)
    keep = spatial_token_compression(x, chunk=8, threshold=threshold, budget=budget)
    assert torch.equal(x[keep], _stc_by_loops(x, 8, threshold, budget))


def test_what_repeats_is_dropped_and_a_chunk_of_one_frame_stays() -> None:
    x = _random(1, 5, 3).repeat(9, 1, 1)
    keep = spatial_token_compression(x, chunk=8, threshold=0.8)
    assert keep[0].all()
    assert keep[8].all()
    assert not keep[1:8].any()


def test_a_tail_cut_may_empty_a_chunk() -> None:
    keep = torch.ones(9, 4, dtype=torch.bool)  # chunks of 32 and 4 tokens
    cut = cut_tails(keep, 8, 20)
    assert cut[:8].flatten().sum() == 20
    assert cut.flatten()[:20].all()
    # ceil((36 - 20) / 2) = 8 of each: 24 are left, of which the budget is the first 20.
    assert cut_tails(keep, 8, 36) is keep


@pytest.mark.parametrize("budget", [0, -5])
def test_a_budget_that_cannot_be_met_is_refused(budget: int) -> None:
    with pytest.raises(BudgetError, match=str(budget)):
        fit_to_budget(_random(2, 4, 3), None, _random(1, 3), budget)
    with pytest.raises(OpError, match="grid"):
        spatial_token_compression(_random(8, 3))


def test_tokens_that_are_not_numbers_are_refused() -> None:
    x = _random(4, 5, 3)
    x[2, 1, 0] = math.nan
    with pytest.raises(OpError):
        spatial_token_compression(x)
