"""Commands that read videos: index, retry."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from longvid.cli.command import Commands, add_tag, load
from longvid.cli.output import OK, print_report, remark
from longvid.cli.store_commands import known_kind
from longvid.errors import ConfigError

if TYPE_CHECKING:
    from longvid.indexing.report import IndexReport
    from longvid.types import Failure


def add_commands(commands: Commands) -> None:
    """Register them."""
    index = commands.add(
        "index", _index, "Index videos into a store.", commands.store, commands.configured
    )
    index.add_argument("videos", nargs="+", metavar="PATH", help="file, folder, glob, URI or @list")
    index.add_argument(
        "--runner", choices=("local", "ray"), default="local", help="this machine, or a Ray cluster"
    )
    index.add_argument(
        "--max-failure-rate",
        type=float,
        metavar="SHARE",
        help="stop when a larger share of the videos fails (default: never stop)",
    )
    add_tag(index, "give every one of the videos this tag, to search by it")
    add_strict(index)

    retry = commands.add("retry", _retry, "Index failed videos once more.", commands.store)
    retry.add_argument(
        "videos", nargs="*", metavar="VIDEO", help="only these, by path, file name or id"
    )
    retry.add_argument("--kind", help="only failures of this kind")
    add_strict(retry)


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Add the option that makes every failure and gap count for the exit status."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit with status 3 for any failure or gap, not only when more than "
        "run.max_failure_rate of the videos failed",
    )


def stop_early(max_failure_rate: float) -> list[str]:
    """Return the settings that stop a run when a larger share of its videos fails."""
    return [f"run.max_failure_rate={max_failure_rate}", "run.stop_early=true"]


def _index(options: argparse.Namespace) -> int:
    if options.max_failure_rate is not None:
        options.set += stop_early(options.max_failure_rate)
    index: Callable[..., IndexReport]
    if options.runner == "ray":
        index = _ray_runner(options)
    else:
        from longvid.api import index
    config = load(options)
    from longvid.progress import index_progress
    from longvid.store.tags import parsed_tags

    tags = parsed_tags(options.tag)
    with index_progress(sys.stderr) as show:
        report = index(
            options.videos, store=options.store, config=config, on_progress=show, tags=tags
        )
    return print_report(report, options.json, strict=options.strict)


def _ray_runner(options: argparse.Namespace) -> Callable[..., IndexReport]:
    """Return the Ray runner, whose processes are started at once, to import beside this one."""
    import functools

    from longvid.config import load_layout

    try:
        from longvid.cluster import ray_runner
    except ImportError as error:
        raise ConfigError(
            f"--runner ray needs Ray, which is not installed ({error}); install longvid[ray]."
        ) from error
    from longvid.cluster.stdout import reserve_stdout

    reserve_stdout()
    layout = load_layout(options.config or "mini", options.set)
    actors = ray_runner.start(layout, lambda sentence: remark(f"longvid: {sentence}"))
    return functools.partial(ray_runner.index, actors=actors)


def _retry(options: argparse.Namespace) -> int:
    from longvid import registry
    from longvid.config import Config
    from longvid.indexing.local_runner import run_local
    from longvid.progress import index_progress
    from longvid.store import Store

    kind = known_kind(options.kind)
    store = Store.open(options.store)
    named = [_same_name(video) for video in options.videos]
    failures = [
        failure
        for failure in store.failures(kind=kind)
        if not named or any(matches(failure) for matches in named)
    ]
    config = Config.from_dict(store.config)
    own = {registry.name_of("text_source", part) for part in config.text_sources}
    others = [each for each in failures if each.stage == "text" and each.decoder not in {"", *own}]
    for source in sorted({failure.decoder for failure in others}):
        # The store does not know the settings of a source that was named later.
        remark(
            f"Its configuration has no {source}: read that text again with longvid text --store "
            f"{options.store} --source {source}, and the settings that you gave."
        )
    failures = [failure for failure in failures if failure not in others]
    if not failures:
        remark("Nothing to retry." if not others else "Nothing else to retry.")
        return OK
    run = dataclasses.replace(config.run, max_attempts=sys.maxsize)
    with index_progress(sys.stderr) as show:
        report = run_local(
            dict.fromkeys(failure.path for failure in failures),
            options.store,
            dataclasses.replace(config, run=run),
            show,
            # A video with a gap is indexed anew as a whole: its segments are immutable.
            again={failure.video_id for failure in failures if failure.is_gap},
        )
    return print_report(report, options.json, strict=options.strict)


def _same_name(name: str) -> Callable[[Failure], bool]:
    """Return a test for the failures of a video: by path, by file name, or by id."""

    def matches(failure: Failure) -> bool:
        return name in (failure.path, failure.video_id, failure.path.rpartition("/")[2]) or (
            "://" not in failure.path and os.path.abspath(name) == os.path.abspath(failure.path)
        )

    return matches
