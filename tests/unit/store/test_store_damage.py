"""Damage and hostility: one sentence for one object, and everything else works."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from longvid.errors import StoreError
from longvid.store import Store, write_subtitles
from longvid.types import TextLine
from tests.reference.search import search_slowly
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import WIDTH, add_video, assert_same, make_segment

A, B = "a" * 32, "b" * 32
OLD = Path(__file__).parents[2] / "data" / "old_store"
#: `Store.digest` of it, by the code that made it.
OLD_DIGEST = "66ba7f327832cf88f1e2f3be5480e5a3"


def video(store: Store, video_id: str = A) -> Path:
    return Path(store.uri) / "videos" / video_id


def query(seed: int = 0) -> torch.Tensor:
    return make_segment(A, seed).frame_embeddings[0]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)


@pytest.fixture
def full(store: Store) -> Store:
    """Two videos, with caches."""
    add_video(store, A)
    add_video(store, B)
    store.refresh()
    return store


# A store of the first format


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_an_old_store_is_read_and_sealed_at_the_next_write(old: Path) -> None:
    before = {path: path.read_bytes() for path in old.glob("videos/**/*") if path.is_file()}
    store = Store.open(old)
    assert store.digest() == OLD_DIGEST
    assert store.verify() == []
    hits = store.search(query(), 6)
    assert hits == search_slowly(store, query(), 6)
    segments = store.load([(A, 0), (B, 2)])
    assert_same(segments[0], make_segment(A, 0))
    assert [f.path for f in store.failures()] == ["/videos/c.mp4"]
    assert not list(old.glob("videos/*/seal-*"))  # reading writes nothing
    store.refresh()
    assert len(list(old.glob("videos/*/seal-*"))) == 2
    assert (old / "store.seal").exists()
    again = Store.open(old)
    assert again.digest() == OLD_DIGEST
    assert again.verify() == []
    assert again.search(query(), 6) == hits
    assert all(path.read_bytes() == content for path, content in before.items())
    manifest = old / "videos" / A / "manifest.json"
    manifest.write_bytes(
        manifest.read_bytes().replace(b'"end_seconds": 2.0', b'"end_seconds": 1.0')
    )
    assert list(Store.open(old).damaged()) == [A]


def test_damage_in_an_old_store_is_found_by_the_checksums_of_its_manifests(old: Path) -> None:
    chunk = sorted((old / "videos" / A).glob("segments-*"))[0]
    flip(chunk, -3)
    store = Store.open(old)
    with pytest.raises(StoreError, match=r"is damaged \(it does not fit its checksum\)"):
        store.load([(A, 0)])
    assert {hit.video_id for hit in store.search(query(), 6)} == {B}
    store.refresh()  # what is damaged is not sealed
    assert len(list(old.glob("videos/*/seal-*"))) == 1
    manifest = old / "videos" / B / "manifest.json"
    later = manifest.read_bytes().replace(b'"start_seconds": 2.0', b'"start_seconds": 1.5')
    shutil.rmtree(old)
    shutil.copytree(OLD, old)
    manifest.write_bytes(later)
    with pytest.raises(StoreError, match="its segments are not those of its manifest"):
        Store.open(old).load([(B, 1)])


# Objects


def test_a_flipped_bit_anywhere_in_a_chunk_is_noticed_when_it_is_read(full: Store) -> None:
    keys = [(A, i) for i in range(5)]
    whole = full.load(keys)
    for chunk in sorted(video(full).glob("segments-*")):
        intact = chunk.read_bytes()
        vectors = intact.index(b'"vectors":')  # the head says where they are; nobody loads them
        start, stop = json.loads(intact[vectors + 10 : intact.index(b"}", vectors) + 1])[
            "data_offsets"
        ]
        first = 8 + int.from_bytes(intact[:8], "little")
        for position in range(8, len(intact), 41):
            flip(chunk, position)
            if first + start <= position < first + stop:
                assert len(Store.open(full.uri).load(keys)) == 5
            else:
                with pytest.raises(StoreError, match=r"is damaged \(.*index it again"):
                    Store.open(full.uri).load(keys)
            chunk.write_bytes(intact)
    for one, other in zip(Store.open(full.uri).load(keys), whole, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b'"end_seconds": 2.0', b'"end_seconds": 3002.0'),
        lambda data: data.replace(b'"duration_seconds": 16.0', b'"duration_seconds": Infinity'),
        lambda data: data.replace(b'"num_frames": 400', b'"num_frames": "400"'),
        lambda data: data.replace(b'"num_frames": 400', b'"num_frames": ' + b"9" * 5000),
        lambda data: data.replace(b'"height": 720', b'"height": 1' + b"0" * 30),
        lambda data: data.replace(b'"segments-', b'"../segments-'),
        lambda data: b"[" * 100_000,
        lambda data: b'{"a":' * 100_000,
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: bytes(len(data)),
    ],
)
def test_a_damaged_manifest_is_one_video(
    full: Store, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = video(full) / "manifest.json"
    intact = path.read_bytes()
    assert damage(intact) != intact
    expected = [hit for hit in full.search(query(), 10) if hit.video_id == B]
    for sealed in (True, False):
        path.write_bytes(damage(intact))
        if not sealed:  # as a store of the first format
            for seal in video(full).glob("seal-*"):
                seal.unlink()
        store = Store.open(full.uri)
        found_when_read = sealed or b"3002.0" not in path.read_bytes()
        if found_when_read:
            assert [stored.video.video_id for stored in store.videos()] == [B]
            [sentence] = store.status().damaged.values()
            assert "videos/aaaa" in sentence
            assert "\n" not in sentence
            assert store.search(query(), 10) == expected
            assert store.search(query(), 10, [A, B]) == expected
            for ask in (lambda: store.find(A), lambda: store.search(query(), 10, [A])):  # noqa: B023
                with pytest.raises(StoreError, match="is damaged"):
                    ask()
        with pytest.raises(StoreError, match="is damaged"):
            store.load([(A, 0)])
        store.rebuild()
        assert store.search(query(), 10) == expected
        assert any(finding.video_id == A for finding in store.verify())
        store.clean()
    store.remove([store.find(A, damaged=True)])
    add_video(store, A)
    assert store.verify() == []


def test_a_video_with_a_damaged_chunk_is_left_out_and_named(full: Store) -> None:
    expected = [hit for hit in full.search(query(), 10) if hit.video_id == B]
    chunk = sorted(video(full).glob("segments-*"))[0]
    chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])
    full.rebuild()
    assert full.search(query(), 10) == expected == search_slowly(full, query(), 10)
    [(video_id, sentence)] = full.damaged().items()
    assert video_id == A
    assert "remove that video from the store and index it again" in sentence
    assert full.search(query(), 10, [A, B]) == expected
    with pytest.raises(StoreError, match="is damaged"):
        full.search(query(), 10, [A])
    full.remove([A])
    add_video(full, A)
    assert full.damaged() == {}
    assert len(full.search(query(), 10)) == 10


def test_lost_seals_leave_the_checksums_and_are_written_again(full: Store) -> None:
    [seals] = video(full).glob("seal-*")
    intact = seals.read_bytes()
    for content in (b"", intact[:-9], intact.replace(b'"head"', b'"heap"')):
        seals.write_bytes(content)
        store = Store.open(full.uri)
        assert len(store.load([(A, i) for i in range(5)])) == 5
        assert [finding.kind for finding in store.verify()] == ["damaged"]
        seals.unlink()
        store.refresh()
        assert seals.read_bytes() == intact


def test_damaged_caches_are_not_used_and_are_made_again(full: Store) -> None:
    expected, videos = full.search(query(), 10), full.videos()
    for path in [Path(full.uri) / "catalog.parquet", *Path(full.uri).glob("vectors/*")]:
        intact = path.read_bytes()
        middle = len(intact) // 2
        for content in (
            b"",
            intact[:-1],
            intact[:middle] + bytes(64) + intact[middle + 64 :],
            bytes(len(intact)),
        ):
            path.write_bytes(content)
            store = Store.open(full.uri)
            assert store.videos() == videos
            assert store.search(query(), 10) == expected
            assert [finding.kind for finding in store.verify()] == ["cache"]
            store.refresh()
            assert store.verify() == []
    # Negated vectors and those that are no numbers are as easily found.
    [index] = Path(full.uri).glob("vectors/*.faiss")
    vectors = np.frombuffer(index.read_bytes()[-4 * 4 * WIDTH :], np.float32)
    for changed in (-vectors, vectors * np.nan):
        index.write_bytes(index.read_bytes()[: -vectors.nbytes] + changed.tobytes())
        assert Store.open(full.uri).search(query(), 10) == expected


def test_numbers_that_are_none_are_refused(full: Store) -> None:
    with pytest.raises(StoreError, match=r"embedding has values that are not finite"):
        full.search(query() * float("nan"), 3)


def test_names_and_subtitles_are_compared_too(full: Store) -> None:
    [name] = (video(full) / "paths").iterdir()
    intact = name.read_bytes()
    for content in (b'{"path": "/other.mp4"}', b'{"path": "a\\u0000b"}', b'{"path": 3}', b""):
        name.write_bytes(content)
        (Path(full.uri) / "catalog.parquet").unlink(missing_ok=True)
        assert Store.open(full.uri).names() == {f"/videos/{B}.mp4": B}
        assert ("damaged", A) in {(f.kind, f.video_id) for f in full.verify()}
    name.write_bytes(intact)
    digest = full.digest()
    write_subtitles(full.objects, A, [TextLine(0.0, 1.0, "hello")])
    assert full.digest() != digest
    text = video(full) / "subtitles.json"
    text.write_bytes(text.read_bytes().replace(b"hello", b"jello"))
    assert [(f.kind, Path(f.name).name) for f in full.verify()] == [("damaged", "subtitles.json")]


# Links, pipes and sizes


def test_nothing_is_followed_out_of_a_store(full: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    keepsakes = [outside / "0123456789abcdef", outside / "holiday.mp4"]
    for keepsake in keepsakes:
        keepsake.write_bytes(b"mine")
    root = Path(full.uri)
    shutil.rmtree(root / ".tmp")
    for link in (root / ".tmp", root / "vectors" / "part-0", root / "runs", root / "failures"):
        link.symlink_to(outside)
    shutil.rmtree(video(full, B))
    video(full, B).symlink_to(outside)
    (video(full) / "paths" / "out.json").symlink_to(keepsakes[1])
    for work in (full.clean, lambda: add_video(full, B), lambda: full.record_run({"a": 1})):
        with pytest.raises(StoreError, match=r"a store follows none; put the file"):
            work()
    (root / ".tmp").unlink()
    full.clean()
    full.verify()
    full.rebuild()
    assert [stored.video.video_id for stored in full.videos()] == [A]
    full.remove([A])
    assert all(keepsake.read_bytes() == b"mine" for keepsake in keepsakes)
    # The store itself may be reached through a link.
    (tmp_path / "elsewhere").symlink_to(root)
    assert Store.open(tmp_path / "elsewhere").videos() == []


def test_pipes_and_sockets_do_not_block_and_links_are_no_objects(
    full: Store, tmp_path: Path
) -> None:
    manifest = video(full) / "manifest.json"
    kept = manifest.rename(tmp_path / "kept.json")

    def listen() -> None:
        with socket.socket(socket.AF_UNIX) as server:
            folder = os.getcwd()
            os.chdir(manifest.parent)  # the name of a socket must be short
            try:
                server.bind("manifest.json")
            finally:
                os.chdir(folder)

    for make in (
        lambda: os.mkfifo(manifest),
        lambda: manifest.symlink_to("/dev/zero"),
        lambda: manifest.symlink_to(kept),
        listen,
    ):
        make()
        store = Store.open(full.uri)
        assert [stored.video.video_id for stored in store.videos()] == [B]
        assert list(store.damaged()) == [A]
        manifest.unlink()


def test_sizes_are_looked_at_before_anything_is_read(full: Store) -> None:
    huge = 20 << 30
    root = Path(full.uri)
    expected = [hit for hit in full.search(query(), 10) if hit.video_id == B]
    for path in (
        video(full) / "manifest.json",
        root / "catalog.parquet",
        *root.glob("vectors/*"),
        *(video(full) / "paths").iterdir(),
    ):
        os.truncate(path, huge)
    full.record_failures([])
    (root / "failures").mkdir()
    with open(root / "failures" / "0.parquet", "wb") as file:
        file.truncate(huge)
    store = Store.open(full.uri)
    assert A in store.damaged()
    assert store.search(query(), 10) == expected
    assert store.failures() == []
    assert len(store.damaged_failures()) == 1
    os.truncate(root / "store.json", huge)
    with pytest.raises(StoreError, match="at most"):
        Store.open(full.uri)


def test_reading_never_writes(full: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(full.uri) / "catalog.parquet").unlink()
    for path in Path(full.uri).glob("vectors/*"):
        path.unlink()

    def refuse(*_: object, **__: object) -> bool:
        raise AssertionError("a reader wrote")

    monkeypatch.setattr("longvid.store.local_objects.LocalObjects._publish", refuse)
    monkeypatch.setattr("longvid.store.local_objects.LocalObjects.remove", refuse)
    store = Store.open(full.uri)
    assert store.status().num_videos == 2
    assert len(store.search(query(), 10)) == 10
    assert store.load([(A, 0)])
    assert store.failures() == []
    assert store.verify() == []


def test_a_folder_that_may_not_be_read_is_one_video(
    full: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def guarded(name: str, flags: int, *mode: int, dir_fd: int | None = None) -> int:
        if name == A:
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return opened(name, flags, *mode, dir_fd=dir_fd)

    monkeypatch.setattr("longvid.store.local_objects.os.open", guarded)
    store = Store.open(full.uri)
    assert store.status().num_videos == 1
    assert store.damaged()[A].startswith(f"No permission to read videos/{A}/manifest.json")
    assert {hit.video_id for hit in store.search(query(), 10)} == {B}


def test_a_damaged_header_is_noticed_whatever_the_damage(
    full: Store, make_store: MakeStore
) -> None:
    header = Path(full.uri) / "store.json"
    intact = header.read_bytes()
    for position in range(0, len(intact), 5):
        flip(header, position)
        with pytest.raises(StoreError, match=r"store.json|has format"):
            Store.open(full.uri)
        with pytest.raises(StoreError, match=r"store.json|has format"):
            make_store()
        header.write_bytes(intact)
    seal = Path(full.uri) / "store.seal"
    seal.write_bytes(b"?")
    assert [finding.name for finding in Store.open(full.uri).verify()] == ["store.seal"]
    make_store()
    assert Store.open(full.uri).verify() == []
