"""Kill a server at random moments while it is used, start it again, and look for what was lost.

python -m tests.fuzz.server_kills --kills 60 --seed 1 --json FILE

A client uploads clips in parts, has them indexed, asks and deletes, and takes down what the server
said is done. After each kill (-9) the next server must still have all of that, and nothing half
done. At the end every upload is finished, indexed and asked. Faults, all of which should be 0:

    lost     an upload, a part, a file or a job that the server had confirmed is gone, or differs
    half     a temporary file was left, or the store shows a video that is not whole
    stuck    a server did not start, or a job did not end
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from benchmarks.measurements import Row, write_json
from longvid.errors import StoreError
from longvid.store import Store
from tests.e2e.test_server import Server, start

FAULTS = ("lost", "half", "stuck")
DATA = Path(__file__).parents[1] / "data"
CLIPS = ("bbb_rabbit_5s.mp4", "sign_book_640x480.mkv", "stream_title_vfr_vp8.webm")
_PART_BYTES = 100_000
_MOST_SECONDS = 6.0
#: Uploads that may be on their way or wait to be indexed: else the faster a machine answers, the
#: more is left to index at the end.
_MOST_UPLOADS = 3


class _Upload:
    """What the client knows of one upload."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.data = data
        self.upload_id = ""
        self.part_ids: list[str] = []
        self.file_id = ""
        self.job_id = ""


class _Client:
    """Uses a server until it is gone; goes on with the next one where it stopped."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.uploads: list[_Upload] = []
        self.asked = 0

    def use(self, url: str) -> None:
        with httpx2.Client(base_url=url, timeout=120) as http:
            try:
                while True:
                    self._step(http)
            except httpx2.HTTPError:
                return  # the server is gone

    def _step(self, http: httpx2.Client) -> None:
        unfinished = [one for one in self.uploads if not one.job_id]
        if not unfinished and self._is_busy(http):
            self._ask(http)
            return
        if not unfinished:
            name = CLIPS[len(self.uploads) % len(CLIPS)]
            salt = self._draw.randbytes(16)  # each upload is a video of its own
            unfinished = [_Upload(name, (DATA / name).read_bytes() + _free_space(name, salt))]
            self.uploads += unfinished
        upload = unfinished[0]
        self.advance(http, upload)
        if self._draw.random() < 0.3:
            self._ask(http)

    def _ask(self, http: httpx2.Client) -> None:
        http.post("/api/ask", json={"question": "what color is the star?"})
        self.asked += 1

    def _is_busy(self, http: httpx2.Client) -> bool:
        """Return whether the oldest of the last uploads still waits to be indexed."""
        if len(self.uploads) < _MOST_UPLOADS:
            return False
        job = http.get(f"/api/jobs/{self.uploads[-_MOST_UPLOADS].job_id}").json()
        return job["state"] in ("queued", "running")

    def advance(self, http: httpx2.Client, upload: _Upload) -> None:
        """Do the next thing for an upload; what the server has of it already counts."""
        if not upload.upload_id:
            body = {"filename": upload.name, "bytes": len(upload.data), "purpose": "user_data"}
            upload.upload_id = http.post("/v1/uploads", json=body).json()["id"]
            return
        if not upload.file_id:
            known = http.get(f"/v1/uploads/{upload.upload_id}").json()
            if known["status"] == "completed":  # its answer was lost with the server
                upload.file_id = known["file"]["id"]
                return
            upload.part_ids = [part["id"] for part in known["parts"]]
            sent = sum(part["num_bytes"] for part in known["parts"])
            place = f"/v1/uploads/{upload.upload_id}"
            if sent < len(upload.data):
                piece = upload.data[sent : sent + _PART_BYTES]
                answer = http.post(f"{place}/parts", files={"data": ("part", piece)})
                upload.part_ids.append(answer.json()["id"])
            else:
                answer = http.post(f"{place}/complete", json={"part_ids": upload.part_ids})
                upload.file_id = answer.json()["file"]["id"]
            return
        job = http.post("/api/videos", json={"file_id": upload.file_id}).json()
        upload.job_id = job["id"]


def _free_space(name: str, salt: bytes) -> bytes:
    """Return bytes that a player skips at the end of a file."""
    if name.endswith(".mp4"):
        return (len(salt) + 8).to_bytes(4, "big") + b"free" + salt
    return b"\xec" + bytes([0x80 | len(salt)]) + salt  # Matroska's void element


def _faults(server: Server, client: _Client, folder: Path) -> list[str]:
    """Compare a server that has just started with what the one before has confirmed."""
    faults = []
    for upload in client.uploads:
        if upload.upload_id and not upload.file_id:
            status, known = server.call(f"/v1/uploads/{upload.upload_id}")
            parts = {part["id"] for part in known.get("parts", [])}
            complete = known.get("status") == "completed"
            if status != 200 or not (complete or set(upload.part_ids) <= parts):
                faults.append(f"lost: a part of {upload.upload_id}")
        if upload.file_id and not upload.job_id:
            with httpx2.Client(base_url=server.url, timeout=120) as http:
                if http.get(f"/v1/files/{upload.file_id}/content").content != upload.data:
                    faults.append(f"lost: {upload.file_id}")
        if upload.job_id and server.call(f"/api/jobs/{upload.job_id}")[0] != 200:
            faults.append(f"lost: {upload.job_id}")
    left = [path.name for path in (folder / "data" / "files").glob("*.tmp")]
    faults += [f"half: {name} was left" for name in left]
    try:
        damage = Store.open(folder / "store").verify()
    except StoreError:
        damage = []  # no video was indexed so far
    return faults + [f"half: {sentence}" for sentence in damage]


def _finish(server: Server, client: _Client) -> list[str]:
    """Bring every upload to its end; returns what did not come to one."""
    faults = []
    with httpx2.Client(base_url=server.url, timeout=300) as http:
        for upload in client.uploads:
            while not upload.job_id:
                client.advance(http, upload)
        until = time.monotonic() + 600
        for upload in client.uploads:
            job: dict[str, Any] = {"state": ""}
            while job["state"] != "done" and time.monotonic() < until:
                job = http.get(f"/api/jobs/{upload.job_id}").json()
                if job["state"] == "failed":  # it was interrupted too often, and says so
                    http.post(f"/api/jobs/{upload.job_id}/retry")
                time.sleep(0.1)
            if job["state"] != "done":
                faults.append(f"stuck: {upload.job_id} is {job['state']}")
                continue
            body = {"question": "what color is the star?", "videos": [job["video_id"]]}
            if http.post("/api/ask", json=body).status_code != 200:
                faults.append(f"lost: {upload.name} cannot be asked")
    return faults


def run(kills: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Kill as many servers; returns counts and the sentences of the faults.

    Args:
        kills: How many.
        seed: Of moments and clips.
        folder: An empty one.
    """
    draw = random.Random(seed)
    client = _Client(draw)
    counts: Counter[str] = Counter()
    found: list[str] = []
    words = ("--store", str(folder / "store"))
    for number in range(kills + 1):
        server = start(folder, *words)
        new = _faults(server, client, folder)
        found += new
        for fault in new:
            print(fault, flush=True)
        if number == kills:
            break
        user = threading.Thread(target=client.use, args=(server.url,))
        user.start()
        time.sleep(_MOST_SECONDS * draw.random() ** 2)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        user.join()
        counts["kills"] += 1
        print(f"kill {number}: {len(client.uploads)} uploads, {client.asked} asked", flush=True)
    found += _finish(server, client)
    found += _faults(server, client, folder)
    server.process.terminate()
    server.process.wait(60)
    counts["uploads"] = len(client.uploads)
    counts["questions"] = client.asked
    counts.update(fault.partition(":")[0] for fault in found)
    return counts, found


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill servers; 0 if no fault was found, 1 otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=60, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    with TemporaryDirectory() as name:
        counts, found = run(options.kills, options.seed, Path(name))
    print("\n".join([*found, str(dict(counts))]))
    if options.json:
        kills = counts["kills"]
        rows = [
            Row("killed servers", "longvid serve", name, counts[name], "", kills)
            for name in ("kills", "uploads", *FAULTS)
        ]
        write_json(options.json, rows, seed=options.seed)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
