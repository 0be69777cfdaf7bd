"""Checks of numbers on a benchmark's command line: a wrong one is one sentence."""

from __future__ import annotations

import math

from longvid.errors import ConfigError


def require_positive(option: str, value: float) -> None:
    """Refuse what is no finite number above 0.

    >>> require_positive("--minutes", float("nan"))
    Traceback (most recent call last):
    longvid.errors.ConfigError: --minutes must be a number above 0, not nan.

    Args:
        option: Its name on the command line.
        value: What was given.

    Raises:
        ConfigError: It is 0 or less, infinite, or no number.
    """
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{option} must be a number above 0, not {value:g}.")


def require_count(option: str, value: int) -> None:
    """Refuse a count below 1.

    Args:
        option: Its name on the command line.
        value: What was given.

    Raises:
        ConfigError: It is 0 or less.
    """
    if value < 1:
        raise ConfigError(f"{option} must be 1 or more, not {value}.")
