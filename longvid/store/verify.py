"""Compare every object of a store with its checksum, and remove leftovers.

Nothing here is needed for a store to work: a reader never sees what verification calls an
orphan, and a damaged object is reported when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from longvid.errors import StoreError
from longvid.store.failures import is_failure_table, parse_failures
from longvid.store.header import read_header, read_header_seal
from longvid.store.index_shard import is_index_name, part_is_whole
from longvid.store.layout import (
    CATALOG,
    FAILURES,
    HEADER,
    HEADER_SEAL,
    RUNS,
    TEXT_LINES,
    TEXT_WORDS,
    VECTORS,
    VIDEOS,
)
from longvid.store.objects import DamagedObjectError, Objects
from longvid.store.parquet import MAX_TABLE_BYTES, is_sealed, parse_table
from longvid.store.seal import parse_json
from longvid.store.verify_video import find_orphans, verify_video

FINDING_KINDS = (
    "missing",  # a manifest names an object that is not there
    "checksum",  # a chunk is not what its manifest records
    "damaged",  # any other object is not whole
    "cache",  # the catalog or a part of the search index is damaged; it is made again
    "orphan",  # an object that no manifest names: left by a killed or a losing writer
    "foreign",  # an object that longvid did not put there
)

_RUN = re.compile(rf"{RUNS}/[0-9TZ]+-[0-9a-f]+\.json")
_TEMPORARY = re.compile(r"\.tmp/[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Args:
        kind: One of FINDING_KINDS.
        name: The object.
        video_id: Of its video, or "".
        message: One sentence with the remedy.
    """

    kind: str
    name: str
    video_id: str
    message: str


def verify(objects: Objects) -> list[Finding]:
    """Read every object once and report what is wrong, sorted by name within each video."""
    shared, videos = _names(objects)
    findings = [finding for name in shared for finding in _verify_shared(objects, name, shared)]
    for video_id, names in videos.items():
        for kind, name, message in verify_video(objects, video_id, names):
            findings.append(Finding(kind, name, video_id, message))
    return findings


def clean(objects: Objects) -> list[str]:
    """Remove orphans and other leftovers, and return their names.

    An unfinished video of another job that is still running is such a leftover too, so this is
    for a store that nobody is writing to.
    """
    removed = objects.remove_temporaries()
    shared, videos = _names(objects)
    orphans = [name for name in shared if _is_index_orphan(name, shared)]
    for video_id, names in videos.items():
        orphans += find_orphans(objects, video_id, names)
    objects.remove(orphans)
    return removed + orphans


def _names(objects: Objects) -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of shared objects, and those in the folder of each video, sorted."""
    shared: list[str] = []
    videos: dict[str, list[str]] = {}
    for info in objects.listing(""):
        parts = info.name.split("/")
        if parts[0] == VIDEOS and len(parts) > 1:
            videos.setdefault(parts[1], []).append(info.name)
        else:
            shared.append(info.name)
    return sorted(shared), {video_id: sorted(videos[video_id]) for video_id in sorted(videos)}


def _verify_shared(objects: Objects, name: str, names: list[str]) -> Iterator[Finding]:
    folder = name.partition("/")[0]
    try:
        if _TEMPORARY.fullmatch(name):
            return
        if name in (HEADER, HEADER_SEAL):
            _verify_header(objects, name)
        elif name in (CATALOG, TEXT_LINES, TEXT_WORDS):
            if not _is_whole_table(objects, name):
                yield _cache(name)
        elif folder == VECTORS and is_index_name(name):
            if _is_index_orphan(name, names):
                message = f"{name} is an unfinished part of the search index; clean the store."
                yield Finding("orphan", name, "", message)
            elif name.endswith(".parquet") and not (
                _is_whole_table(objects, name) and part_is_whole(objects, name)
            ):
                yield _cache(name)
        elif folder == FAILURES and is_failure_table(name):
            parse_failures(objects.read(name) or b"", name, objects.uri)
        elif folder == RUNS and _RUN.fullmatch(name):
            _verify_run(objects, name)
        else:
            message = f"{name} is not part of a store; it is ignored and may be removed."
            yield Finding("foreign", name, "", message)
    except DamagedObjectError as error:
        yield Finding("damaged", name, "", str(error))


def _verify_header(objects: Objects, name: str) -> None:
    try:
        read_header(objects)
    except DamagedObjectError:
        raise
    except StoreError as error:  # a newer format
        raise DamagedObjectError(str(error)) from error
    if name == HEADER_SEAL and read_header_seal(objects) is None:
        raise DamagedObjectError(
            f"{HEADER_SEAL} of the store {objects.uri} is damaged; remove that file, and the next "
            "run of longvid index writes it again."
        )


def _verify_run(objects: Objects, name: str) -> None:
    try:
        parse_json(objects.read(name) or b"")
    except ValueError as error:
        raise DamagedObjectError(
            f"{name} of the store {objects.uri} is damaged ({error}); remove that file."
        ) from error


def _is_whole_table(objects: Objects, name: str) -> bool:
    """Tell whether a cache's table is whole, sealed or from before there were seals."""
    try:
        data = objects.read(name, max_bytes=MAX_TABLE_BYTES)
        if data is None or is_sealed(data) is False:
            return data is None
        parse_table(data, must_be_sealed=False)
    except (DamagedObjectError, ValueError):
        return False
    return True


def _is_index_orphan(name: str, names: list[str]) -> bool:
    """Tell whether an index was written and its table, which makes it visible, was not."""
    part, _, ending = name.rpartition(".")
    return is_index_name(name) and ending != "parquet" and f"{part}.parquet" not in names


def _cache(name: str) -> Finding:
    message = f"{name} is damaged; it is not used. Make it again with: longvid store rebuild."
    return Finding("cache", name, "", message)
