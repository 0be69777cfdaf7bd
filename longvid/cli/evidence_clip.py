"""Show the first evidence of an answer: a clip cut from its file, in the system's player."""

from __future__ import annotations

import contextlib
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from longvid.decode.clips import cut_clip
from longvid.inputs import holds_video
from longvid.paths import cache_home
from longvid.types import Evidence

_MOST_SECONDS = 120.0


def open_evidence(evidence: Sequence[Evidence]) -> str:
    """Cut the first span whose file is as it was indexed, open the clip, and say what became of it.

    Raises:
        VideoError: The file cannot be read, or the clip not be written.
    """
    span = next((one for one in evidence if holds_video(one.path, one.video_id)), None)
    if span is None:
        changed = [one.path for one in evidence if Path(one.path).is_file()]
        if changed:
            return f"{changed[0]} is not the file that was indexed; index it again."
        return "There is no evidence whose file is at its place."
    end = min(span.end_seconds, span.start_seconds + _MOST_SECONDS)
    folder = cache_home() / "clips"
    target = folder / f"{Path(span.path).stem}.{span.start_seconds:g}-{end:g}.mp4"
    with contextlib.suppress(OSError):  # cutting says what keeps the clip from being written
        folder.mkdir(parents=True, exist_ok=True)
    cut_clip(span.path, span.start_seconds, end, target)
    opened = webbrowser.open(target.as_uri())
    return f"{'Opened' if opened else 'No player was found for'} {target}"
