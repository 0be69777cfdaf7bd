"""The commands that look at a store and mend it, and what each says when something is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.speed.stand_ins import make_footage, stand_in_config
from longvid.cli import main
from longvid.config import Config
from longvid.decode.pyav import PyAVDecoder
from longvid.indexing.local_runner import run_local
from longvid.inputs import list_videos
from longvid.store import Store
from longvid.types import Failure
from tests.e2e.clips import make_clip
from tests.reference.search import search_slowly
from tests.unit.store.synthetic import add_video

DAMAGED = Path(__file__).parents[1] / "data" / "edge" / "h264_corrupted_mid.mp4"


def config() -> Config:
    return stand_in_config("sample.chunk_segments=1", decoder=PyAVDecoder())


def index(videos: Path, store: Path) -> None:
    run_local(list_videos([str(videos)]), str(store), config())


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    make_clip(folder / "a.mp4", 12, 1)
    make_clip(folder / "b.mp4", 9, 2)
    (folder / "broken.mp4").write_text("no video\n")
    return folder


@pytest.fixture
def store(videos: Path, tmp_path: Path) -> Path:
    index(videos, tmp_path / "store")
    return tmp_path / "store"


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> str:
    """Run a command in this process and return what it printed on stdout."""
    assert main([str(word) for word in words]) == status
    return capsys.readouterr().out


def run_json(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> Any:
    return json.loads(run(capsys, *words, "--json", status=status))


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that must fail, and return the one sentence that it says."""
    assert main([str(word) for word in words]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = (line for line in captured.err.splitlines() if line != "starting")
    return line


def test_videos_are_removed_by_name(
    store: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Store.open(store).digest()
    assert "holds no video 'c.mp4'" in refused(capsys, "remove", "a.mp4", "c.mp4", "--store", store)
    assert Store.open(store).digest() == before
    assert run(capsys, "remove", "a.mp4", "--store", store) == "1 removed, 1 left\n"
    status = run_json(capsys, "status", "--store", store)
    assert [row["path"] for row in status["videos"]] == [str(videos / "b.mp4")]
    assert run(capsys, "store", "verify", "--store", store).startswith("1 video, every object")
    index(videos, store)
    assert Store.open(store).digest() == before


def test_verify_names_what_is_damaged_and_rebuild_mends_the_caches(
    store: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Store.open(store).digest()
    (store / "catalog.parquet").unlink()
    for part in (store / "vectors").iterdir():
        part.write_bytes(b"not an index")
    (store / "videos" / "notes.txt").write_text("by another tool")
    # A deleted catalog and a broken index cost nothing, and other tools' files are named.
    assert run_json(capsys, "status", "--store", store)["num_videos"] == 2
    found = run_json(capsys, "store", "verify", "--store", store, status=1)
    assert [finding["kind"] for finding in found] == ["cache", "foreign"]
    assert run(capsys, "store", "rebuild", "--store", store).startswith("rebuilt from 2 videos")
    opened = Store.open(store)
    query = torch.zeros(opened.embedding_width)
    query[0] = 1
    assert opened.search(query, 5) == search_slowly(opened, query, 5)

    (store / "videos" / "notes.txt").unlink()
    chunks = sorted(store.glob("videos/*/segments-*"))
    chunks[0].write_bytes(chunks[0].read_bytes()[:-1])
    chunks[-1].unlink()
    found = run_json(capsys, "store", "verify", "--store", store, status=1)
    assert sorted(finding["kind"] for finding in found) == ["checksum", "missing"]
    assert all("index it again" in finding["message"] for finding in found)
    for finding in found:
        run(capsys, "remove", finding["video_id"], "--store", store)
    index(videos, store)
    assert run_json(capsys, "store", "verify", "--store", store) == []
    assert Store.open(store).digest() == before


def test_a_search_goes_on_where_a_video_that_it_finds_is_damaged(
    small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    shutil.copytree(small_store, store)
    command = ["search", "a red circle", "--store", str(store), "--top-k", "100"]
    sound = run_json(capsys, *command)
    damaged = sound[0]["video_id"]
    chunk = next(store.glob(f"videos/{damaged}/segments-*"))
    content = bytearray(chunk.read_bytes())
    content[-100] ^= 0xFF
    chunk.write_bytes(content)
    assert main([*command, "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    # Its own segments keep the scores of the search vectors; the others are scored as before.
    others = [span for span in sound if span["video_id"] != damaged]
    assert [span for span in found if span["video_id"] != damaged] == others
    assert len(found) == len(sound) > len(others) > 0
    assert printed.err.count(f"{chunk.name} of the store") == 1


def test_failures_by_kind_with_the_decoders_last_words(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store.open(store).record_failures(
        [
            Failure(
                "f" * 32, "/hangs.mp4", "decode", "decode-timeout", "It hung.",
                stderr="moov atom\nnot found", decoder="pyav",
            )
        ]
    )  # fmt: skip
    found = run_json(capsys, "failures", "--store", store)
    assert [failure["kind"] for failure in found] == ["decode-timeout", "unsupported"]
    assert [failure["decoder"] for failure in found] == ["pyav", "pyav"]
    text = run(capsys, "failures", "--store", store, "--kind", "decode-timeout", "--stderr")
    assert text.splitlines()[1].split("\t")[:5] == [
        "hangs.mp4", "decode", "decode-timeout", "1", "pyav",
    ]  # fmt: skip
    assert text.endswith("/hangs.mp4:\nmoov atom\nnot found\n")
    assert "known are" in refused(capsys, "failures", "--store", store, "--kind", "sad")


def test_retry_takes_a_kind_or_a_video_and_never_loses_what_there_is(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = videos / "damaged.mp4"
    damaged.write_bytes(DAMAGED.read_bytes())
    store = tmp_path / "store"
    index(videos, store)
    gaps = [failure for failure in Store.open(store).failures() if failure.is_gap]
    assert gaps
    before = Store.open(store).digest()
    assert run(capsys, "retry", "--store", store, "--kind", "model") == ""
    # The damaged file is still damaged: what is in the store stays until there is better.
    report = run_json(capsys, "retry", "damaged.mp4", "--store", store)
    assert (report["videos_indexed"], report["videos_failed"]) == (1, 0)
    assert Store.open(store).digest() == before
    # And if the file is gone, too.
    damaged.unlink()
    report = run_json(capsys, "retry", "--kind", "corrupt", "--store", store, status=3)
    assert (report["videos_indexed"], report["videos_failed"]) == (0, 1)
    assert Store.open(store).digest() == before

    make_clip(videos / "broken.mp4", 6, 5)
    report = run_json(capsys, "retry", "--kind", "unsupported", "--store", store)
    assert (report["videos_indexed"], report["videos_failed"]) == (1, 0)
    assert Store.open(store).failures(kind="unsupported") == []


def test_a_store_can_be_asked_while_it_grows(tmp_path: Path) -> None:
    uri = str(tmp_path / "store")
    writer = Store.create(
        uri, fingerprint="grows", config={}, space="test-space", embedding_width=16
    )
    reader = Store.open(uri)
    seen: list[int] = []
    over = threading.Event()
    errors: list[BaseException] = []

    def ask() -> None:
        query = torch.ones(16)
        try:
            while not over.is_set():
                hits = reader.search(query, 1000)
                segments = reader.load([(hit.video_id, hit.segment_index) for hit in hits])
                assert len({segment.video_id for segment in segments}) * 5 == len(segments)
                seen.append(len(segments))
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for number in range(12):
        add_video(writer, f"{number:032x}")
        writer.refresh()
    over.set()
    thread.join()
    assert not errors, errors
    assert seen == sorted(seen)
    # A reader lists the videos anew soon, not at once: a listing lasts ten times what it took.
    deadline = time.monotonic() + 60
    while len(reader.search(torch.ones(16), 1000)) < 60 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(reader.search(torch.ones(16), 1000)) == 60


FULL = """
import resource, sys
from benchmarks.speed.stand_ins import make_footage, stand_in_config
from longvid.errors import StoreError
from longvid.indexing.local_runner import run_local
from longvid.inputs import list_videos
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    run_local(list_videos([sys.argv[1]]), sys.argv[2], stand_in_config())
except StoreError as error:
    print(error)
"""


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """No file may grow beyond a limit, which is what a full disk looks like to a writer."""
    videos, store = make_footage(tmp_path / "videos", 2, 20), tmp_path / "store"
    first, second = sorted(videos.iterdir())
    run_local([str(first)], str(store), stand_in_config())
    (small,) = Store.open(store).videos()
    (chunk,) = store.glob("videos/*/segments-*")
    # Room for a manifest, and not quite for a chunk.
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(second), str(store), str(chunk.stat().st_size - 100)],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120,
    )  # fmt: skip
    assert done.stdout.startswith("No space to write"), done.stdout + done.stderr
    assert "everything stored before is intact" in done.stdout
    opened = Store.open(store)
    assert [stored.video.video_id for stored in opened.videos()] == [small.video.video_id]
    assert {finding.kind for finding in opened.verify()} <= {"orphan"}
    run_local([str(second)], str(store), stand_in_config())
    assert len(Store.open(store).videos()) == 2
    assert Store.open(store).verify() == []
    assert list((store / ".tmp").glob("*")) == []


def test_each_wrong_store_is_one_sentence(
    store: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Store.open(store).digest()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "No video is named" in refused(capsys, "index", empty, "--store", tmp_path / "new")
    assert "was made with other settings (" in refused(capsys, "index", videos, "--store", store)
    assert "There is no store at" in refused(capsys, "status", "--store", tmp_path / "none")
    assert "so it is no longvid store" in refused(capsys, "index", videos, "--store", videos)
    assert Store.open(store).digest() == before

    header = store / "store.json"
    whole = header.read_bytes()
    document = json.loads(whole)
    header.write_text(json.dumps({**document, "format": 99}))
    assert "has format 99" in refused(capsys, "store", "verify", "--store", store)
    header.write_text(header.read_text()[:-20])
    assert "is damaged" in refused(capsys, "index", videos, "--store", store)
    header.write_bytes(whole)
    assert Store.open(store).digest() == before
