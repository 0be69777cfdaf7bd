"""Boxes drawn into the frames of a clip, in the child process that cuts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from PIL import Image, ImageDraw


def draw_boxes(frame: VideoFrame, marks: Sequence[dict[str, Any]], seconds: float) -> VideoFrame:
    """Return a frame with the boxes of one time; the frame itself where there is none.

    Between its pictures a track's box moves evenly; before the first and after the last there is
    none.

    Args:
        frame: Upright, of any format.
        marks: A track each: `text`, `color` ("#rrggbb") and `boxes`, rows of seconds, left, top,
            right and bottom in [0, 1], in time order.
        seconds: Time of the frame, on the clock of the boxes.
    """
    shown = [
        (mark, [float(np.interp(seconds, times, side)) for side in sides])
        for mark in marks
        for times, *sides in [np.array(mark["boxes"], np.float64).T]
        if times[0] <= seconds <= times[-1]
    ]
    if not shown:
        return frame
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    canvas = ImageDraw.Draw(image)
    width = max(2, round(max(image.size) / 200))
    for mark, box in shown:
        left, top, right, bottom = (
            edge * side for edge, side in zip(box, image.size * 2, strict=True)
        )
        canvas.rectangle((left, top, right, bottom), outline=mark["color"], width=width)
        canvas.text((left + width + 1, top + width), mark["text"], fill=mark["color"])
    return VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
