"""Opening, creating and being refused: one sentence each, and nothing stored is lost."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from longvid.config import load_config
from longvid.errors import StoreError
from longvid.indexing.ledger import open_store
from longvid.store import Store
from longvid.store.local_objects import LocalObjects
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import WIDTH, add_video, make_segment

A, B = "a" * 32, "b" * 32


def test_a_store_is_made_once_and_opened_after_that(make_store: MakeStore) -> None:
    store = make_store(tokens="int8", vectors_per_segment=2)
    for again in (make_store(tokens="int8", vectors_per_segment=2), Store.open(store.uri)):
        assert again.uri == store.uri
        assert again.fingerprint == "made-for-tests"
        assert again.config == {"preset": "none"}
        assert (again.space, again.embedding_width) == ("test-space", WIDTH)
        assert again.options == store.options
    assert "://" not in store.uri
    assert Store.open(f"file://{store.uri}").uri == store.uri


def test_another_make_is_refused(store: Store, make_store: MakeStore) -> None:
    add_video(store, A)
    before = store.digest()
    with pytest.raises(StoreError, match=r"made-for-tests.*other-make.*index into another folder"):
        make_store(fingerprint="other-make")
    with pytest.raises(StoreError, match=r"int8.*index into another folder"):
        make_store(tokens="int8")
    for changed in ({"space": "other"}, {"embedding_width": 3}):
        make: dict[str, object] = {"space": "test-space", "embedding_width": WIDTH, **changed}
        with pytest.raises(StoreError, match=r"'?(other|3)'?; index into another folder"):
            Store.create(store.uri, fingerprint="made-for-tests", config={}, **make)  # type: ignore[arg-type]  # one of each
    assert store.digest() == before


def test_a_refusal_names_the_settings_that_differ(tmp_path: Path) -> None:
    mini = load_config("mini")
    open_store(str(tmp_path), mini)
    open_store(str(tmp_path), load_config("mini", ["ask.budget=77"]))
    for changes, words in (
        (["sample.fps=2"], r"other settings \(sample.fps is 1.0 there and 2.0 here\)"),
        (["compressors.0.name=tome"], r"\(compressors.0.name is '\w+' there and 'tome' here"),
        (
            ["sample.fps=2", "store.vectors_per_segment=1"],
            "1.0 there .*, store.vectors_per_segment",
        ),
    ):
        with pytest.raises(StoreError, match=words + r".*; index into another folder"):
            open_store(str(tmp_path), load_config("mini", changes))
    with pytest.raises(StoreError, match=r"other weights \(a model may have changed"):
        Store.create(
            tmp_path,
            fingerprint="of other weights",
            config=mini.to_dict(),
            space=mini.space(),
            embedding_width=mini.encoder.embedding_width(),
            options=mini.store,
        )


def test_a_newer_format_is_refused(store: Store) -> None:
    header = Path(store.uri) / "store.json"
    (Path(store.uri) / "store.seal").unlink()
    document = json.loads(header.read_bytes())
    header.write_text(json.dumps({**document, "format": 99, "unheard_of": 1}))
    with pytest.raises(StoreError, match=r"format 99 .* reads up to 1; upgrade longvid"):
        Store.open(store.uri)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"format": 1}', b"\xff\xfe"])
def test_a_damaged_header_is_refused(store: Store, content: bytes) -> None:
    (Path(store.uri) / "store.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"store.json of the store .* is damaged .*restore it"):
        Store.open(store.uri)


def test_what_is_no_store_is_refused(tmp_path: Path, make_store: MakeStore) -> None:
    with pytest.raises(StoreError, match=r"There is no store at .*longvid index PATH --store"):
        Store.open(tmp_path / "nothing")
    with pytest.raises(StoreError, match="There is no store"):
        Store.open(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "holiday.mp4").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"holds files but no store.json.*new or empty folder"):
        make_store("full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["holiday.mp4"]
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StoreError, match="is a file and a store is a folder"):
        make_store("file")
    with pytest.raises(StoreError, match=r"nosuch.* a protocol that fsspec knows"):
        Store.open("nosuch://bucket/store")
    (tmp_path / "empty" / ".tmp").mkdir(parents=True)
    assert make_store("empty").videos() == []


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space to write .* everything stored before is intact. Free some space"),
        (errno.EDQUOT, "No space"),
        (errno.EACCES, "No permission to write .* ask its owner"),
        (errno.EROFS, "No permission"),
        (errno.EIO, "Could not write .*Input/output error.* run the same command again"),
    ],
)
def test_a_refused_write_is_one_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    kept = add_video(store, A)

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("longvid.store.local_objects.os.write", refuse)
        with pytest.raises(StoreError, match=message) as caught:
            add_video(store, B)
    assert "\n" not in str(caught.value)
    assert not list((Path(store.uri) / ".tmp").iterdir())
    assert [stored.video.video_id for stored in store.videos()] == [A]
    assert len(store.load([segment.key for segment in kept])) == 5
    add_video(store, B)
    assert store.verify() == []


def test_temporary_files_of_the_dead_go_and_of_the_living_stay(make_store: MakeStore) -> None:
    store = make_store()
    folder = Path(store.uri) / ".tmp"
    folder.mkdir(exist_ok=True)
    (folder / "0123456789abcdef").write_bytes(b"half")
    alive: list[bool] = []

    def produce(path: str) -> None:
        make_store()
        alive.append(os.path.exists(path))
        Path(path).write_bytes(b"whole")

    objects = LocalObjects(store.uri)
    objects.write_file("failures/x", produce)
    assert alive == [True]
    assert objects.read("failures/x") == b"whole"
    assert list(folder.iterdir()) == []


def test_an_exclusive_write_happens_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = LocalObjects(str(tmp_path))
    assert objects.write("a/x", b"one", exclusive=True)
    assert not objects.write("a/x", b"two", exclusive=True)
    assert objects.read("a/x") == b"one"

    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr("longvid.store.local_objects.os.link", no_links)
    assert objects.write("a/y", b"one", exclusive=True)
    assert not objects.write("a/y", b"two", exclusive=True)
    assert objects.read("a/y") == b"one"


def test_a_folder_removed_under_a_writer_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = LocalObjects(str(tmp_path))
    replace, calls = os.replace, []

    def late(source: str, target: str, **folders: int) -> None:
        calls.append(target)
        if len(calls) == 1:
            os.rmdir(tmp_path / "videos" / "a")
        replace(source, target, **folders)

    monkeypatch.setattr("longvid.store.local_objects.os.replace", late)
    assert objects.write("videos/a/x", b"content")
    assert objects.read("videos/a/x") == b"content"
    assert len(calls) == 2


def test_a_damaged_chunk_is_one_sentence(store: Store) -> None:
    add_video(store, A, chunks=(1,))
    [chunk] = Path(store.uri).rglob("*.safetensors")
    whole = chunk.read_bytes()
    for content in (b"", whole[:7], whole[:50], whole[:-1], b"\xff" * 100, b"{}" * 4000):
        chunk.write_bytes(content)
        with pytest.raises(StoreError, match=r"damaged .*index it again") as caught:
            store.load([(A, 0)])
        assert "\n" not in str(caught.value)
    chunk.unlink()
    with pytest.raises(StoreError, match="is missing from the store"):
        store.load([(A, 0)])
    store.write_chunk(A, [make_segment(A, 0)])
    assert len(store.load([(A, 0)])) == 1
