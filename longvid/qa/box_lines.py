"""Boxes that a store holds, as lines of text with their times: what `longvid boxes` found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longvid.store import Store
from longvid.store.detected_boxes import read_boxes
from longvid.timed_text.words import clock, words_of
from longvid.types import Segment, player_seconds

#: Lines of one question: a line a picture, spread over those that show something.
_MOST_LINES = 16
#: Boxes lie with each video: of more videos, they are not gone through for every question.
_MOST_VIDEOS = 64


@dataclass(frozen=True, slots=True)
class BoxLines:
    """Writes the stored boxes of what a question names.

    Args:
        store: Which may hold boxes.
    """

    store: Store

    def named(self, text: str, video_ids: Sequence[str]) -> tuple[str, ...]:
        """Return the things in a question that were found in any of these videos; none of many.

        Raises:
            StoreError: Boxes are damaged.
        """
        if len(video_ids) > _MOST_VIDEOS:
            return ()
        words = set(words_of(text))
        found = {
            label
            for video_id in video_ids
            for of_picture in read_boxes(self.store, video_id).values()
            for one in of_picture
            for label, _ in one.boxes
        }
        return tuple(sorted(thing for thing in found if words.issuperset(words_of(thing))))

    def lines(self, things: Sequence[str], segments: Sequence[Segment]) -> list[str]:
        """Return a line a picture of the segments shown, with the boxes of things in it.

        Sides are hundredths of the frame: left, top, right, bottom.

        Args:
            things: As of `named`.
            segments: In the time of a player; those without tokens are not shown.

        Raises:
            StoreError: Boxes are damaged.
        """
        rows: list[tuple[str, float, str]] = []
        shown = [segment for segment in segments if len(segment.tokens)]
        for video_id in dict.fromkeys(segment.video_id for segment in shown):
            start = self.store.clock_start_seconds(video_id)
            spans = [(s.start_seconds, s.end_seconds) for s in shown if s.video_id == video_id]
            for stream_seconds, of_picture in read_boxes(self.store, video_id).items():
                seconds = player_seconds(stream_seconds, start)
                if not any(first <= seconds < last for first, last in spans):
                    continue
                boxes = [
                    f"{label} [{', '.join(str(round(100 * side)) for side in box.xyxy)}]"
                    for one in of_picture
                    for label, box in one.boxes
                    if label in things
                ]
                if boxes:
                    text = f"[{clock(seconds)}] boxes: {'; '.join(dict.fromkeys(boxes))}"
                    rows.append((video_id, seconds, text))
        step = max(1.0, len(rows) / _MOST_LINES)
        return [rows[int(place * step)][2] for place in range(min(len(rows), _MOST_LINES))]
