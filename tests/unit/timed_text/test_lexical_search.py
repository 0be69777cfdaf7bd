"""Words find lines: rare words count more, ties go to the first, the fast index equals `rank`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.timed_text import lexical_search
from longvid.timed_text.lexical_search import LexicalIndex, rank
from longvid.timed_text.words import asked_source, indexed_text
from longvid.types import TextLine


def test_rare_words_count_more_and_ties_go_to_the_first() -> None:
    texts = ["the cat", "the dog", "the dog", "a bird"]
    assert [index for _, index in rank(texts, "the dog!")] == [1, 2, 0]
    assert [index for _, index in LexicalIndex.build(texts).search("the dog!", 2)] == [1, 2]
    assert rank([], "x") == LexicalIndex.build([]).search("x", 5) == []
    assert rank(texts, "...") == LexicalIndex.build(texts).search("...", 5) == []


@given(
    st.lists(st.lists(st.sampled_from(["red", "star", "blue", "a"]), max_size=6), max_size=12),
    st.lists(st.sampled_from(["red", "star", "blue", "b"]), max_size=4),
    st.integers(1, 5),
    st.sampled_from([1, 3, 10_000]),
)
def test_the_index_equals_the_readable_form(
    texts: list[list[str]], query: list[str], top_k: int, many: int
) -> None:
    joined, asked = [" ".join(words) for words in texts], " ".join(query)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lexical_search, "_MANY_LINES", many)
        patched.setattr(lexical_search, "_STRETCH", 2)
        found = LexicalIndex.build(joined).search(asked, top_k)
    expected = rank(joined, asked)[:top_k]
    assert [index for _, index in found] == [index for _, index in expected]
    assert [score for score, _ in found] == [score for score, _ in expected]


def test_only_allowed_texts_are_found() -> None:
    index = LexicalIndex.build(["red", "red star", "red"])
    allowed = np.array([False, True, True])
    assert [place for _, place in index.search("red", 5, allowed)] == [2, 1]
    assert index.search("red", 5, np.zeros(3, bool)) == []


def test_time_and_source_are_among_the_words() -> None:
    lines = [
        TextLine(40.0, 41.0, "krill every day", "speech"),
        TextLine(3725.0, 3726.0, "HARBOR MUSEUM", "screen"),
    ]
    texts = [indexed_text(line) for line in lines]
    assert rank(texts, "What does the sign say?")[0][1] == 1
    assert rank(texts, "what happens at 1:02:05")[0][1] == 1
    assert rank(texts, "what is mentioned at 0:40, krills?")[0][1] == 0


@pytest.mark.parametrize(
    ("question", "source"),
    [
        ("What does the sign say?", "screen"),
        ("What is written on the wall?", "screen"),
        ("Which word do the blocks spell?", "screen"),
        ("What is printed on the box?", "screen"),
        ("When does she mention the whales?", "speech"),
        ("What does the narrator explain?", "speech"),
        ("What does he say about the sign?", "speech"),
        ("What is the first subtitle?", "subtitle"),
        ("what color is the star?", ""),
        ("The subtitles are listed below:\nhe said so\nwhat color is the star?", ""),
    ],
)
def test_the_source_that_a_question_names(question: str, source: str) -> None:
    assert asked_source(question) == source


def test_very_common_words_only_order_what_rarer_ones_found() -> None:
    texts = ["one two"] * 5 + ["one"] * 20 + ["two three one"] + ["three"]
    index = LexicalIndex.build(texts)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lexical_search, "_MANY_LINES", 4)
        patched.setattr(lexical_search, "_MOST_READ", 1)
        patched.setattr(lexical_search, "_RANKED_AGAIN", 1)
        patched.setattr(lexical_search, "_STRETCH", 2)
        found = index.search("one two three", 2)
    assert found == rank(texts, "one two three")[:2]
