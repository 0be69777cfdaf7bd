"""The border between the time of a stream, which a store keeps, and that of a player.

What people, models and programs get out of a store is in the time of a player: it counts from 0,
where an MPEG-TS file may begin at 1.4 s or before 0 (`Video.clock_start_seconds`). Everything that
reads times out of a store passes through `in_player_time`; nothing above the store converts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from longvid.store.pictures import picture_times, read_pictures
from longvid.store.subtitles import read_subtitles
from longvid.store.video_paths import existing_first
from longvid.types import Failure, Picture, Segment, TextLine, player_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from longvid.store.catalog import StoredVideo
    from longvid.store.store import Store
    from longvid.store.vectors import Hit

Timed = TypeVar("Timed", "Failure", "Hit", "Picture", "Segment", "TextLine")

_TIMES = ("start_seconds", "end_seconds", "pts_seconds")


def in_player_time(item: Timed, clock_start_seconds: float) -> Timed:
    """Convert the times of what was read.

    Args:
        item: In the time of the stream.
        clock_start_seconds: Of its video; 0 returns the item itself.
    """
    if not clock_start_seconds:
        return item
    changes: dict[str, Any] = {
        name: _converted(getattr(item, name), clock_start_seconds)
        for name in _TIMES
        if hasattr(item, name)
    }
    if isinstance(item, TextLine):
        changes["words"] = tuple(
            replace(
                word,
                start_seconds=player_seconds(word.start_seconds, clock_start_seconds),
                end_seconds=player_seconds(word.end_seconds, clock_start_seconds),
            )
            for word in item.words
        )
    return replace(item, **changes)


def _converted(times: Any, clock_start_seconds: float) -> Any:
    if times is None:  # of a failure that is no gap
        return None
    if isinstance(times, (int, float)):
        return player_seconds(times, clock_start_seconds)
    return (times - clock_start_seconds).round(decimals=9)  # (T,) float64, as `player_seconds`


def shown_video(stored: StoredVideo) -> StoredVideo:
    """Return a video under a name that exists now, if one does, with gaps in a player's time."""
    path, clock_start = stored.video.path, stored.video.clock_start_seconds
    if len(stored.paths) > 1:
        path = existing_first(stored.paths)
    gaps = (in_player_time(replace(gap, path=path), clock_start) for gap in stored.gaps)
    return replace(stored, video=replace(stored.video, path=path), gaps=tuple(gaps))


def stored_subtitles(store: Store, video_id: str) -> tuple[TextLine, ...]:
    """Return the subtitles of a video in the time of a player; see `read_subtitles`."""
    clock_start = store.clock_start_seconds(video_id)
    lines = read_subtitles(store.objects, video_id)
    return tuple(in_player_time(line, clock_start) for line in lines)


def stored_picture_times(store: Store, video_id: str) -> list[float]:
    """Return the times of a video's pictures in the time of a player; see `picture_times`."""
    clock_start = store.clock_start_seconds(video_id)
    times = picture_times(store.annotations, video_id)
    return [player_seconds(seconds, clock_start) for seconds in times]


def stored_pictures(store: Store, video_id: str, seconds: Sequence[float]) -> list[Picture]:
    """Return the picture nearest to each time, all in the time of a player; see `read_pictures`."""
    clock_start = store.clock_start_seconds(video_id)
    wanted = [time + clock_start for time in seconds]
    pictures = read_pictures(store.annotations, video_id, wanted)
    return [in_player_time(picture, clock_start) for picture in pictures]
