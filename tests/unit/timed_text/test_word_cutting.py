"""Words of scripts without spaces, from right to left, with points and without."""

from __future__ import annotations

import unicodedata

import pytest

from longvid.timed_text.lexical_search import LexicalIndex, rank
from longvid.timed_text.word_cutting import cut
from longvid.timed_text.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("東京タワー 2026", ["東", "東京", "京", "京タ", "タワ", "ワー", "2026"]),
        ("出口 B", ["出", "出口", "口", "b"]),
        ("출구는 왼쪽", ["출", "출구", "구", "구는", "는", "왼", "왼쪽", "쪽"]),
        ("ทางออก", ["ทา", "าง", "งอ", "ออ", "อก"]),
        ("مرحبا بالعالم", ["مرحبا", "بالعالم"]),
        ("مَخْرَج الطَّوارئ ٩:١٥", ["مخرج", "الطواري", "9:15"]),
        ("שָׁלוֹם עולם", ["שלום", "עולם"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("ＥＸＩＴ ９：１５, café", ["exit", "9:15", "cafe"]),
        ("می‌شود", ["ميشود"]),
    ],
)
def test_words_of_the_scripts(text: str, words: list[str]) -> None:
    assert words_of(text) == words
    assert words_of(unicodedata.normalize("NFD", text)) == words


@pytest.mark.parametrize("mark", ["'", "’", "`", "´"])
def test_contractions_and_possessives_are_no_words(mark: str) -> None:
    text = "NASA's dogs' collar isn't what they'll say; I'm sure we've can't".replace("'", mark)
    whole = ["nasa", "dogs", "collar", "is", "what", "they", "say", "i", "sure", "we", "can"]
    assert cut(text) == whole
    line = f"NASA{mark}s telescope"
    assert rank([line], f"what{mark}s on the dog{mark}s sign") == []
    assert cut(f"l{mark}eau") == ["l", "eau"]


@pytest.mark.parametrize(
    ("lines", "query", "first"),
    [
        (["京都と東山", "大阪城", "東京タワーの入口"], "東京はどこ", 2),
        (["博物馆今天休息", "图书馆几点关门", "博物馆九点开门"], "博物馆几点开门？", 2),
        (["출입 금지", "박물관은 아홉 시에 문을 엽니다"], "박물관이 언제 열어요?", 1),
        (["مدخل الفندق", "مخرج الطوارئ"], "أين مَخرَج الطوارئ؟", 1),
        (["כניסה למלון", "יציאת חירום"], "איפה יציאת החירום", 1),
    ],
)
def test_lines_of_other_scripts_are_found(lines: list[str], query: str, first: int) -> None:
    assert rank(lines, query)[0][1] == first
    assert LexicalIndex.build(lines).search(query, 3) == rank(lines, query)
