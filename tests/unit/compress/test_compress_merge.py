"""Token merging against loops, and what it must conserve."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from longvid.compress.token_merging import TokenMerging
from longvid.errors import ConfigError, OpError
from longvid.testing.synthetic import WIDTH, make_segment
from longvid.types import Segment, Tokens


def tome_by_loop(x: torch.Tensor, r: int) -> torch.Tensor:
    """Merge (N, D) fp64 tokens in one round as the paper says it; survivors in their order."""
    unit = x / x.norm(dim=1, keepdim=True)
    edges = []
    for a in range(0, len(x), 2):
        scores = [float(unit[a] @ unit[b]) for b in range(1, len(x), 2)]
        best = max(range(len(scores)), key=lambda j: (scores[j], -j))
        edges.append((-scores[best], a, 2 * best + 1))
    gone: dict[int, list[int]] = {}
    for _, a, b in sorted(edges)[:r]:
        gone.setdefault(b, []).append(a)
    sources = {a for group in gone.values() for a in group}
    return torch.stack(
        [x[[n, *gone.get(n, [])]].mean(0) for n in range(len(x)) if n not in sources]
    )


@pytest.mark.parametrize(("side", "r"), [(4, 1), (4, 5), (4, 8), (5, 12), (3, 100)])
def test_one_round_is_tome(side: int, r: int) -> None:
    segment = make_segment(3, side, side)
    tokens = TokenMerging(unit="r", amount=r)(segment).tokens
    x = segment.tokens.data.view(3, side * side, WIDTH).double()
    expected = torch.cat([tome_by_loop(frame, min(r, side * side // 2)) for frame in x])
    torch.testing.assert_close(tokens.data.double(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "part",
    [
        TokenMerging(),
        TokenMerging(amount=0.97),
        TokenMerging(unit="target", amount=5, frames_per_clip=4),
        TokenMerging(unit="kth", amount=4),
        TokenMerging(unit="r", amount=10, protected=3, heads=4),
    ],
    ids=str,
)
def test_sums_over_patches_are_conserved(part: TokenMerging) -> None:
    segment = make_segment(6, 7, 7)
    before, after = segment.tokens, part(segment).tokens
    for name in ("data", "position"):
        old, new = getattr(before, name).double(), getattr(after, name).double()
        torch.testing.assert_close(
            (new * after.size[:, None]).sum(0), old.sum(0), atol=1e-4, rtol=1e-5
        )
    assert float(after.size.sum()) == 6 * 49


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"amount": 0.25}, [27] * 8),
        ({"unit": "ratio", "amount": 0.0}, [36] * 8),
        ({"unit": "r", "amount": 0}, [36] * 8),
        ({"unit": "target", "amount": 5}, [5] * 8),
        ({"unit": "target", "amount": 1}, [1] * 8),
        ({"unit": "target", "amount": 99}, [36] * 8),
        ({"unit": "kth", "amount": 5}, [7] * 8),
        ({"unit": "kth", "amount": 40}, [36] * 8),
        ({"unit": "ratio", "amount": 0.99, "protected": 40}, [36] * 8),
        ({"unit": "ratio", "amount": 0.99, "protected": 3}, [4] * 8),
    ],
)
def test_amounts(fields: dict[str, Any], counts: list[int]) -> None:
    segment = make_segment(8, 6, 6)
    assert TokenMerging(**fields)(segment).tokens.counts(8).tolist() == counts


def test_clips_merge_across_frames_to_one_target() -> None:
    segment = make_segment(10, 8, 8)
    tokens = TokenMerging(unit="target", amount=64, frames_per_clip=4)(segment).tokens
    counts = tokens.counts(10)
    assert [int(c) for c in (counts[:4].sum(), counts[4:8].sum(), counts[8:].sum())] == [64] * 3


def test_rounds_on_the_metric_equal_rounds_on_the_tokens() -> None:
    # Four rounds of halving, tokens and sizes merged in each, in fp64: the readable twin.
    segment = make_segment(4, 8, 8, dtype=torch.float32)
    part = TokenMerging(unit="target", amount=16, frames_per_clip=4, heads=3)
    x = segment.tokens.data.double()
    size = torch.ones(len(x), dtype=torch.float64)
    for _ in range(4):
        metric = x.view(len(x), 3, WIDTH // 3).mean(1)
        unit = metric / metric.norm(dim=1, keepdim=True)
        nearest = (unit[0::2] @ unit[1::2].T).argmax(1)
        total = size[1::2].clone().index_add_(0, nearest, size[0::2])
        weighted = (x * size[:, None])[1::2].clone()
        weighted.index_add_(0, nearest, (x * size[:, None])[0::2])
        x, size = weighted / total[:, None], total
    tokens = part(segment).tokens
    torch.testing.assert_close(tokens.data.double(), x, atol=1e-6, rtol=1e-6)
    assert tokens.size.tolist() == size.tolist()


def test_merged_tokens_weigh_by_size() -> None:
    data = torch.zeros(1, 1, 3, WIDTH)
    data[0, 0, :, 0] = torch.tensor([1.0, 2.0, 6.0])
    tokens = Tokens.from_grid(data)
    sized = Tokens(tokens.data, tokens.frame, tokens.position, torch.tensor([3.0, 1.0, 1.0]))
    segment = make_segment(1, 1, 3).with_tokens(sized)
    merged = TokenMerging(unit="target", amount=1)(segment).tokens
    assert float(merged.data[0, 0]) == pytest.approx((3 + 2 + 6) / 5)
    assert merged.size.tolist() == [5.0]
    assert merged.position[0].tolist() == pytest.approx([0.5, (3 / 6 + 3 / 6 + 5 / 6) / 5])


def test_protected_tokens_are_untouched() -> None:
    segment = make_segment(2, 4, 4)
    tokens = TokenMerging(unit="target", amount=4, protected=2)(segment).tokens
    assert tokens.counts(2).tolist() == [4, 4]
    for frame in range(2):
        assert torch.equal(
            tokens.data[4 * frame : 4 * frame + 2], segment.tokens.data[16 * frame : 16 * frame + 2]
        )


def test_ragged_frames_merge_as_they_would_alone() -> None:
    segment = make_segment(4, 6, 6, keep=0.6)
    part = TokenMerging(amount=0.5)
    together = part(segment).tokens
    for frame in range(4):
        mask = segment.tokens.frame == frame
        alone = part(_one_frame(segment, mask)).tokens
        assert torch.equal(together.data[together.frame == frame], alone.data)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(OpError, match="7 heads"):
        TokenMerging(heads=7)(make_segment(1, 4, 4))


@pytest.mark.parametrize(
    "fields",
    [
        {"unit": "half"},
        {"amount": 1.0},
        {"amount": -0.1},
        {"unit": "r", "amount": 2.5},
        {"unit": "target", "amount": 0},
        {"unit": "kth", "amount": 1},
        {"frames_per_clip": 0},
        {"protected": -1},
        {"heads": 0},
    ],
)
def test_bad_settings_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="tome"):
        TokenMerging(**fields)


def _one_frame(segment: Segment, mask: torch.Tensor) -> Segment:
    tokens = segment.tokens.keep(mask)
    return make_segment(1, 1, 1).with_tokens(
        Tokens(tokens.data, torch.zeros_like(tokens.frame), tokens.position, tokens.size)
    )
