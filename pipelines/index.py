"""Index videos on a Ray cluster: the stages of `longvid.indexing`, folded by Ray Data.

    ray job submit --working-dir . -- python -m pipelines.index --videos DIR --store DIR

    paths → [probe] → a row a chunk → [decode] → [encode, write] → rows → ledger, on the driver

Ray Data streams, schedules, holds back the faster stage and restarts what died. A row carries a
chunk from stage to stage; what cannot be read travels as a `Failure` in its row, so no stage ever
raises for a broken video. Both runners write the same bytes.
"""

from __future__ import annotations

import argparse
import logging
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy

from longvid.config import Config, RayResources, load_config, torch_device
from longvid.decoding import open_video, sized_decoder
from longvid.errors import ConfigError, LongvidError
from longvid.indexing import (
    IndexReport,
    Ledger,
    Progress,
    SegmentPipeline,
    no_video_named,
    open_store,
    tried_out,
)
from longvid.listing import list_videos
from longvid.sample import plan_chunks
from longvid.store import ChunkRecord, Store
from longvid.types import Chunk, Failure

__all__ = ["index", "main"]

Row = dict[str, Any]
"""What travels between stages: `path` plus the pickled objects that the stage before it made."""


class Claims:
    """Lets the first path with some content through, and remembers the others.

    An actor without a processor share, so that two names of one video, probed on two machines, are
    decoded once. Claiming again under the same name succeeds: a restarted task repeats itself.
    """

    def __init__(self) -> None:
        self._owner: dict[str, str] = {}

    def claim(self, video_id: str, path: str) -> bool:
        """Return True when this path is the one to be decoded."""
        return self._owner.setdefault(video_id, path) == path


class Probe:
    """Path → one row a chunk; or one row that says why there is none."""

    def __init__(self, config: Config, store_uri: str, claims: Any) -> None:
        self._config = config
        self._decoder = sized_decoder(config).setup("cpu")
        self._store = Store.open(store_uri)
        self._claims = claims

    def __call__(self, row: Row) -> Iterator[Row]:
        """Open one file and plan it."""
        video = open_video(self._decoder, row["path"])
        if isinstance(video, Failure):
            yield _row(failure=video)
        elif self._store.has(video.video_id) or not ray.get(
            self._claims.claim.remote(video.video_id, video.path)
        ):
            yield _row(duplicate=video)
        else:
            chunks = plan_chunks(video, self._config.sample)
            for chunk in chunks:
                yield _row(chunk=chunk, num_chunks=len(chunks))


class Decode:
    """Chunk → its decoded frames and gaps."""

    def __init__(self, config: Config) -> None:
        self._decoder = sized_decoder(config).setup("cpu")

    def __call__(self, row: Row) -> Row:
        """Decode one chunk in this actor's own child process."""
        content = _content(row)
        if "chunk" in content:
            content["decoded"] = list(self._decoder.decode(content["chunk"]))
        return _row(**content)


class Encode:
    """Decoded chunk → an object in the store, and the record of it."""

    def __init__(self, config: Config, store_uri: str) -> None:
        self._pipeline = SegmentPipeline(config, torch_device(config.run.device))
        self._store = Store.open(store_uri)

    def __call__(self, row: Row) -> Row:
        """Encode, compress and write one chunk."""
        content = _content(row)
        if "chunk" in content:
            chunk: Chunk = content["chunk"]
            segments, gaps = self._pipeline.try_chunk(chunk.video, content.pop("decoded"))
            content["gaps"] = gaps
            content["record"] = (
                self._store.write_chunk(chunk.video.video_id, segments) if segments else None
            )
        return _row(**content)


def _row(**content: Any) -> Row:
    # One pickled cell: Ray sees bytes of a known size, which its backpressure can count.
    return {"content": pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)}


def _content(row: Row) -> dict[str, Any]:
    content: dict[str, Any] = pickle.loads(row["content"])
    return content


def index(
    videos: Sequence[str | Path],
    *,
    store: str | Path,
    config: str | Path | Config = "mini",
    on_progress: Callable[[Progress], None] | None = None,
) -> IndexReport:
    """Index videos into a store on the Ray cluster at hand, or on this machine if there is none.

    The signature and the store are those of `longvid.index`.

    Args:
        videos: Files, folders, globs, or @file with a path a line; visible to every machine.
        store: Folder or URI visible to every machine; made when it does not exist.
        config: A preset's name, a TOML file, or a Config.
        on_progress: Called in this process whenever something was finished.

    Raises:
        ConfigError: The configuration is wrong, no video is named, or the cluster is too small
            for what its [ray] table asks.
        StoreError: The store was made by another configuration, or cannot be written.
        ModelError: A checkpoint is missing.
    """
    started = time.perf_counter()
    if not isinstance(config, Config):
        config = load_config(config)
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's own
    num_decoders = plan_decoders(config.ray, cluster)
    opened = open_store(str(store), config)
    given_up = tried_out(opened, config.run.max_attempts)
    ledger = Ledger(opened)
    paths = []
    for path in list_videos(str(video) for video in videos):
        if path in given_up:
            ledger.skip(path)
        else:
            paths.append(path)
    if not paths and not ledger.progress.videos_skipped:
        raise no_video_named()
    if paths:
        for row in _stream(paths, config, opened.uri, num_decoders).iter_rows():
            _account(ledger, _content(row))
            if on_progress is not None:
                on_progress(ledger.progress)
    opened.refresh()
    return ledger.report(time.perf_counter() - started, config.encoder.note())


def plan_decoders(resources: RayResources, cluster: dict[str, float]) -> int:
    """Say how many decoding actors fit beside the other stages.

    Ray Data waits for ever when actors leave no share for the tasks that feed them, so a plan that
    cannot be scheduled is refused here, with the sum.

    Args:
        resources: The configuration's [ray] table.
        cluster: What `ray.cluster_resources()` offers.

    Raises:
        ConfigError: Not even one decoding actor fits.
    """
    cpus, gpus = cluster.get("CPU", 0.0), cluster.get("GPU", 0.0)
    others = resources.probe_cpus + resources.encode_actors * resources.encode_cpus
    most = int((cpus - others + 1e-9) / resources.decode_cpus) if resources.decode_cpus else 1
    wanted = resources.decode_actors or most
    if wanted > most or most < 1:
        raise ConfigError(
            f"The plan needs {others + max(wanted, 1) * resources.decode_cpus:g} CPUs (probe "
            f"{resources.probe_cpus:g} + encode {resources.encode_actors} x "
            f"{resources.encode_cpus:g} + decode {max(wanted, 1)} x {resources.decode_cpus:g}), "
            f"the cluster has {cpus:g}; lower the shares in [ray] or add machines."
        )
    if resources.encode_actors * resources.encode_gpus > gpus:
        raise ConfigError(
            f"The plan needs {resources.encode_actors * resources.encode_gpus:g} GPUs for "
            f"encoding, the cluster has {gpus:g}; lower ray.encode_gpus or add machines."
        )
    return wanted


def _stream(paths: Sequence[str], config: Config, store_uri: str, num_decoders: int) -> Any:
    """Compose the stages. Nothing runs until the rows are read."""
    resources = config.ray
    claims = ray.remote(Claims).options(num_cpus=0).remote()
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    # A row a block: the chunks of one long film go to different decoders. `repartition` would do
    # the same, but its tasks take a whole processor each and so wait for ever on a small machine.
    context.target_max_block_size = 1
    with ray.data.DataContext.current(context):
        rows = ray.data.from_items(
            [{"path": path} for path in paths], override_num_blocks=min(len(paths), 1000)
        )
        return (
            rows.flat_map(
                Probe,
                fn_constructor_args=(config, store_uri, claims),
                compute=ActorPoolStrategy(size=1),
                num_cpus=resources.probe_cpus,
            )
            .map(
                Decode,  # type: ignore[arg-type]  # a class with __call__, as Ray's text asks for
                fn_constructor_args=(config,),
                compute=ActorPoolStrategy(size=num_decoders),
                num_cpus=resources.decode_cpus,
            )
            .map(
                Encode,  # type: ignore[arg-type]  # as above
                fn_constructor_args=(config, store_uri),
                compute=ActorPoolStrategy(size=resources.encode_actors),
                num_cpus=resources.encode_cpus,
                num_gpus=resources.encode_gpus,
            )
        )


def _account(ledger: Ledger, content: dict[str, Any]) -> None:
    """Enter one finished row into the ledger."""
    if "failure" in content:
        ledger.fail(content["failure"])
    elif "duplicate" in content:
        ledger.same_as_another(content["duplicate"])
    else:
        chunk: Chunk = content["chunk"]
        record: ChunkRecord | None = content["record"]
        if not ledger.is_open(chunk.video.video_id):
            ledger.open(chunk.video, content["num_chunks"])
        ledger.chunk_done(chunk.video.video_id, record, content["gaps"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a job; exit status as for `longvid index`."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.index", description="Index videos on a Ray cluster."
    )
    parser.add_argument("--videos", required=True, nargs="+", metavar="PATH")
    parser.add_argument("--store", required=True)
    parser.add_argument("--config", default="mini", metavar="NAME|FILE")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(arguments)
    from longvid.cli.show import print_report
    from longvid.progress import index_progress

    try:
        config = load_config(options.config, options.set)
        with index_progress(sys.stderr) as show:
            report = index(options.videos, store=options.store, config=config, on_progress=show)
    except LongvidError as error:
        print(f"longvid: {error}", file=sys.stderr)
        return 1
    return print_report(report, options.json)


if __name__ == "__main__":
    raise SystemExit(main())
