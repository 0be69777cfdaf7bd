"""Boxes as language models write them: one codec for each way, all of boxes in [0, 1].

    kosmos2    <phrase>a dog</phrase><object><patch_index_0044><patch_index_0863></object>
    shikra     a dog[0.390,0.047,0.984,0.828]            three decimals, several joined by ";"
    qwen       <ref>a dog</ref><box>(390,47),(984,828)</box>      thousandths
    florence2  a dog<loc_390><loc_46><loc_984><loc_828>  1000 bins

`write` puts a phrase with its boxes into a model's words; `read` finds them in what a model wrote,
and returns the text without them. Boxes are left, top, right, bottom. What is no box of the codec
stays text; a box that is turned round or outside is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from longvid.errors import ConfigError

Corners = tuple[float, float, float, float]
_KOSMOS2_SIDE = 32
_NUMBER = r"[-+]?\d+(?:\.\d+)?"


@dataclass(frozen=True, slots=True)
class Mention:
    """A phrase of a text, and where the model says it is seen.

    Args:
        phrase: "" where boxes were given to no phrase.
        span: Start and end in the text without boxes.
        boxes: In the order written.
    """

    phrase: str
    span: tuple[int, int]
    boxes: tuple[Corners, ...]


@dataclass(frozen=True, slots=True)
class Codec:
    """One way of writing boxes: `write(phrase, boxes)` and `read(text)`."""

    write: Callable[[str, Sequence[Corners]], str]
    read: Callable[[str], tuple[str, tuple[Mention, ...]]]


def kosmos2_pair(box: Corners, side: int = _KOSMOS2_SIDE) -> tuple[int, int]:
    """Return the cells of a box's corners on a side x side grid, as indices in reading order.

    Raises:
        ConfigError: The box has no area.

    Source: Kosmos-2, `coordinate_to_patch_index`.
    """
    left, top, right, bottom = box
    if not (right > left and bottom > top):
        raise ConfigError(f"A box of Kosmos-2 needs a width and a height, got {box}.")
    first = math.floor(top * side) * side + math.floor(left * side)
    last = math.ceil(bottom * side - 1) * side + math.ceil(right * side - 1)
    return first, last


def kosmos2_corners(first: int, last: int, side: int = _KOSMOS2_SIDE) -> Corners:
    """Return the box of two cells: their centres, or outer edges where it is a row or a column.

    Source: Kosmos-2, `patch_index_to_coordinate`.
    """
    top, left = divmod(first, side)
    bottom, right = divmod(last, side)
    thin = top == bottom or left == right
    near, far = (0.0, 1.0) if thin else (0.5, 0.5)
    return (left + near) / side, (top + near) / side, (right + far) / side, (bottom + far) / side


def thousandths(box: Corners) -> tuple[int, int, int, int]:
    """Return a box as integers of thousandths, rounded down (Ferret, Qwen-VL)."""
    left, top, right, bottom = (int(1000 * edge) for edge in box)
    return left, top, right, bottom


# --- each way -------------------------------------------------------------------------------------

_KOSMOS2_BOX = r"<patch_index_\d+><patch_index_\d+>"
_KOSMOS2 = re.compile(
    rf"(?:<phrase>([^<]+)</phrase>)?<object>"
    rf"((?:{_KOSMOS2_BOX}</delimiter_of_multi_objects/>)*{_KOSMOS2_BOX})</object>"
)
_KOSMOS2_TAG = re.compile(r"<.*?>")


def _write_kosmos2(phrase: str, boxes: Sequence[Corners]) -> str:
    pairs = (kosmos2_pair(box) for box in boxes)
    cells = [f"<patch_index_{a:04d}><patch_index_{b:04d}>" for a, b in pairs]
    joined = "</delimiter_of_multi_objects/>".join(cells)
    return f"<phrase>{phrase}</phrase><object>{joined}</object>"


def _read_kosmos2(text: str) -> tuple[str, tuple[Mention, ...]]:
    plain = _KOSMOS2_TAG.sub("", text)
    start = len(plain) - len(plain.lstrip())
    mentions: list[Mention] = []
    for match in _KOSMOS2.finditer(text):
        numbers = [int(digits) for digits in re.findall(r"_(\d+)>", match[2])]
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        boxes = tuple(kosmos2_corners(first, last) for first, last in pairs)
        written = match[1] or ""
        at = match.start(1) if written else match.start()
        before = len(_KOSMOS2_TAG.sub("", text[:at])) - start
        before += len(written) - len(written.lstrip())
        phrase = written.strip()
        mentions.append(Mention(phrase, (before, before + len(phrase)), boxes))
    return plain.strip(), tuple(mentions)


_SHIKRA_BOX = r"\d(?:\.\d*)?(?:,\d(?:\.\d*)?){3}"
_SHIKRA = re.compile(rf"\[({_SHIKRA_BOX}(?:;{_SHIKRA_BOX})*)\]")


def _write_shikra(phrase: str, boxes: Sequence[Corners]) -> str:
    joined = ";".join(",".join(f"{edge:.3f}" for edge in box) for box in boxes)
    return f"{phrase}[{joined}]"


def _read_shikra(text: str) -> tuple[str, tuple[Mention, ...]]:
    def boxes(match: re.Match[str]) -> list[Corners]:
        return [_corners(one.split(",")) for one in match[1].split(";")]

    return _cut(text, _SHIKRA, boxes, lambda match: None)


_QWEN_BOX = rf"\(({_NUMBER}), ?({_NUMBER})\), ?\(({_NUMBER}), ?({_NUMBER})\)"
_QWEN_OPEN, _QWEN_CLOSE = r"(?:<box>|<\|box_start\|>)", r"(?:</box>|<\|box_end\|>)"
_QWEN = re.compile(
    r"(?:(?:<ref>|<\|object_ref_start\|>)([^<]*)(?:</ref>|<\|object_ref_end\|>))?"
    rf"((?:{_QWEN_OPEN}{_QWEN_BOX}{_QWEN_CLOSE})+)"
)


def _write_qwen(phrase: str, boxes: Sequence[Corners]) -> str:
    corners = (thousandths(box) for box in boxes)
    written = "".join(f"<box>({a},{b}),({c},{d})</box>" for a, b, c, d in corners)
    return f"<ref>{phrase}</ref>{written}"


def _read_qwen(text: str) -> tuple[str, tuple[Mention, ...]]:
    def boxes(match: re.Match[str]) -> list[Corners]:
        return [_corners(found, 1000.0) for found in re.findall(_QWEN_BOX, match[2])]

    return _cut(text, _QWEN, boxes, lambda match: match[1])


_FLORENCE2 = re.compile(r"((?:<loc_\d+>){4,})")


def _write_florence2(phrase: str, boxes: Sequence[Corners]) -> str:
    bins = [min(999, max(0, math.floor(edge * 1000))) for box in boxes for edge in box]
    return phrase + "".join(f"<loc_{number}>" for number in bins)


def _read_florence2(text: str) -> tuple[str, tuple[Mention, ...]]:
    def boxes(match: re.Match[str]) -> list[Corners]:
        edges = [(int(digits) + 0.5) / 1000 for digits in re.findall(r"\d+", match[1])]
        whole = len(edges) - len(edges) % 4
        return [_corners(edges[i : i + 4]) for i in range(0, whole, 4)]

    plain = re.sub(r"</?s>|<pad>", "", text)
    return _cut(plain, _FLORENCE2, boxes, lambda match: None)


# --- what they share ------------------------------------------------------------------------------


def _corners(edges: Sequence[str] | Sequence[float], scale: float = 1.0) -> Corners:
    left, top, right, bottom = (float(edge) / scale for edge in edges)
    return left, top, right, bottom


def _cut(
    text: str,
    pattern: re.Pattern[str],
    boxes_of: Callable[[re.Match[str]], list[Corners]],
    phrase_of: Callable[[re.Match[str]], str | None],
) -> tuple[str, tuple[Mention, ...]]:
    """Take boxes out of a text; a phrase without tags is what precedes its boxes."""
    plain, at = "", 0
    mentions: list[Mention] = []
    for match in pattern.finditer(text):
        plain += text[at : match.start()]
        at = match.end()
        tagged = phrase_of(match)
        if tagged is not None:
            start = len(plain) + len(tagged) - len(tagged.lstrip())
            plain += tagged
            phrase = tagged.strip()
        else:
            since = mentions[-1].span[1] if mentions else 0
            clause = re.split(r"[.,;:!?\n]|\b(?:and|on|in|at|with|by|near)\b", plain[since:])[-1]
            phrase = clause.strip()
            start = len(plain.rstrip()) - len(phrase)
        sound = tuple(box for box in boxes_of(match) if _is_sound(box))
        if sound:
            mentions.append(Mention(phrase, (start, start + len(phrase)), sound))
    return plain + text[at:], tuple(mentions)


def _is_sound(box: Corners) -> bool:
    return 0 <= box[0] <= box[2] <= 1 and 0 <= box[1] <= box[3] <= 1


CODECS: dict[str, Codec] = {
    "kosmos2": Codec(_write_kosmos2, _read_kosmos2),
    "shikra": Codec(_write_shikra, _read_shikra),
    "qwen": Codec(_write_qwen, _read_qwen),
    "florence2": Codec(_write_florence2, _read_florence2),
}
