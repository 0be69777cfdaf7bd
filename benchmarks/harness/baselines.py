"""What can be reached without seeing a video: printed beside every result.

"constant" always gives the commonest answer of the rows themselves, so it is the best that any
constant can do. "text only" gives the answer that the same words had for other videos: half of the
videos answer for the other half, by the whole question, else by its first three words, its first
word, or all. All is counted on disk, so memory does not grow with the rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from benchmarks.harness.answer_matching import normalise
from benchmarks.harness.plan import Plan
from benchmarks.harness.record import Record

_LEVELS = 4


def baselines(plan: Plan) -> dict[str, Any]:
    """Return the accuracy of both, for open and for multiple-choice rows, over the chosen rows.

    Open answers count as right as in `matching.exact`, by the first gold of a row.
    """
    db = plan.database
    db.execute("DROP TABLE IF EXISTS temp.hints")
    db.execute(
        "CREATE TEMP TABLE hints (ord INTEGER, fold INTEGER, choice INTEGER, level INTEGER, "
        "words TEXT, gold TEXT)"
    )
    db.executemany("INSERT INTO hints VALUES (?, ?, ?, ?, ?, ?)", _hints(db))
    db.execute("CREATE INDEX temp.by_words ON hints (level, words, choice, fold)")
    found: dict[str, Any] = {}
    for choice, name in ((0, "open"), (1, "choice")):
        total = db.execute(
            "SELECT count(*) FROM hints WHERE level = 0 AND choice = ?", (choice,)
        ).fetchone()[0]
        if not total:
            continue
        commonest, times = db.execute(
            "SELECT gold, count(*) FROM hints WHERE level = 0 AND choice = ? "
            "GROUP BY gold ORDER BY 2 DESC, 1 LIMIT 1",
            (choice,),
        ).fetchone()
        found[name] = {
            "constant": times / total,
            "constant_answer": chr(ord("A") + int(commonest)) if choice else commonest,
            "text_only": _text_only(db, choice) / total,
            "num_rows": total,
        }
    db.execute("DROP TABLE temp.hints")
    return found


def _hints(db: sqlite3.Connection) -> Iterator[tuple[int, int, int, int, str, str]]:
    reading = db.cursor()
    rows = reading.execute(
        "SELECT ord, drawn(1, cluster) % 2, record FROM chosen JOIN rows USING (ord)"
    )
    for order, fold, line in rows:
        record = Record.from_json(line)
        if not (record.has_gold and (record.options or record.answers)):
            continue
        words = normalise(record.question).split()
        index = record.answer_index
        gold = normalise(record.answers[0]) if index is None else str(index)
        for level, length in enumerate((0, 1, 3, len(words))):
            yield order, fold, int(bool(record.options)), level, " ".join(words[:length]), gold


def _text_only(db: sqlite3.Connection, choice: int) -> int:
    """Count the rows that the other half of the videos answers rightly."""
    db.execute("DROP TABLE IF EXISTS temp.best")
    # Of equally common answers the first in the alphabet stands: `min` over a padded count.
    db.execute(
        "CREATE TEMP TABLE best AS SELECT level, words, fold, min(printf('%09d', 999999999 - n) "
        "|| gold) AS best FROM (SELECT level, words, fold, gold, count(*) AS n FROM hints "
        "WHERE choice = ? GROUP BY level, words, fold, gold) GROUP BY level, words, fold",
        (choice,),
    )
    db.execute("CREATE INDEX temp.best_words ON best (level, words, fold)")
    right = db.execute(
        "SELECT count(*) FROM (SELECT h.ord, h.gold, max(h.level || substr(b.best, 10)) AS guess "
        "FROM hints h JOIN best b ON b.level = h.level AND b.words = h.words "
        "AND b.fold = 1 - h.fold WHERE h.choice = ? GROUP BY h.ord) "
        "WHERE substr(guess, 2) = gold",
        (choice,),
    ).fetchone()[0]
    db.execute("DROP TABLE temp.best")
    return int(right)
