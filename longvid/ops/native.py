"""The C++ kernels for the CPU: finds the library and puts it in front of the reference.

The library is plain C loaded with ctypes; it is absent when the package was built without a C++
compiler, and LONGVID_NATIVE=0 in the environment leaves it out. Then the torch reference runs.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import c_float, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longvid.errors import OpError
from longvid.ops import checks, reference, schema

LIBRARY_PATH = Path(__file__).with_name("liblongvid_cpu.so")
ABI = 1
LEVELS = ("cpp-scalar", "cpp-avx2", "cpp-avx512", "cpp-avx512bf16")
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}

_NOT_FINITE, _BAD_INDEX, _NO_MEMORY = 1, 2, 3
_MAX_TOKENS = 2**24  # column numbers travel as float32 in the fused argmax

_SIGNATURES = {
    "longvid_cpu_match": "iiiplllllplplllipppppp",
    "longvid_cpu_segment_mean": "iiiplllplplpp",
    "longvid_cpu_token_cosine": "iiipllllllp",
    "longvid_cpu_compact": "iiiplllllppp",
    "longvid_cpu_window_gram": "iiipllllp",
    "longvid_cpu_context_attention": "iiipllpplllllllfplp",
}


class Kernels:
    """The six ops on CPU tensors through the C++ library.

    Args:
        library: The loaded library.
        level: Index into LEVELS, at most what the processor can run.
    """

    def __init__(self, library: ctypes.CDLL, level: int) -> None:
        self.library = library
        self.level = level

    def match(
        self,
        metric: Tensor,
        a_index: Tensor | None,
        b_index: Tensor | None,
        r: int,
        protected: int,
        position_order: bool,
    ) -> tuple[Tensor, ...]:
        merged = checks.check_match(metric, a_index, b_index, r, protected)
        num_groups, num_tokens, width = metric.shape
        if metric.dtype not in DTYPES or num_tokens >= _MAX_TOKENS:
            return reference.match(metric, a_index, b_index, r, protected, position_order)
        metric = last_axis_dense(metric)
        a_set = None if a_index is None else a_index.long().contiguous()
        b_set = None if b_index is None else b_index.long().contiguous()
        num_kept = num_tokens - merged
        source = torch.empty((num_groups, merged), dtype=torch.int64)
        destination = torch.empty_like(source)
        score = torch.empty((num_groups, merged), dtype=torch.float32)
        segment = torch.empty((num_groups, num_tokens), dtype=torch.int64)
        offsets = torch.empty(num_groups * num_kept + 1, dtype=torch.int64)
        members = torch.empty(num_groups * num_tokens, dtype=torch.int64)
        status = self.library.longvid_cpu_match(
            self.level,
            torch.get_num_threads(),
            DTYPES[metric.dtype],
            metric.data_ptr(),
            num_groups,
            num_tokens,
            width,
            metric.stride(0),
            metric.stride(1),
            None if a_set is None else a_set.data_ptr(),
            -1 if a_set is None else a_set.shape[1],
            None if b_set is None else b_set.data_ptr(),
            -1 if b_set is None else b_set.shape[1],
            merged,
            protected,
            int(position_order),
            source.data_ptr(),
            destination.data_ptr(),
            score.data_ptr(),
            segment.data_ptr(),
            offsets.data_ptr(),
            members.data_ptr(),
        )
        if status == _NOT_FINITE:
            checks.raise_not_finite("match", "metric", metric)
        if status == _BAD_INDEX and a_set is not None and b_set is not None:
            checks.raise_bad_sets(metric, a_set, b_set)
        _require_memory("match", status)
        return source, destination, score, segment, offsets, members

    def segment_mean(
        self, x: Tensor, offsets: Tensor, members: Tensor, weights: Tensor | None
    ) -> Tensor:
        num_segments = checks.check_segment_mean(x, offsets, members, weights)
        if x.dtype not in DTYPES:
            return reference.segment_mean(x, offsets, members, weights)
        x = last_axis_dense(x)
        offsets = offsets.long().contiguous()
        members = members.long().contiguous()
        weights = None if weights is None else weights.float().contiguous()
        out = torch.empty((num_segments, x.shape[1]), dtype=x.dtype)
        status = self.library.longvid_cpu_segment_mean(
            self.level,
            torch.get_num_threads(),
            DTYPES[x.dtype],
            x.data_ptr(),
            x.shape[0],
            x.shape[1],
            x.stride(0),
            offsets.data_ptr(),
            num_segments,
            members.data_ptr(),
            members.shape[0],
            None if weights is None else weights.data_ptr(),
            out.data_ptr(),
        )
        if status == _BAD_INDEX:
            checks.raise_bad_segments(x, offsets, members)
        return out

    def token_cosine(self, x: Tensor, window: int) -> Tensor:
        checks.check_token_cosine(x, window)
        if x.dtype not in DTYPES:
            return reference.token_cosine(x, window)
        x = last_axis_dense(x)
        similarity = torch.empty(x.shape[:2], dtype=torch.float32)
        status = self.library.longvid_cpu_token_cosine(
            self.level,
            torch.get_num_threads(),
            DTYPES[x.dtype],
            x.data_ptr(),
            *x.shape,
            x.stride(0),
            x.stride(1),
            window,
            similarity.data_ptr(),
        )
        if status == _NOT_FINITE:
            checks.raise_not_finite("token_cosine", "x", x)
        return similarity

    def compact(self, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        checks.check_compact(x, keep)
        if x.dtype not in DTYPES:
            return reference.compact(x, keep)
        x, keep = last_axis_dense(x), keep.contiguous()
        num_frames, num_tokens, width = x.shape
        packed = torch.empty((num_frames * num_tokens, width), dtype=x.dtype)
        cu_seqlens = torch.empty(num_frames + 1, dtype=torch.int32)
        self.library.longvid_cpu_compact(
            self.level,
            torch.get_num_threads(),
            DTYPES[x.dtype],
            x.data_ptr(),
            num_frames,
            num_tokens,
            width,
            x.stride(0),
            x.stride(1),
            keep.data_ptr(),
            packed.data_ptr(),
            cu_seqlens.data_ptr(),
        )
        return packed, cu_seqlens

    def window_gram(self, x: Tensor, window: int) -> Tensor:
        num_windows = checks.check_window_gram(x, window)
        if x.dtype not in DTYPES:
            return reference.window_gram(x, window)
        x = last_axis_dense(x)
        gram = torch.empty((num_windows, window, window), dtype=torch.float32)
        status = self.library.longvid_cpu_window_gram(
            self.level,
            torch.get_num_threads(),
            DTYPES[x.dtype],
            x.data_ptr(),
            x.shape[0],
            x.shape[1],
            x.stride(0),
            window,
            gram.data_ptr(),
        )
        if status == _NOT_FINITE:
            checks.raise_not_finite("window_gram", "x", x)
        _require_memory("window_gram", status)
        return gram

    def context_attention(
        self,
        query: Tensor,
        key_weight: Tensor,
        x: Tensor,
        scale: float,
        query_mask: Tensor | None,
    ) -> Tensor:
        checks.check_context_attention(query, key_weight, x, query_mask)
        if x.dtype not in DTYPES:
            return reference.context_attention(query, key_weight, x, scale, query_mask)
        query, x = last_axis_dense(query), last_axis_dense(x)
        key_weight = key_weight.contiguous()
        num_frames, num_tokens, width = x.shape
        num_queries, query_width = query.shape[-2:]
        share = reference.query_share(query_mask, num_queries, torch.float32, x.device)
        out = torch.empty((num_frames, width), dtype=x.dtype)
        status = self.library.longvid_cpu_context_attention(
            self.level,
            torch.get_num_threads(),
            DTYPES[x.dtype],
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
        if status == _NOT_FINITE:
            checks.raise_not_finite("context_attention", "x or query", x)
        _require_memory("context_attention", status)
        return out


def load() -> Kernels | None:
    """Load the library at the best level of this processor; None when there is none to load."""
    if not switched_on() or not LIBRARY_PATH.exists():
        return None
    library = open_library(LIBRARY_PATH, "longvid_cpu_abi", ABI)
    for name, letters in _SIGNATURES.items():
        getattr(library, name).argtypes = argument_types(letters)
    return Kernels(library, library.longvid_cpu_level())


def switched_on() -> bool:
    """Say whether the environment allows native kernels (LONGVID_NATIVE is not 0)."""
    return os.environ.get("LONGVID_NATIVE", "1") != "0"


def open_library(path: Path, version: str, wanted: int) -> ctypes.CDLL:
    """Load a library and check the version of its interface.

    Raises:
        OpError: The system cannot load it, or it was built for another version.
    """
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise OpError(
            f"{path} cannot be loaded ({error}); install what is missing, build it again, or set "
            "LONGVID_NATIVE=0 to run without it."
        ) from error
    built = getattr(library, version)()
    if built != wanted:
        raise OpError(
            f"{path} was built for interface {built}, this package needs {wanted}; "
            "build it again, or set LONGVID_NATIVE=0 to run without it."
        )
    return library


def argument_types(letters: str) -> list[Any]:
    """Turn one letter an argument into ctypes: i int, l int64, f float, p pointer."""
    types = {"i": c_int, "l": c_int64, "f": c_float, "p": c_void_p}
    return [types[letter] for letter in letters]


def last_axis_dense(tensor: Tensor) -> Tensor:
    """Copy only when the kernels could not walk the tensor's rows."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()


def level() -> str:
    """Name the active CPU implementation."""
    return "torch" if KERNELS is None else LEVELS[KERNELS.level]


def _require_memory(op: str, status: int) -> None:
    if status == _NO_MEMORY:
        raise OpError(f"{op}: not enough memory for the workspace; give it fewer frames at once.")


KERNELS = load()
if KERNELS is not None:
    for _name in schema.NAMES:
        schema.LIBRARY.impl(_name, getattr(KERNELS, _name), "CPU")
