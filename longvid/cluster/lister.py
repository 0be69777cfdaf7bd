"""List videos in a process of its own: names may be many, and the driver keeps none.

A folder is given in sorted order, and each path once, so whoever lists holds all names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from longvid.cluster.health import ClusterHealth
from longvid.inputs import Listing
from longvid.remote_files import file_bytes, is_remote

_PATHS_PER_CALL = 1000
#: What the driver hashes and opens itself, in about a second.
_FEW_FILES, _FEW_BYTES = 16, 1 << 30
#: Entries of folders that are looked at to find so few.
_FEW_ENTRIES = 64


class Lister:
    """Gives the paths of a `Listing` some at a time.

    Args:
        inputs: Files, folders, globs, URIs or @lists.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self._listing = Listing(inputs)
        self._inputs = inputs
        self._paths: Iterator[str] = iter(())
        self._given = -1

    def after(self, given: int) -> tuple[list[str], tuple[str, ...]]:
        """Return the next paths, none at the end, and what was left out so far.

        Args:
            given: How many the driver has, so that a lister in the place of one that died, or
                asked twice, goes on at the same place.
        """
        if given != self._given:
            self._listing = Listing(self._inputs)
            self._paths, self._given = islice(self._listing, given, None), given
        paths = list(islice(self._paths, _PATHS_PER_CALL))
        self._given += len(paths)
        return paths, self._listing.notes()


class RemoteListing:
    """The paths of a `Listing` that is made beside the driver."""

    def __init__(self, inputs: Sequence[str], health: ClusterHealth) -> None:
        self._inputs, self._health = inputs, health
        self._notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        """Yield the paths.

        Raises:
            RayError: Something named cannot be listed; the cause is in it.
        """
        # Where lists and folders are what the user saw; it ends with its handle.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        lister: Any = ray.remote(Lister).options(scheduling_strategy=here, **options)
        actor = lister.remote(self._inputs)
        given = 0
        while True:
            answer = actor.after.remote(given)
            self._health.wait([answer])
            paths, self._notes = ray.get(answer)
            if not paths:
                return
            given += len(paths)
            yield from paths

    def notes(self) -> tuple[str, ...]:
        """Return sentences about what was left out so far."""
        return self._notes


def few_files(inputs: Sequence[str]) -> FewFiles | None:
    """List a few files; None when probing what is named is work for the cluster."""
    if any(is_remote(name.removeprefix("@")) for name in inputs):
        return None
    entries = (entry for name in inputs if os.path.isdir(name) for entry in _entries(name))
    if len(list(islice(entries, _FEW_ENTRIES + 1))) > _FEW_ENTRIES:
        return None
    listing = Listing(inputs)
    paths = list(islice(listing, _FEW_FILES + 1))
    if len(paths) > _FEW_FILES or any(map(is_remote, paths)):
        return None
    if sum(map(file_bytes, paths)) > _FEW_BYTES:
        return None
    return FewFiles(tuple(paths), listing.notes())


@dataclass(frozen=True, slots=True)
class FewFiles:
    """Paths that the driver probes itself, and sentences about what was left out."""

    paths: tuple[str, ...]
    skipped: tuple[str, ...]


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield what is below a folder, one at a time and in no order."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    yield from _entries(entry.path)
    except OSError:
        return  # the listing itself says that it cannot be read
