"""The class of every actor: a process that loads one stage and runs it."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["Actor"]

_STAGES = "longvid.cluster.stages"


class Actor:
    """Imports the stages when it starts, while its driver still reads the configuration."""

    def __init__(self) -> None:
        self._stages = importlib.import_module(_STAGES)
        self._stage: Any = None

    def load(self, stage: str, *arguments: Any) -> None:
        """Load a stage: a class of `stages`, with the arguments of its constructor."""
        self._stage = getattr(self._stages, stage)(*arguments)
        self._stage.load()

    def run(self, *arguments: Any) -> Any:
        """Run the stage."""
        return self._stage.run(*arguments)

    def refresh(self, store_uri: str) -> None:
        """Bring a store's catalog and search index up to date."""
        self._stages.refresh(store_uri)
