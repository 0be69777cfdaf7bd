"""Find what subtitles say by their words, without a model and without an index."""

from __future__ import annotations

from collections.abc import Sequence

from longvid.qa.candidate_segments import stored_videos
from longvid.qa.prompt_text import PromptText
from longvid.store import Store
from longvid.timed_text.lexical_search import rank
from longvid.types import Evidence


def search_subtitles(
    subtitles: PromptText, store: Store, text: str, ids: Sequence[str], top_k: int
) -> list[Evidence]:
    """Find lines of subtitles that share words with a text, best first.

    Args:
        subtitles: Gives the subtitles of a video.
        store: Of the videos.
        text: Words to look for.
        ids: Videos that are searched.
        top_k: Most lines returned.
    """
    videos = stored_videos(store)
    lines = [(video_id, line) for video_id in ids for line in subtitles.subtitles(video_id)]
    return [
        Evidence(
            video_id=lines[index][0],
            path=videos[lines[index][0]].video.path,
            start_seconds=lines[index][1].start_seconds,
            end_seconds=lines[index][1].end_seconds,
            score=score,
            text=lines[index][1].text,
        )
        for score, index in rank([line.text for _, line in lines], text)[:top_k]
    ]
