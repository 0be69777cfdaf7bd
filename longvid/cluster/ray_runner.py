"""Index videos on a Ray cluster: the stages of the local runner in actors.

Ray places the actors and says when one has died; `longvid.cluster.job` keeps them busy, bounds
the number of waiting frames, and gives up a chunk that has killed its workers. Both runners write
the same bytes. Why there is no Ray Data between: see benchmarks/SCALE.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from longvid.cluster.lister import RemoteListing, few_files
from longvid.cluster.placement import plan_decoders, room_for_frames
from longvid.cluster.retry_policy import RetryPolicy
from longvid.cluster.session import Actors, connect, nodes, plan_for, start
from longvid.config import Config, load_config
from longvid.inputs import input_names
from longvid.remote_files import is_remote

if TYPE_CHECKING:
    from longvid.indexing.report import IndexReport, Progress

__all__ = ["connect", "explain", "index", "plan_decoders", "run_job", "start"]


def index(
    videos: str | Path | Iterable[str | Path],
    *,
    store: str | Path,
    config: str | Path | Config = "mini",
    on_progress: Callable[[Progress], None] | None = None,
    actors: Actors | None = None,
    tags: Mapping[str, str] | None = None,
) -> IndexReport:
    """Index videos into a store on the Ray cluster that is found, else on this machine.

    The signature and the store are those of `longvid.index`.

    Args:
        videos: Files, folders, globs, URIs, or @file with one a line, one or several; visible to
            every machine.
        store: Folder or URI visible to every machine; made when it does not exist.
        config: A preset's name, a TOML file, or a Config.
        on_progress: Called every second, in a thread of its own.
        actors: Of `start`, when it was called before the configuration was read. They are ended.
        tags: As `longvid.index` has them.

    Raises:
        ConfigError: The configuration is wrong, no video is named, or the cluster is too small
            for what its [ray] table asks.
        StoreError: The store was made by another configuration, or cannot be written.
        ModelError: A checkpoint is missing.
        FailureRateError: More videos fail than run.max_failure_rate allows.
        ClusterError: The cluster cannot be reached, or broke down.
    """
    names = [_absolute(name) for name in input_names(videos)]
    if not isinstance(config, Config):
        config = load_config(config)
    if actors is None:
        actors = start(config)
    return run_job(names, str(store), config, actors, on_progress, tags=tags)


def run_job(
    inputs: Sequence[str],
    store_uri: str,
    config: Config,
    actors: Actors,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    together: bool = False,
    tags: Mapping[str, str] | None = None,
) -> IndexReport:
    """Do what `index` does with actors that were started and are ended; names are absolute.

    With `together`, begin when all are up.
    """
    from longvid.cluster.job import Job
    from longvid.cluster.progress_thread import ProgressThread
    from longvid.cluster.text_tasks import read_text_of
    from longvid.indexing.ledger import Ledger, empty_input_error, open_store
    from longvid.indexing.text_reader import TextReader, summed
    from longvid.indexing.video_reader import Reader

    started = time.perf_counter()
    try:
        Reader(config).close()  # a decoder that cannot be used is refused before a store is made
        TextReader(config).close()  # and so is a text source that lacks a package
        opened = open_store(store_uri, config)
        ledger = Ledger(opened, config.run, tags=tags)
        few = few_files(inputs)
        plan = replace(actors.plan, frame_batches=room_for_frames(actors.plan, config))
        policy = RetryPolicy(plan.frame_batches, config.run.max_attempts)
        job = Job(config, actors, ledger, policy)
        with closing(job), ProgressThread(ledger, plan, policy, job, on_progress):
            listing = RemoteListing(inputs, actors.health)
            if few is not None:
                job.probe_here(few.paths)
            job.run(listing if few is None else (), together)
            skipped = listing.notes() if few is None else few.skipped
            if not job.num_paths:
                raise empty_input_error(skipped)
            text = read_text_of(ledger.finished, config, opened.uri)
            failures, text_note = summed(opened, text)
            ledger.failures.extend(failures)
            job.refresh()
    finally:
        actors.close()
    seconds = time.perf_counter() - started
    sums = policy.sums()
    opened.record_run({"runner": "ray", "plan": str(plan), **ledger.summary(seconds), **sums})
    note = "; ".join(filter(None, (config.encoder.note(), text_note)))
    return replace(ledger.report(seconds, note), skipped=skipped)


def explain(config: Config) -> list[tuple[str, str]]:
    """Return rows with the resources of the cluster and those that the plan uses.

    Raises:
        ConfigError: The plan does not fit; the sentence has the sum.
        ClusterError: There is no cluster and none can be started.
    """
    connect()
    plan = plan_for(config)
    rows = []
    for node in nodes():
        shares = ", ".join(f"{node[kind]:g} {kind}s" for kind in ("CPU", "GPU") if kind in node)
        memory = f"{node.get('object_store_memory', 0.0) / 2**30:.1f} GiB for objects"
        rows.append(("ray machine", f"{shares or 'no processors'}, {memory}"))
    rows.append(("ray plan", str(replace(plan, frame_batches=room_for_frames(plan, config)))))
    return rows


def _absolute(name: str) -> str:
    """Free a local name from the working directory, which is the driver's alone."""
    if is_remote(name.removeprefix("@")):
        return name
    if name.startswith("@"):
        return "@" + os.path.abspath(name[1:])
    return os.path.abspath(name.removeprefix("file://"))
