"""Commands that read videos: index, retry."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from longvid.cli.command import Commands, load
from longvid.cli.show import OK, print_report
from longvid.cli.store import known_kind
from longvid.errors import ConfigError

if TYPE_CHECKING:
    from longvid.indexing import IndexReport

__all__ = ["add_commands"]


def add_commands(commands: Commands) -> None:
    """Register them."""
    index = commands.add(
        "index", _index, "Index videos into a store.", commands.store, commands.configured
    )
    index.add_argument("videos", nargs="+", metavar="PATH", help="file, folder, glob or @list")
    index.add_argument("--runner", choices=("local", "ray"), default="local")

    retry = commands.add("retry", _retry, "Index failed videos once more.", commands.store)
    retry.add_argument("videos", nargs="*", metavar="VIDEO", help="only these paths")
    retry.add_argument("--kind", help="only failures of this kind")


def _index(options: argparse.Namespace) -> int:
    config = load(options)
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


def _retry(options: argparse.Namespace) -> int:
    from longvid.api import index
    from longvid.config import Config
    from longvid.progress import index_progress
    from longvid.store import Store

    kind = known_kind(options.kind)
    store = Store.open(options.store)
    failures = [
        failure
        for failure in store.failures(kind=kind)
        if not options.videos or failure.path in options.videos
    ]
    if not failures:
        print("Nothing to retry.", file=sys.stderr)
        return OK
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
