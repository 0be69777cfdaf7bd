"""The grounder of the drawn world: finds the shapes that a question and its answer name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from longvid.errors import require_one_of
from longvid.methods.phrase_tracks import Detect, Phrase, ground_phrases
from longvid.methods.tracking import Detection
from longvid.models.mini_vocabulary import COLORS, PLURALS, SHAPES
from longvid.types import Answer, CheckpointRef, Picture, Question, Track

if TYPE_CHECKING:
    import numpy as np

_SINGULAR = {plural: shape for shape, plural in PLURALS.items()}
_ANY = {"object": False, "thing": False, "objects": True, "things": True}
_NAMED = re.compile(
    rf"(?:\b({'|'.join(COLORS)})\s+)?"
    rf"\b({'|'.join([*SHAPES, *_SINGULAR, *_ANY])})\b|\b({'|'.join(COLORS)})\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class DrawnShapes:
    """Boxes of the drawn world's shapes, by colour and outline; nothing is trained or loaded.

    It serves `mini`, and finds nothing in real footage but chance.

    Args:
        choice: What decides between several things that one phrase may mean: the "score" of the
            match, or the language model, in one call more a question ("model").
    """

    choice: str = field(default="score", metadata={"fingerprint": False})

    def __post_init__(self) -> None:
        require_one_of("grounder.choice", self.choice, ("score", "model"))

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return ()

    def setup(self, device: str = "cpu") -> DrawnShapes:
        return self

    def detector(self, device: str = "cpu") -> Detect:
        """Return what finds shapes in one picture; names are as in "red star"."""
        return _detect

    def __call__(
        self, question: Question, answer: Answer, pictures: Sequence[Picture]
    ) -> tuple[Track, ...]:
        """Return the tracks of what the answer names, else of what the question does.

        The longest track of a thing comes first; of "the last heart", the latest.
        """
        phrases = shape_phrases(question.text, answer.text)
        is_asked = self.choice == "model"
        tracks = ground_phrases(phrases, pictures, _detect, candidates=is_asked)
        words = question.text.split()
        if "first" in words or "last" in words:
            late = -1 if "last" in words else 1
            return tuple(sorted(tracks, key=lambda track: late * track.boxes[0].pts_seconds))
        return tracks


def shape_phrases(question: str, answer: str) -> list[Phrase]:
    """Return the things of the drawn world that an answer is about.

    The answer's own things count first. An answer that is only a shape completes the "red object"
    of its question, and one that is only a colour its "star", unless a change is asked about.

    >>> shape_phrases("what shape is the red object ?", "star")
    [Phrase(text='red star', span=(0, 4), many=False)]
    """
    asked = [_read(found) for found in _NAMED.finditer(question)]
    said = [(_read(found), found.span()) for found in _NAMED.finditer(answer)]
    subject = asked[0] if asked else ("", "", False)
    phrases = []
    for (color, shape, many), span in said:
        if shape and not color and not subject[1]:
            color = subject[0]
        if not shape:
            changes = re.search(r"\b(become|turn|change)", question)
            shape, many = subject[1], subject[2]
            color = subject[0] if changes else color
        phrases.append(Phrase(_name(color, shape), span, many))
    named = [Phrase(_name(color, shape), many=many) for color, shape, many in asked]
    return [phrase for phrase in phrases or named if phrase.text]


def _read(found: re.Match[str]) -> tuple[str, str, bool]:
    """Return colour, singular shape, "" for any, and whether several are meant."""
    color, word = (found[1] or found[3] or "").lower(), (found[2] or "").lower()
    shape = _SINGULAR.get(word, "" if word in _ANY else word)
    return color, shape, word in _SINGULAR or _ANY.get(word, False)


def _name(color: str, shape: str) -> str:
    return f"{color} {shape or 'object'}".strip()


def _detect(picture: np.ndarray, names: Sequence[str]) -> list[Detection]:
    from longvid.world.shape_matcher import find_shapes

    words = {word for name in names for word in name.split()}
    named = [color for color in COLORS if color in words]
    # A name without a colour may be of any.
    are_all = named and all(set(name.split()).intersection(named) for name in names)
    found = find_shapes(picture, named if are_all else COLORS)
    return [
        Detection(name, one.xyxy, one.score)
        for name in names
        for one in found
        if all(word == "object" or word in one.label.split() for word in name.split())
    ]
