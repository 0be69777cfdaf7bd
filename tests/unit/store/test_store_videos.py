"""A video is in the store once its manifest is, under all its names, whoever else is writing."""

from __future__ import annotations

import dataclasses
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from longvid.errors import StoreError
from longvid.store import ChunkRecord, Store
from longvid.types import Failure
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import add_video, assert_same, make_segment, make_video

A, B = "a" * 32, "b" * 32


def chunk_files(store: Store) -> list[str]:
    return sorted(path.name for path in Path(store.uri).rglob("*.safetensors"))


def test_nothing_is_visible_before_finish(store: Store) -> None:
    record = store.write_chunk(A, [make_segment(A, 0)])
    store.add_path(A, make_video(A).path)
    assert not store.has(A)
    assert store.videos() == []
    with pytest.raises(StoreError, match="not in the store"):
        store.load([(A, 0)])
    store.finish(make_video(A), [record])
    assert store.has(A)
    [stored] = store.videos()
    assert (stored.num_segments, stored.num_tokens, stored.gaps) == (1, 7, ())
    assert stored.video == make_video(A)


def test_a_record_survives_json_and_another_process(store: Store) -> None:
    record = store.write_chunk(A, [make_segment(A, 3), make_segment(A, 4)])
    assert ChunkRecord.from_dict(record.to_dict()) == record
    there = pickle.loads(pickle.dumps(store))
    there.finish(make_video(A), [pickle.loads(pickle.dumps(record))])
    assert_same(store.load([(A, 4)])[0], make_segment(A, 4))


def test_gaps_are_kept_and_do_not_depend_on_the_run(store: Store, make_store: MakeStore) -> None:
    gap = Failure(A, "/here/a.mp4", "decode", "corrupt", "Bad data.", 3, 4.0, 6.0, "stderr")
    later = dataclasses.replace(gap, start_seconds=8.0, end_seconds=10.0)
    store.finish(make_video(A), [store.write_chunk(A, [make_segment(A, 0)])], [later, gap])
    [stored] = store.videos()
    assert [(g.start_seconds, g.kind, g.path) for g in stored.gaps] == [
        (4.0, "corrupt", "/videos/" + A + ".mp4"),
        (8.0, "corrupt", "/videos/" + A + ".mp4"),
    ]
    other = make_store("other")
    elsewhere = dataclasses.replace(gap, path="/there/a.mp4", attempts=1, stderr="")
    other.finish(make_video(A), [other.write_chunk(A, [make_segment(A, 0)])], [elsewhere, later])
    assert store.digest() == other.digest()


def test_finish_refuses_what_would_not_be_whole(store: Store) -> None:
    with pytest.raises(StoreError, match="record a failure instead"):
        store.finish(make_video(A), [])
    one = store.write_chunk(A, [make_segment(A, 0), make_segment(A, 1)])
    overlapping = store.write_chunk(A, [make_segment(A, 1), make_segment(A, 2)])
    with pytest.raises(StoreError, match="overlap"):
        store.finish(make_video(A), [one, overlapping])
    store.finish(make_video(A), [one, one])  # a task that ran twice
    missing = dataclasses.replace(one, file="segments-000000-0123456789abcdef.safetensors")
    with pytest.raises(StoreError, match="missing"):
        store.finish(make_video(B), [missing])
    assert not store.has(B)


def test_the_first_manifest_stands_and_the_losers_chunks_go(make_store: MakeStore) -> None:
    one, two = make_store(), make_store()
    by_one = [one.write_chunk(A, [make_segment(A, 0), make_segment(A, 1)])]
    # Another plan, and an encoder that does not repeat itself to the last bit.
    by_two = [two.write_chunk(A, [make_segment(A, i, seed=1)]) for i in (0, 1)]
    one.finish(make_video(A), by_one)
    two.finish(make_video(A, "/other/name.mp4"), by_two)
    assert chunk_files(one) == [by_one[0].file]
    assert one.verify() == []
    assert_same(two.load([(A, 1)])[0], make_segment(A, 1))
    assert two.videos()[0].paths == ("/other/name.mp4", f"/videos/{A}.mp4")


def test_replace_puts_a_better_one_in_place(make_store: MakeStore) -> None:
    store, reader = make_store(), make_store()
    add_video(store, A, chunks=(1,))
    assert len(reader.load([(A, 0)])) == 1  # the reader keeps the manifest
    record = store.write_chunk(A, [make_segment(A, 0, seed=1), make_segment(A, 1, seed=1)])
    store.finish(make_video(A), [record], replace=True)
    assert chunk_files(store) == [record.file]
    for index in (0, 1):
        assert_same(reader.load([(A, index)])[0], make_segment(A, index, seed=1))
    assert store.verify() == []


def test_leftovers_of_an_unfinished_video_are_used_or_replaced(make_store: MakeStore) -> None:
    killed = make_store()
    killed.write_chunk(A, [make_segment(A, 0)])
    killed.write_chunk(A, [make_segment(A, 5, seed=9)])  # of a plan that is no longer used
    store = make_store()
    add_video(store, A, chunks=(1, 2))
    undisturbed = make_store("undisturbed")
    add_video(undisturbed, A, chunks=(1, 2))
    assert chunk_files(store) == chunk_files(undisturbed)
    assert store.digest() == undisturbed.digest()


def test_names_are_found_and_listed(store: Store) -> None:
    add_video(store, A, path="/films/one/clip.mp4")
    add_video(store, B, path="/films/two/clip.mp4")
    store.add_path(B, "/films/two/clip.mp4")
    store.add_path(B, "relative/again.mp4")
    store.add_path(B, "s3://bucket/far.mp4")
    assert [stored.video.path for stored in store.videos()] == [
        "/films/one/clip.mp4",
        "s3://bucket/far.mp4",  # may be there; of the other names no file exists
    ]
    for name, video_id in (
        (A, A),
        ("bbbb", B),
        ("/films/one/clip.mp4", A),
        ("/films/one/../one/clip.mp4", A),
        ("again.mp4", B),
        (str(Path.cwd() / "relative" / "again.mp4"), B),
        ("far.mp4", B),
    ):
        assert store.find(name) == video_id
    with pytest.raises(StoreError, match=r"2 videos.*one/clip.mp4 \(aaaa.*far.mp4 \(bbbb"):
        store.find("clip.mp4")
    with pytest.raises(StoreError, match=r"holds no video 'x.mp4'; it holds: /films/one/clip.mp4"):
        store.find("x.mp4")
    with pytest.raises(StoreError, match="holds no video 'bb'"):
        store.find("bb")


def test_a_name_that_exists_comes_before_one_that_does_not(store: Store, tmp_path: Path) -> None:
    add_video(store, A, path=str(tmp_path / "a-old-name.mp4"))
    now = tmp_path / "now.mp4"
    now.write_bytes(b"x")
    store.add_path(A, str(now))
    [stored] = store.videos()
    assert stored.video.path == str(now)
    [video] = store.status().videos
    assert (video.path, video.aliases) == (str(now), (str(tmp_path / "a-old-name.mp4"),))
    now.unlink()
    assert store.videos()[0].video.path == str(tmp_path / "a-old-name.mp4")


def test_names_are_absolute(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    add_video(store, A, path="films/a.mp4")
    assert store.names() == {str(tmp_path / "films" / "a.mp4"): A}
    gap = Failure("", "films/b.mp4", "probe", "corrupt", "It broke.")
    store.record_failures([gap])
    monkeypatch.chdir("/")
    store.record_failures([replace(gap, path=str(tmp_path / "films" / "b.mp4"))])
    assert [(f.path, f.attempts) for f in store.failures()] == [
        (str(tmp_path / "films" / "b.mp4"), 2)
    ]
    monkeypatch.chdir(tmp_path)
    store.clear_failures(["films/b.mp4"])
    assert store.failures() == []
    store.remove_path(A, "films/a.mp4")
    assert store.names() == {}


def test_a_name_need_not_be_utf8(store: Store, make_store: MakeStore) -> None:
    path = b"/films/caf\xe9.mp4".decode(errors="surrogateescape")
    add_video(store, A, path=path)
    store.refresh()
    again = make_store()
    again.refresh()
    assert again.videos()[0].paths == (path,)
    failure = Failure("", path, "probe", "corrupt", f"Cannot read {path}.")
    again.record_failures([failure])
    assert again.failures() == [failure]
    assert again.find(path) == A


def test_removal_leaves_nothing(store: Store) -> None:
    add_video(store, A)
    add_video(store, B)
    store.remove([A])
    assert not store.has(A)
    assert [stored.video.video_id for stored in store.videos()] == [B]
    assert not (Path(store.uri) / "videos" / A).exists()
    assert store.verify() == []
    with pytest.raises(StoreError, match="holds no video"):
        store.remove([A])
    with pytest.raises(StoreError, match="not in the store"):
        store.load([(A, 0)])


def test_status_adds_up(store: Store, tmp_path: Path) -> None:
    assert store.status().source_bytes == 0
    add_video(store, A)
    status = store.status()
    assert (status.num_videos, status.num_segments, status.num_tokens) == (1, 5, 35)
    assert status.duration_seconds == 16.0
    for refresh in (lambda: None, store.refresh):  # without the caches, and with them
        refresh()
        files = [path for path in Path(store.uri).rglob("*") if "paths" not in path.parts]
        total = sum(path.stat().st_size for path in files if path.is_file())
        assert store.status().num_bytes == total
    assert status.source_bytes is None
    source = tmp_path / "source.mp4"
    source.write_bytes(bytes(1234))
    store.add_path(A, str(source))
    assert store.status().source_bytes == 1234
    record = store.write_chunk(B, [make_segment(B, 0)])
    store.finish(make_video(B), [record], source_bytes=1000)
    assert store.status().source_bytes == 2234


def test_a_deleted_catalog_is_made_again(store: Store, make_store: MakeStore) -> None:
    add_video(store, A)
    store.refresh()
    catalog = Path(store.uri) / "catalog.parquet"
    before = store.videos()
    for damage in (catalog.unlink, lambda: catalog.write_bytes(b"PAR1"), lambda: None):
        damage()
        again = make_store()
        assert again.videos() == before
        again.refresh()
        assert catalog.stat().st_size > 100
    catalog.unlink()
    store.refresh()
    assert catalog.exists()


def test_the_catalog_follows_every_kind_of_change(make_store: MakeStore) -> None:
    writer, reader = make_store(), make_store()
    for change in (
        lambda: add_video(writer, A),
        lambda: writer.add_path(A, "/second/name.mp4"),
        lambda: add_video(writer, B),
        lambda: writer.finish(
            make_video(B), [writer.write_chunk(B, [make_segment(B, 0)])], replace=True
        ),
        lambda: writer.remove([A]),
    ):
        change()
        reader.refresh()
        fresh = make_store().videos()
        assert reader.videos() == fresh
        reader.rebuild()
        assert reader.videos() == fresh


def test_a_manifest_that_is_not_whole_hides_only_its_video(store: Store) -> None:
    add_video(store, A)
    kept = add_video(store, B)
    manifest = Path(store.uri) / "videos" / A / "manifest.json"
    whole = manifest.read_bytes()
    for content in (b"", whole[:100], b"[]", b"{}"):
        manifest.write_bytes(content)
        store.refresh()
        assert [stored.video.video_id for stored in store.videos()] == [B]
        assert store.status().num_damaged == 1
        assert not store.has(A)
        assert next(finding.kind for finding in store.verify()) == "damaged"
        assert_same(store.load([kept[0].key])[0], kept[0])
    add_video(store, A)
    assert manifest.read_bytes() == whole
    store.refresh()
    assert store.status().num_damaged == 0
    assert store.verify() == []
