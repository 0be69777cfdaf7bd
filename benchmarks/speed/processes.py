"""Read from /proc what a process and all its children take."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def tree(pid: int) -> list[int]:
    """Return a process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parent = _parent(int(entry.name))
            if parent is not None:
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found.extend(children.get(member, []))
    return found


def tree_rss_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants.

    What processes share is counted in each of them, so the sum is an upper bound.
    """
    return sum(_rss_bytes(member) for member in tree(pid))


def own_peak_mib() -> float:
    """Return the most memory that this process had, MiB, pages of mapped files among it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak_mb(pid: int | str) -> float:
    """Return the largest resident memory so far of a living process, or of this one ("self")."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    return 0.0


def _parent(pid: int) -> int | None:
    try:
        # The command's name stands in brackets and may hold spaces: the parent follows it.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None  # it ended meanwhile


def _rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0  # it ended meanwhile
