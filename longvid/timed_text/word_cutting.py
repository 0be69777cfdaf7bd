"""Cut a text of any script into words, as they are written.

Scripts that put no spaces between words (Han, kana, Thai, Lao, Burmese, Khmer) and Korean, whose
particles are part of the word, are cut into overlapping pairs of characters; Han and Korean
characters, each of which may be a word, count alone too. Vowel points, accents and the forms that
letters take at the ends of words are left out where they are written or not at a writer's liking:
in Arabic, Hebrew, Greek, Cyrillic and Latin. The vowel signs of Indic scripts are kept.

English contractions and possessives are cut off ("dog's" is "dog", "don't" is "do", "can't" is
"can"): an "s" that a question and a line share says nothing.

Source: the analyzers of Apache Lucene for Chinese, Japanese and Korean (bigrams) and for Arabic
(normal forms of alef, yeh and teh marbuta).
"""

from __future__ import annotations

import re
import unicodedata

_HAN, _HANGUL = "\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff", "\uac00-\ud7a3"
_UNSPACED = f"{_HAN}{_HANGUL}\u3040-\u30fa\u30fc-\u30ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
#: Python counts no vowel sign among the characters of a word.
_SIGNS = "".join(
    chr(code) for code in range(0x900, 0xE00) if unicodedata.category(chr(code))[0] == "M"
)
# A clock is one word.
_WORD = re.compile(rf"\d{{1,4}}(?::\d\d){{1,2}}|[{_UNSPACED}]+|(?:[^\W{_UNSPACED}]|[{_SIGNS}])+")
#: What is typed for an apostrophe: the quotation mark, and the acute accent.
_APOSTROPHES = dict.fromkeys([0x2019, 0xB4], "'")
#: Behind a letter or digit, at the end of a word.
_CLITIC = re.compile(r"(?<=[a-z0-9])(?:(?<!ca)n['`]t|['`](?:s|t|ll|re|ve|d|m))\b")
_PAIRED = re.compile(f"[{_UNSPACED}]")
_ALONE = re.compile(f"[{_HAN}{_HANGUL}]")
#: Accents of Latin, Greek and Cyrillic letters, points of Hebrew and of Arabic ones.
_POINTS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u064b-\u065f\u0670\u06d6-\u06ed]")
#: Joiners, marks of direction and the soft hyphen are invisible; tatweel only makes a word longer.
_LEFT_OUT = dict.fromkeys(
    [0xAD, 0x61C, 0x640, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A)]
)
#: Alef maksura and the Persian yeh to yeh, keheh to kaf, teh marbuta to heh.
_ARABIC = {0x649: "\u064a", 0x6CC: "\u064a", 0x6A9: "\u0643", 0x629: "\u0647"}
_ZEROS = (0x660, 0x6F0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50)
_DIGITS = {zero + digit: str(digit) for zero in _ZEROS for digit in range(10)}
_TABLE = {**_LEFT_OUT, **_ARABIC, **_DIGITS}


def cut(text: str) -> list[str]:
    """Cut a text into words, case folded.

    >>> cut("At 1:07, 東京タワー")
    ['at', '1:07', '東', '東京', '京', '京タ', 'タワ', 'ワー']
    """
    words = runs(text)
    return words if text.isascii() else [piece for word in words for piece in _pieces(word)]


def runs(text: str) -> list[str]:
    """Cut a text between its words, case folded; what is written without spaces stays whole.

    >>> runs("Le CAFÉ de 東京"), runs("NASA's dog doesn't")
    (['le', 'cafe', 'de', '東京'], ['nasa', 'dog', 'does'])
    """
    folded = text.casefold() if text.isascii() else _folded(text)
    if any(mark in folded for mark in "'`"):  # ten times as fast as to look for what follows it
        folded = _CLITIC.sub("", folded)
    words: list[str] = _WORD.findall(folded)
    return words


def _folded(text: str) -> str:
    # The normal form of an acute accent that stands alone begins with a space.
    apart = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES)).casefold()
    apart = apart.translate(_TABLE)
    return unicodedata.normalize("NFC", _POINTS.sub("", apart))


def _pieces(word: str) -> list[str]:
    """Cut a word of a script without spaces into pairs, and characters that are words."""
    if len(word) < 2 or not _PAIRED.match(word):
        return [word]
    pieces: list[str] = []
    for place, character in enumerate(word):
        if _ALONE.match(character):
            pieces.append(character)
        if place + 1 < len(word):
            pieces.append(word[place : place + 2])
    return pieces
