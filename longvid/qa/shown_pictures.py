"""The stored pictures of what was selected, for a language model that reads pictures."""

from __future__ import annotations

import itertools

from longvid.store import Store, stored_pictures
from longvid.types import Picture, Selection


def shown_pictures(store: Store, selection: Selection) -> tuple[Picture, ...]:
    """Return the pictures nearest to the frames that a selection shows, in its order.

    Args:
        store: Which keeps them.
        selection: Frames without tokens are not shown.

    Raises:
        StoreError: The store keeps no pictures of a video, or they are damaged.
    """
    pictures: list[Picture] = []
    for video_id, group in itertools.groupby(selection.segments, lambda one: one.video_id):
        seconds: list[float] = []
        for segment in group:
            shown = segment.tokens.counts(segment.num_frames) > 0
            seconds += segment.pts_seconds[shown].tolist()
        if seconds:
            pictures += stored_pictures(store, video_id, seconds)
    return tuple(pictures)
