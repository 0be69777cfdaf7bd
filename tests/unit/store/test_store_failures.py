"""Failures add up, are cleared, and survive any number of writers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longvid.store import Store
from longvid.store.parquet import parse_table, write_table
from longvid.types import Failure
from tests.unit.store.conftest import MakeStore


def failure(path: str = "/a.mp4", kind: str = "corrupt", **fields: object) -> Failure:
    values: dict[str, object] = {"video_id": "", "stage": "decode", "error": "It broke.", **fields}
    return Failure(path=path, kind=kind, **values)  # type: ignore[arg-type]  # checked by Failure


def files(store: Store) -> list[Path]:
    return list(Path(store.uri).glob("failures/*.parquet"))


def test_there_is_one_failure_a_file_and_one_a_gap(store: Store) -> None:
    store.record_failures([])
    assert files(store) == []
    gap = failure(video_id="v", start_seconds=2.0, end_seconds=4.0)
    store.record_failures([failure(), gap, failure(stage="probe")])
    store.record_failures([failure(kind="decode-timeout", error="Too slow.", stderr="last line")])
    store.record_failures(
        [failure(path="/renamed.mp4", video_id="v", start_seconds=2.0, end_seconds=4.0)]
    )
    found = {(f.path, f.stage, f.start_seconds): f for f in store.failures()}
    assert len(found) == 2
    latest = found["/a.mp4", "decode", None]
    assert (latest.attempts, latest.kind, latest.error) == (3, "decode-timeout", "Too slow.")
    assert latest.stderr == "last line"
    assert found["/renamed.mp4", "decode", 2.0].attempts == 2
    assert [f.kind for f in store.failures("decode-timeout")] == ["decode-timeout"]
    assert store.status().num_failures == 2


def test_clearing_by_id_by_path_and_all(store: Store) -> None:
    store.record_failures([failure("/a"), failure("/b", video_id="v"), failure("/c")])
    store.clear_failures(["/nowhere"])
    store.clear_failures(["v"])
    assert [f.path for f in store.failures()] == ["/a", "/c"]
    store.clear_failures(["/a"])
    assert [f.path for f in store.failures()] == ["/c"]
    store.record_failures([failure("/a")])
    assert [(f.path, f.attempts) for f in store.failures()] == [("/a", 1), ("/c", 1)]
    store.clear_failures()
    assert store.failures() == []


def test_compaction_keeps_what_there_is(store: Store) -> None:
    for i in range(100):
        store.record_failures([failure(f"/{i % 7}")])
        if i == 50:
            store.clear_failures(["/3"])
    assert len(files(store)) <= 33
    assert sum(f.attempts for f in store.failures()) == 100 - len(
        [i for i in range(51) if i % 7 == 3]
    )
    table = pq.read_table(Path(store.uri) / "failures")
    assert {"path", "stage", "kind", "attempts", "error"} <= set(table.column_names)


def test_a_compaction_that_was_killed_counts_nothing_twice(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    with monkeypatch.context() as patch:
        patch.setattr("longvid.store.local_objects.LocalObjects.remove", lambda *_: None)
        for i in range(40):
            store.record_failures([failure(f"/{i % 3}")])
        store.clear_failures(["/0"])
    assert len(files(store)) > 40
    assert [(f.path, f.attempts) for f in store.failures()] == [("/1", 13), ("/2", 13)]
    store.record_failures([failure("/1")])
    assert len(files(store)) <= 33
    assert [(f.path, f.attempts) for f in make_store().failures()] == [("/1", 14), ("/2", 13)]


def test_a_clear_survives_a_compaction_that_did_not_see_it(
    store: Store, make_store: MakeStore
) -> None:
    other = make_store()
    store.record_failures([failure("/a")])
    [part] = files(store)
    copy = part.read_bytes()
    other.clear_failures(["/a"])
    # The slower compaction wrote a copy of what it had read before the clear.
    part.with_name("0123456789abcdef.parquet").write_bytes(copy)
    for i in range(40):
        store.record_failures([failure(f"/other{i}")])
    assert "/a" not in [f.path for f in store.failures()]


def test_a_damaged_table_is_named_and_the_others_count(store: Store) -> None:
    store.record_failures([failure("/a")])
    [table] = files(store)
    other = table.with_name("other.parquet")
    whole = table.read_bytes()
    flipped = whole.replace(b"It broke.", b"It brokf.")
    assert flipped != whole
    for content in (b"half-writ", b"", whole[:-9], whole[:200] + whole[210:], flipped):
        other.write_bytes(content)
        assert [f.path for f in store.failures()] == ["/a"]
        [(name, sentence)] = store.damaged_failures().items()
        assert name == "failures/other.parquet"
        assert "is no whole table of failures" in sentence
        assert "remove that file" in sentence
        assert [(f.kind, f.name) for f in store.verify()] == [("damaged", name)]
    for i in range(40):  # compaction leaves it alone
        store.record_failures([failure(f"/{i}")])
    assert other.exists()
    assert len(store.failures()) == 41
    assert store.videos() == []


@pytest.mark.parametrize(
    "bomb",
    [
        pa.table({"event": pa.nulls(11_000_000, pa.int8())}),
        pa.table({"event": pa.array([bytes(1 << 20)] * 30)}),
    ],
    ids=["rows", "bytes"],
)
def test_a_table_that_claims_too_much_is_not_unpacked(store: Store, bomb: pa.Table) -> None:
    folder = Path(store.uri) / "failures"
    folder.mkdir()
    pq.write_table(bomb, folder / "bomb.parquet", compression="zstd", use_dictionary=False)
    assert (folder / "bomb.parquet").stat().st_size < 100_000
    assert store.failures() == []
    [sentence] = store.damaged_failures().values()
    assert "more than any such table" in sentence


def equal_texts(indices: list[int | None]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(
        pa.array(indices, pa.int32()), pa.array(["a" * 900_000, "b"])
    )


@pytest.mark.parametrize(
    "bomb",
    [
        equal_texts([0] * 10_000),
        equal_texts([None] * 500 + [1] * 500 + [0] * 10_000),
        pa.ListArray.from_arrays(pa.array([0, 0, 10_000], pa.int32()), equal_texts([0] * 10_000)),
        pa.StructArray.from_arrays([equal_texts([0] * 10_000)], ["text"]),
        pa.array([0] * 9_000_000).dictionary_encode(),
    ],
    ids=["texts", "later", "list", "structure", "numbers"],
)
def test_a_small_table_of_equal_values_is_not_unpacked(store: Store, bomb: pa.Array) -> None:
    """Each value is stored once: gigabytes, if they stood in every row."""
    folder = Path(store.uri) / "failures"
    folder.mkdir()
    columns = dict.fromkeys(("event", "more", "again", "last", "end"), bomb)
    pq.write_table(pa.table(columns), folder / "bomb.parquet", store_schema=False)
    assert (folder / "bomb.parquet").stat().st_size < 300_000
    before = pa.total_allocated_bytes()
    assert store.failures() == []
    assert pa.total_allocated_bytes() - before < 1 << 20
    [sentence] = store.damaged_failures().values()
    assert "more than any such table" in sentence


def test_a_table_of_many_equal_texts_is_read() -> None:
    rows = pa.table({"event": ["x" * 1000] * 100_000, "count": range(100_000)})
    data = write_table([rows], rows.schema)
    assert parse_table(data, must_be_sealed=True).equals(rows)
