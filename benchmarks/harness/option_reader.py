"""Read the option that a model chose from what it wrote. What cannot be read is not guessed.

Options in a reply, letters or their texts, become signs, and the reply is cut into clauses. A
clause claims an option ("the answer is B"), denies one ("B is not shown"), or does neither. The
last claim counts if nothing after it takes it back. A refusal claims nothing, whatever it holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.harness import reply_words as words
from benchmarks.harness.option_signs import LETTER, SIGN, TEXT, OptionSigns
from benchmarks.harness.reply_text import after_thinking, canonical, plain, stated

_SIGN = re.compile("[\ue000-\ue1ff]")
_SEVERAL = -1
_BEGINNING, _END = 500, 2000

_TAGGED = re.compile(
    r"<(answer|ans|final|final_answer|finalanswer|option|choice|result|response|output|solution"
    r"|prediction|selected)>"
    r"(.*?)(?:</\1\s*>|$)",
    re.DOTALL | re.IGNORECASE,
)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_OBJECT = re.compile(r"\{[^{}]*\}", re.DOTALL)
_KEYS = frozenset({
    "answer", "finalanswer", "correctanswer", "bestanswer", "choice", "correctchoice", "option",
    "correctoption", "bestoption", "selectedoption", "selected", "selection", "letter",
    "answerletter", "prediction", "pred", "response", "result", "ans", "final", "answerchoice",
    "chosenoption", "chosen", "output", "答案", "respuesta", "answeroption",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a clause says of options.

    Args:
        option: Index, _SEVERAL for more than one.
        strength: One of the constants below.
        start, end: Where the option stands in the reply.
    """

    option: int
    strength: int
    start: int
    end: int


_DENIED, _POSSIBLE, _NAMED, _ALONE, _STATED = range(-1, 4)


def chosen_option(text: str, options: Sequence[str]) -> int | None:
    """Return the index of the option that a reply states, None if it states none or several.

    >>> chosen_option("The answer is (B).", ("red", "blue"))
    1
    >>> chosen_option("It is not the red one.", ("red", "blue")) is None
    True
    """
    signs = OptionSigns(options)
    for reading in stated(after_thinking(canonical(text))):
        if len(reading) > _BEGINNING + _END:  # an answer stands at the beginning or at the end
            reading = f"{reading[:_BEGINNING]}\n{reading[-_END:]}"
        option = _read(reading, signs)
        if option is not None:
            return option if option < len(options) else None
    return None


def _read(text: str, signs: OptionSigns) -> int | None:
    """Read what stands in answer tags, boxes or JSON, else the words."""
    contained = list(_contained(text))
    return _read_contained(text, contained, signs) if contained else _read_words(plain(text), signs)


def _contained(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, content) of what stands in an answer tag, a box or a JSON field."""
    for pattern, group in ((_TAGGED, 2), (_BOXED, 1)):
        for found in pattern.finditer(text):
            yield found.start(), found.end(), found[group]
    for found in _OBJECT.finditer(text):
        value = _field(found[0])
        if value is not None:
            yield found.start(), found.end(), value


def _field(block: str) -> str | None:
    """Return the answer field of an object as text, None if it has none."""
    try:
        table = json.loads(block)
    except ValueError:
        table = dict(re.findall(r"[\"']?([\w ]+)[\"']?\s*[:=]\s*[\"']?([^\"',}\n]*)", block))
    for name, value in table.items():
        if re.sub(r"[\W_]", "", str(name)).lower() in _KEYS:
            only = value[0] if isinstance(value, list) and len(value) == 1 else value
            return only if isinstance(only, str) else json.dumps(only)
    return None


def _read_contained(
    text: str, contained: Sequence[tuple[int, int, str]], signs: OptionSigns
) -> int | None:
    """Read an answer in a container, unless the words around it say something else."""
    readings = {_read(content, signs) for _, _, content in contained}
    before = plain(text[: min(start for start, _, _ in contained)]).lower()
    rest = plain(text[max(end for _, end, _ in contained) :])
    clause = re.split(r"[.!?\n;]", before)[-1]
    if len(readings) != 1 or words.DENIES.search(clause) or words.HARD_REFUSAL.search(before):
        return None
    option = readings.pop()
    after = _read_words(rest, signs) if rest else None
    taken_back = after is None and words.TAKES_BACK.search(rest.lower())
    return None if (after is not None and after != option) or taken_back else option


_CERTAIN = re.compile(
    r"\b(?:there is |i have |have )?(?:no|without(?: an?y?)?) (?:doubt|question)\b"
    r"|\bundoubtedly\b|\bby (?:a |the )?(?:process of )?elimination\b"
)
#: "None but C" and "all but C are wrong" leave one option.
_NONE_BUT = re.compile(
    r"\b(?:(?:cannot|can't|could not|couldn't) be anything|nothing|none|no (?:other )?(?:option"
    r"|choice|answer)) (?:but|except|other than) (?:for |option )?(?=[\ue000-\ue1ff])"
)
_ALL_BUT = re.compile(
    r"\b(?:all|everything|every option|all options) (?:but|except) (?:for |option )?"
    r"([\ue000-\ue1ff]) (?:is|are) (?:wrong|incorrect|false)\b"
)
_NOT = re.compile(
    r"\b(?:anything|all|everything|any option) (?:but|other than)\b|(?:^|(?<=\s))(?:[!~]"
    r"|not)?[¬≠!~](?=\s*[\ue000-\ue1ff])"
)
_CONDITIONAL = re.compile(r"\W*(?:if|unless|assuming|suppos\w+)\b")
_SPLIT = re.compile(
    r"\n|[!;。！；]|[?？]|\.(?=\s|$|[\ue000-\ue1ff]|[^\x00-\x7f])"
    r"|[,，](?=\s*[\u3000-\u9fff\uac00-\ud7af])"
    r"|,?\s(?=(?:but|because|since|while|whereas|although|though|therefore|thus|hence|however"
    r"|due|which|given"
    r"|rather than|instead of|and not"
    r"|as (?:the|it|he|she|they|there|this|we|i|you|no|shown|seen|can|depicted|indicated"
    r"|described)"
    r"|pero|sino|mais|sondern|aber|parce|porque|weil|denn)\b|(?:not|nicht|niet|no|non|pas|n[aã]o|не)"
    r" (?:the |an? |option |choice )*[\ue000-\ue1ff])"
    r"|,\s(?=(?:so|and (?:the|so|it)|no|wait|а|(?:the |my )?(?:\w+ )?answer|the \w+ one is)\b)"
    r"|(?<![\ue000-\ue1ff]),\s(?=then\b)"
)
_EMPTY = re.compile(
    r"^(?:\W|\b(?:but|rather|so|and|therefore|thus|hence|instead|actually|no|wait|yes|ok|okay"
    r"|sure|well|hmm|alright|indeed|certainly"
    r"|definitely|clearly|probably|simply|can only be"
    r"|it|is|it's|this|that|that's|was|are|the|an?|option|options"
    r"|choice|letter|of course|he|she"
    r"|they|i|think|believe|guess|would|say|my|final|answer|please|only|just|here|then"
    r"|not applicable|video|shows"
    r"|la|el|le|die|der|das|opci[oó]n|op[cç][aã]o|variante|letra|es|est|ist|sino|sondern|mais"
    r"|pero|а|но)\b|选项|選項|是|选|選)*$"
)
_PAIR = re.compile("([\ue000-\ue0ff])[.):]*\\s*(?:the |an? )?([\ue100-\ue1ff])")
#: "A (40%), B (60%)" weighs options and chooses none.
_SHARE = re.compile("([\ue000-\ue1ff])[\\s\"':=()\\[\\-]*(?:\\d[\\d.]*\\s?%|[01]?\\.\\d+)\\)?")
_NOTHING_MORE = re.compile(
    r"\W*(?:i (?:think|believe|guess)|probably|most likely"
    r"|です|だ|である|입니다|이다|예요|이에요)?\W*"
)
_DIRECTLY = re.compile(r",\s*(?:option |choice )?[(\"']*$")
_DISMISSED = re.compile(r"\W*(?:no|nope|wrong|incorrect|false|0\s?%)\W*")
#: One answer for one thing or case, another for the other.
_DIVIDED = re.compile(
    "[\ue000-\ue1ff][^.\n]*\\bunless\\b[^.\n]*[\ue000-\ue1ff]"
    r"|\bfor the first\b[^.\n]*\bfor the second\b"
)
_WOULD_IF = re.compile(r"[^.;]*\bwould\b.*\b(?:if|unless)\b")
_SINGLE_LABEL = re.compile("^\\W*([\ue000-\ue0ff])\\s*[.):\\-,]")


def _read_words(text: str, signs: OptionSigns) -> int | None:
    """Read a reply without thinking and markup."""
    if (index := signs.whole(text)) is not None and not re.match(
        r"\W*[A-Za-z](?:\s*[^\w\s]|\W*$)", text
    ):
        return index
    written = _CERTAIN.sub("surely", signs.write(text))
    written = _ALL_BUT.sub(r"\1 is right", _NONE_BUT.sub("it is ", written))
    written = _NOT.sub(" not ", written)
    if not SIGN.search(written) or words.HARD_REFUSAL.search(written):
        return None
    written = _without_listing(written)
    return _decide(list(_claims(written, signs.long)), written)


def _without_listing(written: str) -> str:
    """Take away options that one line repeats with their letters."""
    lines = []
    for line in written.split("\n"):
        pairs = [
            found
            for found in _PAIR.finditer(line)
            if ord(found[2]) - ord(found[1]) == TEXT - LETTER
        ]
        pairs += list(_SHARE.finditer(line))
        if len({found[1] for found in pairs}) > 1:
            for found in pairs:
                line = line.replace(found[0], " ")
        lines.append(line)
    return "\n".join(lines)


def _claims(written: str, long_options: Sequence[bool]) -> Iterator[_Claim]:
    listed = _listed_lines(written)
    position = 0
    for line in written.split("\n"):
        if line in listed:
            line_ = _SINGLE_LABEL.sub(lambda found: found[0][:-1] + ":", line, count=1)
            clauses = [(0, line_, "")]
        else:
            clauses = list(_clauses(line))
        for start, clause, end in clauses:
            first = not written[: position + start].strip(" \n\"'(:-")
            yield from _clause_claims(
                clause, position + start, end, long_options, first=first, listed=line in listed
            )
        position += len(line) + 1


def _listed_lines(written: str) -> set[str]:
    """Return the lines that go through the options one by one."""
    labelled = {
        line: found[1]
        for line in written.split("\n")
        if (found := _SINGLE_LABEL.match(line)) and len(line.strip(" .):-")) > 1
    }
    return set(labelled) if len(set(labelled.values())) > 1 else set()


def _clauses(line: str) -> Iterator[tuple[int, str, str]]:
    """Yield (start, clause, sign at its end)."""
    start = 0
    for found in _SPLIT.finditer(line):
        if found[0][0] in ",，" and _CONDITIONAL.match(line[start : found.start()]):
            continue  # what follows holds under the condition only
        yield start, line[start : found.start()], found[0].strip()
        start = found.start() if found[0][:1] in ", " else found.end()
    yield start, line[start:], ""


def _clause_claims(
    clause: str, offset: int, end: str, long_options: Sequence[bool], *, first: bool, listed: bool
) -> Iterator[_Claim]:
    groups = list(_groups(clause))
    previous, carried, denied_only = 0, "", True
    conditional = _CONDITIONAL.match(clause)
    for number, (start, stop, options) in enumerate(groups):
        limit = groups[number + 1][0] if number + 1 < len(groups) else len(clause)
        left, right = carried + clause[previous:start], clause[stop:limit]
        carried = ""
        left = re.sub(r"^\W*(?:no|nope|yes)\s*[,.:!\-]|^\W*no\s+wait\b", " ", left)
        option = next(iter(options)) if len(options) == 1 else _SEVERAL
        previous = stop
        denied = words.DENIED_AFTER.match(right)
        if denied:
            previous = stop + denied.end()
        if denied or words.DENIES.search(left):
            yield _Claim(option, _DENIED, offset + start, offset + stop)
            continue
        if len(options) > 2:  # "Select A, B, C or D" lists what there is
            carried = left
            continue
        alone = denied_only and (number + 1 == len(groups) or first)
        denied_only = False
        strength = _strength(clause, left, right, first=first, listed=listed, alone=alone)
        if number and _DIRECTLY.search(left) and words.RIGHT_AFTER.match(right):
            left = ","  # "though A is tempting, C is right" doubts A alone
        doubtful = (
            conditional
            or _WOULD_IF.match(right)
            or end in ("?", "？")
            or words.DOUBTS.search(left)
            or words.DOUBTS.match(right.lstrip(" ,"))
        )
        if (doubtful and strength is not None) or conditional or words.DOUBTS.search(left):
            strength = _POSSIBLE
        if strength == _STATED and (fits := words.RIGHT_AFTER.match(right)):
            previous = stop + fits.end()
        texts = any(ord(sign) >= TEXT for sign in SIGN.findall(clause[start:stop]))
        if strength is None and texts and not listed:
            partly = option >= 0 and long_options[option] and re.search(r"\w", right)
            strength = _POSSIBLE if words.DENIES.search(clause) or partly else _NAMED
        if strength is not None:
            yield _Claim(option, strength, offset + start, offset + stop)


def _strength(
    clause: str, left: str, right: str, *, first: bool, listed: bool, alone: bool
) -> int | None:
    fits = words.RIGHT_AFTER.match(right)
    if fits and not words.DENIES.search(right[fits.end() :]):
        return _STATED
    if listed:
        return None
    if words.STATES.search(left):
        return _STATED
    if alone and _EMPTY.match(left):
        if _NOTHING_MORE.fullmatch(right):
            return _ALONE
        if first and re.match(r"\s*[.):,\-]", right) and SIGN.search(clause):
            return _ALONE
        if first and not right.strip(" )")[:1].isalpha():
            return _ALONE
    return None


def _groups(clause: str) -> Iterator[tuple[int, int, set[int]]]:
    """Yield (start, end, options) of options that are named together."""
    found = list(SIGN.finditer(clause))
    number = 0
    while number < len(found):
        last = number
        while last + 1 < len(found):
            between = clause[found[last].end() : found[last + 1].start()]
            # "Answer (A, B, C or D): B" lists before the colon and answers after it.
            if not words.JOINS.match(between) or (":" in between and last - number > 1):
                break
            named = {sign[0] for sign in found[number : last + 1]}
            if len(named) > 1 and found[last + 1][0] in named:
                break  # "Between A and B, B fits better" chooses after it lists
            last += 1
        signs = found[number : last + 1]
        yield signs[0].start(), signs[-1].end(), {ord(sign[0]) & 0xFF for sign in signs}
        number = last + 1


def _decide(claims: Sequence[_Claim], written: str) -> int | None:
    for strength in (_STATED, _ALONE, _NAMED):
        made = [claim for claim in claims if claim.strength == strength]
        if made:
            break
    else:
        return None
    last = made[-1]
    if last.option == _SEVERAL:
        return None
    before = [c for c in claims if c.start < last.start and c.strength >= min(_ALONE, strength)]
    after = [c for c in claims if c.start > last.start]
    if strength == _NAMED:
        doubts = words.SOFT_REFUSAL.search(written) or any(c.strength == _POSSIBLE for c in claims)
        return None if doubts or {c.option for c in made} != {last.option} else last.option
    for claim in before:
        between = written[claim.end : last.start]
        listing = claim.option == _SEVERAL and claim.strength < strength
        also = re.search(
            r"\b(?:also|too|as well|equally|so (?:is|does))\b", written[claim.end : last.end + 30]
        )
        if (
            claim.option != last.option
            and not listing
            and (also or not words.CORRECTS.search(between))
        ):
            return None
    for claim in after:
        same = claim.option == last.option
        if (claim.strength == _DENIED and same) or (
            claim.strength in (_POSSIBLE, _ALONE, _STATED) and not same
        ):
            return None
    rest = written[last.end :]
    if _DISMISSED.fullmatch(rest) or _DIVIDED.search(written):
        return None
    doubted = words.SOFT_REFUSAL.search(rest if strength == _STATED else written)
    return None if doubted or words.TAKES_BACK.search(rest) else last.option
