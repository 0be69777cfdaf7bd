"""From boxes read in single frames to lines with spans: junk is dropped, stays are merged.

A detector reads the same title in every frame that shows it, each time a little differently, and
reads single characters into bricks and leaves. Here a title becomes one line with the best of its
readings, and what has the marks of junk is left out. A clock or a score that changes is a line for
each of its numbers. Pure text and numbers; no picture is seen.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from longvid.types import TextLine

#: Another one means that readings become other lines: text is then read again on request.
LINES_VERSION = 2

#: (left, top, right, bottom) as shares of the upright frame.
Box = tuple[float, float, float, float]

#: Names that Unicode gives the letters of a script, by the name used in a setting.
_SCRIPTS = {
    "latin": ("LATIN", "FULLWIDTH LATIN"),
    "han": ("CJK",),
    "kana": ("HIRAGANA", "KATAKANA"),
    "hangul": ("HANGUL",),
    "cyrillic": ("CYRILLIC",),
    "greek": ("GREEK",),
    "arabic": ("ARABIC",),
    "hebrew": ("HEBREW",),
    "devanagari": ("DEVANAGARI",),
    "thai": ("THAI",),
}
#: Those whose letters are in the dictionary of PP-OCRv6, the networks in the wheel of rapidocr.
READ_SCRIPTS = ("latin", "han", "kana", "greek")
_MIN_CHARACTERS = 2
#: So few characters, of which each takes more than this share of the frame, are shapes: the
#: detector takes rings, crescents and stars for letters, and flat pictures for a line.
_FEW_CHARACTERS, _MAX_CHARACTER_AREA = 4, 0.05
_OWN_SCRIPT_SHARE = 0.8
#: Lines whose best reading scores less count only if they stay for two frames.
_UNSURE_SCORE = 0.65
_SAME_EDITS = 0.2
_SAME_TEXT_IOU, _SAME_PLACE_IOU = 0.5, 0.8
#: A piece of a line is so far inside its box.
_PIECE_INSIDE = 0.8
#: A text of at least so many characters that is read letter by letter the same has moved.
_MOVING_CHARACTERS = 6
_MAX_MISSES = 1


@dataclass(frozen=True, slots=True)
class Reading:
    """Text in one frame."""

    text: str
    score: float
    box: Box


def scripts_of(setting: str) -> tuple[str, ...] | None:
    """Return what the names of allowed letters begin with; None where "any" letter is.

    Raises:
        KeyError: A script is not known.
    """
    if setting == "any":
        return None
    return tuple(start for name in setting.split(",") for start in _SCRIPTS[name.strip()])


def unread_scripts(setting: str) -> tuple[str, ...]:
    """Return the scripts of a setting of which the networks know no letter."""
    if setting == "any":
        return ()
    names = (name.strip() for name in setting.split(","))
    return tuple(name for name in names if name not in READ_SCRIPTS)


def is_junk(reading: Reading, scripts: tuple[str, ...] | None) -> bool:
    """Tell from one reading that it is none: too few characters, another script, large shapes."""
    characters = _characters(reading.text)
    left, top, right, bottom = reading.box
    area = (right - left) * (bottom - top)
    if len(characters) < _MIN_CHARACTERS:
        return True
    if len(characters) < _FEW_CHARACTERS and area > _MAX_CHARACTER_AREA * len(characters):
        return True
    letters = [letter for letter in characters if letter.isalpha()]
    if scripts is None or not letters:
        return False
    own = sum(unicodedata.name(letter, "").startswith(scripts) for letter in letters)
    return own < _OWN_SCRIPT_SHARE * len(letters)


def joined(readings: Sequence[Reading]) -> list[Reading]:
    """Join the readings of a frame that belong together.

    Those on one line follow each other left to right; lines under each other with one centre are
    separated by " / ".
    """
    lines: list[Reading] = []
    for reading in sorted(readings, key=lambda item: (item.box[0], item.box[1])):
        for index, line in enumerate(lines):
            if _on_one_line(line.box, reading.box):
                lines[index] = _union(line, reading, " ")
                break
        else:
            lines.append(reading)
    blocks: list[Reading] = []
    last: dict[int, Reading] = {}  # the lowest line of each block
    for line in sorted(lines, key=lambda item: (item.box[1], item.box[0])):
        for index, block in enumerate(blocks):
            if _stacked(last[index].box, line.box):
                blocks[index], last[index] = _union(block, line, " / "), line
                break
        else:
            last[len(blocks)] = line
            blocks.append(line)
    return blocks


@dataclass(slots=True)
class _Stay:
    """A line that is on the screen: its readings so far."""

    start_seconds: float
    scores: dict[str, float]
    best: Reading
    last: Reading
    num_readings: int = 1
    num_misses: int = 0
    end_seconds: float = 0.0

    def fits(self, reading: Reading) -> bool:
        """Tell whether a reading of the next frame is the same line."""
        if _counts(self.best, reading):
            return False
        overlap = iou(self.last.box, reading.box)
        if overlap >= _SAME_PLACE_IOU:
            return True
        ours, theirs = _normal(self.best.text), _normal(reading.text)
        if ours == theirs and len(ours) >= _MOVING_CHARACTERS:
            return True
        limit = int(_SAME_EDITS * max(len(ours), len(theirs)))
        return overlap >= _SAME_TEXT_IOU and edit_distance(ours, theirs, limit) <= limit

    def is_misread(self, stay: _Stay) -> bool:
        """Tell whether another line, here for one frame while this one was missed, is this one."""
        once = stay.num_readings == 1 and not stay.num_misses
        near = iou(stay.last.box, self.last.box) >= _SAME_TEXT_IOU
        return once and near and _counts(stay.best, self.best)

    def is_part(self, reading: Reading) -> bool:
        """Tell whether a reading is a piece of this line: it fades out, or is half covered."""
        return _is_part(reading, self.best)

    def grows_into(self, reading: Reading) -> bool:
        """Tell whether this line, read once, was a piece of a reading: it was fading in."""
        return self.num_readings == 1 and _is_part(self.best, reading)

    def add_part(self, reading: Reading) -> None:
        """Take in a piece of the line: it is still there."""
        self.last, self.num_misses = replace(reading, box=self.last.box), 0

    def grow(self, reading: Reading) -> None:
        """Take a reading as what the line says."""
        self.best = self.last = reading
        self.scores = {reading.text: reading.score}
        self.num_readings, self.num_misses = self.num_readings + 1, 0

    def add(self, reading: Reading) -> None:
        """Take a reading in; one that is used again says nothing new."""
        again, self.last, self.num_misses = reading is self.last, reading, 0
        if again:
            return
        self.num_readings += 1
        total = self.scores.get(reading.text, 0.0) + reading.score
        self.scores[reading.text] = total
        if reading.text == self.best.text:
            self.best = replace(self.best, score=max(self.best.score, reading.score))
        elif total > self.scores[self.best.text]:
            self.best = reading


@dataclass(slots=True)
class StayMerger:
    """Merges the readings of frames in time order into lines.

    Args:
        step_seconds: Between two frames. A line begins and ends halfway between a frame that
            shows it and one that does not.
        end_seconds: Where the video ends.
        min_score: Of the best reading of a line that is kept.
        language: Written into the lines.
    """

    step_seconds: float
    end_seconds: float
    min_score: float = 0.8
    language: str = ""
    _open: list[_Stay] = field(default_factory=list)
    _closed: list[TextLine] = field(default_factory=list)
    _last_seconds: float | None = None

    def add(self, pts_seconds: float, readings: Sequence[Reading]) -> None:
        """Take in the readings of the next frame."""
        changed = self._change(pts_seconds)
        left = list(readings)
        missed: list[_Stay] = []
        found_again: list[_Stay] = []
        for stay in self._open:
            match = next((index for index, item in enumerate(left) if stay.fits(item)), None)
            if match is None:
                missed.append(stay)
                continue
            if stay.num_misses:
                found_again.append(stay)
            stay.add(left.pop(match))
        wrong = [stay for stay in missed if any(one.is_misread(stay) for one in found_again)]
        self._open = [stay for stay in self._open if stay not in wrong]
        missed = [stay for stay in missed if stay not in wrong]
        missed = [stay for stay in missed if not _take_piece(stay, left)]
        for stay in missed:
            if not stay.num_misses:
                stay.end_seconds = changed
            stay.num_misses += 1
            if stay.num_misses > _MAX_MISSES:
                self._close(stay)
        still_open = [stay for stay in self._open if stay.num_misses <= _MAX_MISSES]
        self._open = still_open + [
            _Stay(changed, {item.text: item.score}, item, item) for item in left
        ]
        self._last_seconds = pts_seconds

    def ready(self) -> Iterator[TextLine]:
        """Yield the lines that no later line can come before, in time order, each once."""
        waiting = min((stay.start_seconds for stay in self._open), default=float("inf"))
        self._closed.sort(key=lambda line: (line.start_seconds, line.end_seconds, line.text))
        while self._closed and self._closed[0].start_seconds < waiting:
            yield self._closed.pop(0)

    def finish(self) -> Iterator[TextLine]:
        """Yield what is left at the end of the video."""
        last = self._last_seconds if self._last_seconds is not None else 0.0
        for stay in self._open:
            if not stay.num_misses:
                stay.end_seconds = max(last, min(self.end_seconds, last + self.step_seconds))
            self._close(stay)
        self._open = []
        yield from self.ready()

    def _change(self, pts_seconds: float) -> float:
        if self._last_seconds is None:
            return pts_seconds
        return (self._last_seconds + pts_seconds) / 2

    def _close(self, stay: _Stay) -> None:
        best = stay.best
        sure = best.score >= self.min_score or (
            best.score >= min(_UNSURE_SCORE, self.min_score) and stay.num_readings > 1
        )
        if sure and stay.end_seconds > stay.start_seconds:
            self._closed.append(
                TextLine(
                    stay.start_seconds,
                    stay.end_seconds,
                    best.text,
                    "screen",
                    self.language,
                    min(1.0, max(0.0, best.score)),
                    best.box,
                )
            )


def _counts(one: Reading, other: Reading) -> bool:
    """Tell whether two readings hold different numbers."""
    digits, others = (re.sub(r"\D", "", reading.text) for reading in (one, other))
    return bool(digits and others) and digits != others


def _take_piece(stay: _Stay, left: list[Reading]) -> bool:
    """Give a stay that no reading fits one that is a piece of it, or of which it was a piece."""
    for index, reading in enumerate(left):
        if stay.grows_into(reading):
            stay.grow(left.pop(index))
            return True
        if stay.is_part(reading):
            stay.add_part(left.pop(index))
            return True
    return False


def _is_part(piece: Reading, whole: Reading) -> bool:
    width = min(piece.box[2], whole.box[2]) - max(piece.box[0], whole.box[0])
    height = min(piece.box[3], whole.box[3]) - max(piece.box[1], whole.box[1])
    area = (piece.box[2] - piece.box[0]) * (piece.box[3] - piece.box[1])
    inside = max(0.0, width) * max(0.0, height) >= _PIECE_INSIDE * area
    agrees = not _counts(piece, whole)  # else a clock whose last digit was not read
    return inside and agrees and _normal(piece.text) in _normal(whole.text)


def iou(one: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (sum(areas) - both)


def edit_distance(one: str, other: str, limit: int) -> int:
    """Return the number of letters to change (Levenshtein), or more than `limit` if it is more."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, start=1):
        above, row[0] = row[0], place
        for column, their in enumerate(other, start=1):
            cost = above if letter == their else 1 + min(above, row[column], row[column - 1])
            above, row[column] = row[column], cost
        if min(row) > limit:
            return limit + 1
    return row[-1]


def _characters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def _normal(text: str) -> str:
    return _characters(text).casefold()


def _height(box: Box) -> float:
    return box[3] - box[1]


def _on_one_line(one: Box, other: Box) -> bool:
    overlap = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min(_height(one), _height(other))
    return overlap > 0.6 * smaller and -smaller < other[0] - one[2] < smaller


def _stacked(upper: Box, lower: Box) -> bool:
    larger = max(_height(upper), _height(lower))
    centres = abs((upper[0] + upper[2]) - (lower[0] + lower[2])) / 2
    return 0 <= lower[1] - upper[3] + 0.5 * larger < 1.5 * larger and centres < 0.02


def _union(one: Reading, other: Reading, seam: str) -> Reading:
    left, right = len(one.text), len(other.text)
    score = (one.score * left + other.score * right) / (left + right)
    box = (
        min(one.box[0], other.box[0]),
        min(one.box[1], other.box[1]),
        max(one.box[2], other.box[2]),
        max(one.box[3], other.box[3]),
    )
    return Reading(f"{one.text}{seam}{other.text}", score, box)
