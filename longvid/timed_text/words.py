"""The words of a text as they are compared: cut, brought to their stem, common ones left out.

English words are compared by their Snowball stem, so that "directed" finds "director"; words of
other scripts as `word_cutting` cuts them.

Source: Porter 2001, Snowball; the English stemmer (Porter2).
"""

from __future__ import annotations

import importlib.metadata
import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache

import snowballstemmer

from longvid.timed_text.word_cutting import cut, runs
from longvid.types import TextLine

#: Another one means that texts are cut into other words: an index of them is made again.
WORDS_VERSION = f"3, Snowball {importlib.metadata.version('snowballstemmer')}"

#: Those who direct, conduct and teach: Snowball leaves the ends of such nouns.
_AGENT = re.compile(r"([a-z]{3,}(?:ct|nt|it|ss|ch|ld|nd|ak|ng))(?:or|er)")
_UNITS = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_NUMBERS = {word: str(number) for number, word in enumerate(_UNITS, 2)}
_NUMBERS |= {word: str(10 * number) for number, word in enumerate(_TENS, 2)}
_STEMMER = snowballstemmer.stemmer("english")
_SOURCE_WORDS = {
    "screen": "sign screen written writing title read",
    "speech": "say said speech mention speak talk",
    "subtitle": "say said speech mention speak talk",
}


@lru_cache(1 << 16)
def normal_form(word: str) -> str:
    """Return what a word is compared by: its stem, a number word's digits, a clock without zeros.

    >>> [normal_form(word) for word in ("director", "directed", "whales", "twelve", "01:07", "c")]
    ['direct', 'direct', 'whale', '12', '1:07', 'c']
    """
    if ":" in word:
        return word.lstrip("0:") if word.strip("0:") else word
    if not (word.isascii() and word.isalpha()):
        return word
    if word in _NUMBERS:
        return _NUMBERS[word]
    agent = _AGENT.fullmatch(word.removesuffix("s"))
    stem: str = _STEMMER.stemWord(agent[1] if agent is not None else word)
    return stem


def words_of(text: str) -> list[str]:
    """Cut a text into the words that are compared.

    >>> words_of("The signs at 01:07, 東京")
    ['the', 'sign', 'at', '1:07', '東', '東京', '京']
    """
    return [normal_form(word) for word in cut(text)]


#: Words that say nothing of what a question is about.
_COMMON = frozenset(
    words_of(
        "a about an and are as at be been by can could did do does for from had has have he her "
        "him his how i in is it its me my name named of on our or she should so some that the "
        "their them there these they this those time to us video was we were what when where "
        "which who whom whose why will with wo would you your"  # "wo" of "won't"
    )
)
_ASKED = {
    "screen": frozenset(
        words_of("sign screen written write writing title caption read label print spell text")
    ),
    "speech": frozenset(
        words_of("say said mention speak spoken talk tell explain narrator speaker hear")
    ),
    "subtitle": frozenset(words_of("subtitle")),
}
#: Signs say something, but they mention nothing, and no pronoun stands for them.
_SPOKEN = frozenset(words_of("mention said spoken talk narrator speaker hear"))
_SPEAKERS = frozenset(words_of("he she they who"))
_CLOCK, _NUMBER = r"\d{1,4}(?::\d\d){1,2}", r"\d{1,6}(?:\.\d{1,3})?"
_UNIT = r"\s*(?:s|secs?|seconds?)"
#: A span between clocks or numbers of seconds, a number of seconds, or a clock.
_TIMES = re.compile(
    rf"\b(?:between|from)\s+({_CLOCK})\s+(?:and|to)\s+({_CLOCK})\b"
    rf"|\b(?:between|from)\s+({_NUMBER})(?:{_UNIT})?\s+(?:and|to)\s+({_NUMBER}){_UNIT}\b"
    rf"|\bat\s+({_NUMBER}){_UNIT}\b|(?<![\d:])({_CLOCK})",
    re.IGNORECASE,
)
_IT_SAYS = re.compile(r"\bit sa(?:y|ys|id)\b", re.IGNORECASE)
#: Where subtitles are all the text, they are what is on the screen.
_ON_SCREEN = frozenset(words_of("screen caption"))
#: With the name of a source, these are no words of what it says.
_FORM = frozenset(words_of("first thing word text line phrase sentence"))


def clock(seconds: float) -> str:
    """Write a time as minutes and seconds, with hours where there are any.

    >>> clock(67.9), clock(3725)
    ('01:07', '1:02:05')
    """
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def indexed_text(line: TextLine) -> str:
    """Return what a line is found by: its text, its time, and words for its source."""
    return f"{clock(line.start_seconds)} {source_words(line.source)} {line.text}"


def source_words(source: str) -> str:
    """Return the words by which every line of a source is found."""
    return _SOURCE_WORDS[source]


def text_name(source: str) -> str:
    """Name the text of a source in a sentence.

    >>> text_name("screen"), text_name("subtitle"), text_name("speech"), text_name("text")
    ('screen text', 'subtitles', 'speech', 'text')
    """
    return {"screen": "screen text", "subtitle": "subtitles"}.get(source, source)


def asked_source(query: str) -> str:
    """Return the source that a question names, "" where it names none.

    Of several lines the last is the question: prompts list what is said in front of it.

    Returns:
        "screen", "speech", "subtitle", or "text" for any of them.

    >>> asked_source("What does the sign say?"), asked_source("When does she mention whales?")
    ('screen', 'speech')
    >>> asked_source("What do the subtitles say?"), asked_source("What does it say at 0:27?")
    ('subtitle', 'text')
    """
    query = query.strip().rsplit("\n", 1)[-1]
    words = set(words_of(query))
    speaks = bool(words & _SPOKEN or words & _SPEAKERS) and bool(words & _ASKED["speech"])
    for source in ("subtitle", *(("speech", "screen") if speaks else ("screen", "speech"))):
        if words & _ASKED[source]:
            return "text" if source == "speech" and _IT_SAYS.search(query) else source
    return ""


def sources_asked(query: str, held: Collection[str]) -> frozenset[str]:
    """Return those of some sources that a question asks for: all of them if it names none.

    A subtitle is speech. On the screen it counts only where a question names the screen itself, and
    there is no other text.

    Args:
        query: The question.
        held: Sources of which there are lines.

    >>> sorted(sources_asked("When does he say it?", ("subtitle", "speech", "screen")))
    ['speech', 'subtitle']
    >>> sources_asked("What is written on the mug?", ("subtitle",))
    frozenset()
    """
    sources = frozenset(held)
    asked = asked_source(query)
    if asked in ("", "text"):
        return sources
    if asked == "speech":
        return sources - {"screen"}
    if sources == {"subtitle"} and _ON_SCREEN.intersection(words_of(query)):
        return sources
    return sources & {asked}


def content_words(query: str) -> str:
    """Return a question's words without those that every question has; all, if it has no others.

    >>> content_words("What do they eat every day?"), content_words("who is it")
    ('eat every day', 'who is it')
    """
    words = runs(query)
    # "What does the sign say?" is about a sign; nobody speaks.
    left_out = _COMMON | _ASKED["speech"] if asked_source(query) == "screen" else _COMMON
    return " ".join([word for word in words if normal_form(word) not in left_out] or words)


def asked_spans(query: str) -> list[tuple[float, float]]:
    """Return the times that a question names, as start and end in seconds; a moment lasts 1 s.

    >>> asked_spans("what is said at 1:07 and 1:02:05?")
    [(67.0, 68.0), (3725.0, 3726.0)]
    >>> asked_spans("between 0:03 and 0:08, from 2 to 4 s, at 5 seconds, in 10 seconds")
    [(3.0, 8.0), (2.0, 4.0), (5.0, 6.0)]
    """
    spans = []
    for match in _TIMES.finditer(unicodedata.normalize("NFKC", query)):
        times = [_seconds(group) for group in match.groups() if group]
        spans.append((min(times), max(*times, min(times) + 1)))
    return spans


def _seconds(time: str) -> float:
    seconds = 0.0
    for field in time.split(":"):
        seconds = 60 * seconds + float(field)
    return seconds


def names_source_alone(query: str) -> bool:
    """Tell whether a question names a source of text, and nothing else that could be found.

    >>> names_source_alone("What does the title say?"), names_source_alone("the sign at the pier")
    (True, False)
    >>> names_source_alone("What is the first thing he says?")
    True
    """
    return bool(asked_source(query)) and not _asked_words(query)


def is_time_question(query: str) -> bool:
    """Tell whether a question asks for a time.

    >>> is_time_question("When does she mention krill?"), is_time_question("What is a krill?")
    (True, False)
    """
    words = runs(query)
    return "when" in words or words[:3] == ["at", "what", "time"]


def coverage(query: str, text: str, source: str = "") -> float:
    """Return the share of a question's words that a text holds, without those all questions have.

    A question that names a source and nothing else is covered by any text of that source. A clock
    is no word of a text.

    >>> coverage("What do they eat every day?", "four tons of krill every day")
    0.6666666666666666
    """
    asked = _asked_words(query)
    if not asked:
        return float(bool(asked_source(query)) and bool(sources_asked(query, {source} - {""})))
    held = set(words_of(text))
    return sum(word in held for word in asked) / len(asked)


def _asked_words(query: str) -> list[str]:
    """Return the words of a question that a text may hold, each once."""
    named = _COMMON.union(*_ASKED.values())
    if asked_source(query):
        named |= _FORM
    words = dict.fromkeys(
        normal_form(word) for word in cut(_TIMES.sub(" ", query)) if ":" not in word
    )
    return [word for word in words if word not in named]
