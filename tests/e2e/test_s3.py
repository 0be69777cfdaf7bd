"""Videos and store in a bucket, behind a real S3 API on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed.stand_ins import stand_in_config
from longvid.cli import main
from longvid.config import Config
from longvid.decode.pyav import PyAVDecoder
from longvid.errors import ConfigError, StoreError
from longvid.indexing.local_runner import run_local
from longvid.indexing.messages import VideoText
from longvid.indexing.video_reader import Reader
from longvid.inputs import content_id, list_videos
from longvid.remote_files import LocalCopies
from longvid.store import Store, read_subtitles
from tests.conftest import require
from tests.e2e.clips import make_clip
from tests.e2e.test_subtitles import SAID, SRT, embed, timed_text

BUCKET = "s3://films"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips, one of them under a second name, and a broken one."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "deep").mkdir()
    make_clip(folder / "a.mp4", 12, 1)
    make_clip(folder / "b.mp4", 9, 2)
    make_clip(folder / "deep" / "c.mkv", 6, 3)
    shutil.copy(folder / "a.mp4", folder / "deep" / "a again.mp4")
    (folder / "broken.mp4").write_text("no video\n")
    (folder / "notes.txt").write_text("not listed\n")
    return folder


@pytest.fixture(scope="module")
def bucket(s3_server: str, folder: Path) -> str:
    import s3fs

    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.mkdir("films")
    system.put(str(folder) + "/", "films/in/", recursive=True)
    return f"{BUCKET}/in"


@pytest.fixture(autouse=True)
def own_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LONGVID_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "videos"


def config(*overrides: str) -> Config:
    return stand_in_config("sample.chunk_segments=1", *overrides, decoder=PyAVDecoder())


def names(store: str) -> list[tuple[str, ...]]:
    return [stored.paths for stored in Store.open(store).videos()]


def objects(store: str) -> dict[str, Any]:
    """Return the checksums of all chunks by video: what does not depend on names."""
    opened = Store.open(store)
    return {
        stored.video.video_id: (stored.num_segments, stored.num_tokens, stored.source_bytes)
        for stored in opened.videos()
    }


def test_a_name_that_no_bucket_can_have_is_refused_in_one_line(s3_server: str) -> None:
    with pytest.raises(
        ConfigError, match=r"s3://a b/c cannot be listed: .*Invalid bucket"
    ) as refused:
        list(list_videos(["s3://a b/c"]))
    assert "\n" not in str(refused.value)


def test_a_bucket_is_listed_like_a_folder(bucket: str) -> None:
    everything = [
        f"{bucket}/{name}"
        for name in ("a.mp4", "b.mp4", "broken.mp4", "deep/a again.mp4", "deep/c.mkv")
    ]
    assert list(list_videos([bucket])) == everything
    assert list(list_videos([f"{bucket}/"])) == everything
    assert list(list_videos([f"{bucket}/[ab].mp4"])) == everything[:2]
    assert list(list_videos([f"{bucket}/**/*.mkv"])) == everything[-1:]
    assert list(list_videos([f"{bucket}/b.mp4"])) == everything[1:2]
    assert list(list_videos([f"{bucket}/missing.mp4"])) == [f"{bucket}/missing.mp4"]


def test_a_list_may_lie_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    import s3fs

    text = f"{bucket}/b.mp4\n\n{bucket}/deep/\n"
    s3fs.S3FileSystem(skip_instance_cache=True).pipe_file("films/list.txt", text.encode())
    (tmp_path / "list.txt").write_text(text)
    wanted = [f"{bucket}/b.mp4", f"{bucket}/deep/a again.mp4", f"{bucket}/deep/c.mkv"]
    assert list(list_videos([f"@{BUCKET}/list.txt"])) == wanted
    assert list(list_videos([f"@{tmp_path}/list.txt"])) == wanted


def test_videos_and_store_in_a_bucket(
    bucket: str, folder: Path, tmp_path: Path, own_copies: Path
) -> None:
    store, local = f"{BUCKET}/store", str(tmp_path / "local")
    report = run_local(list_videos([bucket]), store, config())
    assert (report.videos_indexed, report.videos_skipped, report.videos_failed) == (3, 1, 1)
    run_local(list_videos([str(folder)]), local, config())
    assert objects(store) == objects(local)
    assert Store.open(store).verify() == []
    assert names(store) == [
        (f"{bucket}/a.mp4", f"{bucket}/deep/a again.mp4"),
        (f"{bucket}/b.mp4",),
        (f"{bucket}/deep/c.mkv",),
    ]
    (failure,) = Store.open(store).failures()
    assert failure.path == f"{bucket}/broken.mp4"
    assert failure.error.startswith(f"{bucket}/broken.mp4 is not a video")
    assert str(own_copies) not in failure.error
    # The same command again finds everything there, under the identity of the content.
    again = run_local(list_videos([bucket]), store, config())
    assert (again.videos_indexed, again.frames) == (0, 0)
    assert content_id(str(folder / "b.mp4")) == Store.open(store).find(f"{bucket}/b.mp4")


def test_subtitles_of_videos_in_a_bucket(bucket: str, folder: Path, tmp_path: Path) -> None:
    import s3fs

    system = s3fs.S3FileSystem(skip_instance_cache=True)
    for name in ("a.mp4", "b.mp4"):
        system.put(str(folder / name), f"films/said/{name}")
    text = "1\n00:00:01,000 --> 00:00:02,000\nover there\n"
    system.pipe_file("films/said/a.en.srt", text.encode())
    system.pipe_file("films/said/b.txt", text.encode())
    (tmp_path / "words.srt").write_text(SRT)
    embed(folder / "deep" / "c.mkv", tmp_path / "words.srt", tmp_path / "c.mkv")
    system.put(str(tmp_path / "c.mkv"), "films/said/c.mkv")
    store = str(tmp_path / "store")
    run_local(list_videos([f"{BUCKET}/said"]), store, config())
    opened = Store.open(store)
    (line,) = read_subtitles(opened.objects, opened.find(f"{BUCKET}/said/a.mp4"))
    assert (line.start_seconds, line.end_seconds, line.text) == (1.0, 2.0, "over there")
    assert read_subtitles(opened.objects, opened.find(f"{BUCKET}/said/b.mp4")) == ()
    inside = read_subtitles(opened.objects, opened.find(f"{BUCKET}/said/c.mkv"))
    assert [line.text for line in inside] == [SAID[0].text]  # the others begin behind its end


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_subtitles_inside_a_video_in_a_bucket(
    kind: str, bucket: str, folder: Path, own_copies: Path, tmp_path: Path
) -> None:
    import s3fs

    film = tmp_path / f"film.{kind}"
    if kind == "mkv":
        (tmp_path / "words.srt").write_text(SRT)
        embed(folder / "a.mp4", tmp_path / "words.srt", film)
    else:
        timed_text(folder / "a.mp4", film)
    uri = f"{BUCKET}/told/film.{kind}"
    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.put(str(film), uri)
    reader = Reader(config())
    opened = reader.open(uri)
    assert [line.text for line in opened.text.inside] == [SAID[0].text]
    (copy,) = [path for path in own_copies.iterdir() if path.suffix != ".lock"]
    assert copy.read_bytes() == film.read_bytes()
    assert reader.open(f"{bucket}/a.mp4").text == VideoText()
    reader.close()


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_cluster_reads_and_writes_a_bucket(bucket: str, folder: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        require("ray", "Ray is not installed")
    import ray

    from longvid.cluster.ray_runner import index

    ray.init(
        "local",
        num_cpus=2,
        log_to_driver=False,
        include_dashboard=False,
        logging_level="WARNING",
    )
    try:
        report = index([bucket], store=f"{BUCKET}/by-ray", config=config())
    finally:
        ray.shutdown()
    assert (report.videos_indexed, report.videos_skipped, report.videos_failed) == (3, 1, 1)
    run_local(list_videos([bucket]), f"{BUCKET}/by-hand", config())
    by_ray, by_hand = Store.open(f"{BUCKET}/by-ray"), Store.open(f"{BUCKET}/by-hand")
    assert by_ray.digest() == by_hand.digest()


def test_a_missing_object_is_a_failure_that_says_so(bucket: str) -> None:
    store = f"{BUCKET}/missing"
    run_local([f"{bucket}/none.mp4", f"{bucket}/b.mp4"], store, config())
    (failure,) = Store.open(store).failures()
    assert failure.kind == "unreadable"
    assert failure.error == f"{bucket}/none.mp4 cannot be read: no such object."


def test_copies_of_remote_files_stay_within_their_limit(bucket: str, own_copies: Path) -> None:
    names = [f"{bucket}/{name}" for name in ("a.mp4", "b.mp4", "deep/c.mkv")]
    copies = LocalCopies(limit_bytes=1)
    with copies.open(names[0]) as first, copies.open(names[1]) as second:
        with copies.open(names[0]) as same:
            assert same == first
        assert first != second
        assert content_id(first) != content_id(second)
        # Both are in use: a limit that they exceed does not take them away.
        assert sorted(os.listdir(own_copies))[:1] != []
    with copies.open(names[2]):
        kept = [path for path in own_copies.iterdir() if path.suffix != ".lock"]
        assert len(kept) == 1
    roomy = LocalCopies(limit_bytes=10**9)
    for name in names:
        with roomy.open(name) as path:
            assert os.path.getsize(path) > 0
    assert len([path for path in own_copies.iterdir() if path.suffix != ".lock"]) == 3


def test_a_bucket_that_may_not_be_read_is_one_sentence(
    s3_server: str, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def allow(actions: int) -> None:
        request = urllib.request.Request(
            f"{s3_server}/moto-api/reset-auth",
            data=str(actions).encode(),
            headers={"Content-Type": "text/plain"},
        )
        urllib.request.urlopen(request, timeout=30).close()

    allow(0)
    try:
        with pytest.raises(ConfigError, match=r"s3://films/in cannot be listed: permission denied"):
            list(list_videos([bucket]))
        with pytest.raises(StoreError, match="No permission to"):
            Store.open(f"{BUCKET}/store")
        assert main(["index", bucket, "--store", f"{BUCKET}/forbidden"]) == 1
        sentence = capsys.readouterr().err.strip().splitlines()[-1]
        assert sentence.startswith("longvid: No permission to")
        assert "Traceback" not in sentence
    finally:
        allow(10**9)
    with pytest.raises(ConfigError, match="no such file, folder or bucket"):
        list(list_videos(["s3://no-such-bucket/in/"]))
