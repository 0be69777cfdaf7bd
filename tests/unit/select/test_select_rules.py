"""Rules of choosing frames, against their formulas written as loops."""

from __future__ import annotations

import math

import pytest
import torch

from longvid.select import algorithms
from longvid.testing.synthetic import unit_rows


def drawn(num_frames: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw embeddings (F, 6) and scores (F,)."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = unit_rows(num_frames, 6, generator)
    return embeddings, embeddings @ unit_rows(1, 6, generator)[0]


@pytest.mark.parametrize(("num_frames", "count"), [(10, 4), (7, 7), (100, 3), (5, 1), (3600, 64)])
def test_uniform_is_the_middle_of_equal_parts(num_frames: int, count: int) -> None:
    expected = [math.floor((k + 0.5) * num_frames / count) for k in range(count)]
    assert algorithms.uniform(num_frames, count).tolist() == expected


@pytest.mark.parametrize("count", [2, 3, 8, 20])
@pytest.mark.parametrize("power", [1.0, 3.0])
def test_inverse_transform_is_boltz_sampling_without_repeats(count: int, power: float) -> None:
    _, scores = drawn(40)
    low, high = float(scores.min()), float(scores.max())
    weight = [((float(s) - low) / (high - low)) ** power for s in scores]
    share = [w / sum(weight) for w in weight]
    chosen = set()
    for k in range(count):
        point = 1 / count + k * (1 - 2 / count) / (count - 1)
        total = 0.0
        for t, p in enumerate(share):
            total += p
            if total >= point - 1e-12:
                chosen.add(t)
                break
    rest = sorted((t for t in range(40) if t not in chosen), key=lambda t: (-share[t], t))
    chosen |= set(rest[: count - len(chosen)])
    assert algorithms.inverse_transform(scores, count, power).tolist() == sorted(chosen)


def test_inverse_transform_guards() -> None:
    same = torch.full((10,), 0.3)
    assert algorithms.inverse_transform(same, 4, 3.0).tolist() == algorithms.uniform(10, 4).tolist()
    assert algorithms.inverse_transform(torch.tensor([0.1, 0.9]), 5, 3.0).tolist() == [0, 1]
    # One frame only: where half of the score has been seen, not the last frame.
    assert algorithms.inverse_transform(torch.tensor([0.0, 1.0, 0.1, 0.1]), 1, 3.0).tolist() == [1]
    # All of the score in one frame: the others follow by their share.
    assert algorithms.inverse_transform(torch.tensor([0.0, 1.0, 0.0, 0.5]), 2, 3.0).tolist() == [
        1,
        3,
    ]


def test_adaptive_keyframes_spread_over_the_pieces() -> None:
    _, scores = drawn(64)
    chosen = algorithms.adaptive_keyframes(scores, 8, 0.8, -100.0, 2).tolist()
    best = [
        16 * piece + i
        for piece in range(4)
        for i in algorithms.by_score(scores[16 * piece : 16 * piece + 16])[:2].tolist()
    ]
    assert chosen == sorted(best)


def test_adaptive_keyframes_leave_a_piece_whole_where_few_frames_stand_out() -> None:
    scores = torch.zeros(64)
    scores[[3, 40, 41]] = torch.tensor([1.0, 0.99, 0.98])
    assert algorithms.adaptive_keyframes(scores, 3, 0.8, -100.0, 5).tolist() == [3, 40, 41]
    # The same scores, but standing out is not allowed to stop the halving: one frame a half.
    assert algorithms.adaptive_keyframes(scores, 2, 2.0, -100.0, 1).tolist() == [3, 40]


def test_adaptive_keyframes_fill_up_and_guard() -> None:
    _, scores = drawn(50)
    for count in (1, 5, 33, 64):
        chosen = algorithms.adaptive_keyframes(scores, count, 0.8, -100.0, 5)
        assert len(chosen) == len(set(chosen.tolist())) == min(count, 50)
    same = algorithms.adaptive_keyframes(torch.zeros(50), 5, 0.8, -100.0, 5)
    assert same.tolist() == algorithms.uniform(50, 5).tolist()


def test_gumbel_order_draws_by_softmax() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0])
    assert algorithms.gumbel_order(scores, 0.0, 0).tolist() == [2, 1, 0]
    first = [int(algorithms.gumbel_order(scores, 0.8, seed)[0]) for seed in range(3000)]
    for frame, p in enumerate(torch.softmax(scores / 0.8, 0).tolist()):
        assert first.count(frame) / 3000 == pytest.approx(p, abs=0.03)
    assert torch.equal(
        algorithms.gumbel_order(scores, 0.8, 7), algorithms.gumbel_order(scores, 0.8, 7)
    )


@pytest.mark.parametrize("balance", [0.0, 0.3, 0.7, 1.0])
def test_marginal_relevance_is_the_greedy_loop(balance: float) -> None:
    embeddings, scores = drawn(30, seed=2)
    chosen: list[int] = []
    for _ in range(9):

        def value(i: int) -> float:
            repeated = max((float(embeddings[i] @ embeddings[j]) for j in chosen), default=0.0)
            return balance * float(scores[i]) - (1 - balance) * repeated

        chosen.append(max((i for i in range(30) if i not in chosen), key=lambda i: (value(i), -i)))
    costs = torch.full((30,), 4)
    assert algorithms.marginal_relevance(embeddings, scores, costs, 38, balance).tolist() == chosen


def test_determinantal_maximises_the_determinant_greedily() -> None:
    embeddings, scores = drawn(25, seed=3)
    relevance = (2 * scores).exp()
    scaled = (embeddings * relevance[:, None]).double()
    kernel = scaled @ scaled.T
    chosen: list[int] = []
    for _ in range(6):

        def volume(i: int) -> float:
            index = torch.tensor([*chosen, i])
            return float(torch.linalg.det(kernel[index][:, index]))

        chosen.append(max((i for i in range(25) if i not in chosen), key=volume))
    costs = torch.ones(25, dtype=torch.int64)
    assert algorithms.determinantal(embeddings, relevance, costs, 6).tolist() == chosen
    # Six dimensions are used up: the most relevant of the others follow.
    more = algorithms.determinantal(embeddings, relevance, costs, 9).tolist()
    rest = [i for i in algorithms.by_score(relevance).tolist() if i not in chosen]
    assert more == chosen + rest[:3]


def test_determinantal_takes_a_repeated_frame_last() -> None:
    embeddings = torch.eye(4)[[0, 0, 0, 1, 2]]
    relevance = torch.tensor([1.0, 0.9, 0.8, 0.2, 0.1])
    costs = torch.ones(5, dtype=torch.int64)
    assert algorithms.determinantal(embeddings, relevance, costs, 4).tolist() == [0, 3, 4, 1]


@pytest.mark.parametrize("rule", ["mmr", "dpp"])
def test_greedy_rules_pass_over_frames_that_no_longer_fit(rule: str) -> None:
    embeddings = torch.eye(4)
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    costs = torch.tensor([5, 9, 3, 2])
    if rule == "mmr":
        chosen = algorithms.marginal_relevance(embeddings, scores, costs, 10, 1.0)
    else:
        chosen = algorithms.determinantal(embeddings, scores, costs, 10)
    assert chosen.tolist() == [0, 2, 3]


def test_fill_takes_what_fits_in_the_order_given() -> None:
    assert algorithms.fill(torch.tensor([3, 4, 5, 2, 1]), 10).tolist() == [0, 1, 3, 4]
    assert algorithms.fill(torch.tensor([3, 4]), 2).tolist() == []
    assert algorithms.fill(torch.zeros(0, dtype=torch.int64), 5).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_fit_count_stops_where_one_more_would_not_fit(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    costs = torch.randint(1, 30, (40,), generator=generator)

    def choose(count: int) -> torch.Tensor:
        return algorithms.uniform(40, count)

    chosen = algorithms.fit_count(choose, costs, 200)
    assert torch.equal(chosen, choose(len(chosen)))
    assert int(costs[chosen].sum()) <= 200
    assert int(costs[choose(len(chosen) + 1)].sum()) > 200


def test_fit_count_asks_once_where_costs_are_equal() -> None:
    asked: list[int] = []

    def choose(count: int) -> torch.Tensor:
        asked.append(count)
        return algorithms.uniform(1000, count)

    assert len(algorithms.fit_count(choose, torch.full((1000,), 16), 512)) == 32
    assert asked == [32]


@pytest.mark.parametrize("seed", range(12))
def test_products_made_ahead_change_no_choice(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(seed)
    num_frames = 20 + 40 * seed
    embeddings = torch.randn(num_frames, 48, generator=generator)
    if seed % 3 == 0:  # repeated frames, equal scores
        embeddings[num_frames // 2 :] = embeddings[: num_frames - num_frames // 2].clone()
    embeddings = torch.nn.functional.normalize(embeddings, dim=1)
    scores = (torch.rand(num_frames, generator=generator) * 20).round() / 20
    costs = torch.randint(1, 4, (num_frames,), generator=generator)

    def choose() -> tuple[list[int], list[int]]:
        relevant = algorithms.marginal_relevance(embeddings, scores, costs, 30, 0.5)
        return relevant.tolist(), algorithms.determinantal(embeddings, scores, costs, 30).tolist()

    ahead = choose()
    monkeypatch.setattr(algorithms, "_MOST_AHEAD", 0)
    assert choose() == ahead
