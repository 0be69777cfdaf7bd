"""Selectors of several levels of detail, against LongVU's functions and by counts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from longvid.compress.pooling import GridPooling
from longvid.errors import BudgetError, ConfigError, OpError
from longvid.methods.stc import fit_to_budget
from longvid.select.tiers import QFrame, QueryGuided
from longvid.testing.synthetic import WIDTH, make_query, make_segment
from longvid.types import Segment


def video(num_segments: int = 3, num_frames: int = 8, side: int = 6) -> list[Segment]:
    return [
        make_segment(num_frames, side, side, seed=i, segment_index=i) for i in range(num_segments)
    ]


def tokens_of(segments: tuple[Segment, ...]) -> torch.Tensor:
    return torch.cat([segment.tokens.data for segment in segments])


def counts_of(segments: tuple[Segment, ...]) -> list[int]:
    return [n for segment in segments for n in segment.tokens.counts(segment.num_frames).tolist()]


@pytest.mark.parametrize("budget", [96, 97, 127, 128, 300, 512, 863])
def test_without_full_share_it_is_longvu(budget: int) -> None:
    # 24 frames of 36 tokens, 4 at the coarse grid.
    segments = video()
    query = make_query()
    low = [GridPooling(2, 2)(segment).tokens.data.view(8, 4, WIDTH) for segment in segments]
    high = [segment.tokens.data.view(8, 36, WIDTH) for segment in segments]
    expected = fit_to_budget(
        torch.cat(low), torch.cat(high), query.text_tokens, budget, score_resolution="high"
    )
    part = QueryGuided(score="tokens", coarse_height=2, coarse_width=2)
    assert torch.equal(tokens_of(part(query, segments, budget)), expected)


@pytest.mark.parametrize("budget", [1, 5, 40, 95])
@pytest.mark.parametrize("threshold", [0.8, 0.05])
def test_over_budget_stc_is_longvu(budget: int, threshold: float) -> None:
    segments = video()
    low = torch.cat([GridPooling(2, 2)(s).tokens.data.view(8, 4, WIDTH) for s in segments])
    expected = fit_to_budget(
        low, None, make_query().text_tokens, budget, chunk=5, threshold=threshold
    )
    part = QueryGuided(
        coarse_height=2,
        coarse_width=2,
        over_budget="stc",
        stc_window=5,
        stc_threshold=threshold,
    )
    assert torch.equal(tokens_of(part(make_query(), segments, budget)), expected)


def test_over_budget_stc_shares_the_budget_between_videos() -> None:
    segments = [make_segment(8, 4, 4, seed=i, video_id=name) for i, name in enumerate("ab")]
    part = QueryGuided(coarse_height=2, coarse_width=2, over_budget="stc")
    chosen = part(make_query(), segments, 20)
    assert [len(segment.tokens) for segment in chosen] == [10, 10]


def test_over_budget_stc_shows_something_where_the_cut_would_leave_nothing() -> None:
    segments = [make_segment(8, 4, 4, segment_index=i, repeated=True) for i in range(2)]
    part = QueryGuided(coarse_height=2, coarse_width=2, over_budget="stc")
    assert counts_of(part(make_query(), segments, 1)) == [1]


def test_over_budget_stc_needs_one_grid() -> None:
    segments = [make_segment(8, 4, 4), make_segment(8, 4, 4, segment_index=1, keep=0.5)]
    part = QueryGuided(coarse_height=3, coarse_width=3, over_budget="stc")
    with pytest.raises(OpError, match=r"share no patch grid.*over_budget = 'content'"):
        part(make_query(), segments, 20)


def test_three_tiers_by_score() -> None:
    # Half of 130 tokens: one full frame of 36. 24 frames take one token each, so 71 are left for
    # coarse frames of 4, which cost 3 more than one content token: 23 of them fit, and all 23 do.
    segments, query = video(), make_query()
    part = QueryGuided(coarse_height=2, coarse_width=2, full_share=0.5)
    scores = torch.cat([s.frame_embeddings for s in segments]) @ query.embedding
    order = scores.argsort(descending=True, stable=True).tolist()
    counts = counts_of(part(query, segments, 130))
    assert sorted(counts) == [4] * 23 + [36]
    assert counts[order[0]] == 36
    counts = counts_of(part(query, segments, 80))
    assert [counts[i] for i in order] == [36] + [4] * 7 + [1] * 16
    counts = counts_of(part(query, segments, 30))
    assert [counts[i] for i in order] == [4] * 2 + [1] * 22


def test_more_frames_than_tokens_shows_the_best() -> None:
    segments, query = video(), make_query()
    chosen = QueryGuided()(query, segments, 10)
    scores = torch.cat([s.frame_embeddings for s in segments]) @ query.embedding
    best = sorted(scores.argsort(descending=True)[:10].tolist())
    assert [float(p) for s in chosen for p in s.pts_seconds] == [
        100.0 * (i // 8) + i % 8 for i in best
    ]
    assert counts_of(chosen) == [1] * 10


def test_content_token_is_the_mean_of_the_frame() -> None:
    segments = video(1)
    (chosen,) = QueryGuided()(make_query(), segments, 8)
    expected = segments[0].tokens.data.view(8, 36, WIDTH).mean(1)
    torch.testing.assert_close(chosen.tokens.data, expected)
    assert chosen.tokens.size.tolist() == [36.0] * 8


def test_scores_of_ragged_frames() -> None:
    segment = make_segment(6, 4, 4, keep=0.5)
    query = make_query()
    means = [segment.tokens.data[segment.tokens.frame == t].mean(0) for t in range(6)]
    best = int((torch.stack(means) @ query.text_tokens.mean(0)).argmax())
    (chosen,) = QueryGuided(score="tokens")(query, [segment], 1)
    assert chosen.pts_seconds.tolist() == [float(best)]


def test_scores_by_tokens_need_words() -> None:
    part = QueryGuided(score="tokens")
    query = make_query()
    for words in (torch.zeros(0, WIDTH), torch.zeros(3, WIDTH + 1), torch.empty(0, 0)):
        with pytest.raises(OpError, match=r"score = 'embedding'"):
            part(dataclasses.replace(query, text_tokens=words), video(), 100)


def test_tokens_that_are_not_finite_are_refused() -> None:
    segments = video()
    segments[1].tokens.data[5] = float("nan")
    with pytest.raises(OpError, match="segment 1 of video a"):
        QueryGuided(score="tokens")(make_query(), segments, 100)
    with pytest.raises(OpError, match="NaN or infinity"):
        QueryGuided()(make_query(), segments, 100)


def test_q_frame_levels_cost_what_is_published() -> None:
    # 44 frames of 64 tokens and a budget of 8 of them: 4 full, 8 at half side, 32 at a quarter.
    segments = [make_segment(11, 8, 8, seed=i, segment_index=i) for i in range(4)]
    counts = counts_of(QFrame()(make_query(), segments, 8 * 64))
    assert sorted(counts) == [4] * 32 + [16] * 8 + [64] * 4


def test_q_frame_without_noise_ranks_by_score() -> None:
    segments, query = video(2), make_query()
    scores = torch.cat([s.frame_embeddings for s in segments]) @ query.embedding
    order = scores.argsort(descending=True, stable=True)
    chosen = QFrame(temperature=0.0)(query, segments, 100)
    shown = {
        float(p): n
        for p, n in zip(torch.cat([s.pts_seconds for s in chosen]), counts_of(chosen), strict=True)
    }
    by_rank = [shown.get(100.0 * (i // 8) + i % 8, 0) for i in order.tolist()]
    assert by_rank == [36, 9, 9] + [4] * 11 + [0] * 2


def test_q_frame_draws_by_seed() -> None:
    drawn = {
        tuple(counts_of(QFrame(logit_scale=1.0, seed=seed)(make_query(), video(2), 60)))
        for seed in range(4)
    }
    assert len(drawn) > 1


@pytest.mark.parametrize("part", [QFrame(), QueryGuided()], ids=repr)
def test_one_token_is_enough_for_one_frame(part: Any) -> None:
    (chosen,) = part(make_query(), video(), 1)
    assert len(chosen.tokens) == 1
    with pytest.raises(BudgetError):
        part(make_query(), video(), 0)


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        (QueryGuided, {"score": "magic"}),
        (QueryGuided, {"coarse_width": 0}),
        (QueryGuided, {"full_share": 1.5}),
        (QueryGuided, {"over_budget": "drop"}),
        (QueryGuided, {"stc_window": 0}),
        (QFrame, {"temperature": -1.0}),
        (QFrame, {"full_share": 0.8, "half_share": 0.3}),
    ],
)
def test_bad_settings_are_refused(part: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        part(**fields)
