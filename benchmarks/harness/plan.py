"""The rows of one split, read once into a small database beside the run.

Questions and golds are joined by id here, never by position. What does not fit together is listed
row by row in problems.jsonl, and nothing is dropped without being counted.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.record import Gold, LeftOut, Record
from benchmarks.harness.task import Found, Task

PROBLEMS = {
    "question_without_answer": "questions that have no gold answer (not asked)",
    "answer_without_question": "gold answers to no question of the file",
    "duplicate_row": "rows that occur twice, word for word (asked once)",
    "duplicate_id": "rows whose id another question has already (not asked)",
    "gold_twice": "ids with two different gold answers (the first counts)",
    "two_golds": "rows of one video and question whose golds differ (all asked)",
    "unusable": "rows without a video, a question, or an option that is right",
    "left_out": "rows of a kind that this figure is not about (not asked)",
}

_SCHEMA = """
CREATE TABLE rows (ord INTEGER PRIMARY KEY, id TEXT UNIQUE, cluster TEXT, question TEXT,
                   gold TEXT, record TEXT);
CREATE TABLE golds (id TEXT PRIMARY KEY, gold TEXT);
CREATE TABLE problems (kind TEXT, id TEXT, detail TEXT);
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of a plan are asked.

    Args:
        limit: The first so many; None for all.
        sample: (seed, number): so many rows, taken video by video in an order drawn by the seed.
        ids: Only these questions; None for all.
        shard: (i, n): the i-th of n parts, from 1; a video is never parted.
    """

    limit: int | None = None
    sample: tuple[int, int] | None = None
    ids: tuple[str, ...] | None = None
    shard: tuple[int, int] = (1, 1)

    def to_dict(self) -> dict[str, object]:
        """Return what decides which rows a report is about: everything but the shard."""
        return {
            "limit": self.limit,
            "sample": list(self.sample) if self.sample else None,
            "ids": list(self.ids) if self.ids is not None else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Selection:
        limit, sample, ids = values.get("limit"), values.get("sample"), values.get("ids")
        return cls(
            limit=limit if isinstance(limit, int) else None,
            sample=(int(sample[0]), int(sample[1])) if isinstance(sample, list) else None,
            ids=tuple(map(str, ids)) if isinstance(ids, list) else None,
        )


class Plan:
    """The rows of a split, in the order of the file or grouped by video."""

    def __init__(self, path: Path) -> None:
        self.path = path
        uri = f"{path.resolve().as_uri()}?mode=ro"
        self._db = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self._db.execute("PRAGMA temp_store = FILE")
        self._db.create_function("drawn", 2, _drawn, deterministic=True)
        self._db.execute("CREATE TEMP TABLE chosen (ord INTEGER PRIMARY KEY, place INTEGER)")

    def __enter__(self) -> Plan:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @property
    def database(self) -> sqlite3.Connection:
        """For stages that join what they have to the rows; read-only but for TEMP tables."""
        return self._db

    def num_rows(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM rows").fetchone()[0])

    def num_chosen(self) -> int:
        """Count the rows that `choose` took."""
        return int(self._db.execute("SELECT count(*) FROM chosen").fetchone()[0])

    def problems(self, show: int = 10) -> dict[str, tuple[int, list[str]]]:
        """Return by kind how many problems there are, and the first few."""
        counted = {}
        for kind in PROBLEMS:
            found = self._db.execute(
                "SELECT id, detail FROM problems WHERE kind = ? LIMIT ?", (kind, show)
            )
            shown = [f"{name}: {detail}" if detail else name for name, detail in found]
            number = self._db.execute("SELECT count(*) FROM problems WHERE kind = ?", (kind,))
            if shown:
                counted[kind] = (int(number.fetchone()[0]), shown)
        return counted

    def choose(self, selection: Selection) -> int:
        """Decide which rows the following calls are about, and count them.

        Raises:
            AnnotationError: An id is not in the plan, or no row is left.
        """
        self._db.execute("DELETE FROM chosen")
        # Both orders keep the rows of a video together, and so does every part of them.
        first = "SELECT cluster, min(ord) AS first FROM rows GROUP BY cluster"
        order, limit = "first, ord", selection.limit
        if selection.sample is not None:
            seed, limit = selection.sample
            order = f"drawn({int(seed)}, cluster), ord"
        # --limit takes the first rows of the file, whatever their video.
        inner = "SELECT * FROM rows"
        if selection.ids is not None:
            self._db.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (id TEXT PRIMARY KEY)")
            self._db.execute("DELETE FROM wanted")
            self._db.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", zip(selection.ids))
            missing = self._db.execute(
                "SELECT id FROM wanted WHERE id NOT IN (SELECT id FROM rows) LIMIT 1"
            ).fetchone()
            if missing is not None:
                raise AnnotationError(
                    f"--ids names {missing[0]!r}, which is no question of this split."
                )
            inner += " JOIN wanted USING (id)"
        if selection.limit is not None and selection.sample is None:
            inner += f" ORDER BY ord LIMIT {int(selection.limit)}"
        last = "" if selection.sample is None else f" LIMIT {int(limit or 0)}"
        i, n = selection.shard
        rows = self._db.execute(
            f"SELECT ord, cluster FROM (SELECT r.ord AS ord, r.cluster AS cluster FROM ({inner}) r "
            f"JOIN ({first}) USING (cluster) ORDER BY {order}{last})"
        )
        numbered = (
            (row, place)
            for place, (row, cluster) in enumerate(rows)
            if n == 1 or _drawn(0, cluster) % n == i - 1
        )
        with closing(self._db.cursor()) as cursor:
            cursor.executemany("INSERT INTO chosen VALUES (?, ?)", numbered)
        count = self.num_chosen()
        if not count:
            raise AnnotationError(
                f"Nothing is left to ask of {self.num_rows()} rows; widen --limit, --sample, "
                "--ids or --shard."
            )
        return count

    def records(self) -> Iterator[Record]:
        """Yield the chosen rows grouped by video."""
        for (line,) in self._db.execute(
            "SELECT record FROM chosen JOIN rows USING (ord) ORDER BY place"
        ):
            yield Record.from_json(line)


def make_plan(path: Path, task: Task, found: Found) -> None:
    """Read the annotations of one split into a database, whole or not at all.

    Args:
        path: Where it goes; problems.jsonl goes beside it.
        task: Says which split a row truly belongs to.
        found: The files.

    Raises:
        AnnotationError: The files cannot be read, or hold rows of another split.
    """
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(partial)) as db:
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            db.executescript(_SCHEMA)
            _fill(db, task, found)
            _join(db, task)
            db.commit()
            lines = db.execute("SELECT kind, id, detail FROM problems")
            listing = path.parent / "problems.jsonl"
            with listing.open("w", encoding="utf-8") as file:
                for kind, name, detail in lines:
                    entry = {"kind": kind, "id": name, "detail": detail}
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _fill(db: sqlite3.Connection, task: Task, found: Found) -> None:
    order = 0
    for row in found.rows():
        if isinstance(row, Gold):
            _add_gold(db, row)
            continue
        if isinstance(row, LeftOut):
            _problem(db, "left_out", row.id, row.why)
            continue
        fault = _fault(row)
        if fault:
            _problem(db, "unusable", row.id, fault)
            continue
        _check_split(task, found, row)
        values = (row.id, row.cluster, row.question, _gold_text(row), row.to_json())
        try:
            db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", (order, *values))
            order += 1
        except sqlite3.IntegrityError:
            there = db.execute("SELECT record FROM rows WHERE id = ?", (row.id,)).fetchone()
            same = there[0] == values[-1]
            _problem(db, "duplicate_row" if same else "duplicate_id", row.id, row.question)


def _add_gold(db: sqlite3.Connection, gold: Gold) -> None:
    text = json.dumps([list(gold.answers), gold.answer_index, dict(gold.group)])
    try:
        db.execute("INSERT INTO golds VALUES (?, ?)", (gold.id, text))
    except sqlite3.IntegrityError:
        there = db.execute("SELECT gold FROM golds WHERE id = ?", (gold.id,)).fetchone()
        if json.loads(there[0])[:2] != json.loads(text)[:2]:
            _problem(db, "gold_twice", gold.id, " / ".join(gold.answers))


def _join(db: sqlite3.Connection, task: Task) -> None:
    """Put every gold to its question, and list what has no partner."""
    has_golds = db.execute("SELECT count(*) FROM golds").fetchone()[0]
    if has_golds:
        db.create_function("complete", 2, _complete, deterministic=True)
        db.create_function("gold_of", 1, _gold_of_line, deterministic=True)
        db.execute(
            "UPDATE rows SET record = complete(record, (SELECT golds.gold FROM golds "
            "WHERE golds.id = rows.id)) WHERE id IN (SELECT id FROM golds)"
        )
        db.execute("UPDATE rows SET gold = gold_of(record)")
        db.execute(
            "INSERT INTO problems SELECT 'answer_without_question', id, '' FROM golds "
            "WHERE id NOT IN (SELECT id FROM rows)"
        )
    total, without = db.execute("SELECT count(*), total(gold IS NULL) FROM rows").fetchone()
    if not total:
        raise AnnotationError("The annotations hold no usable row; problems.jsonl says why.")
    if without and (task.wants_gold or without < total):
        if without == total:
            raise AnnotationError(
                f"Not one of the {total} questions has a gold answer with its id; questions and "
                "answers are joined by id, never by position."
            )
        db.execute(
            "INSERT INTO problems SELECT 'question_without_answer', id, '' FROM rows "
            "WHERE gold IS NULL"
        )
        db.execute("DELETE FROM rows WHERE gold IS NULL")
    db.execute("CREATE INDEX by_cluster ON rows (cluster, question)")
    db.execute(
        # A question that is asked openly and with options has two forms of one gold, not two golds.
        "INSERT INTO problems SELECT 'two_golds', id, gold FROM rows WHERE (cluster, question, "
        "gold LIKE '[%') IN (SELECT cluster, question, gold LIKE '[%' FROM rows "
        "GROUP BY 1, 2, 3 HAVING count(DISTINCT gold) > 1)"
    )


def _complete(line: str, gold: str) -> str:
    """Return a question's record with the gold answer that another file gave it."""
    record = Record.from_json(line)
    answers, index, group = json.loads(gold)
    return replace(
        record,
        answers=tuple(answers) or record.answers,
        answer_index=index if index is not None else record.answer_index,
        group={**record.group, **group},
    ).to_json()


def _gold_of_line(line: str) -> str | None:
    return _gold_text(Record.from_json(line))


def _fault(record: Record) -> str:
    if not record.id:
        return "no id"
    if not record.video or not record.video[0]:
        return "no video"
    if not record.question.strip():
        return "no question"
    if len(record.options) == 1:
        return "one option only"
    index = record.answer_index
    if record.options and index is not None and not 0 <= index < len(record.options):
        return f"the right option is {index} of {len(record.options)}"
    return ""


def _check_split(task: Task, found: Found, record: Record) -> None:
    truth = task.true_split(record)
    if truth is not None and truth != found.split:
        raise AnnotationError(
            f"Question {record.id} of {record.cluster} belongs to the {truth} split of "
            f"{task.name}, not to {found.split}; give --split {truth}, or the other files."
        )


def _gold_text(record: Record) -> str | None:
    if not record.has_gold:
        return None
    return str(record.answer_index) if record.options else json.dumps(sorted(record.answers))


def _problem(db: sqlite3.Connection, kind: str, name: str, detail: str) -> None:
    db.execute("INSERT INTO problems VALUES (?, ?, ?)", (kind, name, detail))


def _drawn(seed: int, name: str) -> int:
    """Return a number that seed and name decide, the same on every machine."""
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


def selection_of(ids: Iterable[str]) -> tuple[str, ...]:
    """Return ids without blank lines, in order, each once."""
    return tuple(dict.fromkeys(name for name in (line.strip() for line in ids) if name))
