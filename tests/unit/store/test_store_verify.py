"""Verification names what is wrong, and cleaning removes what nobody needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from longvid.store import Store
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import add_video, make_segment

A, B = "a" * 32, "b" * 32


def kinds(store: Store) -> list[tuple[str, str]]:
    return sorted((finding.kind, finding.name.rpartition("/")[2]) for finding in store.verify())


def test_every_kind_of_finding(store: Store) -> None:
    add_video(store, A, chunks=(2, 2, 1))
    assert kinds(store) == []
    folder = Path(store.uri) / "videos" / A
    first, second, third = sorted(folder.glob("*.safetensors"))
    first.unlink()
    data = bytearray(second.read_bytes())
    data[-3] ^= 1
    second.write_bytes(data)
    third.rename(folder / "segments-000009-0123456789abcdef.safetensors")
    (folder / "notes.txt").write_text("mine")
    [name] = (folder / "paths").iterdir()
    name.write_text("{")
    store.write_chunk(B, [make_segment(B, 0)])
    [unfinished] = (Path(store.uri) / "videos" / B).iterdir()
    assert kinds(store) == sorted(
        [
            ("missing", first.name),
            ("checksum", second.name),
            ("missing", third.name),
            ("orphan", "segments-000009-0123456789abcdef.safetensors"),
            ("foreign", "notes.txt"),
            ("damaged", name.name),
            ("orphan", unfinished.name),
        ]
    )
    assert all(finding.message.endswith(".") for finding in store.verify())
    assert {finding.video_id for finding in store.verify()} == {A, B}


def test_indexing_again_mends_what_was_found(store: Store) -> None:
    add_video(store, A)
    digest = store.digest()
    for path in sorted((Path(store.uri) / "videos" / A).rglob("*")):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    assert {kind for kind, _ in kinds(store)} == {"damaged"}
    add_video(store, A)
    assert kinds(store) == []
    assert store.digest() == digest


def test_cleaning_removes_only_leftovers(store: Store, make_store: MakeStore) -> None:
    kept = add_video(store, A)
    store.refresh()
    unfinished = store.write_chunk(B, [make_segment(B, 0)])
    root = Path(store.uri)
    (root / "videos" / A / "notes.txt").write_text("mine")
    (root / "vectors" / "part-0.faiss").write_bytes(b"no table beside it")
    (root / ".tmp" / "0123456789abcdef").write_bytes(b"half")
    (root / ".tmp" / "notes").write_text("mine")
    assert sorted(store.clean()) == [
        ".tmp/0123456789abcdef",
        "vectors/part-0.faiss",
        f"videos/{B}/{unfinished.file}",
    ]
    assert kinds(store) == [("foreign", "notes"), ("foreign", "notes.txt")]
    assert len(make_store().load([segment.key for segment in kept])) == 5
    assert store.clean() == []


@pytest.mark.parametrize("name", ["manifest.json", "paths"])
def test_a_finished_video_needs_its_manifest_but_no_name(store: Store, name: str) -> None:
    add_video(store, A)
    target = Path(store.uri) / "videos" / A / name
    if target.is_dir():
        for path in target.iterdir():
            path.unlink()
        assert store.videos()[0].paths == ()
        assert store.videos()[0].video.path == A
        assert kinds(store) == []
    else:
        target.unlink()
        assert store.videos() == []
        assert {kind for kind, _ in kinds(store)} == {"orphan"}
