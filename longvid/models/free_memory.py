"""How much memory a device has left, so that what cannot fit is said before it is loaded."""

from __future__ import annotations

import resource
from pathlib import Path, PurePosixPath

from longvid.errors import ModelError
from longvid.lazy_import import torch

_MEMINFO = Path("/proc/meminfo")
_SIZES = Path("/proc/self/statm")
#: Which groups of processes this one belongs to, as containers and services bound them.
_MEMBERSHIP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
#: What torch and the C library say where they raise no error of their own class.
_REFUSALS = ("can't allocate memory", "cannot allocate memory", "not enough memory")


def free_bytes(device: str) -> int | None:
    """Return the bytes that can still be taken on a device; None where that is not known.

    Args:
        device: "cpu", "cuda" or "cuda:N".
    """
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    if not device.startswith("cpu"):
        return None
    known = (_available_bytes(), _group_bytes(), _process_bytes())
    return min((number for number in known if number is not None), default=None)


def require_room(what: str, num_bytes: int, dtype: torch.dtype, device: str) -> None:
    """Refuse weights that do not fit.

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


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory is short, whoever raised it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(refusal in str(error).lower() for refusal in _REFUSALS)


def _available_bytes() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None  # not Linux
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _process_bytes() -> int | None:
    """Return what this process may still take under `ulimit -v`, None without a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        num_pages = int(_SIZES.read_text(encoding="ascii").split()[0])
    except OSError:
        return None
    return max(0, limit - num_pages * resource.getpagesize())


def _group_bytes() -> int | None:
    """Return what the tightest of this process's control groups has left."""
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        inside = PurePosixPath(path).relative_to("/")
        # A container may see its own group as the root, whatever path it is told.
        for folder in (inside, *inside.parents):
            if not controllers:
                left.append(_left_in(_GROUPS / folder, "memory.max", "memory.current", ""))
            elif "memory" in controllers.split(","):
                at = _GROUPS / "memory" / folder
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
                left.append(_left_in(at, *names))
    return min((number for number in left if number is not None), default=None)


def _left_in(group: Path, limit_name: str, used_name: str, prefix: str) -> int | None:
    try:
        limit, used, listed = (
            (group / name).read_text(encoding="ascii").strip()
            for name in (limit_name, used_name, "memory.stat")
        )
    except OSError:
        return None
    if limit == "max":
        return None
    stat = dict(line.split(maxsplit=1) for line in listed.splitlines())
    # Cached files are let go when memory is short: a machine that has read videos is not full.
    cached = sum(int(stat.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    return max(0, int(limit) - int(used) + cached)
