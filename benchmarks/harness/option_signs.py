"""The options in a reply as single signs, so that patterns can be written about options.

U+E000 and following stand for letters, U+E100 and following for texts of options.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.harness import reply_words as words
from benchmarks.harness.answer_matching import normalise
from benchmarks.harness.reply_text import canonical, plain

LETTER, TEXT = 0xE000, 0xE100
SIGN = re.compile("[\ue000-\ue1ff]")
_NUM_LETTERS = 26
_LATIN = "A-Za-z0-9_À-ɏ"

#: Options of these texts are read only where they are the whole of what is stated.
_FUNCTION_WORDS = frozenset({
    "yes", "no", "not", "none", "neither", "both", "never", "nothing", "nobody", "one", "it",
    "he", "she", "they", "i", "a", "an", "the", "this", "that", "is", "in", "on", "up", "down",
    "to", "at", "off", "out", "other", "all", "any", "maybe", "left", "right", "some", "who",
    "what", "there", "here", "them", "true", "false", "correct", "wrong", "unknown", "unclear",
    "unsure", "sure", "cannot", "tell", "so",
})  # fmt: skip

#: After these, "left" is a direction and no verb, "right" no praise.
_MOVES = ("the", "turn", "turns", "turned", "move", "moves", "moved", "goes", "looks", "steps")
_ENDS = r"(?=\s*[\")']*(?:[.,;!\n(\[-]|$))"


class OptionSigns:
    """Writes letters and texts of options as single signs."""

    def __init__(self, options: Sequence[str]) -> None:
        self.num = len(options)
        cores = [_core(option) for option in options]
        self.long = [len(core.split()) > 2 for core in cores]
        self._wholes = [_whole(option) for option in options]
        self._asks = any("?" in option for option in options)
        self._single = {
            core.upper(): i for i, core in enumerate(cores) if re.fullmatch("[A-Za-z]", core)
        }
        longest = sorted((i for i in range(self.num) if cores[i]), key=lambda i: -len(cores[i]))
        self._texts = [
            (i, _text_pattern(cores[i])) for i in longest if i not in self._single.values()
        ]
        last = chr(ord("A") + min(max(self.num, 8), _NUM_LETTERS) - 1)
        upper, lower = f"[A-{last}]", f"[a-{last.lower()}]"
        self._upper = re.compile(
            rf"(?<![{_LATIN}&\-°])(?<![A-Za-z][.'])({upper})(?![{_LATIN}&+#]|'[a-z]|-[a-z]"
            rf"|-[A-Z]\b|\.[A-Za-z]\.)"
        )
        self._lower = re.compile(
            rf"(?<!\w)[(\[]({lower})[)\]]|^[\s\"'(\[]*({lower})\s*[.):](?=\s|$)"
            rf"|^[^\w\n¬≠?\ue000-\ue1ff]*({lower})[^\w\n?\ue000-\ue1ff]*$"
            rf"|\b(?:option|choice|letter|answer\s*[:=\-]|answer is)\s*[\"'(\[]*({lower})[\"')\]]*"
            r"(?=\s*(?:[.,;!\n]|$)| is\b| because\b)",
            re.MULTILINE | re.IGNORECASE,
        )

    def whole(self, text: str) -> int | None:
        """Return the option whose text a reply is, None if it is none or could be two."""
        if "?" in text and not self._asks:
            return None
        asked = _whole(text)
        found = [i for i, whole in enumerate(self._wholes) if whole[0] and whole == asked]
        return found[0] if len(found) == 1 else None

    def write(self, text: str) -> str:
        """Return a text in lower case with signs in it."""
        text = re.sub(r"\b(option|choice|answer)-(?=[A-Za-z]\b)", r"\1 ", text, flags=re.IGNORECASE)
        text = re.sub(r"\bvs\.", "vs", text, flags=re.IGNORECASE)
        text = re.sub(r"\b([A-H])\.(?=[A-H]\b(?![.\w]))", r"\1, ", text)
        for index, pattern in self._texts:
            text = pattern.sub(chr(TEXT + index), text)
        text = self._upper.sub(self._of_upper, text)
        text = self._lower.sub(self._of_lower, text)
        text = re.sub("[(\\[{<\"']+\\s*([\ue000-\ue1ff])\\s*[.:]?[)\\]}>\"']+", r" \1) ", text)
        return text.lower()

    def _of_upper(self, found: re.Match[str]) -> str:
        letter, after = found[1], found.string[found.end() :]
        if letter in "AEI" and re.match(
            rf"[ \t]+(?!(?:{words.CLOSED_CLASS})\b)(?:[a-zA-Z]{{2}}|[\ue100-\ue1ff])", after
        ):
            return letter  # an article, or "and" in other languages
        if re.search(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St)\.?\s$", found.string[: found.start()]):
            return letter
        if letter == "I" and not (
            re.match(r"\W*$", after) or found.string[: found.start()].endswith("(")
        ):
            return letter
        return self._letter(letter)

    def _of_lower(self, found: re.Match[str]) -> str:
        letter = next(group for group in found.groups() if group)
        if not letter.islower() or (letter == "a" and re.search(r"is\s+a$", found[0])):
            return found[0]
        place = found[0].rindex(letter)
        return found[0][:place] + self._letter(letter.upper()) + found[0][place + 1 :]

    def _letter(self, letter: str) -> str:
        index = ord(letter) - ord("A")
        other = self._single.get(letter, index)
        return chr(LETTER + index) + (f",{chr(TEXT + other)}" if other != index else "")


def _whole(text: str) -> tuple[str, str]:
    """Return a text in normal form and the signs of units, which that form leaves out."""
    return normalise(text), "".join(re.findall(r"[%$€£¥°]|^-(?=\d)", text))


def _core(option: str) -> str:
    """Return an option's text as it is looked for: without a full stop and a leading article."""
    text = plain(canonical(option)).strip(" .\"'")
    return re.sub(r"^(?:an?|the)\s+(?=\S)", "", text, flags=re.IGNORECASE)


def _text_pattern(core: str) -> re.Pattern[str]:
    pattern = r"\s+".join(map(re.escape, core.split()))
    if core.lower() in ("left", "right", "up", "down"):
        moves = "".join(rf"|(?<=\b{verb}\s)" for verb in _MOVES)
        pattern = rf"(?:(?<=^)|(?<=[\n.!?:;),]\s)|(?<=[\n:]){moves}|(?<=[\"'(])){pattern}{_ENDS}"
    elif _FUNCTION_WORDS.issuperset(core.lower().split()):
        after_is = (
            r"|(?<=\bstatement\sis\s)|(?<=\bclaim\sis\s)"
            if core.lower() in ("correct", "true", "wrong", "false")
            else r"|(?<=\bis\s)"
        )
        pattern = (
            rf"(?:(?<=^)|(?<=[\n.!?:;),]\s)|(?<=[\n:]){after_is}|(?<=\bsay\s)|(?<=[\"'(]))"
            rf"{pattern}(?=\s*[\"')]*(?:[.,;!\n(\[-]|$))"
        )
    elif core.isascii():
        if core.isdigit():
            groups = re.findall(r"\d{1,3}(?=(?:\d{3})*$)", core)
            pattern = ",?".join(groups)
            # "option 3" may be the third
            pattern = rf"(?<!option )(?<!choice )(?<!number ){pattern}"
            pattern = rf"(?<!than )(?<!least )(?<!most )(?<!about ){pattern}"
        pattern = rf"(?<![{_LATIN}])(?<!\d[.,:]){pattern}(?![{_LATIN}]|[.,:]\d)"
        if core[-1:].isdigit():
            pattern += r"(?!\s?(?:%|percent\b))"
        if core[:1].isdigit():
            pattern = r"(?<![$€£¥])(?<!^-)(?<!\s-)" + pattern
    return re.compile(pattern, re.IGNORECASE)
