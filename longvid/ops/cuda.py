"""The CUDA kernels: finds the library and puts it in front of the reference on CUDA tensors.

As `native`, a plain C library loaded with ctypes. Nothing here waits for the device, so values
(finite or not, indices in range) are not looked at.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from ctypes import c_char_p, c_int64
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longvid.errors import OpError
from longvid.ops import checks, reference, schema
from longvid.ops.native import (
    DTYPES,
    argument_types,
    last_axis_dense,
    open_library,
    switched_on,
)

LIBRARY_PATH = Path(__file__).with_name("liblongvid_cuda.so")
ABI = 1

_MAX_TOKENS = 2**20  # of a group: counts of tokens travel in 21 bits
_MAX_WINDOW = 16

_SIGNATURES = {
    "longvid_cuda_match": "iplllllplplllipppppppp",
    "longvid_cuda_segment_mean": "ipllplpppp",
    "longvid_cuda_token_cosine": "ipllllllpp",
    "longvid_cuda_compact": "iplllllppppp",
    "longvid_cuda_window_gram": "ipllllppp",
    "longvid_cuda_attend": "iplpllllllfplppp",
}
_SIZES = {
    "longvid_cuda_match_workspace": "lll",
    "longvid_cuda_compact_workspace": "ll",
    "longvid_cuda_window_gram_workspace": "lll",
    "longvid_cuda_attend_workspace": "lll",
}


@contextmanager
def current_stream(device: torch.device) -> Iterator[int]:
    """Make `device` current and give the handle of torch's stream on it."""
    with torch.cuda.device(device):
        yield int(torch.cuda.current_stream(device).cuda_stream)


class Kernels:
    """The six ops on device tensors through the CUDA library.

    Args:
        library: The loaded library.
        stream: Gives the stream to launch on for a device.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        stream: Callable[[torch.device], AbstractContextManager[int]] = current_stream,
    ) -> None:
        self.library = library
        self.stream = stream
        for name, letters in {**_SIGNATURES, **_SIZES}.items():
            getattr(library, name).argtypes = argument_types(letters)
        for name in _SIZES:
            getattr(library, name).restype = c_int64
        library.longvid_cuda_error.restype = c_char_p

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
        num_a = (num_tokens + 1) // 2 if a_set is None else a_set.shape[1]
        num_kept = num_tokens - merged
        source = metric.new_empty((num_groups, merged), dtype=torch.int64)
        destination = torch.empty_like(source)
        score = metric.new_empty((num_groups, merged), dtype=torch.float32)
        segment = metric.new_empty((num_groups, num_tokens), dtype=torch.int64)
        offsets = metric.new_empty(num_groups * num_kept + 1, dtype=torch.int64)
        members = metric.new_empty(num_groups * num_tokens, dtype=torch.int64)
        self._call(
            "match",
            metric,
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
            workspace=(num_groups, num_tokens, num_a),
        )
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
        self._call(
            "segment_mean",
            x,
            DTYPES[x.dtype],
            x.data_ptr(),
            x.shape[1],
            x.stride(0),
            offsets.data_ptr(),
            num_segments,
            members.data_ptr(),
            None if weights is None else weights.data_ptr(),
            out.data_ptr(),
        )
        return out

    def token_cosine(self, x: Tensor, window: int) -> Tensor:
        checks.check_token_cosine(x, window)
        if x.dtype not in DTYPES:
            return reference.token_cosine(x, window)
        x = last_axis_dense(x)
        similarity = x.new_empty(x.shape[:2], dtype=torch.float32)
        self._call(
            "token_cosine",
            x,
            DTYPES[x.dtype],
            x.data_ptr(),
            *x.shape,
            x.stride(0),
            x.stride(1),
            window,
            similarity.data_ptr(),
        )
        return similarity

    def compact(self, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        checks.check_compact(x, keep)
        if x.dtype not in DTYPES:
            return reference.compact(x, keep)
        x, keep = last_axis_dense(x), keep.contiguous()
        num_frames, num_tokens, width = x.shape
        packed = x.new_empty((num_frames * num_tokens, width))
        cu_seqlens = x.new_empty(num_frames + 1, dtype=torch.int32)
        self._call(
            "compact",
            x,
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
            workspace=(num_frames, num_tokens),
        )
        return packed, cu_seqlens

    def window_gram(self, x: Tensor, window: int) -> Tensor:
        num_windows = checks.check_window_gram(x, window)
        if x.dtype not in DTYPES or window > _MAX_WINDOW:
            return reference.window_gram(x, window)
        x = last_axis_dense(x)
        gram = x.new_empty((num_windows, window, window), dtype=torch.float32)
        self._call(
            "window_gram",
            x,
            DTYPES[x.dtype],
            x.data_ptr(),
            x.shape[0],
            x.shape[1],
            x.stride(0),
            window,
            gram.data_ptr(),
            workspace=(x.shape[0], x.shape[1], window),
        )
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
        x = last_axis_dense(x)
        if x.dtype == torch.float16:  # scaled first: the folded query itself may overflow
            query, scale = query * scale, 1.0
        folded = torch.matmul(query, key_weight).contiguous()
        num_frames, num_tokens, width = x.shape
        num_queries = query.shape[-2]
        share = reference.query_share(query_mask, num_queries, torch.float32, x.device)
        out = x.new_empty((num_frames, width))
        self._call(
            "attend",
            x,
            DTYPES[x.dtype],
            folded.data_ptr(),
            num_queries * width if query.dim() == 3 else 0,
            x.data_ptr(),
            num_frames,
            num_queries,
            num_tokens,
            width,
            x.stride(0),
            x.stride(1),
            scale,
            share.data_ptr(),
            num_queries if share.dim() == 2 else 0,
            out.data_ptr(),
            workspace=(num_frames, num_queries, num_tokens),
        )
        return out

    def _call(
        self, name: str, on: Tensor, *arguments: Any, workspace: tuple[int, ...] = ()
    ) -> None:
        # Scratch of torch's caching allocator: reused from call to call, and safe on its stream.
        scratch: tuple[int, ...] = ()
        if workspace:
            num_bytes = getattr(self.library, f"longvid_cuda_{name}_workspace")(*workspace)
            space = on.new_empty(max(1, num_bytes), dtype=torch.uint8)
            scratch = (space.data_ptr(),)
        with self.stream(on.device) as stream:
            status = getattr(self.library, f"longvid_cuda_{name}")(*arguments, *scratch, stream)
        if status:
            reason = self.library.longvid_cuda_error(status).decode()
            raise OpError(f"{name}: the CUDA kernel could not be launched: {reason}.")


def load() -> Kernels | None:
    """Load the library; None when there is none, or torch has no CUDA."""
    if not switched_on() or torch.version.cuda is None or not LIBRARY_PATH.exists():
        return None
    return Kernels(open_library(LIBRARY_PATH, "longvid_cuda_abi", ABI))


def level(device: torch.device) -> str:
    """Name the active implementation on a CUDA device by the code that it runs."""
    if KERNELS is None or not torch.cuda.is_available():
        return "torch"
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) == (9, 0):
        return "cuda-sm90a"
    return "cuda-sm80" if major == 8 else "cuda-ptx80"


KERNELS: Kernels | None = None


def activate() -> bool:
    """Load the library and register its kernels, once; say whether there are any."""
    global KERNELS
    if KERNELS is None:
        KERNELS = load()
        for name in schema.NAMES if KERNELS is not None else ():
            schema.LIBRARY.impl(name, getattr(KERNELS, name), "CUDA")
    return KERNELS is not None


activate()
