"""Compare an answer with gold answers, without a network: exact, exact up to word forms, contained.

Gold answers of MSVD-QA and MSRVTT-QA are lemmas ("play", "discus"), made by cutting endings. A
model writes "playing". Both are cut in every way that English endings allow, and match if any two
results do; nothing but word forms can be forgiven that way.
"""

from __future__ import annotations

import functools
import re

__all__ = ["contains", "exact", "lemma", "lemmas", "normalise"]

_NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)}
_ARTICLES = {"a", "an", "the"}
_NOT_WORD = re.compile(r"[^\w\s]|_")

_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot",
    "teeth": "tooth", "mice": "mouse", "geese": "goose", "wolves": "wolf", "knives": "knife",
    "leaves": "leaf", "lives": "life", "ran": "run", "sang": "sing", "sung": "sing",
    "swam": "swim", "ate": "eat", "eaten": "eat", "rode": "ride", "ridden": "ride",
    "drove": "drive", "driven": "drive", "wrote": "write", "written": "write", "spoke": "speak",
    "spoken": "speak", "fell": "fall", "fallen": "fall", "threw": "throw", "thrown": "throw",
    "flew": "fly", "flown": "fly", "drew": "draw", "drawn": "draw", "made": "make",
    "took": "take", "taken": "take", "gave": "give", "given": "give", "went": "go", "gone": "go",
    "did": "do", "done": "do", "held": "hold", "fought": "fight", "caught": "catch",
    "taught": "teach", "bought": "buy", "brought": "bring", "sat": "sit", "stood": "stand",
    "told": "tell", "said": "say", "laid": "lay", "lay": "lie", "lying": "lie", "met": "meet",
    "lit": "light", "shot": "shoot", "slept": "sleep", "kept": "keep", "built": "build",
    "broke": "break", "broken": "break", "woke": "wake", "wore": "wear", "worn": "wear",
    "dug": "dig", "hung": "hang", "began": "begin", "begun": "begin", "drank": "drink",
    "saw": "see", "seen": "see", "was": "be", "were": "be", "is": "be", "are": "be", "been": "be",
    "has": "have", "had": "have", "does": "do",
}  # fmt: skip


@functools.lru_cache(maxsize=8192)
def normalise(text: str) -> str:
    """Lower the case, drop punctuation and articles, and write small numbers as digits.

    >>> normalise("The Three Boys.")
    '3 boys'
    """
    words = _NOT_WORD.sub(" ", text.lower().replace("'", "")).split()
    return " ".join(_DIGITS.get(word, word) for word in words if word not in _ARTICLES)


def exact(answer: str, golds: tuple[str, ...]) -> bool:
    """Tell whether an answer is one of the gold answers."""
    found = normalise(answer)
    return bool(found) and any(found == normalise(gold) for gold in golds)


def lemma(answer: str, golds: tuple[str, ...]) -> bool:
    """Tell whether an answer is one of the gold answers up to word forms.

    >>> lemma("playing", ("play",)), lemma("discussing", ("discus",)), lemma("player", ("play",))
    (True, True, False)
    """
    words = normalise(answer).split()
    for gold in golds:
        others = normalise(gold).split()
        if words and len(words) == len(others):
            pairs = zip(words, others, strict=True)
            if all(lemmas(word) & lemmas(other) for word, other in pairs):
                return True
    return False


def contains(answer: str, golds: tuple[str, ...]) -> bool:
    """Tell whether an answer holds a gold answer as whole words, up to word forms."""
    words = normalise(answer).split()
    for gold in golds:
        others = normalise(gold).split()
        for start in range(len(words) - len(others) + 1 if others else 0):
            pairs = zip(words[start:], others, strict=False)
            if all(lemmas(word) & lemmas(other) for word, other in pairs):
                return True
    return False


@functools.lru_cache(maxsize=16384)
def lemmas(word: str) -> frozenset[str]:
    """Return a word and all that is left of it when endings are cut.

    >>> sorted(lemmas("running"))
    ['run', 'rune', 'runn', 'runne', 'running']
    """
    found = {word}
    if word in _IRREGULAR:
        found.add(_IRREGULAR[word])
    for _ in range(2):  # "discussing" loses two endings on its way to the gold "discus"
        for form in tuple(found):
            found |= _cut(form)
    return frozenset(found)


def _cut(word: str) -> set[str]:
    found = set()
    if word.endswith("ies") and len(word) > 4:
        found.add(word[:-3] + "y")
    if word.endswith("es") and len(word) > 4:
        found.add(word[:-2])
    if word.endswith("s") and len(word) > 3:
        found.add(word[:-1])
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 2 and any(vowel in stem for vowel in "aeiouy"):
            found |= {stem, stem + "e"}
            if len(stem) > 2 and stem[-1] == stem[-2]:
                found |= {stem[:-1], stem[:-1] + "e"}
            if stem.endswith("i"):
                found.add(stem[:-1] + "y")
    return found
