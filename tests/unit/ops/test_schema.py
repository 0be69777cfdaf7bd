"""Every op passes torch's own checks of a custom operator, and compiles in one graph."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from longvid import ops
from longvid.ops import native
from tests.conftest import require


def _arguments(name: str, dtype: torch.dtype) -> tuple[object, ...]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 11, 6, generator=generator).to(dtype)
    plan = ops.match(x, 3)
    arguments: dict[str, tuple[object, ...]] = {
        "match": (x, None, None, 3, 1, False),
        "match_and_merge": (x[..., :4], x, torch.rand(4, 11, generator=generator), 3, 1),
        "segment_mean": (x.view(44, 6), plan.offsets, plan.members, None),
        "token_cosine": (x, 2),
        "compact": (x, torch.rand(4, 11, generator=generator) < 0.5, 30),
        "prune": (x, 2, 0.1),
        "window_gram": (x[0], 4),
        "context_attention": (x[0], x[1, :6].contiguous(), x, 0.5, None),
        "head_mean": (x, 3),
        "frame_products": (x,),
        "merge_rounds": (x, torch.ones(4, 11), [4, 2]),
    }
    return arguments[name]


@pytest.mark.parametrize("name", ops.NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_opcheck(name: str, dtype: torch.dtype) -> None:
    op = getattr(torch.ops.longvid, name).default
    outcome = torch.library.opcheck(op, _arguments(name, dtype))
    assert set(outcome.values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", ops.NAMES)
def test_meta_tensors_have_the_shapes(name: str) -> None:
    arguments = _arguments(name, torch.float32)
    op = getattr(torch.ops.longvid, name)
    real = op(*arguments)
    meta = op(*(a.to("meta") if isinstance(a, Tensor) else a for a in arguments))
    pairs = zip(real, meta, strict=True) if isinstance(real, tuple | list) else [(real, meta)]
    for a, b in pairs:
        # Where nobody counts, there is room for every token.
        assert a.shape == b.shape or (name == "prune" and b.shape == (44, 6))
        assert a.dtype == b.dtype
        assert b.device.type == "meta"


def _everything(x: Tensor, query: Tensor) -> tuple[Tensor, ...]:
    plan = ops.match(x, 3, protected=1)
    merged = ops.merge(plan, x, torch.ones(x.shape[:2]))
    offsets, members, _, size = ops.merge_rounds(ops.head_mean(x, 2), ops.clip_rounds(11, 3))
    once = ops.segment_mean(x.flatten(0, 1), offsets, members)
    packed, cu_seqlens = ops.compact(x, ops.token_cosine(x, 2) < 0.5)
    context = ops.context_attention(query, torch.eye(6), x, 0.4)
    gram = ops.window_gram(x.flatten(1), 3)
    products = ops.frame_products(x)
    restored = ops.unmerge(*reversed(ops.match_and_merge(x, x, 3)))
    return merged, once, size, packed, cu_seqlens, context, gram, *products, restored


def test_compiles_in_one_graph() -> None:
    x = torch.randn(4, 11, 6, generator=torch.Generator().manual_seed(0))
    compiled: Callable[..., tuple[Tensor, ...]] = torch.compile(
        _everything, fullgraph=True, backend="aot_eager"
    )
    for got, expected in zip(compiled(x, x[0]), _everything(x, x[0]), strict=True):
        torch.testing.assert_close(got, expected)


def test_prune_compiles_where_shapes_may_depend_on_values() -> None:
    x = torch.randn(4, 11, 6, generator=torch.Generator().manual_seed(0))
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled: Callable[..., tuple[Tensor, ...]] = torch.compile(
            lambda x: ops.prune(x, 2, 0.1), fullgraph=True, backend="aot_eager"
        )
        for got, expected in zip(compiled(x), ops.prune(x, 2, 0.1), strict=True):
            assert torch.equal(got, expected)


def test_compiles_for_shapes_not_known_ahead() -> None:
    compiled: Callable[..., tuple[Tensor, ...]] = torch.compile(
        lambda x: ops.token_cosine(x, 2) * ops.merge(ops.match(x, 2), x).sum(),
        fullgraph=True,
        backend="aot_eager",
        dynamic=True,
    )
    for tokens in (9, 12):
        x = torch.randn(4, tokens, 6, generator=torch.Generator().manual_seed(tokens))
        expected = ops.token_cosine(x, 2) * ops.merge(ops.match(x, 2), x).sum()
        torch.testing.assert_close(compiled(x), expected)


def test_the_active_implementation_is_named() -> None:
    for name in ops.NAMES:
        assert ops.implementation(name, "cpu") in ("torch", *native.LEVELS)
    with pytest.raises(ValueError, match="segment_mean"):
        ops.implementation("no such op")


def _in_a_new_process(code: str, **environment: str) -> str:
    root = Path(__file__).parents[3]
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={**os.environ, **environment},
    )
    return result.stdout.strip()


def test_native_kernels_can_be_switched_off() -> None:
    code = "from longvid import ops; print(ops.implementation('match'))"
    assert _in_a_new_process(code, LONGVID_NATIVE="0") == "torch"


def test_a_library_of_another_interface_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if native.KERNELS is None:
        require("native", "the C++ kernels are not built")
    monkeypatch.setattr(native, "ABI", native.ABI + 1)
    with pytest.raises(native.OpError, match="interface"):
        native.load()
