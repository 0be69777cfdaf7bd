"""The C++ kernels equal the torch reference: every op, dtype and instruction set here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longvid.ops import native, reference
from tests.conftest import require
from tests.parity.ops_cases import CASES, DTYPES, On, tokens

LEVELS = range(native.KERNELS.level + 1) if native.KERNELS else ()


def test_native_is_there() -> None:
    if native.KERNELS is None:
        require("native", "the C++ kernels are not built")
    assert native.level() == native.LEVELS[native.KERNELS.level]


@pytest.fixture(params=LEVELS, ids=lambda level: native.LEVELS[level])
def kernels(request: pytest.FixtureRequest) -> native.Kernels:
    assert native.KERNELS is not None
    return native.Kernels(native.KERNELS.library, request.param)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(kernels: native.Kernels, dtype: torch.dtype, case: str) -> None:
    CASES[case](On(kernels), dtype)


def test_match_beyond_what_a_thread_packs_at_once(kernels: native.Kernels) -> None:
    metric = tokens(1, 2600, 1024, dtype=torch.bfloat16)
    arguments = (metric, None, None, 1300, 0, False)
    got, expected = kernels.match(*arguments), reference.match(*arguments)
    same = (got[3] == expected[3]).float().mean()
    assert same > 0.999


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(2, 2300, 24), (3, 1024, 64), (5, 49, 33)])
def test_rounds_in_one_call_are_the_rounds_one_by_one(
    kernels: native.Kernels, shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    metric, rounds = tokens(*shape, dtype=dtype), [shape[1] // 2, shape[1] // 5, shape[1] // 10]
    size = torch.rand(shape[:2], generator=torch.Generator().manual_seed(1)) + 0.5
    for given in (None, size):
        composed = reference.compose_rounds(
            kernels.match, kernels.segment_mean, metric, given, rounds
        )
        for got, expected in zip(
            kernels.merge_rounds(metric, given, rounds), composed, strict=True
        ):
            assert torch.equal(got, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_threads_do_not_change_a_bit(kernels: native.Kernels, dtype: torch.dtype) -> None:
    x = tokens(5, 150, 96, dtype=dtype)
    query, key_weight = tokens(5, 9, 40, dtype=dtype, seed=5), tokens(40, 96, dtype=dtype, seed=6)
    flat = tokens(11, 140001, dtype=dtype, seed=7)

    def everything() -> list[Tensor]:
        plan = kernels.match(x, None, None, 40, 0, False)
        return [
            *plan,
            kernels.segment_mean(x.view(-1, 96), plan[4], plan[5], None),
            kernels.token_cosine(x, 2),
            kernels.token_cosine(x, 0),
            *kernels.match_and_merge(x, x, None, 40, 0),
            *kernels.prune(x, 2, 0.1),
            *kernels.compact(x, kernels.token_cosine(x, 2) > 0),
            kernels.window_gram(flat, 4),
            *kernels.merge_rounds(x, None, [75, 30]),
            kernels.head_mean(x, 8),
            *kernels.frame_products(x),
            kernels.context_attention(query, key_weight, x, 0.2, None),
        ]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = everything()
        torch.set_num_threads(3)
        together = everything()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(together, everything(), strict=True))
