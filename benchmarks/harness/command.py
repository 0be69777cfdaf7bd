"""`python -m benchmarks TASK …` and the stages that can be run again alone."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness.errors import AnnotationError, RunError
from benchmarks.harness.plan import Plan, Selection, make_plan, selection_of
from benchmarks.harness.published_protocols import PROTOCOLS
from benchmarks.harness.run import Run, code_version, file_hash, identity_hash, load_run, open_run
from benchmarks.harness.score import Subject, score
from benchmarks.harness.task import Found, Task, probe
from benchmarks.harness.video_folder import require_folder
from benchmarks.judging.judges import JudgeOptions, judges_named
from benchmarks.measurements import Row, environment, write_json
from benchmarks.tasks import load_task

if TYPE_CHECKING:
    from benchmarks.harness.asker import Protocol
    from longvid.config import Ask, Config

NOTHING_ANSWERED = 3
STAGES = ("infer", "judge", "score", "report")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rows = parser.add_argument_group("rows")
    rows.add_argument(
        "--annotations", type=Path, metavar="DIR|FILE", help="the folder of videos by default"
    )
    rows.add_argument("--videos", required=True, type=Path, metavar="DIR")
    rows.add_argument("--split", help="where the files do not say it, or hold several")
    rows.add_argument("--layout", help="which form of the annotations, where several are there")
    some = rows.add_mutually_exclusive_group()
    some.add_argument("--limit", type=_positive, metavar="N", help="the first N rows")
    some.add_argument("--sample", type=_seed_and_number, metavar="SEED:N", help="N rows, by video")
    some.add_argument("--ids", type=Path, metavar="FILE", help="questions, an id a line")
    rows.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help="I from 1 to N")

    how = parser.add_argument_group("how")
    how.add_argument("--config", default="mini", metavar="NAME|FILE")
    how.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    how.add_argument("--budget", type=_budgets, default=(0,), metavar="N[,N...]", help="a run each")
    how.add_argument("--protocol", choices=sorted(PROTOCOLS), help="as its authors ran it")
    how.add_argument("--question", metavar="TEMPLATE", help='words around "{question}"')
    how.add_argument("--options", choices=("likelihood", "text"), default="likelihood")
    how.add_argument("--text-only", action="store_true", help="show no frame at all")
    how.add_argument(
        "--subtitles", type=Path, metavar="DIR", help="show the subtitles of this folder too"
    )
    how.add_argument("--runner", choices=("local", "ray"), default="local")

    where = parser.add_argument_group("where")
    where.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    where.add_argument("--run", type=Path, metavar="DIR", help="folder of this run")
    where.add_argument("--store", metavar="DIR", help="of the indexed videos")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as rows")
    parser.add_argument("--retry", action="store_true", help="ask again what failed")
    parser.add_argument(
        "--stages", type=_stages, default=STAGES, metavar="A,B", help=", ".join(STAGES)
    )
    _add_judging(parser)


def _add_judging(parser: argparse.ArgumentParser) -> None:
    judging = parser.add_argument_group("judge of open answers")
    judging.add_argument(
        "--judge",
        action="append",
        default=[],
        metavar="KIND:…",
        help="openai:MODEL@BASE_URL or recorded:FILE; several make a majority",
    )
    judging.add_argument("--judge-concurrency", type=_positive, default=8, metavar="N")
    judging.add_argument("--judge-retries", type=int, default=4, metavar="N")
    judging.add_argument("--judge-timeout", type=float, default=60.0, metavar="SECONDS")
    judging.add_argument("--judge-key", default="OPENAI_API_KEY", metavar="VARIABLE")


def add_stage_arguments(parser: argparse.ArgumentParser, stage: str) -> None:
    """Add the options of `rejudge`, `score`, `report` or `compare`."""
    if stage == "compare":
        parser.add_argument("first", type=Path, metavar="RUN_A")
        parser.add_argument("second", type=Path, metavar="RUN_B")
        return
    parser.add_argument("run", type=Path, metavar="RUN")
    if stage == "rejudge":
        _add_judging(parser)


def run_stage(stage: str, options: argparse.Namespace) -> int:
    """Run one stage of a run that is there, and those that follow from it."""
    if stage == "compare":
        from benchmarks.harness.comparison import compare

        print(compare(load_run(options.first), load_run(options.second)))
        return 0
    run = load_run(options.run)
    if stage == "rejudge" and not options.judge:
        raise RunError("rejudge needs a --judge: openai:MODEL@BASE_URL or recorded:FILE.")
    wanted = {
        "rejudge": ("judge", "score", "report"),
        "score": ("score", "report"),
        "report": ("report",),
    }[stage]
    return _after_infer(run, load_task(run.identity["task"]), options, wanted, anew=True)


def run_task(name: str, options: argparse.Namespace) -> int:
    from longvid.config import load_config

    task = load_task(name)
    if "infer" in options.stages:
        require_folder(options.videos)
    published = PROTOCOLS.get(options.protocol or "")
    split = options.split or (published.splits.get(name) if published else None)
    found = probe(task, options.annotations or options.videos, split, options.layout)
    judges_named(options.judge, _judge_options(options))  # a wrong name stops here
    selection = Selection(options.limit, options.sample, _ids(options.ids), options.shard)
    config_name = options.config
    if published is not None and options.config == "mini":
        config_name = options.protocol
    settings = published.settings_of(name, options.options) if published else ()
    tables = load_config(config_name, [*settings, *options.set])
    if task.grounds == "tube" and tables.grounder is None and "infer" in options.stages:
        raise AnnotationError(
            f"{name} asks where things are, and the configuration names no grounder; give --set "
            "grounder.name=open_vocabulary --set store.pictures=frame."
        )
    if published is not None:
        _print_line(f"{options.protocol}: {published.note}")
    runs = []
    for budget in options.budget:
        config = replace(tables, ask=_ask_of(task, tables.ask, budget, options.subtitles))
        run = _open(task, found, config, config_name, options)
        if not run.plan_path.exists():
            make_plan(run.plan_path, task, found)
        run.save(selection=selection.to_dict(), videos=str(options.videos.resolve()))
        if task.picture_fps:
            run.save(pictures=[task.picture_fps, str((options.runs / "pictures").resolve())])
        if "infer" in options.stages:
            _infer(run, task, config, selection, options)
        runs.append(run)
    if selection.shard[1] > 1 and options.stages == STAGES:
        for run in runs:
            print(f"shard done; when all are: python -m benchmarks score {run.folder}")
        return 0
    # Every run is scored before any is reported: a report draws its siblings too.
    status = 0
    for stages in (("judge", "score"), ("report",)):
        for run in runs:
            wanted = [name for name in stages if name in options.stages]
            status = max(status, _after_infer(run, task, options, wanted))
    if options.json:
        write_json(options.json, [row for run in runs for row in measured(run)], task=name)
    return status


def _ask_of(task: Task, ask: Ask, budget: int, subtitles: bool) -> Ask:
    """Change how questions are asked to what a benchmark and its options want.

    Args:
        task: Where rows ask about a part of a video, its every segment is a candidate.
        ask: As configured.
        budget: 0 keeps the configuration's.
        subtitles: Show those between the frames, unless the configuration says how.
    """
    if budget:
        ask = replace(ask, budget=budget)
    if task.windows:
        ask = replace(ask, num_segments=0)
    if subtitles and task.subtitles == "between" and ask.subtitles == "none":
        ask = replace(ask, subtitles="covering")
    return ask


def measured(run: Run) -> Iterator[Row]:
    """Yield the figures of a scored run as every benchmark writes them."""
    result = json.loads((run.folder / "score.json").read_text("utf-8"))
    identity = run.identity
    task = f"{identity['task']} {identity['split']}"
    subject = f"{run.header.get('config_name', '')}, {identity['budget']} tokens"
    subject += ", no frame" if identity["text_only"] else ""
    for metric, groups in result["metrics"].items():
        for group, both in groups.items():
            for over, value in both.items():
                if value is not None:
                    low, high = value["low"], value["high"]
                    spread = 0.0 if low is None else high - low
                    name = f"{metric}, {group}, {over}"
                    yield Row(task, subject, name, value["mean"], "", value["num_rows"], spread)


def _protocol(task: Task, options: argparse.Namespace) -> Protocol:
    from benchmarks.harness.asker import Protocol

    published = PROTOCOLS.get(options.protocol or "")
    template = options.question or (published.question if published else task.question)
    if "{question}" not in template:
        raise AnnotationError(f"--question must hold {{question}}, got {template!r}.")
    if options.subtitles is not None and not (task.subtitles and options.subtitles.is_dir()):
        raise AnnotationError(
            f"--subtitles names a folder of subtitles for a set that has them, got "
            f"{options.subtitles} for {task.name}."
        )
    form = published.forms.get(task.name) if published else None
    return Protocol(template, options.options, form, options.text_only, options.subtitles)


def _form(task: Task, config: Config) -> str:
    """Say how subtitles are shown: as the configuration asks, or before the question."""
    return task.subtitles if config.ask.subtitles == "none" else config.ask.subtitles


def _open(
    task: Task, found: Found, config: Config, config_name: str, options: argparse.Namespace
) -> Run:
    """Name the run by everything that decides an answer, and open its folder."""
    from benchmarks.harness.asker import model_identity

    protocol = _protocol(task, options)
    tables = config.to_dict()
    ask = {name: value for name, value in tables["ask"].items() if name != "batch_questions"}
    identity: dict[str, Any] = {
        "task": task.name,
        "split": found.split,
        "layout": found.layout.name,
        "annotations": file_hash(path for role in found.files for path in role),
        "index": config.fingerprint(),
        "ask": identity_hash({**ask, "budget": 0, "by": tables["selectors"], "llm": tables["llm"]}),
        "budget": config.ask.budget,
        "model": dict(model_identity(config)),
        "question": protocol.question,
        "options": protocol.options,
        "text_only": protocol.text_only,
        "subtitles": _form(task, config) if protocol.subtitles else "",
        "code": code_version(),
    }
    if "grounder" in tables:
        identity["grounder"] = identity_hash(tables["grounder"])
    label = Path(config_name).stem
    folder = options.run
    if folder is None:
        parts = [task.name, found.split, label, str(config.ask.budget)]
        parts += ["text-only"] if protocol.text_only else []
        parts += ["subtitles"] if protocol.subtitles else []
        folder = options.runs / "-".join([*parts, identity_hash(identity)])
    elif len(options.budget) > 1:
        raise RunError("--run names one folder, and every budget is a run; use --runs.")
    about = {"config_name": label, "config": tables, "environment": environment()}
    return open_run(folder, identity, about)


def _infer(
    run: Run, task: Task, config: Config, selection: Selection, options: argparse.Namespace
) -> None:
    from benchmarks.harness.asker import Asker, index_videos
    from benchmarks.harness.predict import infer
    from benchmarks.harness.video_folder import open_videos
    from longvid.progress import index_progress

    store = options.store or str(options.runs / "stores" / config.fingerprint())

    def prepare(paths: Sequence[str]) -> Asker:
        with index_progress(sys.stderr) as show:
            index_videos(paths, store, config, options.runner, show)
        return Asker(store, config, _protocol(task, options))

    with Plan(run.plan_path) as plan:
        done = infer(
            run, plan, selection, lambda: open_videos(run.header), prepare, retry=options.retry
        )
    _print_line(f"infer: {done.asked} asked, {done.kept} kept, {done.missing} without a video")
    if done.torn:
        _print_line(f"infer: {done.torn} torn lines in the log were passed over")


def _after_infer(
    run: Run, task: Task, options: argparse.Namespace, stages: Sequence[str], *, anew: bool = False
) -> int:
    """Run the later stages; return 3 where not one row has an answer."""
    status = 0
    with run.plan() as plan:
        if "judge" in stages and options.judge:
            from benchmarks.judging.judgements import judge

            judge_options = _judge_options(options)
            judges = judges_named(options.judge, judge_options)
            judged = judge(run, plan, judges, judge_options.concurrency)
            _print_line(
                f"judge: {judged.judged} calls, {judged.kept} kept, {judged.failed} without "
                f"verdict{f', such as: {judged.why}' if judged.why else '.'}"
            )
        if "score" in stages:
            result = score(run, plan, Subject(task.groups, task.macro, task.grounds), anew=anew)
            if not any(result["coverage"][name] for name in ("ok", "unparsed")):
                _print_line(f"Not one of {result['rows']} rows was answered: the report says why.")
                status = NOTHING_ANSWERED
        if "report" in stages:
            from benchmarks.report.figures import report

            print(report(run, plan, anew=anew))
    return status


def _judge_options(options: argparse.Namespace) -> JudgeOptions:
    return JudgeOptions(
        timeout_seconds=options.judge_timeout,
        retries=options.judge_retries,
        concurrency=options.judge_concurrency,
        key_variable=options.judge_key,
    )


def _ids(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    try:
        return selection_of(path.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror}.") from error


def _print_line(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _seed_and_number(text: str) -> tuple[int, int]:
    seed, colon, number = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not SEED:N")
    return int(seed), _positive(number)


def _shard(text: str) -> tuple[int, int]:
    i, _, n = text.partition("/")
    if not (i.isdigit() and n.isdigit() and 1 <= int(i) <= int(n)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")
    return int(i), int(n)


def _budgets(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _stages(text: str) -> tuple[str, ...]:
    wanted = tuple(text.split(","))
    if not set(wanted) <= set(STAGES):
        raise argparse.ArgumentTypeError(f"{text!r} is not of {', '.join(STAGES)}")
    return wanted
