"""Phrases and pictures to tracks: what every grounder does around its detector."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from longvid.errors import StoreError
from longvid.methods.tracking import Detection, link, suppress
from longvid.types import Box, Picture, Track

if TYPE_CHECKING:
    import numpy as np

#: Finds phrases in one picture (H, W, 3) uint8; each detection is labelled with its phrase.
Detect = Callable[["np.ndarray", Sequence[str]], Sequence[Detection]]


@dataclass(frozen=True, slots=True)
class Phrase:
    """What is looked for.

    Args:
        text: Such as "red star".
        span: Where the answer's text has it, (0, 0) where only the question does.
        many: Whether several things may be meant; else each frame has the best one.
    """

    text: str
    span: tuple[int, int] = (0, 0)
    many: bool = False


def ground_phrases(
    phrases: Sequence[Phrase],
    pictures: Sequence[Picture],
    detect: Detect,
    most: int = 8,
    *,
    candidates: bool = False,
) -> tuple[Track, ...]:
    """Return the tracks of each phrase, in the order of the phrases, longer ones first.

    A phrase that is given twice is looked for once, at its first place.

    Args:
        phrases: What is looked for.
        pictures: Of any videos, in any order; a picture in which a phrase was looked for before is
            not looked at again.
        detect: Of one picture.
        most: Boxes of one phrase in one picture.
        candidates: Whether a phrase of one thing, too, keeps so many, as candidates.

    Raises:
        StoreError: A picture cannot be read.
    """
    wanted = {phrase.text: phrase for phrase in reversed(phrases)}
    names = [text for text in dict.fromkeys(phrase.text for phrase in phrases) if text]
    tracks: dict[str, list[Track]] = {name: [] for name in names}
    if not names:
        return ()
    for video_id in dict.fromkeys(picture.video_id for picture in pictures):
        own = {one.pts_seconds: one for one in pictures if one.video_id == video_id}
        times = sorted(own)
        found = [_detected(own[time], names, detect) for time in times]
        for name in names:
            phrase = wanted[name]
            limit = most if phrase.many or candidates else 1
            frames = [
                suppress([one for one in frame if one.label == name], most=limit) for frame in found
            ]
            for track in link(frames, times):
                boxes = tuple(
                    Box(video_id, times[at], one.xyxy, min(1.0, one.score)) for at, one in track
                )
                is_candidate = candidates and not phrase.many
                tracks[name].append(Track(name, boxes, phrase.span, is_candidate))
    return tuple(track for name in names for track in tracks[name])


def _detected(picture: Picture, names: Sequence[str], detect: Detect) -> list[Detection]:
    """Take what was found in a picture before, and look for the rest."""
    found: list[Detection] = []
    missing = list(names)
    for before in picture.found:
        ready = [name for name in missing if name in before.things]
        missing = [name for name in missing if name not in ready]
        for label, box in before.boxes:
            if label in ready:
                left, top, right, bottom = box.xyxy
                found.append(Detection(label, (left, top, right, bottom), box.score))
    return [*found, *detect(pixels_of(picture), missing)] if missing else found


def pixels_of(picture: Picture) -> np.ndarray:
    """Decode a stored picture, (H, W, 3) uint8 RGB.

    Raises:
        StoreError: It is no picture.
    """
    import numpy as np

    try:
        with Image.open(io.BytesIO(picture.jpeg)) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise StoreError(
            f"The picture of video {picture.video_id} at {picture.pts_seconds} s cannot be read "
            f"({error}); index the video again."
        ) from error
