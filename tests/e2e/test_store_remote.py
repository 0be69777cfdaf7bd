"""The same store on an object store: memory here, and the S3 protocol where moto is installed."""

from __future__ import annotations

import uuid

import pytest

from longvid.errors import StoreError
from longvid.store import Store, remote_objects
from longvid.store.backend import open_objects
from longvid.store.objects import DamagedObjectError
from longvid.store.remote_objects import RemoteObjects
from longvid.types import Failure
from tests.reference.search import search_slowly
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import add_video, assert_same, make_segment, make_video

A, B = "a" * 32, "b" * 32


@pytest.fixture(scope="module")
def s3(s3_server: str) -> str:
    """A bucket behind a real S3 API."""
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).mkdir("videos-bucket")
    return "s3://videos-bucket"


@pytest.fixture(params=["memory", "s3"])
def uri(request: pytest.FixtureRequest) -> str:
    root = "memory://tests" if request.param == "memory" else request.getfixturevalue("s3")
    return f"{root}/{uuid.uuid4().hex}/store"


def test_a_remote_store_does_all_that_a_local_one_does(uri: str, make_store: MakeStore) -> None:
    store, local = make_store(uri), make_store()
    assert store.uri == uri
    for each in (store, local):
        segments = add_video(each, A) + add_video(each, B, chunks=(4,))
        each.add_path(B, "/second/name.mp4")
        each.record_failures([Failure("", "/x.mp4", "probe", "corrupt", "Broken.")])
        each.refresh()
    assert store.digest() == local.digest()
    assert store.verify() == []
    reader = Store.open(uri)
    for loaded, segment in zip(reader.load([s.key for s in segments]), segments, strict=True):
        assert_same(loaded, segment)
    query = make_segment(A, 2).frame_embeddings[1]
    assert reader.search(query, 4) == local.search(query, 4) == search_slowly(reader, query, 4)
    assert reader.videos() == local.videos()
    assert reader.find("name.mp4") == B
    assert [failure.path for failure in reader.failures()] == ["/x.mp4"]
    store.clear_failures()
    assert reader.failures() == []
    store.remove([A])
    reader.refresh()
    assert [stored.video.video_id for stored in reader.videos()] == [B]
    assert reader.search(query, 9) == search_slowly(store, query, 9)
    store.rebuild()
    store.write_chunk(A, [make_segment(A, 0)])
    assert [finding.kind for finding in store.verify()] == ["orphan"]
    assert len(store.clean()) == 1
    assert store.verify() == []


def test_a_remote_store_refuses_in_one_sentence(uri: str, make_store: MakeStore) -> None:
    with pytest.raises(StoreError, match="There is no store at"):
        Store.open(uri)
    store = make_store(uri)
    with pytest.raises(StoreError, match="index into another folder"):
        make_store(uri, fingerprint="other")
    with pytest.raises(StoreError, match="holds files but no"):
        make_store(uri.rpartition("/")[0])
    with pytest.raises(StoreError, match="holds no video"):
        store.remove([A])
    record = store.write_chunk(A, [make_segment(A, 0)])
    store.finish(make_video(A), [record])
    store.finish(make_video(A), [store.write_chunk(A, [make_segment(A, 0, seed=1)])])
    assert_same(store.load([(A, 0)])[0], make_segment(A, 0))


def test_a_bucket_that_is_not_there_is_one_sentence(s3: str, make_store: MakeStore) -> None:
    with pytest.raises(StoreError, match=r"Could not write store.json.*run the same command again"):
        make_store("s3://no-such-bucket/store")
    with pytest.raises(StoreError, match="There is no store at"):
        Store.open("s3://no-such-bucket/store")


def test_the_size_of_an_object_is_compared_before_it_is_read(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_objects, "_START_BYTES", 8)
    objects = open_objects(uri)
    assert isinstance(objects, RemoteObjects)
    contents = {"empty": b"", "short": b"1234567", "start": b"12345678", "long": b"1234567890" * 9}
    for name, data in contents.items():
        objects.write(name, data)
        assert objects.read(name) == objects.read(name, max_bytes=len(data)) == data
    assert objects.read_many([*contents, "absent"]) == [*contents.values(), None]

    fetched: list[object] = []
    monkeypatch.setattr(objects, "read_ranges", lambda *of: fetched.append(of) or [bytearray()])
    with pytest.raises(DamagedObjectError, match=r"long of the store .* has 90 bytes and at most"):
        objects.read("long", max_bytes=89)
    monkeypatch.setattr(remote_objects, "MAX_OBJECT_BYTES", 89)
    [refused, whole] = objects.read_many(["long", "short"])
    assert isinstance(refused, DamagedObjectError)
    assert whole == contents["short"]
    assert not fetched
