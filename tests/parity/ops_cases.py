"""What an implementation of the ops must equal the torch reference in: one function a case.

The same cases run for every instruction set of the C++ kernels, for the CUDA kernels on the
emulator, and for the CUDA kernels on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from longvid.ops import reference

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2**-6, torch.float16: 2**-9}


def tokens(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Random tokens with duplicates and a row of zeros, so that ties are there to be broken."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    if x.dim() == 3 and x.shape[1] > 8:
        x[:, 3] = 0
        x[:, 2] = x[:, 0]
        x[:, 7] = x[:, 5]
        x[:, 8] = x[:, 0] * 2
    return x


class On:
    """An implementation on a device: takes CPU tensors and gives CPU tensors back."""

    def __init__(self, kernels: Any, device: str = "cpu") -> None:
        self.kernels = kernels
        self.device = device

    def __call__(self, name: str, *arguments: object) -> tuple[Tensor, ...]:
        placed = [self._place(a) if isinstance(a, Tensor) else a for a in arguments]
        result = getattr(self.kernels, name)(*placed)
        together = result if isinstance(result, tuple) else (result,)
        return tuple(tensor.cpu() for tensor in together)

    def _place(self, tensor: Tensor) -> Tensor:
        """Move a tensor with its strides, which `to` alone would tidy."""
        if self.device == "cpu":
            return tensor
        storage = tensor.untyped_storage().to(device=self.device)
        empty = torch.empty(0, dtype=tensor.dtype, device=self.device)
        return empty.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())


def _expected(name: str, *arguments: object) -> tuple[Tensor, ...]:
    result = getattr(reference, name)(*arguments)
    return result if isinstance(result, tuple) else (result,)


def _same_plan(on: On, *arguments: object) -> None:
    names = ("source", "destination", "score", "segment", "offsets", "members")
    pairs = zip(names, on("match", *arguments), _expected("match", *arguments), strict=True)
    for name, got, expected in pairs:
        assert got.shape == expected.shape, name
        assert got.dtype == expected.dtype, name
        if name == "score":
            torch.testing.assert_close(got, expected, atol=2e-6, rtol=0)
        else:
            assert torch.equal(got, expected), name


def match(on: On, dtype: torch.dtype) -> None:
    for groups, count, width, r, protected in (
        (3, 37, 72, 9, 0),
        (2, 64, 33, 32, 1),
        (1, 5, 8, 2, 2),
        (2, 200, 136, 50, 0),
        (1, 301, 64, 150, 0),
        (1, 590, 40, 20, 0),
        (2, 10, 5, 0, 0),
        (1, 1, 4, 3, 0),
        (1, 2, 1, 1, 0),
        (0, 4, 4, 1, 0),
        (2, 0, 4, 1, 0),
    ):
        metric = tokens(groups, count, width, dtype=dtype)
        for position_order in (False, True):
            _same_plan(on, metric, None, None, r, protected, position_order)


def match_and_merge(on: On, dtype: torch.dtype) -> None:
    """The features may have another dtype than the metric, and are merged bit for bit."""
    for groups, count, width, channels, r, protected in (
        (5, 37, 72, 33, 9, 0),
        (3, 64, 33, 72, 32, 1),
        (1, 301, 64, 8, 150, 0),
        (2, 10, 5, 4, 0, 0),
        (0, 4, 4, 3, 1, 0),
        (2, 0, 4, 3, 1, 0),
    ):
        metric = tokens(groups, count, width, dtype=dtype)
        x = tokens(groups, count, channels, dtype=torch.bfloat16, seed=1)
        size = torch.rand((groups, count), generator=torch.Generator().manual_seed(2))
        for features in (x, x.to(dtype), x.transpose(0, 1).contiguous().transpose(0, 1)):
            for weights in (None, size, size.to(dtype)):
                arguments = (metric, features, weights, r, protected)
                got = on("match_and_merge", *arguments)
                expected = _expected("match_and_merge", *arguments)
                for a, b in zip(got[:3] + got[4:], expected[:3] + expected[4:], strict=True):
                    assert a.dtype == b.dtype
                    assert torch.equal(a, b)
                torch.testing.assert_close(got[3], expected[3], atol=2e-6, rtol=0)


def match_of_index_sets(on: On, dtype: torch.dtype) -> None:
    metric = tokens(3, 40, 24, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    order = torch.stack([torch.randperm(40, generator=generator) for _ in range(3)])
    for num_a, num_b in ((20, 10), (30, 10), (3, 37), (39, 1), (0, 5), (5, 0)):
        a_index, b_index = order[:, :num_a], order[:, num_a : num_a + num_b].int()
        for r in (0, 7, 99):
            for position_order in (False, True):
                _same_plan(on, metric, a_index, b_index, r, 0, position_order)


def match_of_equal_tokens(on: On, dtype: torch.dtype) -> None:
    token = tokens(1, 1, 40, dtype=dtype)
    for count in (2, 19, 130, 400):
        _same_plan(on, token.expand(2, count, 40), None, None, count // 3, 0, False)
        _same_plan(on, token.expand(2, count, 40).contiguous(), None, None, count // 2, 0, False)


def segment_mean_bit_for_bit(on: On, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    for rows, width in ((50, 72), (7, 1), (64, 33), (40, 1152), (1, 16), (5, 2056)):
        x = tokens(rows, width, dtype=dtype)
        lengths = torch.tensor([1, 0, 3, rows, 2, 1, 0])
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        members = torch.randint(rows, (int(offsets[-1]),), generator=generator)
        weights = torch.rand(rows, generator=generator)
        for weight in (None, weights, torch.zeros(rows), weights.to(dtype)):
            for index in (torch.int64, torch.int32):
                arguments = (x, offsets.to(index), members.to(index), weight)
                (got,), (expected,) = (
                    on("segment_mean", *arguments),
                    _expected("segment_mean", *arguments),
                )
                assert torch.equal(got, expected), (got - expected).abs().max()


def segment_mean_rounds_as_torch(on: On, dtype: torch.dtype) -> None:
    """The mean of two neighbours falls between representable values, so rounding shows."""
    if dtype == torch.float32:
        values = torch.linspace(-3, 3, 4001)
    else:
        bits = torch.arange(-(2**15), 2**15, 1 if on.device == "cpu" else 3, dtype=torch.int32)
        values = bits.to(torch.int16).view(dtype)
        values = values[values.isfinite()]
    count = len(values) - 1
    offsets = torch.arange(0, 2 * count + 1, 2)
    members = torch.stack([torch.arange(count), torch.arange(1, count + 1)], 1).flatten()
    arguments = (values.unsqueeze(1), offsets, members, None)
    (got,), (expected,) = on("segment_mean", *arguments), _expected("segment_mean", *arguments)
    assert torch.equal(got, expected)


def token_cosine(on: On, dtype: torch.dtype) -> None:
    for frames, count, width, window in (
        (10, 7, 72, 4),
        (5, 40, 33, 0),
        (1, 3, 8, 8),
        (70, 2, 16, 0),
        (40, 33, 20, 16),
        (9, 5, 1, 1),
        (6, 3, 1152, 3),
        (0, 3, 4, 2),
        (3, 0, 4, 2),
        (3, 4, 0, 2),
    ):
        x = tokens(frames, count, width, dtype=dtype)
        (got,), (expected,) = (
            on("token_cosine", x, window),
            _expected("token_cosine", x, window),
        )
        torch.testing.assert_close(got, expected, atol=2e-6, rtol=0)


def compact(on: On, dtype: torch.dtype) -> None:
    for shape in ((9, 21, 72), (2, 600, 24), (1, 1, 5), (0, 3, 4), (3, 0, 4), (2, 3, 0)):
        x = tokens(*shape, dtype=dtype)
        everything = shape[0] * shape[1]
        for share in (0.0, 0.3, 1.0):
            keep = torch.rand(shape[:2], generator=torch.Generator().manual_seed(3)) < share
            for rows in (None, 0, everything // 5, int(keep.sum()), everything):
                for got, expected in zip(
                    on("compact", x, keep, rows), _expected("compact", x, keep, rows), strict=True
                ):
                    assert got.dtype == expected.dtype
                    assert torch.equal(got, expected)


def prune(on: On, dtype: torch.dtype) -> None:
    for frames, count, width, window in (
        (10, 7, 72, 4),
        (5, 40, 33, 0),
        (40, 33, 20, 16),
        (1, 3, 8, 8),
        (0, 3, 4, 2),
        (3, 0, 4, 2),
    ):
        x = tokens(frames, count, width, dtype=dtype)
        similarity = reference.token_cosine(x, window).flatten()
        values = similarity[similarity.abs() < 0.3].sort().values
        gap = int(values.diff().argmax()) if len(values) > 1 else -1
        # In the widest gap, so that rounding decides nothing.
        between = float(values[gap : gap + 2].mean()) if gap >= 0 else 0.0
        for threshold in (between, -2.0, 2.0):
            packed, keep, cu_seqlens = on("prune", x, window, threshold)
            expected = _expected("prune", x, window, threshold)
            assert torch.equal(keep, expected[1])
            assert torch.equal(cu_seqlens, expected[2])
            assert torch.equal(packed[: len(expected[0])], expected[0])
            assert not packed[len(expected[0]) :].any()
            assert len(packed) == (len(expected[0]) if on.device == "cpu" else keep.numel())


def window_gram(on: On, dtype: torch.dtype) -> None:
    for frames, width, window in (
        (10, 700, 4),
        (16, 70000, 16),
        (20, 40001, 16),
        (3, 5, 8),
        (7, 9, 1),
        (40, 64, 20),
        (0, 5, 4),
        (5, 0, 4),
    ):
        x = tokens(frames, width, dtype=dtype)
        (got,), (expected,) = on("window_gram", x, window), _expected("window_gram", x, window)
        torch.testing.assert_close(got, expected, atol=4e-6, rtol=0)
        assert torch.equal(got, got.transpose(1, 2))


def context_attention(on: On, dtype: torch.dtype) -> None:
    for frames, queries, query_width, count, width in (
        (3, 5, 16, 20, 24),
        (2, 32, 40, 130, 72),
        (1, 1, 1, 1, 1),
        (2, 50, 33, 65, 47),
        (2, 32, 64, 9, 80),
        (0, 4, 8, 5, 8),
    ):
        x = tokens(frames, count, width, dtype=dtype)
        key_weight = tokens(query_width, width, dtype=dtype, seed=2)
        for lead in ((), (frames,)):
            query = tokens(*lead, queries, query_width, dtype=dtype, seed=1)
            mask = torch.arange(queries).expand(query.shape[:-1]) < max(1, queries // 2)
            for query_mask in (None, mask):
                arguments = (query, key_weight, x, 0.05, query_mask)
                (got,), (expected,) = (
                    on("context_attention", *arguments),
                    _expected("context_attention", *arguments),
                )
                torch.testing.assert_close(
                    got, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
                )


def head_mean(on: On, dtype: torch.dtype) -> None:
    if not hasattr(on.kernels, "head_mean"):  # then the reference is what runs
        return
    for shape, heads in (((3, 7, 72), 4), ((2, 5, 1024), 16), ((9, 33), 33), ((0, 3, 8), 2)):
        x = tokens(*shape, dtype=dtype)
        (got,), (expected,) = on("head_mean", x, heads), _expected("head_mean", x, heads)
        assert got.dtype == expected.dtype
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)


def frame_products(on: On, dtype: torch.dtype) -> None:
    if not hasattr(on.kernels, "frame_products"):  # then the reference is what runs
        return
    for shape in ((3, 7, 72), (2, 50, 33), (1, 5, 1), (4, 1, 16), (2, 0, 8), (0, 3, 8)):
        x = tokens(*shape, dtype=dtype)
        got, expected = on("frame_products", x), _expected("frame_products", x)
        for one, other in zip(got, expected, strict=True):
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-6)


def merge_rounds(on: On, dtype: torch.dtype) -> None:
    names = ("offsets", "members", "segment", "size")
    for groups, count, width, rounds in (
        (3, 64, 64, (32, 16, 8)),
        (2, 51, 40, (20, 999)),
        (1, 37, 72, (9,)),
        (2, 20, 33, (0, 7, 0)),
        (2, 9, 4, ()),
        (1, 1, 4, (3, 3)),
        (0, 8, 4, (2,)),
        (2, 0, 4, (1,)),
    ):
        # No equal rows: their means would be equal but for rounding.
        metric = tokens(groups, count * width, dtype=dtype).view(groups, count, width)
        size = torch.arange(groups * count).remainder(4).add(1).view(groups, count)
        for given in (None, size.float(), size.to(dtype)):
            arguments = (metric, given, list(rounds))
            for name, got, expected in zip(
                names,
                on("merge_rounds", *arguments),
                _expected("merge_rounds", *arguments),
                strict=True,
            ):
                assert got.shape == expected.shape, name
                assert torch.equal(got, expected), name


def any_strides(on: On, dtype: torch.dtype) -> None:
    big = tokens(6, 2 * 18, 2 * 24, dtype=dtype)
    views = {
        "every other token": big[:, ::2, :24],
        "every other channel": big[:, :18, ::2],
        "not aligned": big[:, :18, 1:25],
        "transposed": big[:, :18, :24].transpose(0, 1).contiguous().transpose(0, 1),
        "channels first": big[:, :18, :24].transpose(1, 2).contiguous().transpose(1, 2),
        "one frame repeated": big[:1, :18, :24].expand(6, -1, -1),
    }
    keep = torch.rand(18, 6, generator=torch.Generator().manual_seed(4)).T < 0.5
    key_weight = big[0, :24, 24:]
    for name, view in views.items():
        dense = view.contiguous()
        _same_plan(on, view, None, None, 5, 0, False)
        torch.testing.assert_close(
            on("token_cosine", view, 4), on("token_cosine", dense, 4), atol=2e-6, rtol=0
        )
        for got, expected in zip(
            on("compact", view, keep), _expected("compact", dense, keep), strict=True
        ):
            assert torch.equal(got, expected), name
        torch.testing.assert_close(
            on("context_attention", view[0, :7], key_weight, view, 0.05, None),
            on("context_attention", dense[0, :7], key_weight.contiguous(), dense, 0.05, None),
            atol=TOLERANCE[dtype],
            rtol=TOLERANCE[dtype],
        )
        torch.testing.assert_close(
            on("window_gram", view[0], 4), on("window_gram", dense[0], 4), atol=4e-6, rtol=0
        )
        for got, expected in zip(
            on("merge_rounds", view, None, [5, 3]),
            on("merge_rounds", dense, None, [5, 3]),
            strict=True,
        ):
            assert torch.equal(got, expected), name
        if hasattr(on.kernels, "head_mean"):
            assert torch.equal(on("head_mean", view, 3)[0], on("head_mean", dense, 3)[0]), name
        if hasattr(on.kernels, "frame_products"):
            both = zip(on("frame_products", view), on("frame_products", dense), strict=True)
            assert all(torch.equal(one, other) for one, other in both), name
        offsets, members = torch.arange(0, 19, 3), torch.arange(18).flip(0)
        arguments = (offsets, members, None)
        (got,) = on("segment_mean", view[0], *arguments)
        (expected,) = _expected("segment_mean", dense[0], *arguments)
        assert torch.equal(got, expected), name


CASES: dict[str, Callable[[On, torch.dtype], None]] = {
    case.__name__: case
    for case in (
        match,
        match_and_merge,
        match_of_index_sets,
        match_of_equal_tokens,
        segment_mean_bit_for_bit,
        segment_mean_rounds_as_torch,
        token_cosine,
        compact,
        prune,
        window_gram,
        context_attention,
        head_mean,
        frame_products,
        merge_rounds,
        any_strides,
    )
}
