"""How much memory a device has left, so that what cannot fit is said before it is loaded."""

from __future__ import annotations

from pathlib import Path

import torch

from longvid.errors import ModelError

__all__ = ["free_bytes", "require_room"]

_MEMINFO = Path("/proc/meminfo")
#: Limit and use of the group of processes that this one belongs to, as containers set them.
_GROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))


def free_bytes(device: str) -> int | None:
    """Return the bytes that can still be taken on a device; None where that is not known.

    Args:
        device: "cpu", "cuda" or "cuda:N".
    """
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    if not device.startswith("cpu"):
        return None
    known = [number for number in (_available_bytes(), _group_bytes()) if number is not None]
    return min(known, default=None)


def require_room(what: str, num_bytes: int, dtype: torch.dtype, device: str) -> None:
    """Refuse weights that do not fit.

    Args:
        what: The checkpoint, for the sentence.
        num_bytes: Of the weights as they are loaded.
        dtype: Of the weights as they are loaded.
        device: Where they go.

    Raises:
        ModelError: The device has less memory left.
    """
    free = free_bytes(device)
    if free is not None and num_bytes > free:
        name = str(dtype).removeprefix("torch.")
        raise ModelError(
            f"{what} needs {num_bytes / 1e9:.1f} GB as {name}, and {device} has {free / 1e9:.1f} "
            "GB left; choose a smaller checkpoint, a smaller dtype, or another device."
        )


def _available_bytes() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None  # not Linux
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _group_bytes() -> int | None:
    try:
        limit, used = (path.read_text(encoding="ascii").strip() for path in _GROUP)
    except OSError:
        return None
    return None if limit == "max" else max(0, int(limit) - int(used))
