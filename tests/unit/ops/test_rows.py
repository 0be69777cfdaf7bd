"""segment_mean, token_cosine, compact, window_gram and context_attention against plain formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longvid import ops

FEW = settings(max_examples=40, deadline=None)
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])


@FEW
@given(st.lists(st.integers(0, 5), max_size=8), st.integers(1, 40), DTYPES, st.booleans())
def test_segment_mean(lengths: list[int], width: int, dtype: torch.dtype, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(len(lengths))
    x = torch.randn(9, width, generator=generator).to(dtype)
    weights = torch.rand(9, generator=generator) + 0.1 if weighted else None
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    members = torch.randint(9, (int(offsets[-1]),), generator=generator)
    got = ops.segment_mean(x, offsets, members, weights)
    assert got.dtype == dtype
    assert got.shape == (len(lengths), width)
    for s, length in enumerate(lengths):
        own = members[offsets[s] : offsets[s + 1]]
        if length == 0:
            assert (got[s] == 0).all()
        elif length == 1:
            assert torch.equal(got[s], x[own[0]])
        else:
            weight = torch.ones(9) if weights is None else weights
            share = (weight[own] / weight[own].sum()).double().unsqueeze(1)
            torch.testing.assert_close(
                got[s], (x[own].double() * share).sum(0).to(dtype), atol=1e-2, rtol=1e-2
            )


def test_segment_mean_of_rows_without_weight_is_zero() -> None:
    x = torch.full((2, 3), 5.0)
    got = ops.segment_mean(x, torch.tensor([0, 2]), torch.tensor([0, 1]), torch.zeros(2))
    assert torch.equal(got, torch.zeros(1, 3))


def test_segment_mean_keeps_what_is_not_finite_where_it_is() -> None:
    x = torch.tensor([[1.0], [torch.nan], [3.0]])
    got = ops.segment_mean(x, torch.tensor([0, 1, 3]), torch.tensor([0, 1, 2]))
    assert got[0] == 1
    assert got[1].isnan()


@FEW
@given(st.integers(0, 20), st.integers(0, 40), st.integers(1, 70), st.integers(0, 9), DTYPES)
def test_token_cosine(
    frames: int, tokens: int, width: int, window: int, dtype: torch.dtype
) -> None:
    x = torch.randn(frames, tokens, width, generator=torch.Generator().manual_seed(frames))
    if frames and tokens:
        x[-1, 0] = 0
    x = x.to(dtype)
    got = ops.token_cosine(x, window)
    assert got.dtype == torch.float32
    assert got.shape == (frames, tokens)
    for f in range(frames):
        anchor = f // window * window if window else max(0, f - 1)
        if anchor == f:
            assert (got[f] == 1).all()
            continue
        expected = torch.cosine_similarity(x[f].double(), x[anchor].double(), dim=-1)
        torch.testing.assert_close(got[f].double(), expected, atol=2e-6, rtol=0)


@FEW
@given(st.integers(0, 9), st.integers(0, 30), st.integers(1, 33), st.integers(0, 2**31), DTYPES)
def test_compact(frames: int, tokens: int, width: int, seed: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(frames, tokens, width, generator=generator).to(dtype)
    keep = torch.rand(frames, tokens, generator=generator) < torch.rand(1, generator=generator)
    packed, cu_seqlens = ops.compact(x, keep)
    assert cu_seqlens.dtype == torch.int32
    assert cu_seqlens.tolist() == [0, *keep.sum(1).cumsum(0).tolist()]
    total = int(cu_seqlens[-1])
    assert packed.shape == (frames * tokens, width)
    assert torch.equal(packed[:total], x[keep])
    assert (packed[total:] == 0).all()


def test_compact_of_large_rows_written_past_the_cache() -> None:
    x = torch.randn(8, 300, 1024, generator=torch.Generator().manual_seed(0)).bfloat16()
    keep = torch.rand(8, 300, generator=torch.Generator().manual_seed(1)) < 0.4
    packed, _ = ops.compact(x, keep)
    kept = x[keep]
    assert torch.equal(packed[: len(kept)], kept)
    assert not packed[len(kept) :].any()
    offsets, members = torch.arange(0, 2401, 2), torch.randperm(2400)
    got = ops.segment_mean(x.view(2400, 1024), offsets, members)
    pairs = x.view(2400, 1024)[members].view(1200, 2, 1024).float()
    assert torch.equal(got, ((pairs[:, 0] + pairs[:, 1]) * 0.5).bfloat16())


@FEW
@given(st.integers(0, 20), st.integers(1, 600), st.integers(1, 17), DTYPES)
def test_window_gram(frames: int, width: int, window: int, dtype: torch.dtype) -> None:
    x = torch.randn(frames, width, generator=torch.Generator().manual_seed(width)).to(dtype)
    if frames > 1:
        x[1] = 0
    got = ops.window_gram(x, window)
    num_windows = -(-frames // window)
    assert got.shape == (num_windows, window, window)
    unit = torch.nn.functional.normalize(x.double(), dim=1)
    padded = torch.zeros(num_windows * window, width, dtype=torch.float64)
    padded[:frames] = unit
    padded = padded.view(num_windows, window, width)
    expected = padded @ padded.transpose(1, 2)
    torch.testing.assert_close(got.double(), expected, atol=4e-6, rtol=0)
    assert torch.equal(got, got.transpose(1, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("per_frame", [False, True])
def test_context_attention_is_the_original_formula(dtype: torch.dtype, per_frame: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 50, 24, generator=generator).to(dtype)
    query = torch.randn(*((3,) if per_frame else ()), 7, 16, generator=generator).to(dtype)
    weight = torch.randn(16, 24, generator=generator).to(dtype) / 5
    bias = torch.randn(16, generator=generator).double()
    got = ops.context_attention(query, weight, x, 0.25)
    key = torch.nn.functional.linear(x.double(), weight.double(), bias)
    attention = (query.double() @ key.transpose(1, 2) * 0.25).softmax(dim=2)
    expected = (attention @ x.double()).mean(dim=1)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-10}.get(dtype, 2e-2)
    torch.testing.assert_close(got.double(), expected, atol=tolerance, rtol=tolerance)


def test_context_attention_leaves_out_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 9, 8, generator=generator)
    query = torch.randn(2, 5, 8, generator=generator)
    mask = torch.tensor([[True, True, False, False, False], [True] * 5])
    got = ops.context_attention(query, torch.eye(8), x, 0.3, query_mask=mask)
    first = ops.context_attention(query[:1, :2], torch.eye(8), x[:1], 0.3)
    both = ops.context_attention(query, torch.eye(8), x, 0.3)
    torch.testing.assert_close(got[:1], first, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(got[1], both[1])


def test_large_scores_do_not_overflow() -> None:
    x = torch.randn(1, 40, 16, generator=torch.Generator().manual_seed(0))
    got = ops.context_attention(x[0, :3] * 1e4, torch.eye(16), x, 1.0)
    scores = x[0, :3].double() * 1e4 @ x[0].double().T
    expected = (scores.softmax(1) @ x[0].double()).mean(0)
    torch.testing.assert_close(got[0].double(), expected, atol=1e-5, rtol=1e-5)
