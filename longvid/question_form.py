"""What a question is about, by rules: the caption that it asks for, its kind, its places.

Embedders of pictures and text were trained on captions, so "where is the red star?" finds less than
"red star". The rules know English alone; a question that they do not understand is searched by
itself.
"""

from __future__ import annotations

import re
from enum import Enum


class QuestionKind(Enum):
    """How much of a video a question is about."""

    NEEDLE = "one place"
    ORDER = "a place and what comes before or after it"
    COUNT = "every place that fits"
    GLOBAL = "the whole video"


_COUNT = re.compile(
    r"\bhow (many times|often|many (shots|scenes|clips|occasions))\b"
    r"|\b(every|each) time\b|\blist (all|every)\b"
    r"|\ball (the )?(times|moments|places|scenes|shots)\b"
)
_GLOBAL = re.compile(
    r"\b(summari[sz]e|summary|overview|overall|throughout|mainly|in general|as a whole)\b"
    r"|\b(whole|entire) (video|film|movie|clip)\b"
    r"|\bwhat (is|happens in) (the|this) (video|film|movie|clip)( about)?\W*$"
    r"|\b(comes?|appears?|is|are|shown) (first|last)\b|\b(the|which|what) (first|last)\b"
    r"|\b(beginning|start|end) of (the|this) (video|film|movie|clip)\b"
)
_ORDER = re.compile(r"\b(before|after|afterwards|next|then|following|previous|preceding)\b")

#: What a question says of the place of its answer comes behind these.
_REFERENCE = re.compile(r"\b(?:before|after|following|preceding) (.+)$")
_SHOT = re.compile(r"^(?:the )?(?:shot|scene|clip|part|moment)s? (?:with|where|when|in which|of) ")
_PROPERTY = r"colou?r|shape|size|kind|type|sort|sign|letter|number|digit|word|text|object|thing"
_AUXILIARY = r"is|are|was|were|does|do|did|has|have|can|could|will"
_BESIDE = r"behind|in front of|next to|near|under|above|below|on|in|inside|with|to|about"
#: Beginnings that ask and describe nothing, longest first.
_BEGINNINGS = tuple(
    re.compile(pattern)
    for pattern in (
        r"^(?:please )?(?:tell me|show me|find|describe|look for) (?:me )?",
        rf"^how many (?=.+ (?:are|is|were|was) (?:{_BESIDE})\b)",
        r"^how many ",
        rf"^(?:what|which) (?:{_PROPERTY}) (?:of (?:the )?\w+ )?(?:{_AUXILIARY}) (?:{_BESIDE})? ?",
        r"^what (?:happens|happened|is happening) (?:to|with) ",
        rf"^(?:what|who) (?:is|are|was|were) (?:{_BESIDE}) ",
        r"^(?:where|when) (?:can|could|do|did) (?:you|i|we) (?:see|find) ",
        rf"^(?:where|when|how|why) (?:{_AUXILIARY}) ",
        r"^(?:is|are|was|were) there (?:any )?",
        r"^(?:can|could|do|did) (?:you|i|we) (?:see|find) ",
        rf"^(?:what|which|who) (?:{_AUXILIARY}) ",
        rf"^(?:{_AUXILIARY}) ",
        r"^(?:what|which|who|whose|when|where|how|why) ",
    )
)
_ENDINGS = re.compile(
    r" (?:(?:move|do|say|become|turn into|look like|have|mean|(?:are|is) there"
    r"|(?:do|can|did) (?:you|i|we) see|(?:are|is) in|big or small|small or big"
    r"|(?:are )?(?:in|of) the (?:video|film|movie|clip|shot|scene)) ?)+$"
)
_VERB_BETWEEN = re.compile(r"\b(?:are|is|was|were) (?=(?:on|in|with|at|near|behind|under)\b)")
_ARTICLE = re.compile(r"^(?:the|a|an|any|some) ")
_JOINED = re.compile(
    r"(?: ?[,;?]? (?:and|&)| ?[;?]) (?=(?:what|which|where|when|how|who|why|is|are|does|do|did)\b)",
    re.IGNORECASE,
)
_MARK = re.compile(r" ?\?$")
#: A part with one of these asks about the place of the part before it.
_POINTS_BACK = re.compile(
    r"\b(it|its|they|them|their|he|his|him|she|her|hers|this|that|these|those|then|else)\b"
    r"|\bthere$"
)
#: A part that ends so is about the thing that the next one names.
_UNFINISHED = re.compile(r"\b(before|after|behind|in front of|next to|near|under|above|below)$")
#: A caption is a description, not a text: embedders cut what is longer.
_MOST_WORDS = 32


def caption_of(text: str) -> str:
    """Return what a question describes, in the form of a caption; "" where it describes nothing.

    >>> caption_of("where is the red star ?")
    'red star'
    >>> caption_of("how many people are in the boat?")
    'people in the boat'
    >>> caption_of("what comes right after the shot with sign k ?")
    'sign k'
    >>> caption_of("what is this video about?")
    ''
    """
    words = " ".join(text.casefold().replace("?", " ").split()).strip(" .!")
    if len(words.split()) > _MOST_WORDS or kind_of(text) is QuestionKind.GLOBAL:
        return ""
    reference = _REFERENCE.search(words)
    if reference is not None:
        words = _SHOT.sub("", reference[1])
    else:
        for beginning in _BEGINNINGS:
            shorter = beginning.sub("", words, count=1)
            if shorter != words:
                words = shorter
                break
    words = _VERB_BETWEEN.sub("", _ENDINGS.sub("", words), count=1)
    return _ARTICLE.sub("", words).strip()


def kind_of(text: str) -> QuestionKind:
    """Return how much of a video a question is about.

    >>> kind_of("which sign comes after the red star ?").name
    'ORDER'
    >>> kind_of("how many times does a red star appear ?").name
    'COUNT'
    """
    words = text.casefold()
    if _COUNT.search(words):
        return QuestionKind.COUNT
    if _REFERENCE.search(words.rstrip(" ?.!")):
        return QuestionKind.ORDER
    if _GLOBAL.search(words):
        return QuestionKind.GLOBAL
    return QuestionKind.ORDER if _ORDER.search(words) else QuestionKind.NEEDLE


def places_of(text: str) -> tuple[str, ...]:
    """Return the questions that a question joins, each about a place of its own.

    >>> places_of("where is the red star, and what is behind sign k ?")
    ('where is the red star ?', 'what is behind sign k ?')
    >>> places_of("where is the red star and what color is it?")
    ('where is the red star and what color is it?',)
    """
    words = " ".join(text.split())
    mark = _MARK.search(words)
    parts = [part for part in _JOINED.split(_MARK.sub("", words)) if part]
    folded = [part.casefold() for part in parts]
    if (
        len(parts) < 2
        or any(" " not in part for part in parts)  # "who sings and why?"
        or any(_POINTS_BACK.search(part) for part in folded[1:])
        or any(_UNFINISHED.search(part) for part in folded[:-1])
    ):
        return (text,)
    return tuple(part + (mark[0] if mark else "") for part in parts)


def search_forms(text: str, forms: str) -> list[str]:
    """Return the texts that are embedded to search for a question.

    Args:
        text: The question.
        forms: "question", "caption" or "both", as `ask.query_forms`; a question that describes
            nothing is searched by itself.

    >>> search_forms("where is the red star ?", "both")
    ['where is the red star ?', 'red star']
    """
    caption = "" if forms == "question" else caption_of(text)
    if not caption or caption == text:
        return [text]
    return [caption] if forms == "caption" else [text, caption]
