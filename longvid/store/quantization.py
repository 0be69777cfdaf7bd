"""How token values and embeddings are kept: a float type, or few bits with a scale.

    int8    scale = max(abs(row)) / 127             one scale a row
    int4    scale = max(abs(group)) / 7             one scale a group of 64 values
            stored = round(value / scale)

so a value read back is off by at most half of its scale, plus the rounding of the type it is
returned in. Two int4 values share a byte: of a group of G, value i in the low half of byte i and
value i + ceil(G / 2) in the high half, each plus 8. The last group of a row holds what is left of
its width; where that is odd, a zero fills its last byte. This module knows tensors only.
"""

from __future__ import annotations

from longvid.errors import StoreError
from longvid.lazy_import import F, torch

#: Values that share a scale under int4.
GROUP = 64

_INT8_LEVELS, _INT4_LEVELS = 127, 7
_ROWS = 4096


def bytes_per_row(width: int, kind: str) -> int:
    """Return how many bytes a row of `width` values takes, its scales included.

    >>> bytes_per_row(1152, "int8"), bytes_per_row(1152, "int4"), bytes_per_row(1152, "float32")
    (1156, 612, 4608)
    """
    if kind == "int8":
        return width + 4
    if kind == "int4":
        return -(-width // 2) + 2 * -(-width // GROUP)
    return width * getattr(torch, kind).itemsize  # type: ignore[no-any-return]  # a torch.dtype


def quantise(values: torch.Tensor, kind: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Convert rows to the type in which they are kept.

    Args:
        values: (N, D) floating point.
        kind: One of `longvid.config.TOKEN_KINDS`.

    Returns:
        What is stored, and its scales: (N, D) with None for a float type; (N, D) int8 with (N,)
        float32; (N, ceil(D / 2)) uint8 with (N, ceil(D / 64)) bfloat16 for int4.

    Raises:
        StoreError: A value is not finite, or float16 cannot hold it.
    """
    if kind not in ("int8", "int4"):
        kept = values.to(getattr(torch, kind))
        _require_finite(kept, values, kind)
        return kept, None
    pack = _to_int8 if kind == "int8" else _to_int4
    if len(values) == 0:
        return pack(values.float())
    # A block at a time keeps the float32 copy small.
    blocks = [pack(rows.float()) for rows in torch.split(values, _ROWS)]
    stored, scale = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    _require_finite(scale, values, kind)
    return stored, scale


def dequantise(
    stored: torch.Tensor, scale: torch.Tensor | None, dtype: torch.dtype, width: int | None = None
) -> torch.Tensor:
    """Return stored rows as floating point, (N, D).

    Args:
        stored, scale: As `quantise` returned them.
        dtype: What int8 and int4 rows become: the type they had before. Others stay as stored.
        width: D; None is as much as the bytes hold, which under int4 is one more than an odd D.
    """
    if scale is None:
        return stored
    if stored.dtype == torch.int8:
        return (stored.float() * scale[:, None]).to(dtype)
    whole = stored.shape[1] // (GROUP // 2)
    cut = whole * (GROUP // 2)
    values = _unpack(stored[:, :cut].reshape(len(stored), whole, GROUP // 2), scale[:, :whole])
    if cut < stored.shape[1]:
        values = torch.cat([values, _unpack(stored[:, None, cut:], scale[:, whole:])], dim=1)
    return values[:, :width].to(dtype)


def _to_int8(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    peak = rows.abs().amax(dim=1) if rows.shape[1] else rows.new_zeros(rows.shape[0])
    step = _above_zero(peak / _INT8_LEVELS)
    levels = (rows / step[:, None]).round().clamp(-_INT8_LEVELS, _INT8_LEVELS)
    return levels.to(torch.int8), step


def _to_int4(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    width = rows.shape[1]
    cut = width - width % GROUP
    packed = [_pack(rows[:, :cut].reshape(len(rows), cut // GROUP, GROUP))]
    if cut < width:
        packed.append(_pack(F.pad(rows[:, None, cut:], (0, width % 2))))
    stored, step = (torch.cat(parts, dim=1) for parts in zip(*packed, strict=True))
    return stored, step


def _pack(groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pack groups of an even number of values, (N, K, G) to (N, K * G / 2) and (N, K)."""
    step = _above_zero((groups.abs().amax(dim=2) / _INT4_LEVELS).bfloat16())
    levels = (groups / step.float()[:, :, None]).round().clamp(-_INT4_LEVELS, _INT4_LEVELS)
    nibbles = (levels + 8).to(torch.uint8)  # 1 to 15
    low, high = nibbles.chunk(2, dim=2)
    return (low | (high << 4)).flatten(1), step


def _unpack(halves: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Undo `_pack`, (N, K, G / 2) and (N, K) to (N, K * G) float32."""
    values = torch.cat([halves & 15, halves >> 4], dim=2).float() - 8
    return (values * scale.float()[:, :, None]).flatten(1)


def _above_zero(step: torch.Tensor) -> torch.Tensor:
    """Let rows of zeros, or of less than a scale can be, be kept as zeros."""
    return torch.where(step == 0, torch.ones_like(step), step)


def _require_finite(kept: torch.Tensor, given: torch.Tensor, kind: str) -> None:
    if bool(torch.isfinite(kept).all()):
        return
    if bool(torch.isfinite(given).all()):
        raise StoreError(
            f"Values reach {float(given.abs().max()):.3g}, more than {kind} can hold; set "
            "store.tokens to bfloat16."
        )
    raise StoreError(
        "Tokens hold values that are not finite; check the encoder, or run it in float32."
    )
