"""From a decoded picture to the asked size: upright, RGB, without transparency.

Conversion and scaling are one pass of swscale (bicubic), at the size that the picture has before
it is turned: turning the small result is cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av.error
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from longvid.decode.engine import FrameArray
from longvid.errors import VideoError
from longvid.types import FrameSize

#: A narrow frame that must fill a square is scaled to a strip; this is as long as one may get.
_MOST_SCALED_PIXELS = 1 << 26

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a stored picture becomes upright: transpose, then flip."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def upright(self, picture: Picture) -> Picture:
        """Turn an (H, W, 3) picture; a view, no copy."""
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        if self.flip_rows:
            picture = picture[::-1]
        if self.flip_columns:
            picture = picture[:, ::-1]
        return picture

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) after turning; its own inverse."""
        return (width, height) if self.transpose else (height, width)


#: By quarter turns counter-clockwise.
_TURNS = (
    Orientation(),
    Orientation(transpose=True, flip_rows=True),
    Orientation(flip_rows=True, flip_columns=True),
    Orientation(transpose=True, flip_columns=True),
)


def orientation_of(frame: VideoFrame) -> Orientation:
    """Read the display matrix, snapped to quarter turns and mirrors.

    The matrix sends the stored pixel (x, y) to (a x + c y, b x + d y), with y downwards.
    """
    try:
        all_side_data: Any = frame.side_data
        matrix = np.frombuffer(bytes(all_side_data[Type.DISPLAYMATRIX]), np.int32)
    except KeyError:
        return Orientation()
    except ValueError:
        # PyAV refuses a frame's side data as a whole if it does not know one kind of them (3D
        # displays, for example). The angle can still be read, mirrors cannot.
        return _TURNS[round(frame.rotation / 90) % 4]
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, flip_rows=d < 0, flip_columns=a < 0)
    return Orientation(True, flip_rows=b < 0, flip_columns=c < 0)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a scaled picture goes: scaled to (height, width), its part at (from_row, from_column)
    copied to (to_row, to_column)."""

    height: int
    width: int
    from_row: int = 0
    from_column: int = 0
    to_row: int = 0
    to_column: int = 0


def place(height: int, width: int, pixel_aspect: float, size: FrameSize) -> Placement:
    """Fit an upright picture into the asked size.

    Args:
        height, width: Pixels of the picture.
        pixel_aspect: Width of a pixel divided by its height, as displayed.
        size: "squash" and "native" fill it; "pad" scales the picture to fit inside and centres it;
            "crop" scales the shortest edge to fit and cuts the centre, rounding down as CLIP's
            image processor does.
    """
    if size.fit in ("squash", "native"):
        return Placement(size.height, size.width)
    shown_width = width * pixel_aspect
    scales = (size.height / height, size.width / shown_width)
    if size.fit == "pad":
        scale = min(scales)
        inner_height = min(size.height, max(1, round(height * scale)))
        inner_width = min(size.width, max(1, round(shown_width * scale)))
        return Placement(
            inner_height,
            inner_width,
            to_row=(size.height - inner_height) // 2,
            to_column=(size.width - inner_width) // 2,
        )
    scale = max(scales)
    outer_height = max(size.height, int(height * scale + 1e-6))
    outer_width = max(size.width, int(shown_width * scale + 1e-6))
    return Placement(
        outer_height,
        outer_width,
        from_row=(outer_height - size.height) // 2,
        from_column=(outer_width - size.width) // 2,
    )


def _cannot_scale(kind: str, sentence: str) -> VideoError:
    return VideoError(sentence, kind=kind, path="", stage="decode")


class Painter:
    """Writes pictures of one video into frames of the asked size.

    Args:
        size: The asked size; under "native" that of the video's first picture, so that a video
            which changes its resolution still gives frames of one size.
        pixel_aspect: Of the stored pixels.
    """

    def __init__(self, size: FrameSize, pixel_aspect: float) -> None:
        self.size = size
        self._pixel_aspect = pixel_aspect
        self._copier = VideoReformatter()
        self._reformatter = VideoReformatter()
        self._compositor = VideoReformatter()

    def paint(self, frame: VideoFrame, out: FrameArray) -> None:
        """Write one picture.

        Args:
            frame: As decoded.
            out: (3, H, W) of the asked size; every pixel is written.
        """
        orientation = self._orientation_of(frame)
        if any(component.is_alpha for component in frame.format.components):
            frame = self._on_black(frame)
        height, width = orientation.shape(frame.height, frame.width)
        aspect = 1 / self._pixel_aspect if orientation.transpose else self._pixel_aspect
        at = place(height, width, aspect, self.size)
        if at.height * at.width > _MOST_SCALED_PIXELS:
            raise _cannot_scale(
                "too-large",
                f"frames of {width}x{height} would be scaled to {at.width}x{at.height} to fit "
                f"{self.size.width}x{self.size.height}; at most {_MOST_SCALED_PIXELS} pixels are "
                "allowed",
            )
        stored_height, stored_width = orientation.shape(at.height, at.width)
        picture = orientation.upright(self._scaled(frame, stored_height, stored_width))
        rows = min(at.height - at.from_row, self.size.height)
        columns = min(at.width - at.from_column, self.size.width)
        if (rows, columns) != (self.size.height, self.size.width):
            out[:] = np.array(self.size.fill, np.uint8)[:, None, None]
        out[:, at.to_row : at.to_row + rows, at.to_column : at.to_column + columns] = picture[
            at.from_row : at.from_row + rows, at.from_column : at.from_column + columns
        ].transpose(2, 0, 1)  # (3, rows, columns)

    def _orientation_of(self, frame: VideoFrame) -> Orientation:
        # Reading side data ties a frame into a cycle that keeps its pixels until the next garbage
        # collection. A copy of four pixels has the same side data.
        try:
            small = self._copier.reformat(
                frame, 2, 2, "rgb24", interpolation=Interpolation.POINT, threads=1
            )
        except av.error.ArgumentError:  # too long a strip; scaling it says so
            small = frame
        return orientation_of(small)

    def _scaled(self, frame: VideoFrame, height: int, width: int) -> Picture:
        try:
            scaled = self._reformatter.reformat(
                frame, width, height, "rgb24", interpolation=Interpolation.BICUBIC, threads=1
            )
        except av.error.ArgumentError as error:
            raise _cannot_scale(
                "unsupported",
                f"frames of {frame.width}x{frame.height} {frame.format.name} cannot be scaled to "
                f"{width}x{height} RGB",
            ) from error
        plane: Any = scaled.planes[0]
        lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height]
        picture: Picture = lines[:, : 3 * width].reshape(height, width, 3)
        return picture

    def _on_black(self, frame: VideoFrame) -> VideoFrame:
        """Composite a picture with transparency, before scaling mixes its edges."""
        rgba = self._compositor.reformat(frame, format="rgba", threads=1)
        pixels = rgba.to_ndarray().astype(np.uint16)  # (H, W, 4)
        blended = (pixels[..., :3] * pixels[..., 3:] + 127) // 255
        return VideoFrame.from_ndarray(blended.astype(np.uint8), format="rgb24")
