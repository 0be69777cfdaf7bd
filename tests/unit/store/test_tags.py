"""Tags: what people say of a video, found by searches and no part of what is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from longvid.errors import StoreError
from longvid.store import Store
from longvid.store.tags import parsed_tags
from tests.unit.store.synthetic import add_video

A, B = "a" * 32, "b" * 32


@pytest.fixture
def filled(store: Store) -> Store:
    for video_id in (A, B):
        add_video(store, video_id)
    store.refresh()
    return store


def tags_of(store: Store) -> list[dict[str, str]]:
    return [dict(stored.tags) for stored in store.videos()]


def test_tags_are_kept_by_key_and_taken_away(filled: Store) -> None:
    filled.tag(A, {"camera": "2", "place": "yard"})
    filled.tag(A, {"camera": "3", "who": ""})
    assert (
        tags_of(filled)
        == tags_of(Store.open(filled.uri))
        == [
            {"camera": "3", "place": "yard"},
            {},
        ]
    )
    filled.refresh()
    assert tags_of(Store.open(filled.uri))[0] == {"camera": "3", "place": "yard"}
    filled.tag(A, {"camera": "", "place": ""})
    assert tags_of(filled) == [{}, {}]
    assert not list(Path(filled.uri).rglob("tags.json"))


def test_another_process_sees_new_tags(filled: Store) -> None:
    other = Store.open(filled.uri)
    assert tags_of(other) == [{}, {}]
    filled.tag(B, {"camera": "2"})
    other._catalogs.changed()  # a listing lasts some milliseconds
    assert tags_of(other) == [{}, {"camera": "2"}]


def test_tags_are_no_part_of_the_digest_and_go_with_their_video(filled: Store) -> None:
    before = filled.digest()
    filled.tag(A, {"camera": "2"})
    assert filled.digest() == before
    assert filled.verify() == []
    assert filled.clean() == []
    filled.remove([A])
    assert not list(Path(filled.uri).rglob("tags.json"))


def test_damaged_tags_are_named_and_lose_nothing_else(filled: Store) -> None:
    filled.tag(A, {"camera": "2"})
    [path] = Path(filled.uri).rglob("tags.json")
    path.write_bytes(path.read_bytes().replace(b"2", b"3"))
    reopened = Store.open(filled.uri)
    reopened.rebuild()
    assert tags_of(reopened) == [{}, {}]
    assert "has lost its tags" in reopened.damaged()[f"videos/{A}/tags.json"]
    assert [finding.kind for finding in reopened.verify()] == ["damaged"]
    reopened.tag(A, {"camera": "2"})
    assert reopened.verify() == []
    assert tags_of(reopened) == [{"camera": "2"}, {}]
    assert not reopened.damaged()


def test_a_video_that_is_not_there_cannot_be_tagged(filled: Store) -> None:
    with pytest.raises(StoreError, match="holds no video"):
        filled.tag("c" * 32, {"camera": "2"})
    assert not (Path(filled.uri) / "videos" / ("c" * 32)).exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["camera"], "written key=value"),
        (["=2"], "written key=value"),
        (["a=1", "a=2"], "two values"),
        (["a=" + "1" * 300], "at most 256"),
        ([f"{number}=1" for number in range(65)], "at most 64 tags"),
    ],
)
def test_words_that_are_no_tags_are_refused(given: list[str], sentence: str) -> None:
    with pytest.raises(StoreError, match=sentence):
        parsed_tags(given)


@pytest.mark.parametrize("given", [{"a": 1}, {1: "a"}, {"": "a"}, {"a=b": "c"}, {"a": "\ud800"}])
def test_values_that_are_no_tags_are_refused(filled: Store, given: dict[str, str]) -> None:
    with pytest.raises(StoreError, match="A tag's key"):
        filled.tag(A, given)
    assert tags_of(filled) == [{}, {}]


def test_spaces_around_keys_and_values_are_no_part_of_them(filled: Store) -> None:
    """A command cannot write them, so it could neither name nor remove such a tag."""
    filled.tag(A, {" camera ": " 2 "})
    assert tags_of(filled) == [{"camera": "2"}, {}]
    filled.tag(A, {"camera": " "})
    assert tags_of(filled) == [{}, {}]
    with pytest.raises(StoreError, match="Two of the tags have one key"):
        filled.tag(A, {"a": "1", "a ": "2"})
    with pytest.raises(StoreError, match="A tag's key is a text"):
        filled.tag(A, {" ": "x"})
