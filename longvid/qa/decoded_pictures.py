"""Frames decoded again from their files, in full, where small stored pictures are too coarse.

Only a grounder asks for them, and only where `ask.ground_frames` says so: nothing else on the ask
side opens a video. The decoder's guarded child does.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from longvid.inputs import holds_video
from longvid.store import Store
from longvid.types import Chunk, Failure, FrameSize, Picture, SegmentPlan, Video

if TYPE_CHECKING:
    import torch

#: Frames that are in memory at once.
_AT_ONCE = 8
#: Times were rounded on their way through the store; a frame is still on display a bit later.
_LATER_SECONDS = 1e-5
_QUALITY = 95


def decoded_pictures(store: Store, pictures: Sequence[Picture]) -> tuple[tuple[Picture, ...], str]:
    """Decode the frames of pictures again, at the size of their files.

    Args:
        store: Knows where the files are.
        pictures: Stored ones, in the time of a player.

    Returns:
        As many pictures, with their times and without boxes; stored ones where a file is not at its
        place or cannot be decoded. And a sentence that says so, "" where all were decoded.
    """
    videos = {stored.video.video_id: stored.video for stored in store.videos()}
    ready: dict[tuple[str, float], Picture] = {}
    problems: list[str] = []
    for video_id in dict.fromkeys(picture.video_id for picture in pictures):
        video = videos[video_id]
        own = sorted({one.pts_seconds for one in pictures if one.video_id == video_id})
        if not holds_video(video.path, video_id):
            problems.append(f"{video.path} is not at its place, or not as it was indexed")
            continue
        problems += _decode(video, own, ready)
    given = tuple(
        ready.get((one.video_id, one.pts_seconds), replace(one, found=())) for one in pictures
    )
    note = f"Stored pictures were looked at in place of decoded frames: {'; '.join(problems)}."
    return given, note if problems else ""


def _decode(
    video: Video, times: Sequence[float], ready: dict[tuple[str, float], Picture]
) -> list[str]:
    """Decode frames of one video into `ready`; return what went wrong."""
    from longvid.decode.pyav import PyAVDecoder

    stream_times = [time + video.clock_start_seconds for time in times]
    plans = [
        SegmentPlan(
            number,
            stream_times[first],
            stream_times[min(first + _AT_ONCE, len(times)) - 1] + 1.0,
            tuple(time + _LATER_SECONDS for time in stream_times[first : first + _AT_ONCE]),
            (True,) * len(stream_times[first : first + _AT_ONCE]),
        )
        for number, first in enumerate(range(0, len(times), _AT_ONCE))
    ]
    problems = []
    with PyAVDecoder(size=FrameSize(fit="native")).setup() as decoder:
        for found in decoder.decode(Chunk(video, tuple(plans))):
            if isinstance(found, Failure):
                problems.append(found.error.rstrip("."))
                continue
            first = found.segment_index * _AT_ONCE
            wanted = zip(times[first : first + _AT_ONCE], stream_times[first:], strict=False)
            for time, stream_time in wanted:
                # Frames of a gap are missing: each time has the frame on display then.
                place = int((found.pts_seconds <= stream_time + _LATER_SECONDS).sum()) - 1
                if place >= 0 and abs(float(found.pts_seconds[place]) - stream_time) < 1e-3:
                    picture = _picture(video.video_id, time, found.data[place])
                    ready[video.video_id, time] = picture
    return problems


def _picture(video_id: str, seconds: float, pixels: torch.Tensor) -> Picture:
    from PIL import Image

    _, height, width = pixels.shape
    file = io.BytesIO()
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    image.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return Picture(video_id, seconds, file.getvalue(), height, width)
