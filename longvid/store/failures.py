"""What could not be done, as rows that any number of writers add and clear.

Each call writes one small immutable Parquet object under `failures/`. A row is an event with an
id of its own, or says that an event is cleared. The failures of a store are the events less the
cleared ones, whatever objects the rows lie in and however often a row appears, so writers never
conflict, compaction may be killed at any point, and nothing can be lost by a race. Any Parquet
reader can read the folder.
"""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from longvid.errors import StoreError
from longvid.store.layout import FAILURES, from_column, to_column
from longvid.store.objects import Objects
from longvid.store.parquet import parse_table
from longvid.types import Failure

__all__ = ["FailureLog"]

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


class FailureLog:
    """The failures of one store."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def record(self, failures: Sequence[Failure]) -> None:
        """Add failures, in one object.

        Raises:
            StoreError: They cannot be written.
        """
        if not failures:
            return
        now = time.time()
        # Events of one call keep their order when they are sorted by time.
        rows = [
            _event_row(_Event(secrets.token_hex(8), now + i * 1e-6, failure))
            for i, failure in enumerate(failures)
        ]
        self._write(rows)
        self._compact()

    def read(self, kind: str | None = None) -> list[Failure]:
        """Return what is not cleared, one entry a video, stage and gap, attempts added up.

        The kind, the sentence and the decoder's last lines are those of the latest attempt.

        Args:
            kind: Only failures of this kind.
        """
        merged: dict[tuple[object, ...], Failure] = {}
        for event in sorted(self._live(), key=lambda event: (event.recorded_seconds, event.event)):
            failure = event.failure
            identity = failure.video_id or failure.path
            key = (identity, failure.stage, failure.start_seconds, failure.end_seconds)
            before = merged[key].attempts if key in merged else 0
            merged[key] = replace(failure, attempts=failure.attempts + before)
        chosen = [f for f in merged.values() if kind is None or f.kind == kind]
        return sorted(chosen, key=lambda f: (f.path, f.start_seconds or 0.0, f.stage, f.video_id))

    def clear(self, names: Collection[str] | None = None) -> None:
        """Forget failures.

        Args:
            names: Video ids or paths; None means all.

        Raises:
            StoreError: The store cannot be written.
        """
        gone = [
            _cleared_row(event.event)
            for event in self._live()
            if names is None or event.failure.video_id in names or event.failure.path in names
        ]
        if gone:
            self._write(gone)
            self._compact()

    def _write(self, rows: Sequence[dict[str, Any]]) -> str:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=_SCHEMA), buffer)
        name = f"{FAILURES}/{secrets.token_hex(8)}.parquet"
        self._objects.write(name, buffer.getvalue())
        return name

    def _names(self) -> list[str]:
        listing = self._objects.listing(FAILURES, lambda name: name.endswith(".parquet"))
        return sorted(info.name for info in listing)

    def _rows(self, names: Sequence[str]) -> tuple[dict[str, _Event], set[str]]:
        """Return the events in some objects, and the ids that are cleared there."""
        events: dict[str, _Event] = {}
        cleared: set[str] = set()
        for name, data in zip(names, self._objects.read_many(names), strict=True):
            if data is None:  # compacted since the listing; its rows lie elsewhere
                continue
            for row in _parse(data, name, self._objects.uri):
                if row.pop("cleared"):
                    cleared.add(row["event"])
                else:
                    event = _Event(row.pop("event"), row.pop("recorded_seconds"), _failure(row))
                    events[event.event] = event
        return events, cleared

    def _live(self) -> Iterable[_Event]:
        names = self._names()
        events, cleared = self._rows(names)
        again = self._names()
        while again != names:  # a compaction may have moved rows between listing and reading
            names = again
            events, cleared = self._rows(names)
            again = self._names()
        return [event for event in events.values() if event.event not in cleared]

    def _compact(self) -> None:
        """Make the objects one. The new one is written before the old ones go."""
        names = self._names()
        if len(names) <= _COMPACT_ABOVE:
            return
        events, cleared = self._rows(names)
        rows = [_event_row(events[event]) for event in sorted(events) if event not in cleared]
        # Cleared ids stay, for the copy of an event that another compaction may be writing.
        rows += [_cleared_row(event) for event in sorted(cleared)]
        kept = self._write(rows)
        self._objects.remove([name for name in names if name != kept])


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


def _failure(row: dict[str, Any]) -> Failure:
    return Failure(**{**row, **{name: from_column(row[name]) for name in _TEXTS}})


def _parse(data: bytes, name: str, uri: str) -> list[dict[str, Any]]:
    try:
        table = parse_table(data)
        if _ADDED_LATER not in table.schema.names:
            table = table.append_column(_ADDED_LATER, pa.array([""] * len(table), pa.string()))
        rows: list[dict[str, Any]] = table.select(_SCHEMA.names).to_pylist()
    except (pa.ArrowException, KeyError) as error:
        raise StoreError(
            f"{name} of the store {uri} is no table of failures ({error}); remove that file. The "
            "videos are not affected."
        ) from error
    return rows
