"""Write the subtitles of a video, which may have several names and a subtitle file beside each.

The file beside the name that sorts first counts, whatever the order in which a run meets the
names, so that two runs write the same. A stream inside counts where there is no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from longvid.indexing.messages import VideoText
from longvid.store import Store, read_subtitles, stored_subtitles, subtitles_beside, write_subtitles
from longvid.store.objects import DamagedObjectError
from longvid.types import TextLine, Video


def keep_subtitles(store: Store, video: Video, texts: Mapping[str, VideoText]) -> None:
    """Write the subtitles of a video, before its manifest makes it visible."""
    for path, text in sorted(texts.items()):
        if text.beside:
            lines = _in_stream_time(text.beside, video.clock_start_seconds)
            write_subtitles(store.objects, video.video_id, lines, path)
            return
    inside = next((text.inside for text in texts.values() if text.inside), ())
    write_subtitles(store.objects, video.video_id, inside)


def add_subtitles(store: Store, video_id: str, path: str, text: VideoText) -> None:
    """Take in a name of a finished video: the file beside it may sort first, or have changed.

    What could not be read when the video was indexed may be readable now.
    """
    if not text.beside:
        if text.inside and not _holds_subtitles(store, video_id):
            write_subtitles(store.objects, video_id, text.inside)
        return
    kept = subtitles_beside(store.objects, video_id)
    changed = path == kept and stored_subtitles(store, video_id) != text.beside
    if not kept or path < kept or changed:
        lines = _in_stream_time(text.beside, store.clock_start_seconds(video_id))
        write_subtitles(store.objects, video_id, lines, path)


def _holds_subtitles(store: Store, video_id: str) -> bool:
    try:
        return bool(read_subtitles(store.objects, video_id))
    except DamagedObjectError:
        return False


def _in_stream_time(lines: Sequence[TextLine], clock_start_seconds: float) -> Sequence[TextLine]:
    """Convert lines of a file, which are in the time of a player."""
    if not clock_start_seconds:
        return lines
    return [
        replace(
            line,
            start_seconds=line.start_seconds + clock_start_seconds,
            end_seconds=line.end_seconds + clock_start_seconds,
        )
        for line in lines
    ]
