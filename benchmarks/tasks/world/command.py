"""The command `python -m benchmarks world`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.harness.plan import Selection
from benchmarks.harness.predict import infer
from benchmarks.harness.video_folder import open_videos
from benchmarks.measurements import Row, print_table, write_json
from benchmarks.option_checks import (
    require_count,
    require_file,
    require_folder,
    require_positive,
)
from benchmarks.tasks.world.answer_check import Reader
from benchmarks.tasks.world.arm_asker import ArmAsker, embedding
from benchmarks.tasks.world.arms import cut_of
from benchmarks.tasks.world.equal_budget import equal_budget_trials
from benchmarks.tasks.world.film_rows import open_rows, records_of
from benchmarks.tasks.world.films import index_config, prepare
from benchmarks.tasks.world.findings import RECALL_AT, Findings, read_run, recall_at
from benchmarks.tasks.world.goals import goals, losses
from benchmarks.tasks.world.suites import TEST_SEED, TUNING_SEED, prior_guesser
from benchmarks.tasks.world.trials import PAIRED, Trial, trials_of
from longvid.config import load_config
from longvid.errors import ConfigError
from longvid.paths import cache_home

SEEDS = {"test": TEST_SEED, "tuning": TUNING_SEED}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--quick", action="store_true", help="a few films, in minutes")
    parser.add_argument(
        "--equal-budget",
        action="store_true",
        help="each question-free compressor at 2, 5, 10 and 25 %% of the tokens",
    )
    parser.add_argument("--lengths", nargs="+", metavar="LENGTH", help='such as "10 s" "1 h"')
    parser.add_argument("--budgets", nargs="+", type=int, metavar="N", help="of the plan's, only")
    parser.add_argument("--films", type=int, metavar="N", help="of a length or table, at most")
    parser.add_argument("--config", default="mini", help="preset or file of the arm longvid")
    parser.add_argument("--seeds", choices=sorted(SEEDS), default="test")
    parser.add_argument("--cache", type=Path, help="folder of films, stores and runs that are kept")
    parser.add_argument("--threads", type=int, default=1, help="of the answering model")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of its arithmetic"
    )
    parser.add_argument("--json", metavar="FILE", help="write rows and marks")
    parser.add_argument(
        "--ground",
        action="store_true",
        help="whether boxes of right answers are right, on films of a minute and an hour",
    )
    parser.add_argument(
        "--cost",
        action="store_true",
        help="with --ground: also a detector and tracker of real size",
    )
    search = parser.add_argument_group("what a search finds")
    search.add_argument(
        "--search",
        nargs="*",
        metavar="TABLE",
        help='one place, "two places", one film of many, and nothing; all without a name',
    )
    text = parser.add_argument_group("films that speak and write")
    text.add_argument("--text", action="store_true", help="pictures, text and both, on such a film")
    text.add_argument("--minutes", type=float, default=60.0, help="of it")
    text.add_argument("--pictures", type=int, default=16, help="questions about its pictures")
    text.add_argument(
        "--speech",
        metavar="NAME[=MODEL]",
        help="speak the narration (espeak-ng), heard by this text source; else it is subtitles",
    )
    parser.add_argument("--html", metavar="FILE", help="write a page with plots")


def run(options: argparse.Namespace) -> int:
    """Run the yardstick and print what it found.

    Raises:
        ConfigError: An option or the configuration is wrong, or a length is not known.
    """
    _check(options)
    if options.text:
        return _run_text(options)
    if options.ground:
        return _run_grounding(options)
    if options.search is not None:
        return _run_search(options)
    config = load_config(options.config)
    trials = (
        equal_budget_trials(config)
        if options.equal_budget
        else trials_of(config, quick=options.quick)
    )
    if options.lengths:
        known = {one.suite.name for one in trials}
        if unknown := [name for name in options.lengths if name not in known]:
            raise ConfigError(
                f"There are no films of {unknown[0]!r}; lengths are "
                f"{', '.join(map(repr, dict.fromkeys(one.suite.name for one in trials)))}."
            )
        trials = [one for one in trials if one.suite.name in options.lengths]
    if options.films:
        trials = [_of_fewer_films(one, options.films) for one in trials]
    if options.budgets:
        trials = [
            Trial(one.suite, tuple(cell for cell in one.cells if cell[1] in options.budgets))
            for one in trials
        ]
        judged = {one.suite.name for one in trials if any(a.name == "oracle" for a, _ in one.cells)}
        if any(one.suite.name not in judged for one in trials):
            raise ConfigError(
                f"--budgets {' '.join(map(str, options.budgets))} leaves a length without its "
                "baselines; name 512 among them."
            )
    cache = options.cache or cache_home() / "world"
    torch.set_num_threads(options.threads)
    started = time.perf_counter()
    found: dict[str, Findings] = {}
    for one in trials:
        _run(one, options, cache, found)
        # What is done is kept when a later length is interrupted.
        _publish(options, found, time.perf_counter() - started)
    for name, findings in found.items():
        print_table(_rows(name, findings, brief=True))
    _print_verdicts(found)
    _say(f"{time.perf_counter() - started:.0f} s in all")
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse what would end a run after hours, or be ignored."""
    if options.films is not None:
        require_count("--films", options.films)
    require_count("--threads", options.threads)
    require_positive("--minutes", options.minutes)
    if options.cost and not options.ground:
        raise ConfigError("--cost is measured with --ground; give both.")
    if options.html and (options.ground or options.search is not None or options.text):
        raise ConfigError("--ground, --search and --text write no page; leave --html out.")
    for option, path in (("--json", options.json), ("--html", options.html)):
        if path:
            require_file(option, Path(path))
    if not options.text:
        require_folder("--cache", options.cache or cache_home() / "world")


def _of_fewer_films(trial: Trial, most: int) -> Trial:
    suite = trial.suite
    fewer = dataclasses.replace(suite, num_films=min(suite.num_films, most))
    return Trial(fewer, trial.cells)


def _run_grounding(options: argparse.Namespace) -> int:
    """Ground the answers about drawn films, and print how well."""
    from benchmarks.tasks.world.grounding import LENGTHS, run_grounding
    from benchmarks.tasks.world.grounding_cost import grounding_cost

    lengths = options.lengths or list(LENGTHS)
    if unknown := [name for name in lengths if name not in LENGTHS]:
        raise ConfigError(
            f"No films of {unknown[0]!r} are grounded; lengths are {', '.join(map(repr, LENGTHS))}."
        )
    torch.set_num_threads(options.threads)
    cache = options.cache or cache_home() / "world"
    rows = run_grounding(load_config(options.config), SEEDS[options.seeds], cache, lengths, _say)
    if options.cost:
        rows += grounding_cost(_say)
    print_table(rows)
    if options.json:
        write_json(options.json, rows, notes=[f"Seeds {SEEDS[options.seeds]} and following."])
    return 0


def _run_search(options: argparse.Namespace) -> int:
    """Search drawn films, and print what was found."""
    from benchmarks.tasks.world.search_tables import TABLES, run_search_tables

    tables = options.search or list(TABLES)
    if unknown := [name for name in tables if name not in TABLES]:
        raise ConfigError(
            f"There is no table of {unknown[0]!r}; tables are {', '.join(map(repr, TABLES))}."
        )
    torch.set_num_threads(options.threads)
    cache = options.cache or cache_home() / "world"
    seed = SEEDS[options.seeds]
    rows = run_search_tables(load_config(options.config), seed, cache, tables, options.films, _say)
    print_table(rows)
    if options.json:
        write_json(options.json, rows, notes=[f"Seeds {seed} and following ({options.seeds})."])
    return 0


def _run_text(options: argparse.Namespace) -> int:
    """Run the arms over one film that speaks and writes."""
    from benchmarks.tasks.world.text_channels import TEXT_SEEDS, run_text

    name, _, model = (options.speech or "").partition("=")
    heard = [{"name": name, **({"model": model} if model else {})}] if name else []
    rows = run_text(options.minutes, options.pictures, heard, TEXT_SEEDS[options.seeds])
    print_table(rows)
    if options.json:
        settings = {"minutes": options.minutes, "speech": name or "subtitle track"}
        write_json(options.json, rows, **settings)
    return 0


def _publish(options: argparse.Namespace, found: dict[str, Findings], seconds: float) -> None:
    """Write the files that are asked for."""
    notes = _notes(options, seconds)
    if options.json:
        _write(options.json, found, notes)
    if options.html:
        from benchmarks.tasks.world.page import page

        Path(options.html).parent.mkdir(parents=True, exist_ok=True)
        Path(options.html).write_text(page(found, notes), encoding="utf-8")


def _run(
    trial: Trial, options: argparse.Namespace, cache: Path, found: dict[str, Findings]
) -> None:
    """Prepare and ask one suite; cells of one that was asked before join the others."""
    suite = trial.suite
    config = load_config(options.config)
    started = time.perf_counter()
    wanted = index_config(config, suite)
    cases = prepare(
        suite, SEEDS[options.seeds], suite.num_films, cache, wanted, lambda s: _say(f"  {s}")
    )
    prepared = time.perf_counter()
    num_questions = sum(len(case.questions) for case in cases)
    _say(
        f"{suite.name}: {len(cases)} films, {num_questions} questions, {len(trial.cells)} cells; "
        f"films ready after {prepared - started:.0f} s"
    )

    def asker(paths: Sequence[str]) -> ArmAsker:
        reader = Reader(dtype=getattr(torch, options.dtype))
        cut = cut_of(config, suite.sample_fps)
        embed = embedding(config, reader.embed_words)
        return ArmAsker(cases[0].store, trial.cells, reader, embed, cut, config.ask)

    names = [f"{arm.name} @ {budget}" for arm, budget in trial.cells]
    run = open_rows(suite.name, records_of(cases), cache, config, cells=names, dtype=options.dtype)
    with run.plan() as plan:
        done = infer(run, plan, Selection(), lambda: open_videos(run.header), asker)
    kept = f", {done.kept} questions by an earlier run" if done.kept else ""
    _say(f"  asked in {time.perf_counter() - prepared:.0f} s{kept}")
    rows, cells, ranks = read_run(run)
    slowest = sorted(cells, key=lambda cell: -cell.seconds)[:5]
    _say("  slowest: " + ", ".join(f"{c.arm} at {c.budget} {c.seconds:.0f} s" for c in slowest))
    if suite.name in found:
        found[suite.name].cells.extend(cells)
    else:
        found[suite.name] = Findings(suite, rows, cells, ranks, prior_guesser(suite))


def _rows(name: str, findings: Findings, *, brief: bool = False) -> list[Row]:
    """Return a suite's figures; `brief` leaves out the grid of parts."""
    rows = []
    for cell in findings.cells:
        if brief and PAIRED in cell.arm:
            continue
        task, value = f"{name}, {cell.budget} tokens", findings.accuracy(cell)
        judged = findings.accuracy(cell, findings.judging)
        for metric, number, unit in (
            ("accuracy", value.mean, ""),
            ("± 95 %", value.margin, ""),
            ("on judging types", judged.mean, ""),
            ("± 95 % ", judged.margin, ""),
            ("shown", cell.tokens, "tokens"),
            ("frames", cell.frames, ""),
            ("took", cell.seconds, "s"),
        ):
            n = judged.num_rows if metric in ("on judging types", "± 95 % ") else value.num_rows
            rows.append(Row(task, cell.arm, metric, round(number, 4), unit, n))
    for one in findings.types:
        task = f"{name}, types"
        rows.append(Row(task, one.type, "text prior", round(one.prior, 4), "", one.n))
        rows.append(Row(task, one.type, "little shown", round(one.little, 4), "", one.n))
        rows.append(Row(task, one.type, "oracle", round(one.enough, 4), "", one.n))
        rows.append(Row(task, one.type, "judges", float(one.judges), "", one.n))
    for by in sorted({row.group["named by"] for row in findings.rows}):
        of = findings.named(by)
        for k in RECALL_AT:
            value = recall_at(findings, of, k)
            row = Row(
                f"{name}, evidence recall", by, f"@{k}", round(value.mean, 4), "", value.num_rows
            )
            rows.append(row)
    return rows


def _print_verdicts(found: dict[str, Findings]) -> None:
    """Print the goals, and the preset against the published systems."""
    if rows := goals(found):
        print("\nGoals")
        for goal in rows:
            mark = "yes" if goal.holds else "NO "
            print(f"  {mark}  {goal.name}: {goal.reached}; wanted {goal.wanted}")
    if against := losses(found):
        print("\nThe preset less each published system, paired, on types that may judge")
        for row in against:
            print(
                f"  {row.suite:>6s} {row.budget:5d}  {row.rival:15s} {row.gain.mean:+.3f} ± "
                f"{row.gain.margin:.3f}  n={row.gain.num_rows:3d}  {row.verdict}"
            )


def _notes(options: argparse.Namespace, seconds: float) -> list[str]:
    kind = "Tuning" if options.seeds == "tuning" else "Test"
    part = "quick run, " if options.quick else ""
    if options.budgets:
        part += f"only budgets {', '.join(map(str, options.budgets))}, "
    return [
        f"{kind} seeds {SEEDS[options.seeds]} and following; configuration {options.config}; "
        f"{part}{seconds:.0f} s on {options.threads} thread(s), {options.dtype}."
    ]


def _write(path: str, found: dict[str, Findings], notes: list[str]) -> None:
    """Write every figure, and the mark of every question, so that others can be computed."""
    rows = [row for name, findings in found.items() for row in _rows(name, findings)]
    write_json(
        path,
        rows,
        notes=notes,
        goals=[
            {"figure": g.name, "goal": g.wanted, "reached": g.reached, "holds": g.holds}
            for g in goals(found)
        ],
        paired=[
            [a.suite, a.budget, a.rival, round(a.gain.mean, 4), round(a.gain.margin, 4),
             a.gain.num_rows, a.verdict]
            for a in losses(found)
        ],
        questions={
            name: [
                f"{row.id.split('-')[0]}|{row.group['type']}|{row.question}|{row.answers[0]}"
                for row in findings.rows
            ]
            for name, findings in found.items()
        },
        marks={
            name: {
                f"{cell.arm} @ {cell.budget}": "".join("01"[mark] for mark in cell.right)
                for cell in findings.cells
            }
            for name, findings in found.items()
        },
    )  # fmt: skip


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
