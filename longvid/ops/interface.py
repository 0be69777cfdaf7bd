"""The C interface that the CPU and the CUDA library share: signatures, and tensors as arguments.

A library takes the same arguments for an op wherever it runs, between what only a CPU needs
(instruction set, threads) and what only a GPU needs (scratch, stream).
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from ctypes import c_float, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from longvid.errors import OpError
from longvid.ops import checks, reference

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
NOT_FINITE, BAD_INDEX, NO_MEMORY = 1, 2, 3

# One letter an argument: i int, l int64, f float, p pointer.
SIGNATURES = {
    "match": "plllllplplllipppppp",
    "segment_mean": "plllplplpp",
    "token_cosine": "pllllllp",
    "compact": "plllllplpp",
    "window_gram": "pllllp",
}


class Kernels(ABC):
    """The ops that both libraries have: checked, made ready, and handed to `launch`.

    Args:
        library: The loaded library.
    """

    max_tokens: ClassVar[int]  # of a group that `match` is given; more run the reference
    max_window: ClassVar[int]  # of `window_gram`

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library

    @abstractmethod
    def launch(
        self, name: str, on: Tensor, *arguments: Any, workspace: tuple[int, ...] = ()
    ) -> int:
        """Call the library's op on the dtype and device of `on`; return its status."""

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
        if metric.dtype not in DTYPES or num_tokens >= self.max_tokens:
            return reference.match(metric, a_index, b_index, r, protected, position_order)
        metric = last_axis_dense(metric)
        a_set = None if a_index is None else a_index.long().contiguous()
        b_set = None if b_index is None else b_index.long().contiguous()
        num_a = (num_tokens + 1) // 2 if a_set is None else a_set.shape[1]
        num_kept = num_tokens - merged
        source = metric.new_empty((num_groups, merged), dtype=torch.int64)
        destination = torch.empty_like(source)
        score = metric.new_empty((num_groups, merged), dtype=torch.float32)
        segment = metric.new_empty((num_groups, num_tokens), dtype=torch.int64)
        offsets = metric.new_empty(num_groups * num_kept + 1, dtype=torch.int64)
        members = metric.new_empty(num_groups * num_tokens, dtype=torch.int64)
        status = self.launch(
            "match",
            metric,
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
            workspace=(num_groups, num_tokens, num_a),
        )
        if status == NOT_FINITE:
            checks.raise_not_finite("match", "metric", metric)
        if status == BAD_INDEX and a_set is not None and b_set is not None:
            checks.raise_bad_sets(metric, a_set, b_set)
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
        out = x.new_empty((num_segments, x.shape[1]))
        status = self.launch(
            "segment_mean",
            x,
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
        if status == BAD_INDEX:
            checks.raise_bad_segments(x, offsets, members)
        return out

    def token_cosine(self, x: Tensor, window: int) -> Tensor:
        checks.check_token_cosine(x, window)
        if x.dtype not in DTYPES:
            return reference.token_cosine(x, window)
        x = last_axis_dense(x)
        similarity = x.new_empty(x.shape[:2], dtype=torch.float32)
        where = (x.data_ptr(), *x.shape, x.stride(0), x.stride(1))
        if self.launch("token_cosine", x, *where, window, similarity.data_ptr()) == NOT_FINITE:
            checks.raise_not_finite("token_cosine", "x", x)
        return similarity

    def compact(self, x: Tensor, keep: Tensor, rows: int | None = None) -> tuple[Tensor, Tensor]:
        num_rows = checks.check_compact(x, keep, rows)
        if x.dtype not in DTYPES:
            return reference.compact(x, keep, rows)
        x, keep = last_axis_dense(x), keep.contiguous()
        num_frames, num_tokens, width = x.shape
        packed = x.new_empty((num_rows, width))
        cu_seqlens = x.new_empty(num_frames + 1, dtype=torch.int32)
        self.launch(
            "compact",
            x,
            x.data_ptr(),
            *x.shape,
            x.stride(0),
            x.stride(1),
            keep.data_ptr(),
            num_rows,
            packed.data_ptr(),
            cu_seqlens.data_ptr(),
            workspace=(num_frames, num_tokens),
        )
        return packed, cu_seqlens

    def window_gram(self, x: Tensor, window: int) -> Tensor:
        num_windows = checks.check_window_gram(x, window)
        if x.dtype not in DTYPES or window > self.max_window:
            return reference.window_gram(x, window)
        x = last_axis_dense(x)
        gram = x.new_empty((num_windows, window, window), dtype=torch.float32)
        status = self.launch(
            "window_gram",
            x,
            x.data_ptr(),
            x.shape[0],
            x.shape[1],
            x.stride(0),
            window,
            gram.data_ptr(),
            workspace=(x.shape[0], x.shape[1], window),
        )
        if status == NOT_FINITE:
            checks.raise_not_finite("window_gram", "x", x)
        return gram


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
    """Turn the letters of a signature into ctypes."""
    types = {"i": c_int, "l": c_int64, "f": c_float, "p": c_void_p}
    return [types[letter] for letter in letters]


def last_axis_dense(tensor: Tensor) -> Tensor:
    """Copy only when the kernels could not walk the tensor's rows."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()
