"""The CUDA kernels on a GPU: equal to the reference, to float64, to themselves; no host sync."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from longvid import ops
from longvid.ops import cuda
from tests.conftest import require
from tests.parity.ops_cases import CASES, DTYPES, On, tokens

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def kernels() -> cuda.Kernels:
    if not torch.cuda.is_available():
        require("gpu", "torch sees no CUDA device")
    if cuda.KERNELS is None:
        require("gpu", "the CUDA kernels are not built (LONGVID_CUDA=1 builds them)")
    assert cuda.KERNELS is not None
    return cuda.KERNELS


@pytest.fixture
def no_sync() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(kernels: cuda.Kernels, dtype: torch.dtype, case: str) -> None:
    CASES[case](On(kernels, "cuda"), dtype)


def _video(frames: int, count: int, width: int, dtype: torch.dtype) -> Tensor:
    x = tokens(frames, count, width, dtype=torch.float32)
    return (x[:1] + 0.3 * x).to(dtype).cuda()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(16, 576, 1152), (5, 729, 1152), (8, 1024, 64), (7, 196, 72)])
def test_match_agrees_with_float64(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    x = _video(*shape, dtype)
    plan, oracle = ops.match(x, shape[1] // 4), ops.match(x.double(), shape[1] // 4)
    assert (plan.segment == oracle.segment).double().mean() > 0.999
    merged = ops.merge(plan, x).double()
    assert torch.isfinite(merged).all()


def _everything(x: Tensor) -> list[Tensor]:
    plan = ops.match(x, 100)
    offsets, members, _, size = ops.merge_rounds(ops.head_mean(x, 16), ops.clip_rounds(576, 64))
    keep = ops.token_cosine(x, 8) < 0.9
    query = x[:, :32].contiguous()
    return [
        *plan,
        ops.merge(plan, x),
        ops.segment_mean(x.flatten(0, 1), offsets, members),
        size,
        keep,
        ops.token_cosine(x, 0),
        *ops.compact(x, keep),
        ops.window_gram(x.flatten(1), 16),
        ops.context_attention(query, x[:2].reshape(1152, 1152), x, 1e-3),
    ]


def test_reruns_are_equal_bit_for_bit() -> None:
    x = _video(24, 576, 1152, torch.bfloat16)
    first = _everything(x)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, _everything(x), strict=True))


def test_nothing_waits_for_the_device(no_sync: None) -> None:
    x = torch.ones(8, 576, 1152, device="cuda", dtype=torch.bfloat16)
    _everything(x)


def test_ops_can_be_captured_in_a_graph() -> None:
    x = _video(8, 196, 256, torch.bfloat16)
    keep = torch.zeros(8, 196, dtype=torch.bool, device="cuda")

    def step() -> tuple[Tensor, Tensor]:
        return ops.compact(ops.merge(ops.match(x, 0), x), keep)

    step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        packed, cu_seqlens = step()
    keep[:, ::3] = True
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(packed[: int(cu_seqlens[-1])], x[keep])


def test_launches_go_to_the_current_stream() -> None:
    x = _video(64, 576, 1152, torch.bfloat16)
    expected = ops.token_cosine(x, 8)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        copy = x.clone()
        got = ops.token_cosine(copy, 8)
    torch.cuda.current_stream().wait_stream(stream)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("name", ops.NAMES)
def test_opcheck(name: str) -> None:
    x = _video(4, 40, 64, torch.bfloat16)
    plan = ops.match(x, 9)
    arguments: dict[str, tuple[object, ...]] = {
        "match": (x, None, None, 9, 1, False),
        "segment_mean": (x.view(160, 64), plan.offsets, plan.members, None),
        "token_cosine": (x, 2),
        "compact": (x, ops.token_cosine(x, 2) < 0.9, 100),
        "window_gram": (x[0], 4),
        "context_attention": (x[0], torch.eye(64, device="cuda").bfloat16(), x, 0.1, None),
        "head_mean": (x, 4),
        "merge_rounds": (x, torch.ones(4, 40, device="cuda"), [16, 8]),
    }
    op = getattr(torch.ops.longvid, name).default
    assert set(torch.library.opcheck(op, arguments[name]).values()) == {"SUCCESS"}


def test_compiles_in_one_graph() -> None:
    x = _video(4, 64, 128, torch.bfloat16)

    def reduce(x: Tensor) -> tuple[Tensor, Tensor]:
        merged = ops.merge(ops.match(x, 16), x)
        return ops.compact(merged, ops.token_cosine(merged, 2) < 0.9)

    compiled: Callable[[Tensor], tuple[Tensor, Tensor]] = torch.compile(reduce, fullgraph=True)
    for got, expected in zip(compiled(x), reduce(x), strict=True):
        assert torch.equal(got, expected)


def test_the_implementation_is_named() -> None:
    for name in ops.NAMES:
        by_torch = name == "head_mean"  # one reduction, which torch does in one read
        assert ops.implementation(name, "cuda").startswith("torch" if by_torch else "cuda-")
