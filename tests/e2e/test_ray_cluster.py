"""Jobs on a cluster of several raylets on this machine, through what a real cluster has.

Workers, a raylet and the driver are killed at moments drawn from a seed (LONGVID_SEED). Where the
time that a stage takes matters, stand-ins take it; the runner and the store are always the real
ones.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed.processes import tree
from benchmarks.speed.stand_ins import (
    StandInDecoder,
    StandInEncoder,
    make_footage,
    stand_in_config,
)
from longvid.config import Config, RayResources, load_config
from longvid.doctor import examine_cluster
from longvid.errors import ConfigError
from longvid.indexing.local_runner import run_local
from longvid.indexing.report import IndexReport
from longvid.inputs import list_videos
from longvid.store import Store
from tests.conftest import require
from tests.e2e.clips import make_clip

ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get("LONGVID_SEED", "20261121"))

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def dashboard() -> int:
    return free_port()


@pytest.fixture(scope="module")
def cluster(dashboard: int) -> Iterator[Any]:
    """A head with a dashboard and two more machines, one processor each; two in all is the trap."""
    try:
        import ray
        from ray.cluster_utils import Cluster
    except ImportError:
        require("ray", "Ray is not installed")
    # What runs there must be this Python: a job names its own.
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{path}"
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": True,
            "dashboard_port": dashboard,
            "object_store_memory": 200 * 2**20,
            # A machine that is killed counts as dead after five checks that it refuses at once.
            "_system_config": {"metrics_report_interval_ms": 1000, "health_check_period_ms": 500},
        },
    )
    # Machines share no folder: neither must these, when a job's package is unpacked on each.
    for number in range(2):
        cluster.add_node(
            num_cpus=1,
            object_store_memory=200 * 2**20,
            runtime_env_dir_name=f"runtime_resources_{number}",
        )
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    os.environ["PATH"] = path


@pytest.fixture
def driver(cluster: Any) -> Iterator[Any]:
    """Make this process a driver of the cluster."""
    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level="WARNING")
    yield cluster
    ray.shutdown()


def config(*overrides: str, decode: float = 0.0, encode: float = 0.0, pixels: int = 16) -> Config:
    return stand_in_config(
        "sample.chunk_segments=1",
        *overrides,
        decoder=StandInDecoder(seconds_per_frame=decode),
        encoder=StandInEncoder(seconds_per_frame=encode, pixels=pixels),
    )


def index(videos: Path, store: Path, config: Config) -> IndexReport:
    from longvid.cluster.ray_runner import index

    return index([videos], store=store, config=config)


def drive(address: str, videos: Path, store: Path, config: Config) -> None:
    """Be a driver, in a process of its own, so that it can be killed."""
    import ray

    ray.init(address=address, log_to_driver=False, logging_level="WARNING")
    index(videos, store, config)


def summary(store: Path) -> dict[str, Any]:
    """Return what the last run left."""
    newest = max((store / "runs").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    document: dict[str, Any] = json.loads(newest.read_text())
    return document


class Killer(threading.Thread):
    """Kills actors of a job by SIGKILL at moments drawn from a seed, until it is stopped."""

    def __init__(self, drawn: random.Random, most: int) -> None:
        super().__init__(daemon=True)
        self.kills = 0
        self._drawn, self._most = drawn, most
        self._over = threading.Event()

    def run(self) -> None:
        while self.kills < self._most and not self._over.wait(self._drawn.uniform(0.5, 2.0)):
            workers = [pid for pid in tree(os.getpid()) if b"ray::Actor" in _command(pid)]
            if workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._drawn.choice(workers), signal.SIGKILL)
                    self.kills += 1

    def stop(self) -> None:
        self._over.set()
        self.join()


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def finished(store: Path) -> int:
    return len(list(store.glob("videos/*/manifest.json")))


def test_a_job_is_submitted_to_the_job_server(cluster: Any, dashboard: int, tmp_path: Path) -> None:
    videos, store = tmp_path / "videos", tmp_path / "store"
    videos.mkdir()
    make_clip(videos / "clip.mp4", 12, 1)
    (videos / "broken.mp4").write_text("no video\n")
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "job", "submit"),
        *("--address", f"http://127.0.0.1:{dashboard}", "--working-dir", ".", "--"),
        *("python", "-m", "pipelines.index", "--videos", f"{videos}/*.mp4"),
        *("--store", str(store), "--config", "mini", "--interval", "0.5"),
        *("--set", "ray.decode_actors=1"),
    ]
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        output = done.stdout + done.stderr
        # A job server that has just started may know of no machine yet.
        if "No available agent" not in output or time.monotonic() > deadline:
            break
        time.sleep(1)
    line = r"\d+ of \d+ videos, .*decode \d+ % busy, encode \d+ % busy"
    assert re.search(line, output), output
    assert "1 indexed, 0 skipped, 1 failed" in output, output
    opened = Store.open(store)
    assert [Path(stored.video.path).name for stored in opened.videos()] == ["clip.mp4"]
    assert [failure.kind for failure in opened.failures()] == ["unsupported"]


def test_what_dies_is_done_again_and_nothing_twice(driver: Any, tmp_path: Path) -> None:
    drawn = random.Random(SEED)
    videos = make_footage(tmp_path / "videos", 12, 40)
    chosen = config("ray.encode_cpus=0.75", "ray.decode_actors=2", decode=0.01, encode=0.005)
    run_local(list_videos([str(videos)]), str(tmp_path / "undisturbed"), chosen)
    undisturbed = Store.open(tmp_path / "undisturbed")
    # One video kills its worker every time. Locally it would kill this test.
    (videos / "fatal.mp4").write_text("6 seconds that no worker survives\n")
    store = tmp_path / "store"

    context = multiprocessing.get_context("spawn")
    job = context.Process(target=drive, args=(driver.address, videos, store, chosen))
    job.start()
    while finished(store) < 4 and job.is_alive():
        time.sleep(0.02)
    time.sleep(drawn.random())
    job.kill()
    job.join()
    before = {path: path.stat().st_mtime_ns for path in store.glob("videos/*/manifest.json")}

    machine = driver.add_node(num_cpus=1)
    killer = Killer(drawn, most=4)
    killer.start()
    timer = threading.Timer(
        drawn.uniform(4, 8), driver.remove_node, (machine,), {"allow_graceful": False}
    )
    timer.start()
    report = index(videos, store, chosen)
    killer.stop()
    timer.join()
    driver.wait_for_nodes()  # until the one that was removed counts as dead

    print(f"seed {SEED}: driver, raylet and {killer.kills} workers killed, {len(before)} survived")
    assert len(before) >= 4
    assert report.videos_indexed == 12 - len(before)
    (failure,) = report.failures
    assert (Path(failure.path).name, failure.kind) == ("fatal.mp4", "worker-crash")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    opened = Store.open(store)
    assert opened.digest() == undisturbed.digest()
    assert opened.verify() == []
    assert len(opened.failures()) == 1


class Peak(threading.Thread):
    """Watches how many bytes lie in the object store of any machine."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._over = threading.Event()

    def run(self) -> None:
        import ray
        from ray._private.internal_api import node_stats

        while not self._over.wait(0.05):
            for node in ray.nodes():
                if node["Alive"]:
                    stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"])
                    self.bytes = max(self.bytes, stats.store_stats.object_store_bytes_used)

    def stop(self) -> None:
        self._over.set()
        self.join()


def test_frames_wait_in_bounded_memory_for_a_slow_encoder(driver: Any, tmp_path: Path) -> None:
    videos = make_footage(tmp_path / "videos", 12, 32)
    pixels, limit = 256, 6
    batch_bytes = 16 * 3 * pixels * pixels
    peak = Peak()
    peak.start()
    metric = r'longvid_frames_total{.*stage="decode".*} [1-9]'
    seen = threading.Thread(target=wait_for_metric, args=(driver, metric))
    seen.start()
    index(
        videos,
        tmp_path / "store",
        config(
            *(f"ray.frame_batches={limit}", "ray.decode_actors=1"),
            *("sample.fps=1.0", "sample.segment_frames=16"),
            encode=0.015,
            pixels=pixels,
        ),
    )
    peak.stop()
    seen.join()
    done = summary(tmp_path / "store")
    assert done["frames"] == 12 * 32
    assert done["most_frame_batches_waiting"] == limit
    # Without the limit most of the 24 would lie there long before the encoder is through.
    # Ray frees what was consumed once a second, or later on a busy machine; four more are encoded
    # in a second.
    assert 2 * batch_bytes < peak.bytes < (limit + 10) * batch_bytes
    assert done["stages"]["decode"]["items"] == done["stages"]["encode"]["items"] == 24


def exported(driver: Any) -> str:
    """Return what Prometheus would read on all machines."""
    import ray

    pages = []
    for node in ray.nodes():
        if node["Alive"] and node["MetricsExportPort"]:
            address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
            with urllib.request.urlopen(address, timeout=30) as page:
                pages.append(page.read().decode())
    return "\n".join(pages)


def wait_for_metric(driver: Any, pattern: str) -> None:
    until = time.monotonic() + 60
    while not re.search(pattern, exported(driver)):
        assert time.monotonic() < until, f"no {pattern} within a minute"
        time.sleep(0.2)


def test_decoding_and_encoding_may_be_one_actor(driver: Any, tmp_path: Path) -> None:
    videos = make_footage(tmp_path / "videos", 3, 40)
    run_local(list_videos([str(videos)]), str(tmp_path / "local"), config())
    index(videos, tmp_path / "store", config("ray.fused=true", "ray.encode_actors=2"))
    assert Store.open(tmp_path / "store").digest() == Store.open(tmp_path / "local").digest()
    assert "decoding fused: 2 encoding actors" in summary(tmp_path / "store")["plan"]


def test_a_plan_that_no_machine_can_hold_is_refused_with_the_sum(driver: Any) -> None:
    from longvid.cluster.ray_runner import explain

    mini = load_config("mini")
    for shares, sentence in (
        # Three processors in all, and more than one asked of each stage.
        ({"decode_cpus": 2.0, "encode_cpus": 1.0}, r"needs 3\.25 CPUs .*the cluster has 3"),
        ({"decode_cpus": 2.0}, "2 CPUs and 0 GPUs on one machine .* does decode"),
        ({"encode_gpus": 1.0}, r"needs 1 GPUs \(1 encoding actors x 1\), the cluster has 0"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            explain(replace(mini, ray=RayResources(**shares)))
    rows = dict(explain(mini))
    assert "1 probing, 4 decoding, 1 encoding actors on 2.75 CPUs" in rows["ray plan"]
    assert {finding.state for finding in examine_cluster(mini)} == {"ok"}
    (refusal,) = examine_cluster(replace(mini, ray=RayResources(encode_gpus=1.0)))
    assert (refusal.state, refusal.what) == ("error", "ray plan")
