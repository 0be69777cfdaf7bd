"""Tracks of boxes made tracks of masks: a detector's best box is followed through the frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from longvid.methods.grounding_metrics import box_overlap
from longvid.methods.phrase_tracks import pixels_of
from longvid.methods.run_lengths import encode_mask
from longvid.types import Box, Picture, Track

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Corners = tuple[float, float, float, float]

#: Pictures further apart are followed apart: what is between them was not seen.
_MAX_GAP_SECONDS = 8.0
#: A session's most pictures: SAM 2 keeps features of each.
_MOST_FRAMES = 64
#: A thing that was absent for that many frames is not looked for further.
_LOST_AFTER = 8
_PRESENT = 0.5
_SAME = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """A thing's mask in one frame, (H, W) bool, and the confidence in [0, 1] that it is there."""

    mask: npt.NDArray[np.bool_]
    score: float


#: Follows the boxes of things in one of some frames (H, W, 3) uint8 of one size: takes the frames,
#: that one's place and the boxes in [0, 1], and returns one mask a thing of every frame.
Propagate = Callable[[Sequence["np.ndarray"], int, Sequence[Corners]], Sequence[Sequence[Masks]]]


def box_of_mask(mask: npt.NDArray[np.bool_]) -> Corners | None:
    """Return what a mask (H, W) bool spans, in [0, 1]; None for an empty one.

    >>> import numpy as np
    >>> box_of_mask(np.eye(4, dtype=bool)[:2])
    (0.0, 0.0, 0.5, 1.0)
    """
    height, width = mask.shape
    rows = [place for place in range(height) if mask[place].any()]
    columns = [place for place in range(width) if mask[:, place].any()]
    if not rows:
        return None
    left, right = columns[0] / width, (columns[-1] + 1) / width
    return left, rows[0] / height, right, (rows[-1] + 1) / height


def follow(
    tracks: Sequence[Track],
    pictures: Sequence[Picture],
    propagate: Propagate,
    *,
    masks: bool = False,
) -> tuple[Track, ...]:
    """Follow the best box of each track through the pictures around it.

    The boxes of a track become those of its masks, over the pictures of one video that are at most
    eight seconds apart, until the thing was absent for eight of them. A track whose box has an
    empty mask is left as it is. Of tracks of one phrase that turn out to be of one thing, the one
    with the best box is kept.

    Args:
        tracks: Of a detector.
        pictures: Those that it was shown.
        propagate: A mask tracker.
        masks: Whether boxes carry the masks that they are of.

    Returns:
        Tracks in the order given.

    Raises:
        StoreError: A picture cannot be read.
    """
    followed: dict[int, Track] = {}
    for run in _runs(pictures):
        times = [picture.pts_seconds for picture in run]
        frames: list[np.ndarray] = []
        by_start: dict[int, list[int]] = {}
        for number, track in enumerate(tracks):
            best = max(track.boxes, key=lambda box: box.score, default=None)
            inside = best is not None and best.video_id == run[0].video_id
            if best is not None and inside and best.pts_seconds in times:
                by_start.setdefault(times.index(best.pts_seconds), []).append(number)
        for start, numbers in sorted(by_start.items()):
            frames = frames or [pixels_of(picture) for picture in run]
            best_boxes = [_best(tracks[number]) for number in numbers]
            found = propagate(frames, start, [_corners(box) for box in best_boxes])
            for place, (number, best) in enumerate(zip(numbers, best_boxes, strict=True)):
                of_thing = [of_frame[place] for of_frame in found]
                boxes = _boxes(of_thing, start, run, best, masks=masks)
                followed[number] = _with(tracks[number], boxes, times)
    ready = [followed.get(number, track) for number, track in enumerate(tracks)]
    scores = [_best(track).score if track.boxes else 0.0 for track in tracks]
    return tuple(
        track
        for number, track in enumerate(ready)
        if not any(
            other.phrase == track.phrase
            and (scores[place], -place) > (scores[number], -number)
            and _is_same(other, track)
            for place, other in enumerate(ready)
        )
    )


def _best(track: Track) -> Box:
    return max(track.boxes, key=lambda box: box.score)


def _with(track: Track, boxes: tuple[Box, ...], times: Sequence[float]) -> Track:
    """Return a track with other boxes at some times; as it is where there are none."""
    if not boxes:
        return track
    others = [box for box in track.boxes if not times[0] <= box.pts_seconds <= times[-1]]
    return replace(track, boxes=tuple(sorted([*others, *boxes], key=lambda box: box.pts_seconds)))


def _corners(box: Box) -> Corners:
    left, top, right, bottom = box.xyxy
    return left, top, right, bottom


def _runs(pictures: Sequence[Picture]) -> list[list[Picture]]:
    """Return the pictures of each video in time order, cut where too much time is between them."""
    unique = {(one.video_id, one.pts_seconds): one for one in pictures}
    runs: list[list[Picture]] = []
    for _, picture in sorted(unique.items(), key=lambda item: item[0]):
        last = runs[-1][-1] if runs else None
        goes_on = (
            last is not None
            and last.video_id == picture.video_id
            and picture.pts_seconds - last.pts_seconds <= _MAX_GAP_SECONDS
            and len(runs[-1]) < _MOST_FRAMES
        )
        if goes_on:
            runs[-1].append(picture)
        else:
            runs.append([picture])
    return runs


def _boxes(
    found_masks: Sequence[Masks], start: int, run: Sequence[Picture], best: Box, *, masks: bool
) -> tuple[Box, ...]:
    """Return the boxes of a thing's masks, in time order; none where the first mask is empty."""
    if box_of_mask(found_masks[start].mask) is None:
        return ()
    found: dict[int, Box] = {}
    for order in (range(start, len(run)), range(start - 1, -1, -1)):
        absent = 0
        for place in order:
            one = found_masks[place]
            xyxy = box_of_mask(one.mask)
            # In its own frame the detector has seen it.
            is_there = xyxy is not None and (place == start or one.score >= _PRESENT)
            absent = 0 if is_there else absent + 1
            if absent >= _LOST_AFTER:
                break
            if is_there and xyxy is not None:
                score = best.score if place == start else min(best.score, one.score)
                mask = encode_mask(one.mask) if masks else None
                found[place] = Box(run[place].video_id, run[place].pts_seconds, xyxy, score, mask)
    return tuple(found[place] for place in sorted(found))


def _is_same(one: Track, other: Track) -> bool:
    """Tell whether two tracks have one thing's boxes in most frames of the shorter one."""
    own = {(box.video_id, box.pts_seconds): box for box in one.boxes}
    same = sum(
        box_overlap(own[box.video_id, box.pts_seconds].xyxy, box.xyxy) > _SAME
        for box in other.boxes
        if (box.video_id, box.pts_seconds) in own
    )
    return 2 * same > min(len(one.boxes), len(other.boxes))
