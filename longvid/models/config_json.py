"""Read a checkpoint's configuration without transformers, as far as its config.json states it.

Importing transformers takes seconds, and a runner only asks for a width, a name and a picture size
before the first frame is decoded. What a file leaves out is a default of transformers, which is
then asked; `read` is what the answers must equal.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from longvid.models import checkpoint_files


class Stated:
    """A table of config.json, read as attributes, over the configuration that completes it.

    Args:
        table: What the file states.
        whole: Returns the configuration of transformers; called when something is not stated.
    """

    def __init__(self, table: dict[str, Any], whole: Callable[[], Any]) -> None:
        self._table, self._whole = table, whole

    def __getattr__(self, name: str) -> Any:
        """Return what is stated, or what transformers makes of its absence."""
        value = self._table.get(name)
        if value is None:
            return getattr(self._whole(), name)
        if isinstance(value, dict):
            return Stated(value, lambda: getattr(self._whole(), name))
        return value


def stated_config(folder: Path, read: Callable[[Path], Any]) -> Stated:
    """Return the configuration of a checkpoint, for single numbers and names of it.

    Raises:
        ModelError: config.json is missing or is not valid JSON.
    """
    found: list[Any] = []

    def whole() -> Any:
        if not found:
            found.append(read(folder))
        return found[0]

    return Stated(checkpoint_files.read_config(folder), whole)
