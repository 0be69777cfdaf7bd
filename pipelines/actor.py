"""The class of every actor: a process that becomes the stage it is told to be."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from typing import Any

__all__ = ["Actor"]

_STAGES = "pipelines.stages"


class Actor:
    """Imports what its stage will need, while its driver still reads the configuration."""

    def __init__(self) -> None:
        # Torch takes longest, and decoding begins without it.
        threading.Thread(target=importlib.import_module, args=("torch",)).start()
        self._stages = importlib.import_module(_STAGES)
        self._stage: Any = None

    def load(self, stage: str, *arguments: Any) -> None:
        """Become a stage: a class of `pipelines.stages`, with the arguments of its constructor."""
        self._stage = getattr(self._stages, stage)(*arguments)
        self._stage.load()

    def probe(self, paths: Sequence[str]) -> Any:
        """Let the stage hash and open some files, which all can but the encoder's."""
        return self._stage.probe(paths)

    def run(self, *arguments: Any) -> Any:
        """Let the stage do its work."""
        return self._stage.run(*arguments)

    def refresh(self, store_uri: str) -> None:
        """Bring a store's catalog and search index up to date."""
        self._stages.refresh(store_uri)
