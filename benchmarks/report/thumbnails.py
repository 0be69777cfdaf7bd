"""Cut small pictures of the frames that a model was shown, for a person to look at."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from longvid.errors import VideoError
from longvid.types import Chunk, FrameBatch, FrameSize, SegmentPlan

_WIDTH, _HEIGHT, _QUALITY = 160, 90, 70


class Thumbnails:
    """Cuts pictures out of videos, all with one decoding process; close it by `with`."""

    def __init__(self) -> None:
        from longvid.decode.pyav import PyAVDecoder

        self._decoder = PyAVDecoder(size=FrameSize(_HEIGHT, _WIDTH, "pad", (24, 24, 24))).setup()

    def __enter__(self) -> Thumbnails:
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.close()

    def cut(self, path: str, at_seconds: Sequence[float], most: int = 4) -> list[tuple[float, str]]:
        """Return pictures of moments of a video, spread over those given.

        Args:
            path: Of the video.
            at_seconds: Presentation times of frames, in any order.
            most: How many pictures.

        Returns:
            (pts_seconds, JPEG as a data URI) each; nothing where the video cannot be read any more.
        """
        times = sorted(set(at_seconds))
        if len(times) > most:
            times = [times[round(i * (len(times) - 1) / (most - 1))] for i in range(most)]
        if not times:
            return []
        try:
            video = self._decoder.probe(path)
        except VideoError:
            return []
        plan = SegmentPlan(0, times[0], video.end_seconds, tuple(times), (True,) * len(times))
        return [
            (seconds, _data_uri(batch, index))
            for batch in self._decoder.decode(Chunk(video, (plan,)))
            if isinstance(batch, FrameBatch)
            for index, seconds in enumerate(batch.pts_seconds.tolist())
        ]


def _data_uri(batch: FrameBatch, index: int) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(batch.data[index].permute(1, 2, 0).numpy())
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
