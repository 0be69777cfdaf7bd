"""Checks of a benchmark's command line before it works for hours.

What is wrong is a `ConfigError`, one sentence that names the option.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from longvid.errors import ConfigError


def require_positive(option: str, value: float) -> None:
    """Refuse what is no finite number above 0.

    >>> require_positive("--minutes", float("nan"))
    Traceback (most recent call last):
    longvid.errors.ConfigError: --minutes must be a number above 0, not nan.
    """
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{option} must be a number above 0, not {value:g}.")


def require_count(option: str, value: int) -> None:
    """Refuse a count below 1."""
    if value < 1:
        raise ConfigError(f"{option} must be 1 or more, not {value}.")


def require_folder(option: str, folder: Path) -> None:
    """Make a folder where there is none, and refuse one in which nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{option} {folder}: nothing can be written there ({error.strerror})."
        ) from error


def require_file(option: str, path: Path) -> None:
    """Refuse a file that cannot be written; one that is there is left as it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("ab"):
            pass
        if is_new:
            path.unlink()
    except OSError as error:
        raise ConfigError(f"{option} {path} cannot be written ({error.strerror}).") from error
