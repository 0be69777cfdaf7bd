"""Compare an answer with gold answers, without a network: exact, exact up to word forms, contained.

Gold answers of MSVD-QA and MSRVTT-QA are lemmas ("play"), made by cutting endings ("tenni",
"discus"). A model writes "playing". Two words match if the table of a lemmatiser (simplemma) gives
them one lemma, or if one is a regular form of the other that the table does not know as a word of
its own: "news" is no form of "new", and "caring" none of "car".
"""

from __future__ import annotations

import functools
import re

import simplemma

from benchmarks.harness.reply_text import canonical

_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_NUMBERS = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 10 * value for value, word in enumerate(_TENS, 2)},
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_ARTICLES = {"a", "an", "the"}
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NOT_WORD = re.compile(r"(?<!\d)\.|\.(?!\d)|[^\w\s.]|_")
_NEGATIONS = {
    "not", "no", "never", "without", "neither", "nor", "cannot", "cant", "isnt", "arent", "wasnt",
    "werent", "doesnt", "dont", "didnt",
}  # fmt: skip
_AFTER_YES_OR_NO = {
    "he", "she", "it", "they", "we", "i", "you", "there", "this", "that", "his", "her",
}  # fmt: skip
_NEGATION_REACH = 4
_VOWELS = "aeiou"


@functools.lru_cache(maxsize=8192)
def normalise(text: str) -> str:
    """Lower the case, drop punctuation and articles, and write numbers as digits.

    >>> normalise("The Three Boys."), normalise("1,000"), normalise("thirty-one cars")
    ('3 boys', '1000', '31 cars')
    """
    text = _THOUSANDS.sub("", canonical(text).casefold().replace("'", ""))
    words = [word for word in _NOT_WORD.sub(" ", text).split() if word not in _ARTICLES]
    return " ".join(_with_digits(words))


def _with_digits(words: list[str]) -> list[str]:
    found: list[str] = []
    total = current = 0
    started = False
    for word in [*words, ""]:
        value, scale = _NUMBERS.get(word), _SCALES.get(word)
        # "five six" are two numbers, "sixty five" is one.
        fits = value is not None and (current % 100 == 0 or (value < 10 and current % 10 == 0))
        if started and scale is None and not (fits and current):
            found.append(str(total + current))
            total, current, started = 0, 0, False
        if value is not None:
            current, started = current + value, True
        elif scale == 100:
            current, started = max(1, current) * 100, True
        elif scale is not None:
            total, current, started = total + max(1, current) * scale, 0, True
        elif word:
            found.append(word)
    return found


def exact(answer: str, golds: tuple[str, ...]) -> bool:
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
        if words and len(words) == len(others) and all(map(same_word, words, others)):
            return True
    return False


def contains(answer: str, golds: tuple[str, ...]) -> bool:
    """Tell whether an answer holds a gold answer as whole words that nothing denies.

    >>> contains("it is a dog", ("dog",)), contains("it is not a dog", ("dog",))
    (True, False)
    """
    return any(_holds(answer, gold) for gold in golds)


def _holds(answer: str, gold: str) -> bool:
    wanted = normalise(gold).split()
    if wanted in (["yes"], ["no"]):
        return _begins_with(answer, wanted[0])
    for clause in re.split(r"[,;:!?\n]|\.(?!\d)|\bbut\b", _THOUSANDS.sub("", canonical(answer))):
        words = normalise(clause).split()
        for start in range(len(words) - len(wanted) + 1 if wanted else 0):
            before = words[max(0, start - _NEGATION_REACH) : start]
            if all(map(same_word, words[start:], wanted)) and not _NEGATIONS.intersection(before):
                return True
    return False


def _begins_with(answer: str, word: str) -> bool:
    """Tell whether an answer is a "yes" or "no", which "no way to know" is not."""
    found = re.match(rf"\W*{word}\b(\W*)(\w*)", canonical(answer).casefold())
    if found is None:
        return False
    return bool(re.search(r"[^\w\s]", found[1])) or found[2] in _AFTER_YES_OR_NO or not found[2]


@functools.lru_cache(maxsize=16384)
def same_word(word: str, gold: str) -> bool:
    """Tell whether two words are forms of one.

    >>> same_word("women", "woman"), same_word("caring", "car"), same_word("news", "new")
    (True, False, False)
    """
    if word == gold:
        return True
    if not (word.isalpha() and gold.isalpha()):
        return False
    of_word, of_gold = _lemma(word), _lemma(gold)
    if of_word == of_gold or _is_form(word, gold) or _is_form(gold, word):
        return True
    # The sets' own lemmas lost an s: "kis", "discus", "tenni".
    cut = gold + "s"
    known = simplemma.is_known(gold, lang="en")
    return cut in (word, of_word) and (gold.endswith("s") or not known)


@functools.lru_cache(maxsize=16384)
def _lemma(word: str) -> str:
    return "person" if word == "people" else str(simplemma.lemmatize(word, lang="en"))


def _is_form(form: str, base: str) -> bool:
    """Tell whether a form is made of a base by the rules, and is not known as another word."""
    if len(base) < 2 or form not in _forms(base):
        return False
    # The table is sure of words that end in s or ed by chance; of "cutting" it is not.
    return form.endswith("ing") or _lemma(form) != form or not simplemma.is_known(form, lang="en")


@functools.lru_cache(maxsize=16384)
def _forms(base: str) -> frozenset[str]:
    """Return the regular plural, third person, past and -ing forms of a word."""
    consonant_y = base.endswith("y") and base[-2] not in _VOWELS
    forms = {base + "s"}
    if base.endswith(("s", "x", "z", "ch", "sh", "o")):
        forms.add(base + "es")
    if consonant_y:
        forms |= {base[:-1] + "ies", base[:-1] + "ied", base + "ing"}
    elif base.endswith("fe"):
        forms.add(base[:-2] + "ves")
    elif base.endswith("f"):
        forms.add(base[:-1] + "ves")
    if base.endswith("ie"):
        forms |= {base[:-2] + "ying", base + "d"}
    elif base.endswith("e"):
        stem = base if base.endswith(("ee", "oe", "ye")) else base[:-1]
        forms |= {stem + "ing", base + "d"}
    elif not consonant_y:
        doubles = len(base) > 2 and base[-1] not in _VOWELS + "wxy" and base[-2] in _VOWELS
        doubles = doubles and base[-3] not in _VOWELS
        if doubles:
            forms |= {base + base[-1] + "ing", base + base[-1] + "ed"}
        if not doubles or len(re.findall(f"[{_VOWELS}y]+", base)) > 1:
            forms |= {base + "ing", base + "ed"}
    return frozenset(forms)
