"""Join images, in the child process: images are as untrusted as videos are.

As a video, each image is one frame, as long as every other, and all are fitted into the size of the
first. As a sheet, they are the cells of one picture, row by row.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageOps
from PIL.Image import DecompressionBombError, DecompressionBombWarning

from longvid.errors import VideoError

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_MOST_SIDE = 1280
_SHEET_QUALITY = 60


@dataclass(frozen=True, slots=True)
class SequenceFacts:
    """What was written."""

    num_frames: int
    width: int
    height: int


class ImageSequenceEngine:
    """Answers `probe` of a folder by joining its images, in order of name.

    Args:
        options: target (a path), max_pixels (of an image); for a video fps (frames a second), for
            a sheet columns, and cell (width and height, pixels).
        tick: Called while it works, so that the parent knows it lives.
    """

    def __init__(self, options: dict[str, Any], tick: Callable[[], None]) -> None:
        self._options = options
        self._tick = tick
        Image.init()  # its readers are imported before the limits of this process are set

    def probe(self, path: str) -> SequenceFacts:
        names = sorted(Path(path).iterdir())
        return self._sheet(names) if "cell" in self._options else self._video(names)

    def _sheet(self, names: Sequence[Path]) -> SequenceFacts:
        width, height = self._options["cell"]
        columns = self._options["columns"]
        rows = -(-len(names) // columns)
        sheet = Image.new("RGB", (columns * width, rows * height))
        for place, name in enumerate(names):
            self._tick()
            cell = ImageOps.pad(_opened(name, self._options["max_pixels"]), (width, height))
            sheet.paste(cell, (place % columns * width, place // columns * height))
        sheet.save(self._options["target"], "WEBP", quality=_SHEET_QUALITY)
        return SequenceFacts(len(names), *sheet.size)

    def _video(self, names: Sequence[Path]) -> SequenceFacts:
        size = _even(_opened(names[0], self._options["max_pixels"]).size)
        rate = Fraction(self._options["fps"]).limit_denominator(1000)
        with av.open(self._options["target"], "w", format="mp4") as target:
            # Every frame is a keyframe, and one thread gives the same bytes every time.
            options = {"preset": "veryfast", "crf": "12", "g": "1"}
            stream = target.add_stream("libx264", rate=rate, options=options)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1
            for name in names:
                self._tick()
                image = _opened(name, self._options["max_pixels"])
                pixels = np.asarray(ImageOps.pad(image, size))
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                target.mux(stream.encode(frame))
            target.mux(stream.encode(None))
        return SequenceFacts(len(names), *size)

    def decode(self, *_: object) -> Any:
        raise _error("An image sequence engine gives no frames.")

    def close(self) -> None:
        """Release nothing: no file stays open."""


def _opened(name: Path, max_pixels: int) -> Image.Image:
    """Return an image, upright, in RGB.

    Raises:
        VideoError: It cannot be read, or is too large.
    """
    try:
        with Image.open(io.BytesIO(name.read_bytes()), formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise _error(
                    f"Image {int(name.name) + 1} has {image.width}x{image.height} pixels; at most "
                    f"{max_pixels} pixels are allowed."
                )
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, DecompressionBombError, DecompressionBombWarning):
        raise _error(
            f"Image {int(name.name) + 1} cannot be read; send JPEG, PNG, WebP, GIF or BMP."
        ) from None


def _even(size: tuple[int, int]) -> tuple[int, int]:
    """Return a size of even numbers, at most 1280 on the longer side.

    >>> _even((2561, 333))
    (1280, 166)
    """
    scale = min(1.0, _MOST_SIDE / max(size))
    width, height = (max(2, int(side * scale) // 2 * 2) for side in size)
    return width, height


def _error(sentence: str) -> VideoError:
    return VideoError(sentence, kind="unsupported", path="", stage="clip")
