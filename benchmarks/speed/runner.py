"""Time the benchmark runner: what it adds to asking, and how soon a finished run is seen to be so.

Clips are drawn, mini answers. Both ways of asking put the same questions to the same loaded models
in turns: a bare loop over `VideoQA.ask_many`, and the runner's first stage with its plan, notes of
frames shown and log. For resuming, a run of MSVD-QA's size is given answers to every row and then
called again as a command, imports included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.asker import Asker, Protocol, question_of
from benchmarks.harness.errors import RunError
from benchmarks.harness.plan import Plan, Selection, make_plan
from benchmarks.harness.predict import BATCH, infer
from benchmarks.harness.run import open_run
from benchmarks.harness.task import probe
from benchmarks.harness.video_folder import VideoFolder
from benchmarks.measurements import Row, median_row
from benchmarks.tasks import load_task
from longvid.api import index
from longvid.config import load_config
from longvid.qa.video_qa import VideoQA

_SEED = 77_100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=int, default=20, help="drawn (%(default)s)")
    parser.add_argument("--questions", type=int, default=26, help="a clip (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of both ways (%(default)s)")
    parser.add_argument("--resumed", type=int, default=13_157, help="rows (%(default)s)")


def run(options: argparse.Namespace) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="longvid-speed-") as folder:
        root = Path(folder)
        texts = _draw(root / "videos", options.clips, options.questions)
        return [
            *_overhead(root, texts, options.rounds),
            *_resume(root, options.clips, options.resumed, options.rounds),
        ]


def _draw(folder: Path, clips: int, questions: int) -> list[tuple[int, str, str]]:
    """Draw clips; return (number of the clip, question, answer), the types repeated as needed."""
    from longvid.world.film import write_film
    from longvid.world.questions import ask, view
    from longvid.world.scene import generator, make_film

    folder.mkdir(parents=True)
    types = dict.fromkeys(("shape", "color", "where", "background", "size"), 1.0)
    texts = []
    for place in range(clips):
        film = make_film(_SEED, place)
        write_film(film, folder / f"vid{1451 + place}.mp4", fps=5)
        drawn = ask(view(film), generator(_SEED + 1, place), questions, types)
        texts += [(1451 + place, question.text, question.answer) for question in drawn]
    return texts


def _write_rows(path: Path, texts: Sequence[tuple[int, str, str]]) -> None:
    rows = [
        {"id": i, "question": question, "answer": answer, "video_id": clip}
        for i, (clip, question, answer) in enumerate(texts)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


def _overhead(root: Path, texts: Sequence[tuple[int, str, str]], rounds: int) -> list[Row]:
    config, store = load_config("mini"), str(root / "store")
    index([root / "videos"], store=store, config=config)
    _write_rows(root / "a" / "test_qa.json", texts)
    task = load_task("msvd-qa")
    found = probe(task, root / "a")
    asker = Asker(store, config, Protocol())
    qa = VideoQA(store, config)
    videos = VideoFolder(root / "videos")
    # Processor time too: beside other work on a machine it is the fairer of the two.
    seconds: dict[tuple[str, str], list[float]] = {
        (who, metric): [] for who in ("bare ask_many", "runner") for metric in ("wall", "cpu")
    }

    def note(who: str, wall: float, cpu: float) -> None:
        seconds[who, "wall"].append(time.perf_counter() - wall)
        seconds[who, "cpu"].append(time.process_time() - cpu)

    def bare(number: int) -> None:
        with Plan(root / "warm" / "plan.sqlite") as plan:
            plan.choose(Selection())
            ids = {p: s.video.video_id for s in qa.store.videos() for p in s.paths}
            questions = [
                question_of(record, Protocol(), ids[str(videos.find(record.video))])
                for record in plan.records()
            ]
        wall, cpu = time.perf_counter(), time.process_time()
        for first in range(0, len(questions), BATCH):
            qa.ask_many(questions[first : first + BATCH])
        note("bare ask_many", wall, cpu)

    def whole(number: int) -> None:
        opened = open_run(root / (f"round-{number}" if number else "warm"), {"n": number}, {})
        wall, cpu = time.perf_counter(), time.process_time()
        make_plan(opened.plan_path, task, found)
        with Plan(opened.plan_path) as plan:
            infer(opened, plan, Selection(), lambda: videos, lambda paths: asker)
        note("runner", wall, cpu)

    whole(0)  # weights load in the first round, which is not counted
    bare(0)
    for times in seconds.values():
        times.clear()
    for number in range(1, rounds + 1):
        for way in (bare, whole) if number % 2 else (whole, bare):
            way(number)
    name = f"{len(texts)} questions on {len({clip for clip, _, _ in texts})} clips"
    rows = [median_row(name, who, metric, times, "s") for (who, metric), times in seconds.items()]
    for metric in ("wall", "cpu"):
        bare_row, whole_row = (row for row in rows if row.metric == metric)
        ratio = whole_row.value / bare_row.value
        rows.append(Row(name, "runner", f"{metric} over bare", ratio, "", rounds))
    return rows


def _resume(root: Path, clips: int, count: int, rounds: int) -> list[Row]:
    """Time a command over a run of which every row is answered and reported."""
    texts = [(1451 + i % clips, f"what shape is thing {i} ?", "star") for i in range(count)]
    _write_rows(root / "b" / "test_qa.json", texts)
    command = [sys.executable, "-m", "benchmarks", "msvd-qa", "--annotations", str(root / "b")]
    command += ["--videos", str(root / "videos"), "--run", str(root / "resumed")]
    command += ["--store", str(root / "store")]
    _call([*command, "--limit", "1"])
    log = root / "resumed" / "predictions.jsonl"
    answer = json.loads(log.read_text().splitlines()[0])
    answer |= {"status": "ok", "answer": "star"}
    log.write_text("".join(json.dumps({**answer, "id": str(i)}) + "\n" for i in range(count)))
    first = _call(command)
    again = [_call(command) for _ in range(rounds)]
    name = f"resume a finished run of {count} rows"
    rows = []
    for place, metric in enumerate(("wall", "cpu")):
        rows += [
            Row(name, "score and report", metric, first[place], "s"),
            median_row(name, "nothing to do", metric, [call[place] for call in again], "s"),
        ]
    return rows


def _call(command: Sequence[str]) -> tuple[float, float]:
    """Run a command; return its wall and processor seconds."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        raise RunError(f"The command to be timed failed: {result.stderr.strip()[-300:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, cpu
