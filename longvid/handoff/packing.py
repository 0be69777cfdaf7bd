"""Tensors as requests carry them: base64 of `torch.save`, or of NumPy's own format."""

from __future__ import annotations

import base64
import hashlib
import io

from longvid.errors import OpError
from longvid.lazy_import import torch

#: What vLLM's server takes in one request.
MOST_BODY_BYTES = 32 * 1024 * 1024


def torch_file(tensor: torch.Tensor) -> str:
    """Return base64 of a tensor as `torch.save` writes it; engines read weights only."""
    buffer = io.BytesIO()
    torch.save(_plain(tensor), buffer)
    return base64.b64encode(buffer.getvalue()).decode()


def numpy_file(tensor: torch.Tensor) -> str:
    """Return base64 of a tensor as a `.npy` file; bfloat16, which NumPy lacks, as float32."""
    import numpy as np

    buffer = io.BytesIO()
    plain = _plain(tensor)
    plain = plain.float() if plain.dtype == torch.bfloat16 else plain
    np.save(buffer, plain.numpy(), allow_pickle=False)
    return base64.b64encode(buffer.getvalue()).decode()


def identity_of(*tensors: torch.Tensor) -> str:
    """Return a name of tensors by their content, so that a second request need not carry them."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        plain = _plain(tensor)
        digest.update(f"{plain.dtype} {tuple(plain.shape)}".encode())
        digest.update(plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return digest.hexdigest()


def require_body(num_bytes: int) -> None:
    """Refuse a request that a server would refuse.

    Raises:
        OpError: It is too large.
    """
    if num_bytes > MOST_BODY_BYTES:
        raise OpError(
            f"The request holds {num_bytes / 2**20:.0f} MiB of embeddings, and a server takes "
            f"{MOST_BODY_BYTES // 2**20} MiB; lower ask.budget, or hand them over offline."
        )


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """A view would be saved with all that lies behind it."""
    return tensor.detach().cpu().contiguous().clone()
