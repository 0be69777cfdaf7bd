"""Annotations: complete or absent, compared when read, and gone with their video."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from longvid.errors import StoreError
from longvid.store import AnnotationKey, Store
from longvid.store.annotation_writer import AnnotationWriter
from longvid.store.detected_boxes import BoxWriter, read_boxes
from longvid.store.seal import parse_json, seal, sealed_json
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import add_video

A, B = "a" * 32, "b" * 32
LINES = {"lines.json": b'[[0.0, 1.0, "hello"]]', "words.json": b""}


def files(store: Store, video_id: str = A) -> list[Path]:
    folder = Path(store.uri) / "videos" / video_id / "annotations"
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_an_annotation_is_read_as_it_was_written(store: Store) -> None:
    annotations = store.annotations
    assert annotations.read(A, "speech", "f1") is None
    assert annotations.entry_names(A, "speech", "f1") is None
    annotations.write(A, "speech", "f1", LINES)
    assert annotations.read(A, "speech", "f1") == LINES
    assert annotations.read(A, "speech", "f1", ["words.json", "nothing"]) == {"words.json": b""}
    assert annotations.entry_names(A, "speech", "f1") == ("lines.json", "words.json")
    annotations.write(A, "speech", "f2", {"lines.json": b"two"})
    annotations.write(A, "boxes", "f1", {"boxes": b"three"})
    assert annotations.list_keys(A) == [
        AnnotationKey(A, "boxes", "f1"),
        AnnotationKey(A, "speech", "f1"),
        AnnotationKey(A, "speech", "f2"),
    ]
    assert annotations.list_keys(A, "boxes") == [AnnotationKey(A, "boxes", "f1")]
    assert annotations.list_keys(B) == []
    annotations.remove(A, "speech", "f1")
    annotations.remove(A, "speech", "f1")
    assert annotations.read(A, "speech", "f1") is None
    assert annotations.read(A, "speech", "f2") == {"lines.json": b"two"}


def test_parts_are_invisible_until_they_are_published(store: Store) -> None:
    add_video(store, A)
    digest = store.digest()
    parts = [
        store.annotations.write_part(A, "boxes", "p", {f"{i}.jpg": bytes([i]) * i})
        for i in (3, 1, 2)
    ]
    assert store.annotations.read(A, "boxes", "p") is None
    assert store.digest() == digest
    assert [finding.kind for finding in store.verify()] == ["orphan"] * 3
    store.annotations.publish(A, "boxes", "p", parts)
    assert store.annotations.entry_names(A, "boxes", "p") == ("3.jpg", "1.jpg", "2.jpg")
    assert store.annotations.read(A, "boxes", "p", {"2.jpg"}) == {"2.jpg": b"\x02\x02"}
    assert store.digest() != digest
    assert store.verify() == []
    # A part that a killed writer left goes when the store is cleaned; what is named stays.
    left = store.annotations.write_part(A, "boxes", "p", {"9.jpg": b"9"})
    assert [Path(name).name for name in store.clean()] == [left.file]
    assert len(store.annotations.read(A, "boxes", "p") or {}) == 3


def test_replacing_removes_what_no_index_names(store: Store) -> None:
    add_video(store, A)
    store.annotations.write(A, "speech", "f", LINES)
    digest, before = store.digest(), files(store)
    store.annotations.write(A, "speech", "f", LINES)
    assert (store.digest(), files(store)) == (digest, before)
    store.annotations.write(A, "speech", "f", {"lines.json": b"other"})
    assert store.annotations.read(A, "speech", "f") == {"lines.json": b"other"}
    assert len(files(store)) == 2
    assert store.digest() != digest
    assert store.verify() == []


def test_two_stores_with_equal_annotations_have_equal_digests(make_store: MakeStore) -> None:
    one, other = make_store("one"), make_store("other")
    for store, kinds in ((one, ("speech", "boxes")), (other, ("boxes", "speech"))):
        add_video(store, A)
        for kind in kinds:
            store.annotations.write(A, kind, "f", LINES)
    assert one.digest() == other.digest()
    other.annotations.remove(A, "boxes", "f")
    assert one.digest() != other.digest()


def test_annotations_go_with_their_video(store: Store) -> None:
    add_video(store, A)
    add_video(store, B)
    for video_id in (A, B):
        store.annotations.write(video_id, "speech", "f", LINES)
    store.remove([A])
    assert not (Path(store.uri) / "videos" / A).exists()
    assert store.annotations.read(B, "speech", "f") == LINES
    # Annotations of a video that was never finished are leftovers.
    store.annotations.write(A, "speech", "f", LINES)
    assert {finding.kind for finding in store.verify()} == {"orphan"}
    assert len(store.clean()) == 2
    assert store.verify() == []


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "missing"])
def test_damage_is_named_when_it_is_read_and_by_verify(store: Store, damage: str) -> None:
    add_video(store, A)
    store.annotations.write(A, "speech", "f", LINES)
    for path in files(store):
        intact = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            flipped = intact[:-7] + bytes([intact[-7] ^ 4]) + intact[-6:]
            path.write_bytes({"flip": flipped, "cut": intact[:-1], "empty": b""}[damage])
        if damage == "missing" and path.suffix == ".json":
            assert store.annotations.read(A, "speech", "f") is None
        else:
            with pytest.raises(StoreError, match=r"is damaged \(.*remove that video"):
                store.annotations.read(A, "speech", "f")
            assert "damaged" in {finding.kind for finding in store.verify()}
        # The videos themselves are not affected.
        assert len(store.videos()) == 1
        path.write_bytes(intact)
        assert store.verify() == []


def test_what_cannot_be_kept_is_refused(store: Store) -> None:
    for video_id, kind, fingerprint in (
        ("../a", "speech", "f"),
        (A, "../speech", "f"),
        (A, "Speech", "f"),
        (A, "speech", "f/g"),
        (A, "speech", ""),
    ):
        with pytest.raises(StoreError, match="cannot be"):
            store.annotations.write(video_id, kind, fingerprint, LINES)
    with pytest.raises(StoreError, match="at least one"):
        store.annotations.write(A, "speech", "f", {})
    part = store.annotations.write_part(A, "speech", "f", LINES)
    with pytest.raises(StoreError, match="one name"):
        store.annotations.publish(A, "speech", "f", [part, part])
    [path] = files(store)
    path.unlink()
    with pytest.raises(StoreError, match="write it again"):
        store.annotations.publish(A, "speech", "f", [part])


def test_a_sealed_document_is_json_and_fits_its_seal_only() -> None:
    document = {"b": 1.5, "a": ["x", None]}
    data = sealed_json(document)
    assert parse_json(data, must_be_sealed=True) == document
    assert {key: value for key, value in json.loads(data).items() if key != "seal"} == document
    assert seal(b"ab", b"", b"c") == seal(b"abc")
    assert parse_json(b'{"old": 1}') == {"old": 1}
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(ValueError, match=r"\w"):
            parse_json(changed, must_be_sealed=True)
    for hostile in (b'{"a": NaN}', b'{"a": Infinity}', b"[" * 10**5, b'{"a":' * 10**5, b"3", b""):
        with pytest.raises(ValueError, match=r"\w"):
            parse_json(hostile)


def test_a_second_writer_is_refused_and_takes_nothing_away(store: Store) -> None:
    first, second = (BoxWriter(store, A, "detector", ["dog"]) for _ in range(2))
    first.add([(0.0, [])])
    with pytest.raises(StoreError, match=r"Another command has written .*; run the same command"):
        second.add([(1.0, [])])
    first.add([(2.0, [])])
    third = BoxWriter(store, A, "detector", ["dog"])
    assert third.done == {0.0, 2.0}
    third.add([(1.0, [])])
    with pytest.raises(StoreError, match="Another command"):
        first.add([(3.0, [])])
    assert list(read_boxes(store, A, "detector")) == [0.0, 1.0, 2.0]


def test_of_many_writers_at_once_each_part_is_whole_or_refused(store: Store) -> None:
    key, added = AnnotationKey(A, "boxes", "f"), []
    start = threading.Barrier(4)

    def write(number: int) -> None:
        start.wait()
        for place in range(10):
            name = f"{number}-{place}"
            try:
                AnnotationWriter(store.annotations, key).add({name: name.encode()})
            except StoreError as error:
                assert "Another command" in str(error)  # noqa: PT017  # of many, not of one
            else:
                added.append(name)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert added
    assert store.annotations.read(A, "boxes", "f") == {name: name.encode() for name in added}
