"""Things that a text names, with their places in it, by closed-class words alone.

A chunk is what remains between articles, prepositions, verbs of the small lists below and
punctuation. It is no parser: it finds what a detector can be asked for in short answers.
"""

from __future__ import annotations

import re

from longvid.methods.phrase_tracks import Phrase

_STOP = """
    a an the this that these those some any every each all both no not his her its their my our
    your he she it they we you i who what which where when why how there here then and or but nor
    if while because as than of in on at to from with without into onto over under above below
    behind beside besides between next near by for about after before during through across along
    against around off out up down is are was were be been being am do does did done has have had
    having can could will would shall should may might must s t left right top bottom yes seen
    shown visible wearing holding sitting standing lying walking running moving looking going
    coming playing riding driving eating opens open closes close walks runs moves looks goes comes
    see sees saw show shows wears wear holds hold sits sit stand lie very also only
    just now still again more most many much few one two three four five six seven eight nine ten
"""
_WHOLE = """
    video scene image picture frame clip film camera background foreground answer question
"""
_WORD = re.compile("[^\\W_]+(?:[-'\u2019][^\\W_]+)*")
_STOP_WORDS, _WHOLE_WORDS = frozenset(_WORD.findall(_STOP)), frozenset(_WORD.findall(_WHOLE))


def noun_phrases(text: str, most: int = 6) -> list[Phrase]:
    """Return the things a text names, in order, each once.

    Args:
        text: Of any length.
        most: At most that many.

    >>> [phrase.text for phrase in noun_phrases("A man in a red jacket opens the door.")]
    ['man', 'red jacket', 'door']
    """
    chunks: list[list[re.Match[str]]] = [[]]
    end = 0
    for word in _WORD.finditer(text):
        breaks = re.search(r"[^\s]", text[end : word.start()]) is not None
        if breaks or word[0].lower() in _STOP_WORDS or word[0].isdigit():
            chunks.append([])
        if word[0].lower() not in _STOP_WORDS and not word[0].isdigit():
            chunks[-1].append(word)
        end = word.end()
    found: dict[str, Phrase] = {}
    for chunk in chunks:
        if chunk and chunk[-1][0].lower() not in _WHOLE_WORDS:
            start, stop = chunk[0].start(), chunk[-1].end()
            name = text[start:stop].lower()
            many = name.endswith("s") and not name.endswith("ss")
            found.setdefault(name, Phrase(name, (start, stop), many))
    return list(found.values())[:most]
