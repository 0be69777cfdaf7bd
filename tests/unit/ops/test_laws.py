"""Laws that matching and merging obey for any tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longvid import ops
from longvid.errors import OpError

FEW = settings(max_examples=60, deadline=None)


@st.composite
def groups(draw: st.DrawFn, min_tokens: int = 0) -> Tensor:
    """(G, N, C) tokens in a few dtypes, with duplicates and zero rows among them."""
    num_groups = draw(st.integers(1, 3))
    num_tokens = draw(st.integers(min_tokens, 40))
    width = draw(st.integers(1, 20))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = torch.randn(num_groups, num_tokens, width, generator=generator)
    if num_tokens:
        copies = torch.randint(num_tokens, (num_tokens,), generator=generator)
        x = torch.where(draw(st.booleans()) * torch.ones(1, dtype=torch.bool), x[:, copies], x)
        zero = torch.rand(num_groups, num_tokens, generator=generator) < draw(
            st.sampled_from([0.0, 0.2, 1.0])
        )
        x = x.masked_fill(zero.unsqueeze(2), 0.0)
    return x.to(draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16])))


@FEW
@given(groups(), st.integers(0, 50), st.integers(0, 3), st.booleans())
def test_a_plan_is_a_partition(x: Tensor, r: int, protected: int, position_order: bool) -> None:
    num_groups, num_tokens, _ = x.shape
    plan = ops.match(x, r, protected=protected, position_order=position_order)
    merged = max(0, min(r, (num_tokens - protected) // 2))
    kept = num_tokens - merged
    assert plan.source.shape == plan.destination.shape == plan.score.shape == (num_groups, merged)
    assert plan.offsets[0] == 0
    assert plan.offsets[-1] == num_groups * num_tokens
    assert plan.offsets.shape == (num_groups * kept + 1,)
    assert (plan.offsets.diff() >= 1).all()
    assert torch.equal(plan.members.sort().values, torch.arange(num_groups * num_tokens))
    rows = torch.repeat_interleave(torch.arange(num_groups * kept), plan.offsets.diff())
    assert torch.equal(plan.segment.flatten()[plan.members], rows)
    assert (plan.source >= protected).all()
    assert (plan.destination >= protected).all()
    assert (plan.source % 2 == 0).all()
    assert (plan.destination % 2 == 1).all()
    assert plan.score.isfinite().all()
    assert (plan.score.diff(dim=1) <= 0).all()
    assert torch.equal(
        plan.segment.gather(1, plan.source), plan.segment.gather(1, plan.destination)
    )
    if position_order or merged == 0:
        assert (plan.keep.diff(dim=1) > 0).all()
    assert torch.equal(
        plan.keep[:, :protected], torch.arange(min(protected, num_tokens)).expand(num_groups, -1)
    )


@FEW
@given(groups(), st.integers(0, 50))
def test_sizes_and_mass_are_conserved(x: Tensor, r: int) -> None:
    plan = ops.match(x, r)
    size = torch.randint(1, 9, x.shape[:2], generator=torch.Generator().manual_seed(0)).float()
    merged, merged_size = ops.merge(plan, x.float(), size), ops.merge_size(plan, size)
    torch.testing.assert_close(merged_size.sum(1), size.sum(1))
    mass = (x.double() * size.double().unsqueeze(2)).sum(1)
    got = (merged.double() * merged_size.double().unsqueeze(2)).sum(1)
    torch.testing.assert_close(got, mass, atol=1e-3, rtol=1e-5)


@FEW
@given(groups(min_tokens=2), st.integers(1, 50))
def test_unmerge_gives_every_token_its_row(x: Tensor, r: int) -> None:
    plan = ops.match(x, r)
    merged = ops.merge(plan, x)
    restored = ops.unmerge(plan, merged)
    assert restored.shape == x.shape
    assert torch.equal(
        restored.gather(1, plan.source.unsqueeze(2).expand(-1, -1, x.shape[2])),
        restored.gather(1, plan.destination.unsqueeze(2).expand(-1, -1, x.shape[2])),
    )
    # Tokens that nothing was merged with come back as they were, bit for bit.
    alone = (torch.bincount(plan.segment.flatten()) == 1)[plan.segment]
    assert torch.equal(restored[alone], x[alone])


@FEW
@given(groups(min_tokens=2), st.integers(1, 50))
def test_every_source_goes_to_its_nearest(x: Tensor, r: int) -> None:
    plan = ops.match(x, r)
    double = x.double()
    norm = double.norm(dim=2, keepdim=True)
    unit = torch.where(norm == 0, 0.0, double / norm)
    cosine = unit @ unit.transpose(1, 2)
    chosen = cosine.gather(1, plan.source.unsqueeze(2).expand(-1, -1, x.shape[1]))
    of_destination = chosen.gather(2, plan.destination.unsqueeze(2)).squeeze(2)
    odd = chosen[..., 1::2]
    torch.testing.assert_close(of_destination, odd.amax(2), atol=2e-6, rtol=0)
    torch.testing.assert_close(plan.score.double(), of_destination, atol=2e-6, rtol=0)
    # Whoever stays behind is no better than whoever goes.
    best = cosine[:, ::2, 1::2].amax(2)
    stays = torch.ones_like(best, dtype=torch.bool).scatter_(1, plan.source // 2, False)
    worst = plan.score.amin(1, keepdim=True) if plan.score.shape[1] else torch.inf
    assert (torch.where(stays, best, -1.0) <= worst + 2e-6).all()


@FEW
@given(st.integers(2, 60), st.integers(1, 30), st.sampled_from([torch.float32, torch.bfloat16]))
def test_ties_go_to_the_lower_position(num_tokens: int, r: int, dtype: torch.dtype) -> None:
    token = torch.randn(1, 1, 7, generator=torch.Generator().manual_seed(num_tokens))
    plan = ops.match(token.expand(1, num_tokens, 7).to(dtype), r)
    merged = min(r, num_tokens // 2)
    assert torch.equal(plan.source[0], torch.arange(0, 2 * merged, 2))
    assert (plan.destination == 1).all()


@FEW
@given(groups(min_tokens=4), st.integers(1, 20), st.integers(0, 2**31))
def test_order_within_the_sets_does_not_matter(x: Tensor, r: int, seed: int) -> None:
    """Permuting the even and the odd tokens among themselves permutes the plan."""
    x = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))  # no ties
    generator = torch.Generator().manual_seed(seed)
    order = torch.arange(x.shape[1])
    for parity in (0, 1):
        order[parity::2] = order[parity::2][
            torch.randperm(len(order[parity::2]), generator=generator)
        ]
    plan, shuffled = ops.match(x, r), ops.match(x[:, order], r)
    torch.testing.assert_close(shuffled.score, plan.score, atol=1e-6, rtol=0)
    if x.shape[2] > 2 and (plan.score.diff(dim=1).abs() > 1e-5).all():
        assert torch.equal(order[shuffled.source], plan.source)
        assert torch.equal(order[shuffled.destination], plan.destination)


@FEW
@given(groups(min_tokens=2), st.integers(2, 8))
def test_kth_split_leaves_one_token_in_k(x: Tensor, k: int) -> None:
    num_groups, num_tokens, _ = x.shape
    if k > num_tokens:
        with pytest.raises(OpError):
            ops.kth_split(num_tokens, k, num_groups)
        return
    a_index, b_index = ops.kth_split(num_tokens, k, num_groups)
    plan = ops.match(x, num_tokens, a_index=a_index, b_index=b_index)
    assert plan.keep.shape == (num_groups, num_tokens // k)
    assert torch.equal(plan.keep, b_index)


@FEW
@given(st.integers(1, 200), st.integers(1, 100))
def test_rounds_end_at_the_target(num_tokens: int, target: int) -> None:
    left = num_tokens
    for r in ops.clip_rounds(num_tokens, target):
        assert 1 <= r <= left // 2
        left -= r
    assert left == min(num_tokens, target)


@FEW
@given(groups(min_tokens=1), st.integers(1, 12))
def test_rounds_on_the_metric_equal_rounds_on_everything(x: Tensor, target: int) -> None:
    x = x.float()
    rounds = ops.clip_rounds(x.shape[1], target)
    size = torch.randint(1, 4, x.shape[:2], generator=torch.Generator().manual_seed(1)).float()
    offsets, members, segment, end_size = ops.merge_rounds(x, rounds, size)
    once = ops.segment_mean(x.flatten(0, 1), offsets, members, size.flatten())
    merged, merged_size = x, size
    for r in rounds:
        plan = ops.match(merged, r)
        merged, merged_size = (
            ops.merge(plan, merged, merged_size),
            ops.merge_size(plan, merged_size),
        )
    torch.testing.assert_close(once.view_as(merged), merged, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(end_size, merged_size)
    rows = torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())
    assert torch.equal(segment.flatten()[members], rows)


@FEW
@given(st.lists(st.integers(0, 9), max_size=40))
def test_labels_become_segments(labels: list[int]) -> None:
    label = torch.tensor(labels, dtype=torch.int64)
    offsets, members = ops.segments_from_labels(label, 10)
    for s in range(10):
        own = members[offsets[s] : offsets[s + 1]].tolist()
        assert own == [i for i, value in enumerate(labels) if value == s]
