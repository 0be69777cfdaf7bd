"""The C++ kernels for the CPU: finds the library and puts it in front of the reference.

The library is plain C loaded with ctypes; it is absent when the package was built without a C++
compiler, and LONGVID_NATIVE=0 in the environment leaves it out. Then the torch reference runs.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import c_int64
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longvid.errors import OpError
from longvid.ops import c_api, checks, reference, schema, shapes
from longvid.ops.c_api import DTYPES, NO_MEMORY, NOT_FINITE, last_axis_dense

LIBRARY_PATH = Path(__file__).with_name("liblongvid_cpu.so")
ABI = 3
LEVELS = ("cpp-scalar", "cpp-avx2", "cpp-avx512", "cpp-avx512bf16")

_SIGNATURES = {
    **c_api.SIGNATURES,
    "context_attention": "pllpplllllllfplp",
    "find_new": "pllllllfpp",
    "frame_products": "plllllppp",
    "head_mean": "pllllp",
    "match_and_merge": "plllllipllpllppppppp",
    "merge_rounds": "plllllpplpppp",
}


class Kernels(c_api.Kernels):
    """The ops on CPU tensors through the C++ library.

    Args:
        library: The loaded library.
        level: Index into LEVELS, at most what the processor can run.
    """

    max_tokens = 2**24  # column numbers travel as float32 in the fused argmax
    max_window = 2**15

    def __init__(self, library: ctypes.CDLL, level: int) -> None:
        super().__init__(library)
        self.level = level
        try:
            functions = {name: getattr(library, f"longvid_cpu_{name}") for name in _SIGNATURES}
        except AttributeError as error:
            raise OpError(
                f"{LIBRARY_PATH} was built before this package ({error}); build it again, or set "
                "LONGVID_NATIVE=0 to run without it."
            ) from error
        self._functions = functions
        for name, letters in _SIGNATURES.items():
            self._functions[name].argtypes = c_api.argument_types("iii" + letters)

    def launch(
        self, name: str, on: Tensor, *arguments: Any, workspace: tuple[int, ...] = ()
    ) -> int:
        status: int = self._functions[name](
            self.level, torch.get_num_threads(), DTYPES[on.dtype], *arguments
        )
        if status == NO_MEMORY:
            raise OpError(
                f"{name}: not enough memory for the workspace; give it fewer frames at once."
            )
        return status

    def match_and_merge(
        self, metric: Tensor, x: Tensor, size: Tensor | None, r: int, protected: int
    ) -> tuple[Tensor, ...]:
        merged, *plan = shapes.match_and_merge(metric, x, size, r, protected)
        num_groups, num_tokens, width = x.shape
        if not {metric.dtype, x.dtype} <= DTYPES.keys() or num_tokens >= self.max_tokens:
            return reference.match_and_merge(metric, x, size, r, protected)
        metric = last_axis_dense(metric)
        rows = last_axis_dense(x.reshape(num_groups * num_tokens, width))
        size = None if size is None else size.float().contiguous()
        status = self.launch(
            "match_and_merge",
            metric,
            metric.data_ptr(),
            *metric.shape,
            metric.stride(0),
            metric.stride(1),
            DTYPES[x.dtype],
            rows.data_ptr(),
            width,
            rows.stride(0),
            None if size is None else size.data_ptr(),
            plan[0].shape[1],
            protected,
            merged.data_ptr(),
            *(tensor.data_ptr() for tensor in plan),
        )
        if status == NOT_FINITE:
            checks.raise_not_finite("match", "metric", metric)
        return merged, *plan

    def prune(self, x: Tensor, window: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        checks.check_token_cosine("prune", x, window)
        if x.dtype not in DTYPES:
            return reference.prune(x, window, threshold)
        x = last_axis_dense(x)
        keep = x.new_empty(x.shape[:2], dtype=torch.bool)
        where = (x.data_ptr(), *x.shape, x.stride(0), x.stride(1))
        count = c_int64()
        status = self.launch(
            "find_new", x, *where, window, threshold, keep.data_ptr(), ctypes.addressof(count)
        )
        if status == NOT_FINITE:
            checks.raise_not_finite("token_cosine", "x", x)
        packed, cu_seqlens = shapes.compact(x, keep, count.value)
        results = (packed.data_ptr(), cu_seqlens.data_ptr())
        self.launch("compact", x, *where, keep.data_ptr(), count.value, *results)
        return packed, keep, cu_seqlens

    def attend(
        self, query: Tensor, key_weight: Tensor, x: Tensor, scale: float, share: Tensor, out: Tensor
    ) -> None:
        query, key_weight = last_axis_dense(query), key_weight.contiguous()
        num_frames, num_tokens, width = x.shape
        num_queries, query_width = query.shape[-2:]
        status = self.launch(
            "context_attention",
            x,
            query.data_ptr(),
            query.stride(0) if query.dim() == 3 else 0,
            query.stride(-2),
            key_weight.data_ptr(),
            x.data_ptr(),
            num_frames,
            num_queries,
            query_width,
            num_tokens,
            width,
            x.stride(0),
            x.stride(1),
            scale,
            share.data_ptr(),
            share.shape[1] if share.dim() == 2 else 0,
            out.data_ptr(),
        )
        if status == NOT_FINITE:
            checks.raise_not_finite("context_attention", "x or query", x)

    def head_mean(self, x: Tensor, num_heads: int) -> Tensor:
        mean = shapes.head_mean(x, num_heads)
        if x.dtype not in DTYPES:
            return reference.head_mean(x, num_heads)
        rows = last_axis_dense(x.reshape(-1, x.shape[-1]))
        where = (rows.data_ptr(), len(rows), rows.stride(0))
        self.launch("head_mean", rows, *where, num_heads, mean.shape[-1], mean.data_ptr())
        return mean

    def frame_products(self, x: Tensor) -> tuple[Tensor, ...]:
        results = shapes.frame_products(x)
        if x.dtype not in DTYPES:
            return reference.frame_products(x)
        x = last_axis_dense(x)
        where = (x.data_ptr(), *x.shape, x.stride(0), x.stride(1))
        out = (tensor.data_ptr() for tensor in results)
        if self.launch("frame_products", x, *where, *out) == NOT_FINITE:
            checks.raise_not_finite("frame_products", "x", x)
        return results

    def merge_rounds(
        self, metric: Tensor, size: Tensor | None, rounds: Sequence[int]
    ) -> tuple[Tensor, ...]:
        result = shapes.merge_rounds(metric, size, rounds)
        num_groups, num_tokens, width = metric.shape
        if metric.dtype not in DTYPES or num_tokens >= self.max_tokens:
            return reference.merge_rounds(metric, size, rounds)
        metric = last_axis_dense(metric)
        size = None if size is None else size.float().contiguous()
        merged = checks.check_merge_rounds(metric, size, rounds)
        counts = torch.tensor([r for r in merged if r], dtype=torch.int64)
        status = self.launch(
            "merge_rounds",
            metric,
            metric.data_ptr(),
            num_groups,
            num_tokens,
            width,
            metric.stride(0),
            metric.stride(1),
            None if size is None else size.data_ptr(),
            counts.data_ptr(),
            len(counts),
            *(tensor.data_ptr() for tensor in result),
        )
        if status == NOT_FINITE:
            checks.raise_not_finite("merge_rounds", "metric", metric)
        return result


def load() -> Kernels | None:
    """Load the library at the best level of this processor; None when there is none to load."""
    if not switched_on() or not LIBRARY_PATH.exists():
        return None
    library = c_api.open_library(LIBRARY_PATH, "longvid_cpu_abi", ABI)
    return Kernels(library, library.longvid_cpu_level())


def switched_on() -> bool:
    """Say whether the environment allows native kernels (LONGVID_NATIVE is not 0)."""
    return os.environ.get("LONGVID_NATIVE", "1") != "0"


def level() -> str:
    """Name the active CPU implementation."""
    return "torch" if KERNELS is None else LEVELS[KERNELS.level]


KERNELS = load()
if KERNELS is not None:
    for _name in schema.NAMES:
        schema.LIBRARY.impl(_name, getattr(KERNELS, _name), "CPU")
