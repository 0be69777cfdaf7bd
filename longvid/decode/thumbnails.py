"""Small JPEG pictures of frames, made in the child while the frame is at hand."""

from __future__ import annotations

import io

import numpy as np
from av.video.frame import VideoFrame

from longvid.decode.engine import EncodedPicture
from longvid.decode.pixel_conversion import Painter
from longvid.types import FrameSize

_MOST_SIDE = 384
_QUALITY = 75


class PictureMaker:
    """Makes pictures of one video, upright, at most 384 pixels on the longer side.

    Args:
        height, width: Of the upright frame, pixels.
        pixel_aspect: Of the stored pixels.
        every_frame: False makes one picture a segment, of its middle frame.
    """

    def __init__(self, height: int, width: int, pixel_aspect: float, *, every_frame: bool) -> None:
        self.every_frame = every_frame
        shown_width = width * pixel_aspect
        scale = min(1.0, _MOST_SIDE / max(height, shown_width))
        self._height = max(1, round(height * scale))
        self._width = max(1, round(shown_width * scale))
        size = FrameSize(self._height, self._width)
        self._painter = Painter(size, pixel_aspect)
        self._pixels = np.empty((3, self._height, self._width), np.uint8)

    def picture(self, frame: VideoFrame, pts_seconds: float) -> EncodedPicture:
        """Scale and encode one frame."""
        from PIL import Image

        self._painter.paint(frame, self._pixels)
        file = io.BytesIO()
        Image.fromarray(self._pixels.transpose(1, 2, 0)).save(file, "JPEG", quality=_QUALITY)
        return EncodedPicture(pts_seconds, self._height, self._width, file.getvalue())
