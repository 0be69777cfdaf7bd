"""The command line: one subcommand a verb, results on stdout, everything else on stderr.

Exit status: 0 done · 1 a longvid error, told in one sentence · 2 wrong usage · 3 finished, but some
videos failed or have gaps (`longvid failures` lists them).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from longvid import __version__
from longvid.errors import ConfigError, LongvidError

if TYPE_CHECKING:
    from longvid.indexing import IndexReport

__all__ = ["main", "print_report"]

_OK, _ERROR, _FAILURES = 0, 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words after the program's name; None takes them from the process.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(arguments)
    # Offline is the rule: a checkpoint is a local folder, and nothing is fetched behind one's back.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        status: int = options.run(options)
        return status
    except LongvidError as error:
        if options.debug:
            raise
        print(f"longvid: {error}", file=sys.stderr)
        return _ERROR
    except KeyboardInterrupt:
        print(
            "longvid: stopped; what was finished is kept, run the same command to go on.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="longvid",
        description="Answers questions about long videos, with the time spans that support them.",
    )
    parser.add_argument("--version", action="version", version=f"longvid {__version__}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print the result as JSON")
    shared.add_argument("--debug", action="store_true", help="show a traceback for an error")
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument("--store", required=True, help="folder or URI of the store")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument("--config", metavar="NAME|FILE", help="preset or TOML file")
    configured.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, run: Callable[[Any], int], summary: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=summary, description=summary, parents=[shared, *parents]
        )
        command.set_defaults(run=run)
        return command

    index = add("index", _index, "Index videos into a store.", store, configured)
    index.add_argument("videos", nargs="+", metavar="PATH", help="file, folder, glob or @list")
    index.add_argument("--runner", choices=("local", "ray"), default="local")

    ask = add("ask", _ask, "Ask a question of a store, or of one video.", configured)
    ask.add_argument("question")
    ask.add_argument("--store", help="folder or URI of the store")
    ask.add_argument("--video", help="name, path or id of one video")
    ask.add_argument("--choice", action="append", default=[], help="an option; give two or more")
    ask.add_argument("--budget", type=int, help="the most visual tokens shown")

    search = add("search", _search, "Find the segments nearest to a text.", store)
    search.add_argument("text")
    search.add_argument("--video", help="name, path or id of one video")
    search.add_argument("--top-k", type=int, default=5)

    add("status", _status, "Say what a store holds.", store)

    failures = add("failures", _failures, "List what could not be indexed, and why.", store)
    failures.add_argument("--kind", help="only failures of this kind")

    retry = add("retry", _retry, "Index failed videos once more.", store)
    retry.add_argument("videos", nargs="*", metavar="VIDEO", help="only these paths")
    retry.add_argument("--kind", help="only failures of this kind")

    add("config", _config, "Print a configuration as TOML.", configured)
    add("doctor", _doctor, "Say what this machine offers and what longvid will use.")

    demo = add("demo", _demo, "Index real clips and a drawn film, and ask.", configured)
    demo.add_argument("videos", nargs="*", metavar="PATH", help="default: the clips of the tests")
    demo.add_argument("--folder", default="demo", help="where the film and the store go")
    return parser


def _index(options: argparse.Namespace) -> int:
    config = _load(options, "mini")
    if options.runner == "ray":
        report = _ray_runner()(options.videos, store=options.store, config=config)
    else:
        from longvid.api import index
        from longvid.progress import index_progress

        with index_progress(sys.stderr) as show:
            report = index(options.videos, store=options.store, config=config, on_progress=show)
    return print_report(report, options.json)


def _ray_runner() -> Callable[..., IndexReport]:
    """Load the Ray runner by name: it lives above this floor and needs an optional package."""
    import importlib

    try:
        module = importlib.import_module("pipelines.index")
    except ImportError as error:
        raise ConfigError(
            f"--runner ray needs Ray, which is not installed ({error}); install longvid[ray]."
        ) from error
    runner: Callable[..., IndexReport] = module.index
    return runner


def print_report(report: IndexReport, as_json: bool) -> int:
    """Print what a run did and return the exit status that says so."""
    _warn(report.note)
    if as_json:
        _dump(dataclasses.asdict(report))
    else:
        speed = report.video_seconds / report.seconds if report.seconds else 0.0
        print(
            f"{report.videos_indexed} indexed, {report.videos_skipped} already there, "
            f"{report.videos_failed} failed: {report.segments} segments, {report.frames} frames, "
            f"{report.tokens} tokens from {_span(report.video_seconds)} of video in "
            f"{report.seconds:.1f} s ({speed:.0f} x realtime)"
        )
        if report.failures:
            _table(
                ("video", "stage", "kind", "from", "to", "error"),
                [_failure_row(failure) for failure in report.failures],
            )
    return _FAILURES if report.failures else _OK


def _ask(options: argparse.Namespace) -> int:
    from longvid.answering import VideoQA

    if options.store is None and options.video is None:
        raise ConfigError("Name a --store, or a --video to ask about.")
    if options.store is None:
        from longvid.api import index_into_cache

        store, video = index_into_cache(options.video, _load(options, "mini"))
        qa = VideoQA(store)
    else:
        video = options.video
        qa = _open_qa(options)
    answer = qa.ask(options.question, video=video, choices=options.choice, budget=options.budget)
    _warn(answer.note)
    if options.json:
        _dump(dataclasses.asdict(answer))
        return _OK
    print(answer.text)
    _print_evidence(answer.evidence)
    seconds = sum(value for step, value in answer.seconds.items() if step in ("llm", "load_models"))
    rest = sum(answer.seconds.get(step, 0.0) for step in ("embed", "search", "load", "select"))
    print(
        f"\n{answer.visual_tokens} visual tokens, {answer.prompt_tokens} in the prompt, "
        f"{answer.output_tokens} out · models {seconds:.2f} s, the rest {rest * 1000:.0f} ms",
        file=sys.stderr,
    )
    return _OK


def _open_qa(options: argparse.Namespace) -> Any:
    """Open a store with its own configuration, changed on the ask side by --config and --set."""
    from longvid.answering import VideoQA
    from longvid.config import Config, change, load_config
    from longvid.store import Store

    if options.config:
        return VideoQA(options.store, load_config(options.config, options.set))
    tables = Store.open(options.store).config
    return VideoQA(options.store, Config.from_dict(change(tables, options.set)))


def _search(options: argparse.Namespace) -> int:
    from longvid.answering import VideoQA

    if options.top_k < 1:
        raise ConfigError(f"--top-k must be at least 1, got {options.top_k}.")
    qa = VideoQA(options.store)
    found = qa.search(options.text, video=options.video, top_k=options.top_k)
    _warn(qa.embedder.note)
    if options.json:
        _dump([dataclasses.asdict(span) for span in found])
    else:
        _print_evidence(found)
    return _OK


def _status(options: argparse.Namespace) -> int:
    from longvid.store import Store

    store = Store.open(options.store)
    store.refresh()
    status = store.status()
    if options.json:
        _dump(
            {
                **dataclasses.asdict(status),
                "fingerprint": store.fingerprint,
                "space": store.space,
                "content": [_stored_row(stored) for stored in store.videos()],
            }
        )
        return _OK
    print(
        f"{status.num_videos} videos, {_span(status.duration_seconds)}: {status.num_segments} "
        f"segments, {status.num_tokens} tokens, {status.num_bytes / 1e6:.1f} MB"
        f"{_share(status.num_bytes, status.source_bytes)}, {status.num_failures} failures"
    )
    print(f"fingerprint {store.fingerprint}, token space {store.space}")
    rows = [_stored_row(stored) for stored in store.videos()]
    _table(tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows])
    return _OK


def _stored_row(stored: Any) -> dict[str, Any]:
    return {
        "video": os.path.basename(stored.video.path),
        "id": stored.video.video_id[:8],
        "length": _span(stored.video.duration_seconds),
        "segments": stored.num_segments,
        "tokens": stored.num_tokens,
        "gaps": len(stored.gaps),
    }


def _failures(options: argparse.Namespace) -> int:
    from longvid.store import Store

    kind = _known_kind(options.kind)
    failures = Store.open(options.store).failures(kind=kind)
    if options.json:
        _dump([dataclasses.asdict(failure) for failure in failures])
    elif failures:
        _table(
            ("video", "stage", "kind", "tries", "from", "to", "error"),
            [
                (*_failure_row(failure)[:3], failure.attempts, *_failure_row(failure)[3:])
                for failure in failures
            ],
        )
        print(f"\nTry them again with: longvid retry --store {options.store}", file=sys.stderr)
    else:
        print("No failures.", file=sys.stderr)
    return _OK


def _retry(options: argparse.Namespace) -> int:
    from longvid.api import index
    from longvid.config import Config
    from longvid.progress import index_progress
    from longvid.store import Store

    kind = _known_kind(options.kind)
    store = Store.open(options.store)
    failures = [
        failure
        for failure in store.failures(kind=kind)
        if not options.videos or failure.path in options.videos
    ]
    if not failures:
        print("Nothing to retry.", file=sys.stderr)
        return _OK
    # A video with a gap is indexed anew as a whole: its segments are immutable.
    store.remove([failure.video_id for failure in failures if failure.is_gap])
    config = Config.from_dict(store.config)
    run = dataclasses.replace(config.run, max_attempts=sys.maxsize)
    with index_progress(sys.stderr) as show:
        report = index(
            list(dict.fromkeys(failure.path for failure in failures)),
            store=options.store,
            config=dataclasses.replace(config, run=run),
            on_progress=show,
        )
    return print_report(report, options.json)


def _config(options: argparse.Namespace) -> int:
    import tomli_w

    tables = _load(options, "mini").to_dict()
    if options.json:
        _dump(tables)
    else:
        print(tomli_w.dumps(tables), end="")
    return _OK


def _doctor(options: argparse.Namespace) -> int:
    from longvid.doctor import examine

    findings = examine()
    if options.json:
        _dump([dataclasses.asdict(finding) for finding in findings])
    else:
        _table(
            ("", "what", "found", "remark"),
            [(finding.state, finding.what, finding.found, finding.remark) for finding in findings],
        )
    return _ERROR if any(finding.state == "error" for finding in findings) else _OK


def _demo(options: argparse.Namespace) -> int:
    from longvid.demo import run_demo

    return run_demo(options.videos, options.folder, _load(options, "mini"), as_json=options.json)


def _load(options: argparse.Namespace, default: str) -> Any:
    from longvid.config import load_config

    return load_config(options.config or default, options.set)


def _known_kind(kind: str | None) -> str | None:
    from longvid.types import FAILURE_KINDS

    if kind is not None and kind not in FAILURE_KINDS:
        raise ConfigError(f"No failure kind {kind!r}; known are {', '.join(FAILURE_KINDS)}.")
    return kind


def _warn(note: str) -> None:
    if note:
        print(f"longvid: {note}", file=sys.stderr)


def _dump(value: Any) -> None:
    print(json.dumps(value, indent=1, default=str))


def _print_evidence(evidence: Sequence[Any]) -> None:
    _table(
        ("video", "from", "to", "score"),
        [
            (
                os.path.basename(span.path),
                _span(span.start_seconds),
                _span(span.end_seconds),
                f"{span.score:.3f}",
            )
            for span in evidence
        ],
    )


def _failure_row(failure: Any) -> tuple[str, ...]:
    gap = failure.is_gap
    return (
        os.path.basename(failure.path) or failure.path,
        failure.stage,
        failure.kind,
        _span(failure.start_seconds) if gap else "",
        _span(failure.end_seconds) if gap else "",
        failure.error,
    )


def _span(seconds: float) -> str:
    """Write seconds as people read them off a player: 1:02:03.4."""
    minutes, rest = divmod(max(0.0, seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def _share(part: int, whole: int | None) -> str:
    return f" ({100 * part / whole:.1f} % of the source files)" if whole else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table: with rules on a terminal, tab-separated into a pipe."""
    if not rows:
        return
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print("\t".join(str(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in header:
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)


if __name__ == "__main__":
    raise SystemExit(main())
