"""Boxes of single frames linked to tracks: by their overlap, then by what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longvid.methods.grounding_metrics import box_overlap


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing found in one frame.

    Args:
        label: What it was found as.
        xyxy: Left, top, right, bottom in [0, 1].
        score: In [0, 1].
    """

    label: str
    xyxy: tuple[float, float, float, float]
    score: float


def suppress(found: Sequence[Detection], overlap: float = 0.5, most: int = 8) -> list[Detection]:
    """Keep the best of those of one label that overlap, at most `most` of a label, best first."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda one: -one.score):
        same = [other for other in kept if other.label == one.label]
        if len(same) < most and all(box_overlap(one.xyxy, o.xyxy) <= overlap for o in same):
            kept.append(one)
    return kept


def link(
    frames: Sequence[Sequence[Detection]],
    times: Sequence[float],
    max_gap_seconds: float = 8.0,
    max_speed: float = 0.35,
) -> list[list[tuple[int, Detection]]]:
    """Link the detections of consecutive frames to tracks, nearest first.

    A detection goes on with a track of its label that ended at most `max_gap_seconds` ago and
    whose last box overlaps it, or whose centre is within `max_speed` frame widths a second. What
    fits no track begins one.

    Args:
        frames: Detections of each frame, in time order, of one video.
        times: Of the frames, increasing.
        max_gap_seconds: A thing that was hidden for longer begins a new track.
        max_speed: In widths of the frame a second.

    Returns:
        Tracks as (frame, detection) in time order; longer ones first, then earlier ones.
    """
    tracks: list[list[tuple[int, Detection]]] = []
    for frame, found in enumerate(frames):
        pairs = []
        for number, track in enumerate(tracks):
            before, last = track[-1]
            gap = times[frame] - times[before]
            if before == frame or gap > max_gap_seconds:
                continue
            for place, one in enumerate(found):
                distance = _distance(last, one)
                near = distance <= max_speed * gap or box_overlap(last.xyxy, one.xyxy) > 0
                if one.label == last.label and near:
                    pairs.append((distance + 0.01 * gap, number, place))
        taken_tracks: set[int] = set()
        taken: set[int] = set()
        for _, number, place in sorted(pairs):
            if number not in taken_tracks and place not in taken:
                taken_tracks.add(number)
                taken.add(place)
                tracks[number].append((frame, found[place]))
        tracks += [[(frame, one)] for place, one in enumerate(found) if place not in taken]
    return sorted(tracks, key=lambda track: (-len(track), track[0][0]))


def _distance(first: Detection, second: Detection) -> float:
    x = (first.xyxy[0] + first.xyxy[2] - second.xyxy[0] - second.xyxy[2]) / 2
    y = (first.xyxy[1] + first.xyxy[3] - second.xyxy[1] - second.xyxy[3]) / 2
    return float((x * x + y * y) ** 0.5)
