"""How token values are kept: a float type, or int8 with one scale a token.

    scale = max(abs(token)) / 127        stored = round(token / scale)

so a value read back is off by at most half of its token's scale, plus the rounding of the type
it is returned in. This module knows tensors only.
"""

from __future__ import annotations

import torch

from longvid.errors import StoreError

__all__ = ["dequantise", "quantise"]

_LEVELS = 127
_ROWS = 4096


def quantise(tokens: torch.Tensor, kind: str) -> dict[str, torch.Tensor]:
    """Convert tokens to the type in which they are kept.

    Args:
        tokens: (N, D) floating point.
        kind: "float16", "bfloat16", "float32" or "int8".

    Returns:
        {"tokens": (N, D)} and, for int8, {"scale": (N,) float32}.

    Raises:
        StoreError: A value is not finite, or float16 cannot hold it.
    """
    if kind == "int8":
        stored = torch.empty(tokens.shape, dtype=torch.int8)
        scale = torch.empty(tokens.shape[0], dtype=torch.float32)
        for first in range(0, tokens.shape[0], _ROWS):  # keeps the float32 copy small
            rows = tokens[first : first + _ROWS].float()
            peak = rows.abs().amax(dim=1) if rows.shape[1] else rows.new_zeros(rows.shape[0])
            step = peak / _LEVELS
            # A token of zeros, or of less than float32 can scale, is kept as zeros.
            step = torch.where(step == 0, torch.ones_like(step), step)
            scale[first : first + _ROWS] = step
            stored[first : first + _ROWS] = (
                (rows / step[:, None]).round().clamp(-_LEVELS, _LEVELS).to(torch.int8)
            )
        _require_finite(scale, tokens, kind)
        return {"tokens": stored, "scale": scale}
    stored = tokens.to(getattr(torch, kind))
    _require_finite(stored, tokens, kind)
    return {"tokens": stored}


def dequantise(
    tokens: torch.Tensor, scale: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """Return stored tokens as floating point.

    Args:
        tokens: (N, D) as stored.
        scale: (N,) float32 for int8 tokens, otherwise None.
        dtype: What int8 tokens become: the type they had before. Others stay as stored.
    """
    if scale is None:
        return tokens
    return (tokens.float() * scale[:, None]).to(dtype)


def _require_finite(kept: torch.Tensor, given: torch.Tensor, kind: str) -> None:
    if bool(torch.isfinite(kept).all()):
        return
    if bool(torch.isfinite(given).all()):
        raise StoreError(
            f"Tokens reach {float(given.abs().max()):.3g}, more than {kind} can hold; set "
            "store.tokens to bfloat16."
        )
    raise StoreError(
        "Tokens hold values that are not finite; check the encoder, or run it in float32."
    )
