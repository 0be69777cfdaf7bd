"""Where longvid keeps what it can make again: local copies, stores made for one question."""

from __future__ import annotations

import os
from pathlib import Path


def cache_home() -> Path:
    """Return $LONGVID_HOME, with ~ expanded, or ~/.cache/longvid; it need not exist."""
    named = os.environ.get("LONGVID_HOME")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "longvid"
