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
from longvid.ops import c_api, schema
from longvid.ops.c_api import DTYPES
from longvid.ops.native import switched_on

LIBRARY_PATH = Path(__file__).with_name("liblongvid_cuda.so")
ABI = 2

_SIGNATURES = {**c_api.SIGNATURES, "attend": "plpllllllfplp"}
# What the scratch of an op depends on.
_WORKSPACES = {"match": "lll", "compact": "ll", "window_gram": "lll", "attend": "lll"}


@contextmanager
def current_stream(device: torch.device) -> Iterator[int]:
    """Make `device` current and give the handle of torch's stream on it."""
    with torch.cuda.device(device):
        yield int(torch.cuda.current_stream(device).cuda_stream)


class Kernels(c_api.Kernels):
    """The ops on device tensors through the CUDA library.

    Args:
        library: The loaded library.
        stream: Gives the stream to launch on for a device.
    """

    max_tokens = 2**20  # counts of tokens travel in 21 bits
    max_window = 16

    def __init__(
        self,
        library: ctypes.CDLL,
        stream: Callable[[torch.device], AbstractContextManager[int]] = current_stream,
    ) -> None:
        super().__init__(library)
        self.stream = stream
        for name, letters in _SIGNATURES.items():
            sizes = _WORKSPACES.get(name)
            function = getattr(library, f"longvid_cuda_{name}")
            function.argtypes = c_api.argument_types(f"i{letters}{'p' if sizes else ''}p")
            if sizes:
                measure = getattr(library, f"longvid_cuda_{name}_workspace")
                measure.argtypes, measure.restype = c_api.argument_types(sizes), c_int64
        library.longvid_cuda_error.restype = c_char_p

    def launch(
        self, name: str, on: Tensor, *arguments: Any, workspace: tuple[int, ...] = ()
    ) -> int:
        # Scratch of torch's caching allocator: reused from call to call, and safe on its stream.
        scratch: tuple[int, ...] = ()
        if workspace:
            num_bytes = getattr(self.library, f"longvid_cuda_{name}_workspace")(*workspace)
            space = on.new_empty(max(1, num_bytes), dtype=torch.uint8)
            scratch = (space.data_ptr(),)
        function = getattr(self.library, f"longvid_cuda_{name}")
        with self.stream(on.device) as stream:
            status = function(DTYPES[on.dtype], *arguments, *scratch, stream)
        if status:
            reason = self.library.longvid_cuda_error(status).decode()
            raise OpError(f"{name}: the CUDA kernel could not be launched: {reason}.")
        return 0

    def attend(
        self, query: Tensor, key_weight: Tensor, x: Tensor, scale: float, share: Tensor, out: Tensor
    ) -> None:
        if x.dtype == torch.float16:  # scaled first: the folded query itself may overflow
            query, scale = query * scale, 1.0
        folded = torch.matmul(query, key_weight).contiguous()
        num_frames, num_tokens, width = x.shape
        num_queries = query.shape[-2]
        self.launch(
            "attend",
            x,
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


def load() -> Kernels | None:
    """Load the library; None when there is none, or torch has no CUDA."""
    if not switched_on() or torch.version.cuda is None or not LIBRARY_PATH.exists():
        return None
    return Kernels(c_api.open_library(LIBRARY_PATH, "longvid_cuda_abi", ABI))


def level(name: str, device: torch.device) -> str:
    """Name the active implementation of an op on a CUDA device by the code that it runs."""
    if not hasattr(KERNELS, name) or not torch.cuda.is_available():
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
        for name in schema.NAMES:
            if hasattr(KERNELS, name):
                schema.LIBRARY.impl(name, getattr(KERNELS, name), "CUDA")
    return KERNELS is not None


activate()
