"""The class of every actor: a process that loads one stage and runs it."""

from __future__ import annotations

import importlib
from typing import Protocol

_STAGES = "longvid.cluster.stages"


class Stage(Protocol):
    """One step of the job, whose arguments and result are those of its own `run`."""

    def load(self) -> None:
        """Load what the step needs."""

    def run(self, *arguments: object) -> object:
        """Do the step."""


class Actor:
    """Imports the stages when it starts, while its driver still reads the configuration."""

    def __init__(self) -> None:
        self._stages = importlib.import_module(_STAGES)
        self._stage: Stage

    def load(self, stage: str, *arguments: object) -> None:
        """Load a stage: a class of `stages`, with the arguments of its constructor."""
        self._stage = getattr(self._stages, stage)(*arguments)
        self._stage.load()

    def run(self, *arguments: object) -> object:
        return self._stage.run(*arguments)

    def refresh(self, store_uri: str) -> None:
        """Bring a store's catalog and search index up to date."""
        self._stages.refresh(store_uri)
