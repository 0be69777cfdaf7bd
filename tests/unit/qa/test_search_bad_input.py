"""Searches that cannot be made, or that leave nothing, are refused in one sentence."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import longvid
from longvid.config import load_config
from longvid.errors import QuestionError, UnknownWordsError
from longvid.models import mini
from longvid.qa.store_search import StoreSearch
from longvid.qa.video_qa import VideoQA


@pytest.fixture
def search(small_store: Path) -> StoreSearch:
    return StoreSearch(small_store, None, "cpu")


def test_filters_that_leave_nothing_are_named(search: StoreSearch) -> None:
    known = search.store.videos()[0].video.path
    with pytest.raises(QuestionError, match=r"No video of .* has a path like 'nowhere/\*'"):
        search.search("a red ring", paths="nowhere/*")
    with pytest.raises(QuestionError, match="Nothing is indexed from 9000 to 9001 s"):
        search.search("a red ring", span=(9000.0, 9001.0))
    with pytest.raises(QuestionError, match="Nothing is indexed from 9000 s on;"):
        search.search("a red ring", span=(9000.0, math.inf))
    with pytest.raises(QuestionError, match="paths must be a pattern of text"):
        search.search("a red ring", paths=Path("*"))  # type: ignore[arg-type]
    with pytest.raises(QuestionError, match="Nothing is indexed"):
        search.search("a red ring", paths="*", span=(9000.0, 9001.0))
    with pytest.raises(QuestionError, match=r"No video in .* has the tags camera=2;"):
        search.search("a red ring", tags={"camera": "2"})
    with pytest.raises(QuestionError, match="No video of those in"):
        search.search_text("a red ring", video=known, tags={"camera": "2"})
    with pytest.raises(QuestionError, match="Tags are keys with values"):
        search.search("a red ring", tags=["camera=2"])  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a", "red " * 2_500])
def test_a_query_of_any_length_finds_something(search: StoreSearch, text: str) -> None:
    assert len(search.search(text, top_k=2)) == 2


def test_a_word_of_ten_thousand_letters_is_refused_briefly(search: StoreSearch) -> None:
    with pytest.raises(UnknownWordsError, match=r"^.{1,500}$"):
        search.search("a" * 10_000)


@pytest.mark.parametrize("text", ["звезда", "красная star", "a red\0ring"])
def test_what_the_tokenizer_drops_is_an_unknown_word_too(search: StoreSearch, text: str) -> None:
    with pytest.raises(UnknownWordsError, match="The search model does not know"):
        search.search(text)


class _Narrow:
    """An embedder of another width than the store's."""

    def require_known_words(self, text: str) -> None:
        """Know every word."""

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Return vectors of width 3."""
        return torch.ones(len(texts), 3)


def test_an_embedder_of_another_width_is_refused(search: StoreSearch) -> None:
    search._embedder = _Narrow()  # type: ignore[assignment]
    with pytest.raises(QuestionError, match=r"embeddings of width \d+, .* embedded to 3; ask with"):
        search.search("a red ring")


def test_a_store_of_other_weights_is_not_searched(few_clips: Path, tmp_path: Path) -> None:
    """Weights that change under their name would find wrong places in silence."""
    folder, store = tmp_path / "model", tmp_path / "store"
    mini.save(folder, seed=3)
    config = load_config("mini", [f"encoder.model={folder}", f"llm.model={folder}"])
    longvid.index([few_clips / "sign_book_640x480.mkv"], store=store, config=config)
    assert VideoQA(store).search("a star")
    shutil.copytree(folder, tmp_path / "copy")
    kept = [f"{part}.model={tmp_path / 'copy'}" for part in ("encoder", "llm")]
    with pytest.raises(QuestionError, match="made with other weights than those that"):
        VideoQA(store, "mini").search("a star")  # the shipped weights, of the same width
    mini.save(folder, seed=4)
    assert VideoQA(store, load_config("mini", kept)).search("a star")
    with pytest.raises(QuestionError, match="made with other weights than those that"):
        VideoQA(store).search("a star")
