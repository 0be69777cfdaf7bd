"""Failures of a store, as rows that any number of writers add and clear.

Each call writes one small immutable Parquet object under `failures/`. A row is an event with an
id of its own, or records that an event is cleared. The failures of a store are the events less
the cleared ones, whatever objects have the rows and however often a row appears, so writers never
conflict, compaction may be killed at any point, and nothing can be lost by a race. Any Parquet
reader can read the folder. A damaged object is named and left alone; the rows of others count.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from longvid.errors import LongvidError, StoreError
from longvid.store.layout import FAILURES, from_column, to_column
from longvid.store.objects import DamagedObjectError, Objects
from longvid.store.parquet import parse_table, write_table
from longvid.store.video_paths import stored_path
from longvid.types import Failure

#: Objects under failures/ are made one when there are more.
_COMPACT_ABOVE = 32
_SCHEMA = pa.schema(
    [
        ("event", pa.string()),
        ("cleared", pa.bool_()),
        ("recorded_seconds", pa.float64()),
        ("video_id", pa.string()),
        ("path", pa.string()),
        ("stage", pa.string()),
        ("kind", pa.string()),
        ("error", pa.string()),
        ("attempts", pa.int32()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("stderr", pa.string()),
        ("decoder", pa.string()),
    ]
)
_TEXTS = ("path", "error", "stderr")
#: Not in tables of the first longvid.
_ADDED_LATER = "decoder"


@dataclass(frozen=True, slots=True)
class _Event:
    event: str
    recorded_seconds: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class _Rows:
    """Events by id, ids that are cleared, and a sentence for each object that is damaged."""

    events: dict[str, _Event]
    cleared: set[str]
    damaged: dict[str, str]


class FailureLog:
    """The failures of one store; the methods are those of `Store`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def record(self, failures: Sequence[Failure]) -> None:
        if not failures:
            return
        now = time.time()
        # Events of one call keep their order when they are sorted by time.
        rows = [
            _event_row(
                _Event(
                    secrets.token_hex(8),
                    now + i * 1e-6,
                    replace(failure, path=stored_path(failure.path)),
                )
            )
            for i, failure in enumerate(failures)
        ]
        self._write(rows)
        self._compact()

    def read(self, kind: str | None = None) -> list[Failure]:
        """Return what is not cleared: one entry a file, gap or source of text, attempts added up.

        The stage, the kind, the sentence and the decoder's last lines are those of the latest
        attempt.
        """
        merged: dict[tuple[object, ...], Failure] = {}
        events = self._live().values()
        for event in sorted(events, key=lambda event: (event.recorded_seconds, event.event)):
            failure = event.failure
            identity = failure.video_id or failure.path
            key: tuple[object, ...] = (failure.path or failure.video_id,)
            if failure.stage == "text":  # of the file too, but the rest of it is not affected
                key = (*key, failure.decoder)
            if failure.is_gap:
                key = (identity, failure.stage, failure.start_seconds, failure.end_seconds)
            before = merged[key].attempts if key in merged else 0
            merged[key] = replace(failure, attempts=failure.attempts + before)
        chosen = [f for f in merged.values() if kind is None or f.kind == kind]
        return sorted(chosen, key=lambda f: (f.path, f.start_seconds or 0.0, f.stage, f.video_id))

    def damaged(self) -> dict[str, str]:
        return self._rows(self._names()).damaged

    def clear(
        self, names: Collection[str] | None = None, only: Callable[[Failure], bool] | None = None
    ) -> None:
        wanted = {*(names or ()), *map(stored_path, names or ())}
        gone = [
            _cleared_row(event.event)
            for event in self._live().values()
            if (names is None or not wanted.isdisjoint(_names_of(event.failure)))
            and (only is None or only(event.failure))
        ]
        if gone:
            self._write(gone)
            self._compact()

    def _write(self, rows: Sequence[dict[str, Any]]) -> str:
        name = f"{FAILURES}/{secrets.token_hex(8)}.parquet"
        table = pa.Table.from_pylist(list(rows), schema=_SCHEMA)
        self._objects.write(name, write_table([table], _SCHEMA))
        return name

    def _names(self) -> list[str]:
        return sorted(info.name for info in self._objects.listing(FAILURES, is_failure_table))

    def _rows(self, names: Sequence[str]) -> _Rows:
        found = _Rows({}, set(), {})
        for name, data in zip(names, self._objects.read_many(names), strict=True):
            try:
                if isinstance(data, StoreError):
                    raise data
                # None: compacted since the listing; another object has its rows.
                rows = [] if data is None else parse_failures(data, name, self._objects.uri)
            except DamagedObjectError as error:
                found.damaged[name] = str(error)
                continue
            for row in rows:
                if row.pop("cleared"):
                    found.cleared.add(row["event"])
                else:
                    event = _Event(row.pop("event"), row.pop("recorded_seconds"), Failure(**row))
                    found.events[event.event] = event
        return found

    def _live(self) -> dict[str, _Event]:
        names = self._names()
        rows = self._rows(names)
        again = self._names()
        while again != names:  # a compaction may have moved rows between listing and reading
            names = again
            rows = self._rows(names)
            again = self._names()
        return {name: event for name, event in rows.events.items() if name not in rows.cleared}

    def _compact(self) -> None:
        """Make the objects one. The new one is written before the old ones go."""
        names = self._names()
        if len(names) <= _COMPACT_ABOVE:
            return
        found = self._rows(names)
        rows = [
            _event_row(found.events[event])
            for event in sorted(found.events)
            if event not in found.cleared
        ]
        # Cleared ids stay, for the copy of an event that another compaction may be writing.
        rows += [_cleared_row(event) for event in sorted(found.cleared)]
        kept = self._write(rows)
        self._objects.remove([name for name in names if name != kept and name not in found.damaged])


def is_failure_table(name: str) -> bool:
    """Tell whether an object of this name has rows of failures."""
    return name.startswith(f"{FAILURES}/") and name.endswith(".parquet") and name.count("/") == 1


def _names_of(failure: Failure) -> tuple[str, str]:
    return failure.video_id, failure.path


def _event_row(event: _Event) -> dict[str, Any]:
    failure = event.failure
    return {
        "event": event.event,
        "cleared": False,
        "recorded_seconds": event.recorded_seconds,
        "video_id": failure.video_id,
        "path": to_column(failure.path),
        "stage": failure.stage,
        "kind": failure.kind,
        "error": to_column(failure.error),
        "attempts": failure.attempts,
        "start_seconds": failure.start_seconds,
        "end_seconds": failure.end_seconds,
        "stderr": to_column(failure.stderr),
        "decoder": failure.decoder,
    }


def _cleared_row(event: str) -> dict[str, Any]:
    return {"event": event, "cleared": True}


def parse_failures(data: bytes, name: str, uri: str) -> list[dict[str, Any]]:
    """Read the rows of one object: `cleared`, `event`, and of events the fields of a failure.

    Raises:
        DamagedObjectError: The object is damaged.
    """
    try:
        table = parse_table(data, must_be_sealed=False)
        if _ADDED_LATER not in table.schema.names:
            table = table.append_column(_ADDED_LATER, pa.array([""] * len(table), pa.string()))
        rows = table.select(_SCHEMA.names).cast(_SCHEMA).to_pylist()
        return [_checked(row) for row in rows]
    except (pa.ArrowException, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise _damaged(name, uri, reason) from error
    except LongvidError as error:
        raise _damaged(name, uri, str(error)) from error


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(row["event"], str):
        raise ValueError("a row has no event")
    if row["cleared"]:
        return {"cleared": True, "event": row["event"]}
    row |= {name: from_column(row[name]) for name in _TEXTS}
    if not isinstance(row["recorded_seconds"], float):
        raise ValueError("an event has no time")
    Failure(**{k: v for k, v in row.items() if k not in ("cleared", "event", "recorded_seconds")})
    return row


def _damaged(name: str, uri: str, reason: str) -> DamagedObjectError:
    return DamagedObjectError(
        f"{name} of the store {uri} is no whole table of failures ({reason}); remove that file. "
        "The videos and the other failures are not affected."
    )
