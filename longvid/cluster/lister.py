"""List what is named in a process of its own: names are many, and the driver keeps none.

A folder is given in sorted order, and each path once, so whoever lists holds all names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from longvid.inputs import list_videos
from longvid.remote_files import file_bytes, is_remote

__all__ = ["Lister", "few_files", "listed"]

_PATHS_PER_CALL = 1000
#: What the driver hashes and opens itself, in about a second.
_FEW_FILES, _FEW_BYTES = 16, 1 << 30
#: Entries of folders that are looked at to find so few.
_FEW_ENTRIES = 64


class Lister:
    """Gives the paths of `list_videos` some at a time.

    Args:
        inputs: Files, folders, globs, URIs or @lists.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self._inputs = inputs
        self._paths: Iterator[str] = iter(())
        self._given = -1

    def after(self, given: int) -> list[str]:
        """Return the next paths, none at the end.

        Args:
            given: How many the driver has, so that a lister in the place of one that died, or
                asked twice, goes on at the same place.
        """
        if given != self._given:
            self._paths, self._given = islice(list_videos(self._inputs), given, None), given
        paths = list(islice(self._paths, _PATHS_PER_CALL))
        self._given += len(paths)
        return paths


def listed(inputs: Sequence[str]) -> Iterator[str]:
    """Yield the path of every video named, listed beside the driver.

    Raises:
        RayError: Something named cannot be listed; the cause is in it.
    """
    # Where lists and folders are what the user saw; it ends with its handle.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    lister: Any = ray.remote(Lister).options(scheduling_strategy=here, **options).remote(inputs)
    given = 0
    while paths := ray.get(lister.after.remote(given)):
        given += len(paths)
        yield from paths


def few_files(inputs: Sequence[str]) -> list[str] | None:
    """List a few files; None when probing what is named is work for the cluster."""
    if any(is_remote(name.removeprefix("@")) for name in inputs):
        return None
    entries = (entry for name in inputs if os.path.isdir(name) for entry in _entries(name))
    if len(list(islice(entries, _FEW_ENTRIES + 1))) > _FEW_ENTRIES:
        return None
    paths = list(islice(list_videos(inputs), _FEW_FILES + 1))
    if len(paths) > _FEW_FILES or any(map(is_remote, paths)):
        return None
    return paths if sum(map(file_bytes, paths)) <= _FEW_BYTES else None


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield what is below a folder, one at a time and in no order."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    yield from _entries(entry.path)
    except OSError:
        return  # as `list_videos` has it: what cannot be read holds nothing
