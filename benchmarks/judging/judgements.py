"""The second stage: every open answer goes to every judge once, and the verdict into a log.

A row's status is "ok", "unparsed" (the judge wrote something else; it would again) or "failed"
(no reply came; the next call of this stage tries again)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.json_lines import Log, read_lines
from benchmarks.harness.plan import Plan
from benchmarks.harness.record import Record
from benchmarks.harness.run import Run
from benchmarks.judging.client import CallFailed
from benchmarks.judging.judges import Judge, pair_hash
from benchmarks.judging.verdict import PROMPT_HASH, parse


@dataclass(slots=True)
class Judged:
    """What the stage did: calls made now, verdicts kept, calls that gave no verdict, and why the
    first of these did not.
    """

    judged: int = 0
    kept: int = 0
    failed: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Pair:
    id: str
    question: str
    answer: str
    prediction: str


def load_judgements(run: Run, plan: Plan) -> int:
    """Put the verdicts into the TEMP table `judgements` (id, judge, pair, status, line).

    The last verdict on a row stands; a failed call never takes the place of a verdict. Verdicts of
    another wording are left out.

    Returns:
        How many lines were torn.
    """
    plan.database.execute("DROP TABLE IF EXISTS temp.judgements")
    plan.database.execute(
        "CREATE TEMP TABLE judgements (id TEXT, judge TEXT, pair TEXT, status TEXT, line TEXT, "
        "PRIMARY KEY (id, judge))"
    )
    num_torn = 0
    for line, row in read_lines(run.judgements_path):
        if row is None:
            num_torn += 1
        elif row.get("prompt") == PROMPT_HASH:
            plan.database.execute(
                "INSERT INTO judgements VALUES (?, ?, ?, ?, ?) ON CONFLICT (id, judge) DO UPDATE "
                "SET pair = excluded.pair, status = excluded.status, line = excluded.line "
                "WHERE excluded.status != 'failed' OR judgements.status = 'failed' "
                "OR judgements.pair != excluded.pair",
                (row["id"], row["judge"], row["pair"], row["status"], line),
            )
    return num_torn


def judge(run: Run, plan: Plan, judges: Sequence[Judge], concurrency: int) -> Judged:
    """Have every answered open row judged that has no verdict yet; failed calls are made again.

    Raises:
        JudgeError: A judge cannot be used at all; verdicts up to then are kept.
    """
    done = Judged()
    run.load_predictions(plan.database)
    load_judgements(run, plan)
    with Log(run.judgements_path) as log, ThreadPoolExecutor(max(1, concurrency)) as pool:
        for judge_ in judges:
            waiting: set[Future[dict[str, Any]]] = set()
            try:
                for pair in _pairs(plan, judge_.id, done):
                    waiting.add(pool.submit(_call, judge_, pair))
                    if len(waiting) >= 2 * concurrency:
                        waiting = _collect(waiting, log, done)
                while waiting:
                    waiting = _collect(waiting, log, done)
            finally:
                for future in waiting:
                    future.cancel()
    return done


def _pairs(plan: Plan, judge_id: str, done: Judged) -> Iterator[_Pair]:
    rows = plan.database.execute(
        "SELECT record, p.line, j.pair, j.status FROM chosen JOIN rows USING (ord) "
        "JOIN predictions p USING (id) "
        "LEFT JOIN judgements j ON j.id = rows.id AND j.judge = ? "
        "WHERE p.status = 'ok' ORDER BY ord",
        (judge_id,),
    )
    for line, predicted, known, status in rows:
        record = Record.from_json(line)
        if record.options or not record.answers:
            continue
        pair = _Pair(record.id, record.question, record.answers[0], json.loads(predicted)["answer"])
        if known == pair_hash(pair.question, pair.answer, pair.prediction) and status != "failed":
            done.kept += 1
            continue
        yield pair


def _call(judge_: Judge, pair: _Pair) -> dict[str, Any]:
    started = time.perf_counter()
    row: dict[str, Any] = {
        "id": pair.id,
        "judge": judge_.id,
        "prompt": PROMPT_HASH,
        "pair": pair_hash(pair.question, pair.answer, pair.prediction),
        "status": "ok",
        "match": None,
        "score": None,
        "raw": "",
    }
    try:
        row["raw"] = judge_.reply(pair.question, pair.answer, pair.prediction)
    except CallFailed as error:
        row["status"], row["error"] = "failed", str(error)
    else:
        verdict = parse(row["raw"])
        if verdict is None:
            row["status"] = "unparsed"
        else:
            row["match"], row["score"] = verdict.match, verdict.score
    row["seconds"] = round(time.perf_counter() - started, 4)
    return row


def _collect(
    waiting: set[Future[dict[str, Any]]], log: Log, done: Judged
) -> set[Future[dict[str, Any]]]:
    finished, left = wait(waiting, return_when=FIRST_COMPLETED)
    rows, broken = [], None
    for future in finished:
        error = future.exception()
        if error is not None:
            broken = error
        else:
            rows.append(future.result())
    log.append(rows)
    done.judged += len(rows)
    for row in rows:
        if row["status"] != "ok":
            done.failed += 1
            done.why = done.why or row.get("error") or f"The judge wrote {row['raw'][:120]!r}."
    if broken is not None:
        raise broken
    return left
