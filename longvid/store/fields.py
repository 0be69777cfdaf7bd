"""Values of JSON documents, checked one by one: a damaged number must not travel any further."""

from __future__ import annotations

import math
import re

_LARGEST_WHOLE = 1 << 31
_LARGEST_REAL = 1e12


def whole(value: object, name: str, *, least: int = 0, most: int = _LARGEST_WHOLE) -> int:
    """Return a whole number in a range.

    Raises:
        ValueError: It is something else.

    >>> whole(3, "index")
    3
    """
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is no whole number from {least} to {most}")
    return value


def real(value: object, name: str) -> float:
    """Return a finite number of a size that times and rates can have.

    Raises:
        ValueError: It is something else.
    """
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError(f"{name} is no finite number")
    if abs(value) > _LARGEST_REAL:  # type: ignore[arg-type]
        raise ValueError(f"{name} is larger than any time or rate")
    return float(value)  # type: ignore[arg-type]


def text(value: object, name: str, pattern: re.Pattern[str] | None = None) -> str:
    """Return a text, of a pattern if one is given.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(value, str) or (pattern is not None and not pattern.fullmatch(value)):
        raise ValueError(f"{name} is not as it should be")
    return value
