"""Kill any process of a Ray job at random moments: the same command again gives an equal store.

    python -m tests.fuzz.ray_kills --kills 60 --json ray_kills.json

A job runs on a Ray that it started itself. The driver, an actor, its decoding process, the raylet
or the GCS is killed by SIGKILL once a drawn number of files is in the store. The job must end by
itself, within two minutes: with all videos or with one sentence. Then the same command runs
undisturbed, and the store must be equal to one that no kill disturbed, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.measurements import Row, write_json
from benchmarks.speed.processes import tree
from longvid.inputs import list_videos
from longvid.store import Store
from tests.e2e.clips import make_clip
from tests.e2e.test_faults import config

VICTIMS = ("driver", "actor", "decoder", "raylet", "gcs")
NUM_VIDEOS, SECONDS = 4, 8
#: The most seconds that a job may live after a kill: a minute to notice, and its work.
MAX_SECONDS = 120.0


def drive(videos: str, store: str) -> int:
    """Be a driver; end with 0, or 1 and one sentence."""
    from longvid.cluster.ray_runner import index
    from longvid.errors import LongvidError

    try:
        report = index(videos, store=store, config=config())
    except LongvidError as error:
        print(f"longvid: {error}", file=sys.stderr, flush=True)
        return 1
    return 3 if report.failures else 0


def start(videos: Path, store: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a driver in a process of its own."""
    command = [sys.executable, "-m", "tests.fuzz.ray_kills", "--drive", str(videos), str(store)]
    environment = {**os.environ, "RAY_ADDRESS": "local", "PYTHONWARNINGS": "ignore"}
    with log.open("wb") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=file, start_new_session=True, env=environment
        )


def command_of(pid: int) -> str:
    """Return the command line of a process, "" when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def pids_of(victim: str, driver: int) -> list[int]:
    """Return the processes of a kind in a driver's tree."""
    if victim == "driver":
        return [driver]
    signs = {
        "actor": "ray::Actor",
        "decoder": "longvid.decode.child",
        "raylet": "raylet/raylet ",
        "gcs": "gcs_server ",
    }
    return [pid for pid in tree(driver) if pid != driver and signs[victim] in command_of(pid)]


def wait_for_files(driver: subprocess.Popen[bytes], store: Path, num_files: int) -> None:
    """Wait until a job has written so many files of videos, or has ended."""
    while driver.poll() is None and len(list(store.glob("videos/*/*"))) < num_files:
        time.sleep(0.01)


def end(driver: subprocess.Popen[bytes], family: list[int]) -> None:
    """End whatever a driver that was killed has left behind."""
    for pid in family:
        if pid != driver.pid and command_of(pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def one_kill(
    victim: str, drawn: random.Random, videos: Path, undisturbed: Store, folder: Path
) -> dict[str, Any]:
    """Kill one process of one job, finish the job, and compare."""
    num_files = len(list(Path(undisturbed.uri).glob("videos/*/*")))
    store = folder / "store"
    driver = start(videos, store, folder / "killed.log")
    wait_for_files(driver, store, drawn.randrange(num_files))
    time.sleep(0.3 * drawn.random())
    family = tree(driver.pid)
    hit = False
    for pid in pids_of(victim, driver.pid)[-1:]:
        try:
            os.kill(pid, signal.SIGKILL)
            hit = driver.poll() is None or victim == "driver"
        except ProcessLookupError:
            hit = False
    started = time.monotonic()
    try:
        driver.wait(MAX_SECONDS)
        hung = False
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()
        hung = True
    seconds = time.monotonic() - started
    end(driver, family)
    text = (folder / "killed.log").read_text(errors="replace")
    survived = len(list(store.glob("videos/*/manifest.json")))
    again = start(videos, store, folder / "again.log")
    status = again.wait(600)
    end(again, [])
    after = Store.open(store) if status == 0 else None
    expected = (-signal.SIGKILL,) if victim == "driver" else (0, 1)
    return {
        "victim": victim,
        "hit": hit,
        "status": driver.returncode,
        "seconds_until_end": round(seconds, 1),
        "videos_survived": survived,
        "hung": hung,
        "traceback": "Traceback" in text,
        "bad_status": hit and not hung and driver.returncode not in (*expected, 0),
        "said": text.strip().splitlines()[-1:],
        "same_command_status": status,
        "same_command_said": (folder / "again.log").read_text(errors="replace").splitlines()[-1:],
        "unequal": after is None or after.digest() != undisturbed.digest(),
        "findings": [] if after is None else [str(each) for each in after.verify()],
        "failures": 0 if after is None else len(after.failures()),
    }


def faults_of(row: dict[str, Any]) -> list[str]:
    """Return the names of what is wrong in a row, none where all is well."""
    names = [name for name in ("hung", "traceback", "bad_status", "unequal") if row[name]]
    return names + [name for name in ("findings", "failures") if row[name]]


def summary(seed: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up the rows of a run."""
    hits = [row for row in rows if row["hit"]]
    return {
        "seed": seed,
        "kills": len(hits),
        "kills_by_victim": dict(Counter(row["victim"] for row in hits)),
        "longest_seconds_until_end": max((row["seconds_until_end"] for row in hits), default=0.0),
        "faults": dict(Counter(name for row in rows for name in faults_of(row))),
        "rows": rows,
    }


def rows_of(result: dict[str, Any]) -> list[Row]:
    """Lay a summary out as rows."""
    task, kills = "random kills on Ray", result["kills"]
    faults = {
        "hung": "jobs that hung",
        "traceback": "tracebacks",
        "bad_status": "wrong exit statuses",
        "unequal": "stores not byte-equal after the same command",
        "findings": "stores with findings after the same command",
        "failures": "stores with failures after the same command",
    }
    longest = result["longest_seconds_until_end"]
    return [
        Row(task, "ray runner", "kills", kills, "", kills),
        *(
            Row(task, victim, "kills", times, "", times)
            for victim, times in result["kills_by_victim"].items()
        ),
        *(
            Row(task, "ray runner", name, result["faults"].get(fault, 0), "", kills)
            for fault, name in faults.items()
        ),
        Row(task, "ray runner", "longest time until the job ended", longest, "s", kills),
    ]


def run(
    kills: int, seed: int, victims: tuple[str, ...] = VICTIMS, target: str | None = None
) -> dict[str, Any]:
    """Hit so many processes; victims take turns.

    Args:
        kills: Hits, not counting runs that ended before they could be hit.
        seed: Of the moments.
        victims: Kinds of process.
        target: A JSON file that is written after every kill.
    """
    from longvid.indexing.local_runner import run_local

    drawn = random.Random(seed)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "videos").mkdir()
        for number in range(NUM_VIDEOS):
            make_clip(root / "videos" / f"{number}.mp4", SECONDS, number)
        run_local(list_videos([str(root / "videos")]), str(root / "undisturbed"), config())
        undisturbed = Store.open(root / "undisturbed")
        while sum(row["hit"] for row in rows) < kills and len(rows) < 3 * kills:
            victim = victims[sum(row["hit"] for row in rows) % len(victims)]
            folder = root / str(len(rows))
            folder.mkdir()
            row = one_kill(victim, drawn, root / "videos", undisturbed, folder)
            rows.append(row)
            print(f"{len(rows)}: {json.dumps(row)}", file=sys.stderr, flush=True)
            if target:
                write_json(target, rows_of(summary(seed, rows)), seed=seed)
    return summary(seed, rows)


def main() -> int:
    """Run the command; status 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--drive", nargs=2, metavar=("VIDEOS", "STORE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        return drive(*options.drive)
    result = run(options.kills, options.seed, target=options.json)
    print(json.dumps({name: value for name, value in result.items() if name != "rows"}))
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
