"""The option that a reply to multiple choice names: by its letter, else by its words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from longvid.llm import prompt as prompts

_LETTER = re.compile(r"(?<![A-Za-z])\(?([A-Z])\)?(?![A-Za-z'])")
#: What may stand before "A" or "I" at the beginning of a sentence.
_BEGINNING = re.compile(r"(?:^|[.!?:\n])[\s\"'*]*$")
#: A word after which "A" is no article and "I" no pronoun.
_AFTER_LETTER = re.compile(
    r"\s+(?:is|was|are|and|or|because|since|as|but|seems|looks|fits|matches|shows|the|a|an|it|with)\b"
)
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|no longer|neither|nor|no|without|rather than|instead of|other than|except"
    r"|cannot)|n't)(?:\s+(?:be|been|the|an?|any|option|choice|answer|letter|really|actually|is|it"
    r"|it's|was|this|that|think|believe|say|see|looks?|seems?|appears?|to|like))*[ (\"'*]*\Z",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[)\"'*]*\s*(?:(?:one|option|answer|choice)\s+)?(?:is|was|are|were|does|did|can|could)"
    r"(?:\s*not\b|n't\b|\s+(?:wrong|incorrect|false)\b)",
    re.IGNORECASE,
)


def named_option(text: str, choices: Sequence[str]) -> int | None:
    """Return the index of the option that a reply names, None where it names none or several.

    An option's whole text counts first, then a letter (at the beginning, else the last), then
    the words of one option. What is named only to be denied is not chosen.

    >>> named_option("A careful look shows that it is blue.", ("red", "blue"))
    1
    >>> named_option("It is not red.", ("red", "blue")) is None
    True
    """
    text = text.replace("\u2019", "'")
    whole = [_bare(choice) == _bare(text) for choice in choices]
    if sum(whole) == 1:
        return whole.index(True)
    letters = prompts.letters(len(choices))
    if (alone := _bare(text).strip("()").upper()) in letters:
        return letters.index(alone)
    named = [
        (found.start(), letters.index(found[1]))
        for found in _LETTER.finditer(text)
        if found[1] in letters
        and not _is_word(text, found, choices[letters.index(found[1])])
        and not _denied(text, found.start(), found.end())
    ]
    if named:
        at_beginning = not text[: named[0][0]].strip(" \n\t\"'*")
        return named[0][1] if at_beginning else named[-1][1]
    options = {index for start, end, index in _said(text, choices) if not _denied(text, start, end)}
    return options.pop() if len(options) == 1 else None


def scored_option(
    places: Sequence[tuple[str, Mapping[str, float]]], named: int, letters: Sequence[str]
) -> tuple[int, tuple[float, ...]]:
    """Compare the options' letters where the letter of the one that is named stands.

    Args:
        places: Each token of the reply and the log-probabilities by token text at its place.
        named: The option that the reply names.
        letters: Of the options.

    Returns:
        The most probable option and the log-probability of each; the one named and (), where its
        letter has none.
    """
    for token, listed in places:
        if _letter(token) == letters[named] and listed:
            best: dict[str, float] = {}
            for other, value in listed.items():
                best[_letter(other)] = max(value, best.get(_letter(other), value))
            # A letter that is not among those listed is less likely than any that is.
            least = min(listed.values())
            scores = tuple(best.get(letter, least) for letter in letters)
            offered = [index for index, letter in enumerate(letters) if letter in best]
            return max(offered, key=lambda index: (scores[index], -index), default=named), scores
    return named, ()


def _letter(token: str) -> str:
    return token.strip().strip("().*:").upper()


def _bare(text: str) -> str:
    return text.strip().strip(".\"'*").strip().lower()


def _is_word(text: str, found: re.Match[str], option: str) -> bool:
    """Tell the article "A" and the pronoun "I" from the letters."""
    before, after = text[: found.start()], text[found.end() :]
    if found[0] not in ("A", "I") or not re.match(r"\s+[a-z]", after):
        return False
    if found[0] == "A" and not _BEGINNING.search(before):
        return False
    return not _AFTER_LETTER.match(after) and _bare(after) != _bare(option)


def _denied(text: str, start: int, end: int) -> bool:
    return bool(_DENIED_BEFORE.search(text[:start]) or _DENIED_AFTER.match(text[end:]))


def _said(text: str, choices: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return (start, end, option) of each option's words, save inside a longer option's."""
    said: list[tuple[int, int, int]] = []
    for index in sorted(range(len(choices)), key=lambda index: -len(choices[index].strip())):
        words = re.escape(choices[index].strip())
        pattern = rf"(?<![A-Za-z0-9]){words}(?:s|es)?(?![A-Za-z0-9])"
        for found in re.finditer(pattern, text, re.IGNORECASE) if words else ():
            if not any(start < found.end() and found.start() < end for start, end, _ in said):
                said.append((found.start(), found.end(), index))
    return said
