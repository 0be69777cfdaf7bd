"""Index videos on a Ray cluster: the stages of `longvid.indexing`, folded by Ray Data.

    ray job submit --working-dir . -- python -m pipelines.index --videos DIR --store DIR

    inputs → list → paths → [probe] → a row a chunk → [decode] → [encode, write] → ledger, here

On one machine [decode] and [encode, write] are one actor, and a few local files are listed and
probed by the driver: starting a process takes longer than that.

Ray Data streams, schedules and restarts what died; one supervisor actor bounds the frames that
wait, lets each video be decoded under one name only, and takes a chunk out of work that has
killed its workers. Both runners write the same bytes.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray._private.services import canonicalize_bootstrap_address
from ray.data import ActorPoolStrategy

from longvid.config import Config, load_config
from longvid.errors import ClusterError, LongvidError
from longvid.fetching import file_bytes, is_remote
from longvid.indexing import IndexReport, Ledger, Progress, no_video_named, open_store
from longvid.listing import list_videos
from longvid.types import Chunk
from pipelines.plan import Plan, make_plan, plan_decoders
from pipelines.stages import (
    Decode,
    DecodeAndEncode,
    Encode,
    List,
    Probe,
    content_of,
    item_name,
    row,
)
from pipelines.supervisor import start_supervisor
from pipelines.watch import Watch

__all__ = ["connect", "explain", "index", "main", "plan_decoders"]

_ANSWER_SECONDS = 5.0
#: What the driver hashes and opens itself, in about a second.
_FEW_FILES, _FEW_BYTES = 16, 1 << 30


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
        videos: Files, folders, globs, URIs, or @file with one a line; visible to every machine.
        store: Folder or URI visible to every machine; made when it does not exist.
        config: A preset's name, a TOML file, or a Config.
        on_progress: Called every second, in a thread of its own.

    Raises:
        ConfigError: The configuration is wrong, no video is named, or the cluster is too small
            for what its [ray] table asks.
        StoreError: The store was made by another configuration, or cannot be written.
        ModelError: A checkpoint is missing.
        FailureRateError: More videos fail than run.max_failure_rate allows.
        ClusterError: The cluster cannot be reached, or broke down.
    """
    started = time.perf_counter()
    if not isinstance(config, Config):
        config = load_config(config)
    connect()
    plan = _plan(config)
    # First, so that its process starts while the store is opened.
    supervisor = start_supervisor(plan.frame_batches, config.run.max_attempts)
    opened = open_store(str(store), config)
    ledger = Ledger(opened, config.run.max_failure_rate)
    inputs = [_absolute(str(video)) for video in videos]
    with Watch(ledger, plan, supervisor, on_progress):
        num_paths = 0
        for content in _contents(inputs, config, opened.uri, plan, supervisor):
            num_paths += content.get("num_paths", 0)
            _account(ledger, content, supervisor)
        if not num_paths:
            raise no_video_named()
    opened.refresh()
    seconds = time.perf_counter() - started
    sums = ray.get(supervisor.sums.remote())
    opened.record_run({"runner": "ray", "plan": str(plan), **ledger.summary(seconds), **sums})
    ray.kill(supervisor)
    return ledger.report(seconds, config.encoder.note())


def connect() -> None:
    """Join the cluster that RAY_ADDRESS or this machine names, or start one here.

    Raises:
        ClusterError: There is no answer.
    """
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # Its warning is that progress bars are off, as they should be beside our own lines.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    if ray.is_initialized():
        return
    address = _address()
    options: Any = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address == "local":
        # A dashboard takes seconds to start, and nobody asked for it.
        options["include_dashboard"] = False
    try:
        ray.init(address, **options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise _no_answer(str(error).splitlines()[0]) from error


def _address() -> str:
    """Say where to connect. Ray itself waits for minutes at the address of a cluster that ended."""
    named = os.environ.get("RAY_ADDRESS", "")
    if "://" in named:
        return named
    try:
        found = canonicalize_bootstrap_address(named or "auto")
    except ConnectionError:
        found = None
    except (OSError, ValueError) as error:
        raise _no_answer(str(error)) from error
    if found is None:
        return "local"
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
    except OSError as error:
        if named:
            raise _no_answer(f"{found}: {error.strerror or error}") from error
        return "local"
    return named or "auto"


def _no_answer(reason: str) -> ClusterError:
    return ClusterError(
        f"The Ray cluster cannot be reached ({reason}); check RAY_ADDRESS, set RAY_AUTH_MODE=token "
        "if the cluster asks for its token, or unset RAY_ADDRESS to use this machine alone."
    )


def explain(config: Config) -> list[tuple[str, str]]:
    """Say what the cluster offers and what the plan would use of it.

    Raises:
        ConfigError: The plan does not fit; the sentence has the sum.
        ClusterError: There is no cluster and none can be started.
    """
    connect()
    rows = []
    for node in _nodes():
        shares = ", ".join(f"{node[kind]:g} {kind}s" for kind in ("CPU", "GPU") if kind in node)
        memory = f"{node.get('object_store_memory', 0.0) / 2**30:.1f} GiB for objects"
        rows.append(("ray machine", f"{shares or 'no processors'}, {memory}"))
    rows.append(("ray plan", str(_plan(config))))
    return rows


def _nodes() -> list[dict[str, float]]:
    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's own
    return [node["Resources"] for node in nodes if node["Alive"]]


def _plan(config: Config) -> Plan:
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's own
    return make_plan(config, cluster, _nodes())


def _absolute(name: str) -> str:
    """Free a local name from the working directory, which is the driver's alone."""
    if is_remote(name.removeprefix("@")):
        return name
    if name.startswith("@"):
        return "@" + os.path.abspath(name[1:])
    return os.path.abspath(name.removeprefix("file://"))


def _probed_here(
    inputs: Sequence[str], config: Config, store_uri: str, supervisor: Any
) -> list[dict[str, Any]] | None:
    """List and probe a few files here: starting processes for it would take longer.

    Returns:
        The rows that listing and probing give, or None when that is work for the cluster.
    """
    if any(is_remote(name.removeprefix("@")) for name in inputs):
        return None
    paths = list(islice(list_videos(inputs), _FEW_FILES + 1))
    if len(paths) > _FEW_FILES or any(map(is_remote, paths)):
        return None
    if sum(map(file_bytes, paths)) > _FEW_BYTES:
        return None
    supervisor.listed.remote(len(paths))
    probe = Probe(config, store_uri, supervisor)
    try:
        return list(probe(row(paths=paths)))
    finally:
        probe.close()


def _stream(
    inputs: Sequence[str],
    probed: list[dict[str, Any]] | None,
    config: Config,
    store_uri: str,
    plan: Plan,
    supervisor: Any,
) -> Any:
    """Compose the stages that are left. Nothing runs until the rows are read."""
    here = ray.get_runtime_context().get_node_id()
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    # A row a block: the chunks of one long film go to different decoders. `repartition` would do
    # the same, but its tasks take a whole processor each and so wait for ever on a small machine.
    context.target_max_block_size = 1
    resources = config.ray
    chunks: Any
    with ray.data.DataContext.current(context):
        if probed is not None:
            chunks = ray.data.from_items(probed, override_num_blocks=len(probed))
        else:
            chunks = (
                ray.data.from_items([row(inputs=list(inputs))])
                # Without a processor share: actors that take every processor would starve it.
                # Beside the driver, where lists and folders are what the user saw.
                .flat_map(
                    List(supervisor),
                    num_cpus=0,
                    label_selector={"ray.io/node-id": here},
                )
                .flat_map(
                    Probe,
                    fn_constructor_args=(config, store_uri, supervisor),
                    compute=ActorPoolStrategy(size=plan.probe_actors),
                    num_cpus=resources.probe_cpus,
                )
            )
        if plan.fused_decoders:
            return chunks.map(
                DecodeAndEncode,
                fn_constructor_args=(config, store_uri, supervisor, plan.fused_decoders),
                compute=ActorPoolStrategy(
                    size=plan.encode_actors,
                    # As many again wait for the encoder.
                    max_concurrent_calls_per_actor=2 * plan.fused_decoders,
                    enable_true_multi_threading=True,
                ),
                num_cpus=plan.encode_cpus,
                num_gpus=resources.encode_gpus,
            )
        return chunks.map(
            Decode,
            fn_constructor_args=(config, supervisor),
            compute=ActorPoolStrategy(size=plan.decode_actors),
            num_cpus=resources.decode_cpus,
        ).map(
            Encode,
            fn_constructor_args=(config, store_uri, supervisor),
            compute=ActorPoolStrategy(size=plan.encode_actors),
            num_cpus=plan.encode_cpus,
            num_gpus=resources.encode_gpus,
        )


def _contents(
    inputs: Sequence[str], config: Config, store_uri: str, plan: Plan, supervisor: Any
) -> Iterator[dict[str, Any]]:
    """Yield what the rows carry, and turn Ray's errors into longvid's."""
    probed = _probed_here(inputs, config, store_uri, supervisor)
    if probed is not None:
        yield from (content for content in map(content_of, probed) if "chunk" not in content)
        probed = [packed for packed in probed if "chunk" in content_of(packed)]
        if not probed:  # what is there already needs no actor
            return
    try:
        with warnings.catch_warnings():
            # Fewer chunks than decoders is how every short job ends.
            warnings.filterwarnings("ignore", "The minimum number of concurrent actors")
            for packed in _stream(inputs, probed, config, store_uri, plan, supervisor).iter_rows():
                yield content_of(packed)
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, LongvidError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if isinstance(cause, LongvidError):
            raise cause from error
        raise ClusterError(
            f"The job broke down ({str(error).strip().splitlines()[-1]}); what was finished is "
            "kept, run the same command to go on."
        ) from error


def _account(ledger: Ledger, content: dict[str, Any], supervisor: Any) -> None:
    """Enter one finished row into the ledger."""
    for path in content.get("skipped", ()):
        ledger.skip(path)
    for video in content.get("duplicates", ()):
        ledger.same_as_another(video)
    for failure in content.get("failures", ()):
        ledger.fail(failure)
    if "chunk" in content:
        chunk: Chunk = content["chunk"]
        supervisor.consumed.remote(item_name(chunk))
        video_id = chunk.video.video_id
        if not ledger.is_open(video_id):
            ledger.open(chunk.video, content["num_chunks"])
        ledger.chunk_done(video_id, content["record"], content["gaps"])
        if not ledger.is_open(video_id):
            supervisor.forget.remote(video_id)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a job; exit status as for `longvid index`."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.index", description="Index videos on a Ray cluster."
    )
    parser.add_argument("--videos", required=True, nargs="+", metavar="PATH|URI|@LIST")
    parser.add_argument("--store", required=True, metavar="PATH|URI")
    parser.add_argument("--config", default="mini", metavar="NAME|FILE")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--max-failure-rate", type=float, metavar="SHARE")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between lines")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(arguments)
    from longvid.cli.show import print_report
    from longvid.progress import index_progress

    settings = list(options.set)
    if options.max_failure_rate is not None:
        settings.append(f"run.max_failure_rate={options.max_failure_rate}")
    try:
        config = load_config(options.config, settings)
        with index_progress(sys.stderr, options.interval) as show:
            report = index(options.videos, store=options.store, config=config, on_progress=show)
    except LongvidError as error:
        print(f"longvid: {error}", file=sys.stderr)
        return 1
    return print_report(report, options.json)


if __name__ == "__main__":
    raise SystemExit(main())
