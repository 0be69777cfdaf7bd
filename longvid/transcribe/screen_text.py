"""Read the text in pictures: rapidocr's PP-OCRv6 models, which its wheel holds, on the CPU.

A small detector pass tells whether there is text at all; most frames have none. Where nothing has
changed since the last frame, or the same boxes are found over unchanged pixels, the last reading
is used again.

Source: PP-OCR, Du et al. 2020; rapidocr 3.10.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from longvid.errors import ConfigError
from longvid.transcribe.screen_lines import (
    LINES_VERSION,
    READ_SCRIPTS,
    Box,
    Reading,
    StayMerger,
    iou,
    is_junk,
    joined,
    scripts_of,
    unread_scripts,
)
from longvid.types import CheckpointRef, FrameBatch, FrameSize, TextLine

Pixels = npt.NDArray[np.uint8]

_GATE_PIXELS = 480
#: A box narrower than this share of the frame does not open the gate.
_MIN_WIDTH = 0.02
#: More boxes than this are a pattern; a page of dense code has about 80.
_MAX_BOXES = 200
#: Two thumbnails are the same where no tile of 20 x 20 differs by more grey levels on average.
_TILES, _THUMBNAIL, _SAME_TILE = 20, 320, 3.0
_SAME_BOX = 0.7


@dataclass(frozen=True, slots=True)
class ScreenText:
    """How text in pictures is read.

    Args:
        every_seconds: Between two frames that are looked at.
        read_seconds: Text that stays where it is over a changing picture is read this often.
        max_pixels: Longer side of what the detector of text is given. What it finds is read at up
            to 4/3 of that: letters of 12 pixels at 720p are then read as they are.
        scripts: Letters that are kept: "latin", "any", or several of latin, han, kana and greek
            with commas between; of Greek, the letters of formulas: words come out in Latin letters
            that look like them. The networks know no letter of another script (hangul, cyrillic,
            arabic, hebrew, devanagari, thai), so a source that names one does not read.
        min_score: Of the best reading of a line.
        language: BCP 47 tag written into the lines.
    """

    source: ClassVar[Literal["screen"]] = "screen"

    every_seconds: float = 1.0
    read_seconds: float = 2.0
    max_pixels: int = 960
    scripts: str = "latin"
    min_score: float = 0.8
    language: str = ""

    def __post_init__(self) -> None:
        steps = 0 < self.every_seconds <= self.read_seconds
        if not steps or self.max_pixels < 64 or not 0 <= self.min_score <= 1:
            raise ConfigError(
                "screen_text needs 0 < every_seconds <= read_seconds, max_pixels >= 64 and "
                f"min_score from 0 to 1, got {self.every_seconds}, {self.read_seconds}, "
                f"{self.max_pixels} and {self.min_score}."
            )
        try:
            scripts_of(self.scripts)
        except KeyError as error:
            raise ConfigError(
                f"screen_text does not know the script {error}; use any, or some of "
                f"{', '.join(READ_SCRIPTS)}."
            ) from error

    def frame_size(self) -> FrameSize:
        """Return the square inside which a frame is scaled."""
        side = 4 * self.max_pixels // 3
        return FrameSize(side, side, fit="pad")

    def identity(self) -> str:
        """Name the engine, whose wheel holds the weights, and how its readings become lines."""
        self._require_readable()
        try:
            return f"rapidocr {importlib.metadata.version('rapidocr')}, lines {LINES_VERSION}"
        except importlib.metadata.PackageNotFoundError as error:
            raise _not_installed("rapidocr") from error

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return ()

    def setup(self, device: str = "cpu") -> ScreenTextReader:
        """Load the two networks; they run on the CPU, one thread a reader, whatever the device.

        Raises:
            ConfigError: rapidocr or onnxruntime is not installed, or cannot read a script.
        """
        self._require_readable()
        return ScreenTextReader(self)

    def _require_readable(self) -> None:
        # Not when it is made: a store's own configuration is loaded to ask it too.
        if unread := unread_scripts(self.scripts):
            raise ConfigError(
                f"screen_text cannot read {' or '.join(unread)}: the networks in the package "
                f"rapidocr know no letter of it; use any, or some of {', '.join(READ_SCRIPTS)}."
            )


class ScreenTextReader:
    """Reads the frames of one video after the other."""

    def __init__(self, part: ScreenText) -> None:
        try:
            import onnxruntime  # noqa: F401  # rapidocr imports without it and fails later
            from rapidocr import RapidOCR
        except ImportError as error:
            raise _not_installed(error.name or "rapidocr") from error
        self._part = part
        self._scripts = scripts_of(part.scripts)
        settings = {
            "Global.log_level": "critical",
            "Global.use_cls": False,
            "Det.limit_type": "max",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
        gate = {"Global.use_rec": False, "Det.limit_side_len": _GATE_PIXELS}
        self._gate: Any = RapidOCR(params={**settings, **gate})
        self._read: Any = RapidOCR(params={**settings, "Det.limit_side_len": part.max_pixels})

    def __call__(self, frames: Iterable[FrameBatch], /) -> Iterator[TextLine]:
        memory = _Memory()
        merger: StayMerger | None = None
        for batch in frames:
            if merger is None:
                merger = StayMerger(
                    self._part.every_seconds, 0.0, self._part.min_score, self._part.language
                )
            merger.end_seconds = batch.end_seconds
            for index, pts_seconds in enumerate(batch.pts_seconds.tolist()):
                frame = batch.data[index].permute(1, 2, 0).numpy()
                picture = np.ascontiguousarray(frame[:, :, ::-1])  # BGR
                merger.add(pts_seconds, self.readings(picture, pts_seconds, memory))
            yield from merger.ready()
        if merger is not None:
            yield from merger.finish()

    def readings(self, picture: Pixels, pts_seconds: float, memory: _Memory) -> Sequence[Reading]:
        """Read one picture.

        Args:
            picture: (H, W, 3) uint8 BGR.
            pts_seconds: When it is shown.
            memory: Of the picture that was read before it; changed.
        """
        thumbnail = _thumbnail(picture)
        changed = memory.changed_tiles(thumbnail)
        if changed is not None and not changed.any():
            return memory.readings
        found = _boxes(self._gate(picture), picture)
        boxes = [box for box in found if box[2] - box[0] > _MIN_WIDTH]
        if changed is not None and memory.has_boxes(boxes):
            due = pts_seconds - memory.pts_seconds > 0.99 * self._part.read_seconds
            due = due or memory.may_count
            if not (due and _touch(boxes, changed)):
                return memory.readings
        readings = self._recognised(picture) if boxes else []
        memory.keep(thumbnail, pts_seconds, boxes, readings)
        return readings

    def _recognised(self, picture: Pixels) -> Sequence[Reading]:
        found = self._read(picture)
        if found.txts is None:
            return []
        boxes = _boxes(found, picture)
        readings = [
            Reading(" ".join(text.split()), float(score), box)
            for text, score, box in zip(found.txts, found.scores, boxes, strict=True)
        ]
        kept = [reading for reading in readings[:_MAX_BOXES] if not is_junk(reading, self._scripts)]
        return joined(kept)


class _Memory:
    """What was seen in the last picture that was read."""

    def __init__(self) -> None:
        self._thumbnail: npt.NDArray[np.float32] | None = None
        self._boxes: Sequence[Box] = ()
        self.pts_seconds = -np.inf
        self.readings: Sequence[Reading] = ()

    def keep(
        self,
        thumbnail: npt.NDArray[np.float32],
        pts_seconds: float,
        boxes: Sequence[Box],
        readings: Sequence[Reading],
    ) -> None:
        self._thumbnail, self._boxes = thumbnail, boxes
        self.pts_seconds, self.readings = pts_seconds, readings

    def changed_tiles(self, thumbnail: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_] | None:
        """Return (20, 20) which tiles differ from those of the picture kept; None without one."""
        if self._thumbnail is None or self._thumbnail.shape != thumbnail.shape:
            return None
        different: npt.NDArray[np.bool_] = _tiles(thumbnail, self._thumbnail) > _SAME_TILE
        return different

    @property
    def may_count(self) -> bool:
        """Whether there is a number, which may be a clock's or a score's."""
        return any(letter.isdigit() for reading in self.readings for letter in reading.text)

    def has_boxes(self, boxes: Sequence[Box]) -> bool:
        """Tell whether there is text where there was text, and nowhere else."""
        if len(boxes) != len(self._boxes):
            return False
        pairs = zip(sorted(boxes), sorted(self._boxes), strict=True)
        return all(iou(box, before) > _SAME_BOX for box, before in pairs)


def _touch(boxes: Sequence[Box], changed: npt.NDArray[np.bool_]) -> bool:
    """Tell whether a changed tile is under a box."""
    for box in boxes:
        left, top, right, bottom = (int(edge * _TILES) for edge in box)
        if changed[top : bottom + 1, left : right + 1].any():
            return True
    return False


def _tiles(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (20, 20) mean differences of the tiles of two thumbnails."""
    difference = np.abs(one - other)
    height, width = difference.shape
    rows = np.arange(_TILES) * height // _TILES
    columns = np.arange(_TILES) * width // _TILES
    sums = np.add.reduceat(np.add.reduceat(difference, rows, 0), columns, 1)
    sizes = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    means: npt.NDArray[np.float32] = sums / sizes
    return means


def _thumbnail(picture: Pixels) -> npt.NDArray[np.float32]:
    import cv2

    height, width = picture.shape[:2]
    scale = _THUMBNAIL / max(height, width)
    size = (max(_TILES, round(width * scale)), max(_TILES, round(height * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    grey: npt.NDArray[np.float32] = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return grey


def _boxes(found: Any, picture: Pixels) -> list[Box]:
    """Return the upright boxes around what a detector found, as shares of the picture."""
    if found.boxes is None:
        return []
    height, width = picture.shape[:2]
    shares = np.asarray(found.boxes, np.float64) / (width, height)  # (B, 4, 2)
    low, high = shares.min(axis=1).clip(0, 1), shares.max(axis=1).clip(0, 1)
    return [(*map(float, one), *map(float, other)) for one, other in zip(low, high, strict=True)]  # type: ignore[misc]


def _not_installed(name: str) -> ConfigError:
    return ConfigError(
        f"The text source screen_text needs the package {name}, which is not installed; install "
        "longvid[text]."
    )
