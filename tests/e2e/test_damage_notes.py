"""Damage and removal beside a question: what was left out is said, wherever it is asked from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import longvid
from longvid.cli import main
from longvid.errors import StoreError
from longvid.qa.candidate_segments import CandidateSearch
from longvid.store import Store

STAR = "where is the white star?"


@pytest.fixture
def store(small_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_store, tmp_path / "store"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_video_is_named_by_every_answer(store: Path) -> None:
    flip(next(iter(sorted(store.glob("videos/*/manifest.json")))))
    with longvid.VideoQA(store) as qa:
        [many] = qa.ask_many([longvid.Question(STAR)])
        for note in (
            qa.ask(STAR).note,
            getattr(many, "note", ""),
            " ".join(qa.search_noted("a white star")[1]),
            " ".join(qa.search_all_noted("a white star")[1]),
        ):
            assert note.count("is damaged (it does not fit its checksum)") == 1, note


def test_the_command_says_it_once_where_nothing_is_found_too(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = next(iter(sorted(store.glob("videos/*/manifest.json"))))
    flip(manifest)
    for status, words in (
        (0, ["ask", STAR]),
        (0, ["search", "a white star"]),
        (0, ["search", "paper", "--text"]),
        (1, ["search", "a white star", "--video", "none.mp4"]),
        (1, ["search", "a white star", "--path", "*none*"]),
        (1, ["search", "a white star", "--objects"]),
    ):
        assert main([*words, "--store", str(store)]) == status
        printed = capsys.readouterr().err
        assert printed.count(f"{manifest.parent.name}/manifest.json") == 1, printed


def test_more_than_three_are_counted(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with longvid.VideoQA(store) as qa:
        monkeypatch.setattr(Store, "damaged", lambda _: {f"{n}": f"{n} is bad." for n in range(5)})
        assert "2 is bad. 2 more of its objects are damaged; " in qa.ask(STAR).note


def test_a_chunk_that_cannot_be_scored_again_is_named_though_it_is_not_shown(store: Path) -> None:
    with longvid.VideoQA(store) as qa:
        [best] = qa.search("a white star", top_k=1)
        for chunk in store.glob("videos/*/segments-*"):
            if best.video_id not in str(chunk):
                flip(chunk)
        shown, notes = qa.search_noted("a white star", top_k=1)
        assert shown[0].video_id == best.video_id
        assert "its content does not fit its checksum" in " ".join(notes)
        assert "its content does not fit its checksum" in qa.ask(STAR, video=None).note


def test_where_all_is_damaged_that_is_the_error(store: Path) -> None:
    shutil.rmtree(store / "vectors")
    for chunk in store.glob("videos/*/segments-*"):
        os.truncate(chunk, 50)
    with longvid.VideoQA(store) as qa:
        for ask in (qa.ask, qa.search):
            with pytest.raises(StoreError, match=r"is damaged \(its head is cut off"):
                ask("a white star")


def test_a_video_that_is_removed_meanwhile_is_not_found(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = CandidateSearch.hits
    with longvid.VideoQA(store) as qa:
        gone = qa.search("a white star", top_k=1)[0].video_id

        def removing(self: CandidateSearch, *words: object) -> object:
            hits = search(self, *words)  # type: ignore[arg-type]  # as they come
            qa.store.remove([gone])
            return hits

        monkeypatch.setattr(CandidateSearch, "hits", removing)
        found = qa.search("a white star", top_k=20)
        assert found
        assert gone not in {span.video_id for span in found}
