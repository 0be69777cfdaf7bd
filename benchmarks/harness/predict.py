"""The first stage: every row is asked once, and its answer appended to a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from benchmarks.harness.json_lines import Log
from benchmarks.harness.plan import Plan, Selection
from benchmarks.harness.record import Record
from benchmarks.harness.run import Run
from benchmarks.harness.video_folder import VideoFolder

#: Rows put to the model at once, so that questions of one clip share what they can.
BATCH = 64
_TELL_SECONDS = 10.0

Rows = Sequence[tuple[Record, str]]


class Asks(Protocol):
    """What answers rows: `asking.Asker`, or a stand-in of a test."""

    def ask(self, rows: Rows) -> Iterable[dict[str, Any]]:
        """Yield one prediction a row, in order, each as soon as it is known."""


class Inference:
    """What a stage did.

    Args:
        asked: Rows put to the model now.
        kept: Rows answered by an earlier call.
        missing: Rows whose video is not there.
        torn: Lines of the log that were cut off and are asked again.
    """

    def __init__(self) -> None:
        self.asked = self.kept = self.missing = self.torn = 0


def infer(
    run: Run,
    plan: Plan,
    selection: Selection,
    open_videos: Callable[[], VideoFolder],
    prepare: Callable[[Sequence[str]], Asks],
    *,
    retry: bool = False,
) -> Inference:
    """Ask what has no answer yet.

    Args:
        run: Whose log grows.
        plan: Its rows; `selection` is chosen in it.
        selection: Which of them, and which shard.
        open_videos: Lists the videos; called only if something is left to ask.
        prepare: Indexes the videos of these paths and returns what asks; called at most once.
        retry: Also asks again what failed.

    Returns:
        The numbers of rows asked, kept and missing.
    """
    done = Inference()
    total = plan.choose(selection)
    with Log(run.prediction_path(selection.shard)) as log:
        # Another process may have added answers until the lock was free.
        done.torn = run.load_predictions(plan.database)
        outstanding = list(_videos_of_outstanding(plan, retry))
        if outstanding:
            videos = open_videos()
            paths = {cluster: videos.find(names) for cluster, names in outstanding}
            found = list(dict.fromkeys(path for path in paths.values() if path is not None))
            asker = prepare(found) if found else None
            _ask(plan, log, asker, paths, done, retry=retry)
    done.kept = total - done.asked - done.missing
    return done


def _ask(
    plan: Plan,
    log: Log,
    asker: Asks | None,
    paths: Mapping[str, str | None],
    done: Inference,
    *,
    retry: bool,
) -> None:
    started = told = time.monotonic()
    batch: list[tuple[Record, str]] = []
    for record, status in _outstanding(plan, retry):
        path = paths.get(record.cluster)
        if path is None:
            done.missing += 1
            if status != "video_missing":
                log.append([_missing(record)])
            continue
        # A batch holds whole videos, as long as they are small enough.
        if len(batch) >= BATCH and (
            batch[-1][0].cluster != record.cluster or len(batch) >= 2 * BATCH
        ):
            done.asked += _put(asker, batch, log)
        batch.append((record, path))
        if time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            rate = done.asked / (told - started)
            print(f"asked {done.asked} rows, {rate:.1f} a second", file=sys.stderr)
    done.asked += _put(asker, batch, log)


def _put(asker: Asks | None, batch: list[tuple[Record, str]], log: Log) -> int:
    if not batch or asker is None:
        return 0
    for prediction in asker.ask(batch):
        log.append([prediction])
    count = len(batch)
    batch.clear()
    return count


_LEFT = (
    "FROM chosen JOIN rows USING (ord) LEFT JOIN predictions p USING (id) "
    "WHERE p.id IS NULL OR p.status = 'video_missing' OR (? AND p.status != 'ok') "
)


def _videos_of_outstanding(plan: Plan, retry: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each video that still has a row to ask, with the names it may go by."""
    rows = plan.database.execute(
        f"SELECT cluster, min(place), record {_LEFT} GROUP BY cluster ORDER BY 2", (retry,)
    )
    for cluster, _, line in rows:
        yield cluster, Record.from_json(line).video


def _outstanding(plan: Plan, retry: bool) -> Iterator[tuple[Record, str | None]]:
    rows = plan.database.execute(f"SELECT record, p.status {_LEFT} ORDER BY place", (retry,))
    for line, status in rows:
        yield Record.from_json(line), status


def _missing(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "status": "video_missing",
        "error": f"No video {' or '.join(record.video)} with any known ending.",
    }
