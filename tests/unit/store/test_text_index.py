"""The index over the words of a store's text: kept, seen anew, made again, one video apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from longvid.store import Store, write_subtitles
from longvid.store.layout import TEXT_LINES, TEXT_WORDS
from longvid.store.text_index import TextIndex
from longvid.store.timed_text import TextWriter, remove_text
from longvid.timed_text.lexical_search import rank
from longvid.timed_text.words import indexed_text
from longvid.types import TextLine

ONE, OTHER = "a" * 32, "b" * 32
SPOKEN = [
    TextLine(1.0, 2.0, "the director was welcomed", "speech", "en"),
    TextLine(3.0, 4.0, "twelve whales", "speech"),
]
SIGN = TextLine(2.0, 3.0, "DIRECTED BY ANNA", "screen")


def write(store: Store, video_id: str, lines: list[TextLine], source: str = "speech") -> None:
    writer = TextWriter(store, video_id, source, "f")  # type: ignore[arg-type]
    writer.add(lines, 10.0)
    writer.finish()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.create(
        tmp_path / "store", fingerprint="f" * 16, config={}, space="space", embedding_width=4
    )
    write(store, ONE, SPOKEN[:1])
    write(store, OTHER, [SIGN], "screen")
    write_subtitles(store.objects, OTHER, [TextLine(0.0, 1.0, "12 whales, subtitled")])
    return store


def kinds(store: Store) -> set[str]:
    """Return what `verify` finds, besides that these videos have text and no manifest."""
    return {finding.kind for finding in store.verify()} - {"orphan"}


def found(store: Store, query: str) -> list[tuple[str, str]]:
    index = store.texts.current()
    return [(index.video_of(at), index.lines[at].text) for _, at in index.words.search(query, 9)]


def test_text_of_all_videos_is_found_by_the_stems_of_its_words(store: Store) -> None:
    assert found(store, "who directs?") == [(OTHER, SIGN.text), (ONE, SPOKEN[0].text)]
    assert found(store, "twelve whale") == [(OTHER, "12 whales, subtitled")]
    index = store.texts.current()
    assert [line.text for line in index.lines_of(ONE)] == [SPOKEN[0].text]
    assert index.lines_of("c" * 32) == ()


def test_what_is_written_while_a_store_is_open_is_found(store: Store) -> None:
    store.texts.current()
    other = Store.open(store.uri)
    write(other, "c" * 32, [TextLine(5.0, 6.0, "penguins", "speech")])
    store.texts._stale_after = 0.0  # a listing is used for ten times as long as it took
    assert found(store, "penguin") == [("c" * 32, "penguins")]
    remove_text(other, "c" * 32, "speech")
    store.texts._stale_after = 0.0
    assert found(store, "penguin") == []


def test_a_kept_index_equals_one_that_is_made_and_no_text_is_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, "c" * 32, SPOKEN)
    made = store.texts.current()
    store.refresh()
    assert kinds(store) == set()
    monkeypatch.setattr("longvid.store.text_index.read_text", None)
    kept = Store.open(store.uri).texts.current()
    assert (kept.stamps, kept.video_ids) == (made.stamps, made.video_ids)
    assert list(kept.lines) == list(made.lines)
    assert kept.generation == made.generation
    assert np.array_equal(kept.sources, made.sources)
    texts = [indexed_text(line) for line in kept.lines]
    for query in ("director", "twelve whales", "said 00:01"):
        assert kept.words.search(query, 9) == made.words.search(query, 9) == rank(texts, query)


@pytest.mark.parametrize("name", [TEXT_LINES, TEXT_WORDS])
@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_a_kept_index_that_is_damaged_is_made_again(store: Store, name: str, damage: str) -> None:
    store.refresh()
    path = Path(store.uri) / name
    before = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        flipped = before[:40] + bytes([before[40] ^ 1]) + before[41:]
        path.write_bytes(before[:-9] if damage == "cut" else flipped)
        assert kinds(store) == {"cache"}
    again = Store.open(store.uri)
    assert found(again, "directs") == found(store, "directs")
    again.rebuild()
    assert path.read_bytes() == before


def test_damaged_text_of_one_video_is_named_and_the_others_are_found(store: Store) -> None:
    subtitles = Path(store.uri) / "videos" / OTHER / "subtitles.json"
    subtitles.write_bytes(subtitles.read_bytes()[:-5])
    store.texts.forget()
    assert list(store.texts.current().damaged) == [OTHER]
    assert found(store, "director") == [(ONE, SPOKEN[0].text)]


def test_lines_are_chosen_by_video_and_source(store: Store) -> None:
    index = store.texts.current()
    assert index.allowed({ONE, OTHER}, {"speech", "screen", "subtitle"}) is None
    allowed = index.allowed({OTHER}, {"speech", "screen"})
    assert allowed is not None
    assert [index.lines[at].text for at in np.flatnonzero(allowed)] == [SIGN.text]
    assert TextIndex.of({}, {}).words.search("anything", 3) == []
