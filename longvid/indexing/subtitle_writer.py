"""Write the subtitles of a video, which may have several names and a subtitle file beside each.

The file beside the name that sorts first counts, whatever the order in which a run meets the
names, so that two runs write the same. A stream inside counts where there is no file.
"""

from __future__ import annotations

from collections.abc import Mapping

from longvid.indexing.messages import VideoText
from longvid.store import Store, read_subtitles, subtitles_beside, write_subtitles
from longvid.store.objects import DamagedObjectError

__all__ = ["add_subtitles", "keep_subtitles"]


def keep_subtitles(store: Store, video_id: str, texts: Mapping[str, VideoText]) -> None:
    """Write the subtitles of a video, before its manifest makes it visible.

    Args:
        store: Where.
        video_id: Of the video.
        texts: By its names so far, at least one.
    """
    for path, text in sorted(texts.items()):
        if text.beside:
            write_subtitles(store.objects, video_id, text.beside, path)
            return
    inside = next((text.inside for text in texts.values() if text.inside), ())
    write_subtitles(store.objects, video_id, inside)


def add_subtitles(store: Store, video_id: str, path: str, text: VideoText) -> None:
    """Take in a name of a finished video: the file beside it may sort first, or have changed.

    What could not be read when the video was indexed may be readable now.
    """
    if not text.beside:
        if text.inside and not _holds_subtitles(store, video_id):
            write_subtitles(store.objects, video_id, text.inside)
        return
    kept = subtitles_beside(store.objects, video_id)
    changed = path == kept and read_subtitles(store.objects, video_id) != text.beside
    if not kept or path < kept or changed:
        write_subtitles(store.objects, video_id, text.beside, path)


def _holds_subtitles(store: Store, video_id: str) -> bool:
    try:
        return bool(read_subtitles(store.objects, video_id))
    except DamagedObjectError:
        return False
