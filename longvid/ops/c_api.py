"""The C interface that the CPU and the CUDA library share: signatures, and tensors as arguments.

A library takes the same arguments for an op wherever it runs, between what only a CPU needs
(instruction set, threads) and what only a GPU needs (scratch, stream).
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Sequence
from ctypes import c_float, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from longvid.errors import OpError
from longvid.ops import checks, reference, shapes

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
    """The ops through a library: checked, made ready, and handed to `launch`.

    What a library does not do in one call is composed of what it does.

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

    @abstractmethod
    def attend(
        self, query: Tensor, key_weight: Tensor, x: Tensor, scale: float, share: Tensor, out: Tensor
    ) -> None:
        """Write `context_attention` of checked arguments with these shares of the queries."""

    def match(
        self,
        metric: Tensor,
        a_index: Tensor | None,
        b_index: Tensor | None,
        r: int,
        protected: int,
        position_order: bool,
    ) -> tuple[Tensor, ...]:
        plan = shapes.match(metric, a_index, b_index, r, protected, position_order)
        num_groups, num_tokens, width = metric.shape
        if metric.dtype not in DTYPES or num_tokens >= self.max_tokens:
            return reference.match(metric, a_index, b_index, r, protected, position_order)
        metric = last_axis_dense(metric)
        a_set = None if a_index is None else a_index.long().contiguous()
        b_set = None if b_index is None else b_index.long().contiguous()
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
            plan[0].shape[1],
            protected,
            int(position_order),
            *(tensor.data_ptr() for tensor in plan),
            workspace=(
                num_groups,
                num_tokens,
                (num_tokens + 1) // 2 if a_set is None else a_set.shape[1],
            ),
        )
        if status == NOT_FINITE:
            checks.raise_not_finite("match", "metric", metric)
        if status == BAD_INDEX and a_set is not None and b_set is not None:
            checks.raise_bad_sets(metric, a_set, b_set)
        return plan

    def match_and_merge(
        self, metric: Tensor, x: Tensor, size: Tensor | None, r: int, protected: int
    ) -> tuple[Tensor, ...]:
        return reference.compose_merge(self.match, self.segment_mean, metric, x, size, r, protected)

    def segment_mean(
        self, x: Tensor, offsets: Tensor, members: Tensor, weights: Tensor | None
    ) -> Tensor:
        out = shapes.segment_mean(x, offsets, members, weights)
        if x.dtype not in DTYPES:
            return reference.segment_mean(x, offsets, members, weights)
        x = last_axis_dense(x)
        offsets = offsets.long().contiguous()
        members = members.long().contiguous()
        weights = None if weights is None else weights.float().contiguous()
        status = self.launch(
            "segment_mean",
            x,
            x.data_ptr(),
            x.shape[0],
            x.shape[1],
            x.stride(0),
            offsets.data_ptr(),
            out.shape[0],
            members.data_ptr(),
            members.shape[0],
            None if weights is None else weights.data_ptr(),
            out.data_ptr(),
        )
        if status == BAD_INDEX:
            checks.raise_bad_segments(x, offsets, members)
        return out

    def token_cosine(self, x: Tensor, window: int) -> Tensor:
        similarity = shapes.token_cosine(x, window)
        if x.dtype not in DTYPES:
            return reference.token_cosine(x, window)
        x = last_axis_dense(x)
        where = (x.data_ptr(), *x.shape, x.stride(0), x.stride(1))
        if self.launch("token_cosine", x, *where, window, similarity.data_ptr()) == NOT_FINITE:
            checks.raise_not_finite("token_cosine", "x", x)
        return similarity

    def compact(self, x: Tensor, keep: Tensor, rows: int | None = None) -> tuple[Tensor, Tensor]:
        packed, cu_seqlens = shapes.compact(x, keep, rows)
        if x.dtype not in DTYPES:
            return reference.compact(x, keep, rows)
        x, keep = last_axis_dense(x), keep.contiguous()
        self.launch(
            "compact",
            x,
            x.data_ptr(),
            *x.shape,
            x.stride(0),
            x.stride(1),
            keep.data_ptr(),
            packed.shape[0],
            packed.data_ptr(),
            cu_seqlens.data_ptr(),
            workspace=(x.shape[0], x.shape[1]),
        )
        return packed, cu_seqlens

    def prune(self, x: Tensor, window: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        return reference.compose_prune(self.token_cosine, self.compact, x, window, threshold)

    def window_gram(self, x: Tensor, window: int) -> Tensor:
        gram = shapes.window_gram(x, window)
        if x.dtype not in DTYPES or window > self.max_window:
            return reference.window_gram(x, window)
        x = last_axis_dense(x)
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

    def context_attention(
        self, query: Tensor, key_weight: Tensor, x: Tensor, scale: float, query_mask: Tensor | None
    ) -> Tensor:
        out = shapes.context_attention(query, key_weight, x, scale, query_mask)
        if x.dtype not in DTYPES:
            return reference.context_attention(query, key_weight, x, scale, query_mask)
        share = reference.query_share(query_mask, query.shape[-2], torch.float32, x.device)
        self.attend(query, key_weight, last_axis_dense(x), scale, share, out)
        return out

    def merge_rounds(
        self, metric: Tensor, size: Tensor | None, rounds: Sequence[int]
    ) -> tuple[Tensor, ...]:
        return reference.compose_rounds(self.match, self.segment_mean, metric, size, rounds)


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
