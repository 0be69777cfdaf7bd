"""Time `longvid index` beside `longvid index --runner ray`, as whole commands on one machine.

The clock runs from the start of a command to its end, imports and all, as a person waits for it.
Before each, what they import is read once more: a machine that stood idle while a cluster came up
may have dropped it from its cache, and then the one measured next would pay for that.
Ray is measured twice: on a cluster that is up, as jobs usually find it, and where the command has
to start one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measurements import Row, in_turns, median_row

_LOCAL, _RUNNING, _STARTED = "local", "ray, cluster up", "ray, started by the command"
_START_SECONDS = 60.0
_IMPORTS = (
    "import sys, ray; from longvid.config import load_config; "
    "load_config(sys.argv[1], sys.argv[2:]).encoder.setup()"
)
# A head asks for its user's token by default; who names an address would have to say so too.
_OPEN = {"RAY_AUTH_MODE": "disabled"}


def compare_runners(
    minutes: float, video: str, config: str, settings: Sequence[str], repeat: int, folder: str
) -> list[Row]:
    """Index one video with both runners `repeat` times, in alternating order."""
    walls: dict[str, list[float]] = {_LOCAL: [], _RUNNING: [], _STARTED: []}
    working: dict[str, list[float]] = {_RUNNING: [], _STARTED: []}
    for subject in in_turns(walls, repeat):
        store = Path(folder, "store")
        with _cluster() if subject == _RUNNING else contextlib.nullcontext("") as address:
            command = [sys.executable, "-m", "longvid.cli", "index", video]
            command += ["--store", str(store), "--config", config]
            for setting in settings:
                command += ["--set", setting]
            if subject != _LOCAL:
                command += ["--runner", "ray"]
            subprocess.run([sys.executable, "-c", _IMPORTS, config, *settings], check=True)
            walls[subject].append(_timed(command, address))
        if subject in working:
            (run,) = store.glob("runs/*.json")
            working[subject].append(json.loads(run.read_text())["working_seconds"])
        shutil.rmtree(store)
    return _rows(minutes, walls, working)


def _rows(
    minutes: float, walls: dict[str, list[float]], working: dict[str, list[float]]
) -> list[Row]:
    task = f"{minutes:g} minutes, whole command"
    local = statistics.median(walls[_LOCAL])
    rows = []
    for subject, values in walls.items():
        rows.append(median_row(task, subject, "wall", values, "s"))
        if subject == _LOCAL:
            continue
        wall, seconds = rows[-1].value, statistics.median(working[subject])
        rows += [
            Row(task, subject, "first chunk to last", seconds, "s", len(values)),
            Row(task, subject, "over local", wall - local, "s", len(values)),
            Row(task, subject, "of local", wall / local, "x", len(values)),
        ]
    return rows


def _timed(command: Sequence[str], address: str) -> float:
    """Run a command, on the cluster at an address or on none; return its seconds."""
    environment = {**os.environ, **_OPEN}
    environment.pop("RAY_ADDRESS", None)
    if address:
        environment["RAY_ADDRESS"] = address
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    wall = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return wall


@contextlib.contextmanager
def _cluster() -> Iterator[str]:
    """Start a cluster of this machine; give its address, and end it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += ["--port", str(port), "--include-dashboard=false", "--disable-usage-stats"]
    null = subprocess.DEVNULL
    head = subprocess.Popen(command, stdout=null, stderr=null, env={**os.environ, **_OPEN})
    try:
        _wait_for(port)
        time.sleep(5)  # its own processes, which come up after it answers, are not the job's
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait()


def _wait_for(port: int) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if time.monotonic() > until:
            sys.exit(f"no Ray cluster came up within {_START_SECONDS:g} s")
        time.sleep(0.1)
