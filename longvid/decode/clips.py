"""Clips for a player: cut, repackaged, or joined of images, in a child that can be killed."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from longvid.decode.process import ChildFailure, ChildProcess, Limits
from longvid.errors import VideoError

_MAX_PIXELS = 8192 * 8192 // 2
_LIMITS = Limits(deadline_seconds=300.0, stall_seconds=30.0, memory_bytes=2 << 30)
_ENGINE = "longvid.decode.clip_engine:ClipEngine"
#: What the engine finds out of a clip; its other fields are those of `inspect`.
_CLIP_FIELDS = ("num_frames", "start_seconds", "end_seconds", "ends_early", "width", "height")
_IMAGES = "longvid.decode.image_sequence_engine:ImageSequenceEngine"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the head of a file says, without reading its packets; the head may be wrong.

    Args:
        playable: "direct", "remux" or "proxy": what a browser needs to play it.
        duration_seconds: 0 where it is not said.
        fps: Frames a second on average, 0 where it is not said.
        width, height: Pixels, as coded.
        num_streams: Of any kind.
    """

    playable: str
    duration_seconds: float
    fps: float
    width: int
    height: int
    num_streams: int


def cut_clip(
    path: str,
    start_seconds: float,
    end_seconds: float,
    target: Path,
    clock_start_seconds: float | None = None,
    marks: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Encode a span of a video as H.264 and AAC in MP4; returns what was written.

    Args:
        path: A local video.
        start_seconds, end_seconds: The half-open span, in the time of a player.
        target: The file to write; what is there is replaced when the clip is complete.
        clock_start_seconds: As stored of the `Video`; None takes that of the file.
        marks: Boxes to draw, as of `box_drawing.draw_boxes`, in the time of a player.

    Returns:
        num_frames, start_seconds and end_seconds, ends_early, width and height, as of `ClipFacts`.

    Raises:
        VideoError: The file cannot be read, nothing lies in the span, or the target cannot be
            written.
    """
    if not start_seconds < end_seconds:
        raise VideoError(
            f"A clip must end after it starts, got {start_seconds:g} to {end_seconds:g} s.",
            kind="unsupported",
            path=path,
            stage="clip",
        )
    span = {
        "start_seconds": start_seconds,
        "end_seconds": end_seconds,
        "clock_start_seconds": clock_start_seconds,
        "marks": list(marks),
    }
    facts = _written(_ENGINE, path, {"mode": "cut", **span}, target)
    return {name: facts[name] for name in _CLIP_FIELDS}


def remux(path: str, target: Path, clock_start_seconds: float | None = None) -> None:
    """Copy a video's packets into an MP4 file, without encoding; as `cut_clip` otherwise."""
    options = {"mode": "remux", "clock_start_seconds": clock_start_seconds}
    _written(_ENGINE, path, options, target)


def inspect_file(path: str, deadline_seconds: float = 300.0) -> FileFacts:
    """Read the head of a file.

    Raises:
        VideoError: The file cannot be read.
    """
    limits = replace(_LIMITS, deadline_seconds=deadline_seconds)
    found = _asked(_ENGINE, path, {"mode": "inspect"}, _MAX_PIXELS, limits)
    return FileFacts(**{each.name: found[each.name] for each in fields(FileFacts)})


def join_images(images: Sequence[bytes], fps: float, target: Path, max_pixels: int) -> None:
    """Write images as the frames of an MP4 file, fitted into the size of the first.

    Args:
        images: Encoded, as JPEG, PNG, WebP, GIF or BMP.
        fps: Frames a second.
        target: The file to write; what is there is replaced when the video is complete.
        max_pixels: Larger images are refused.

    Raises:
        VideoError: An image cannot be read, or is too large.
    """
    _joined(images, {"fps": fps}, target, max_pixels)


def join_sheet(images: Sequence[bytes], columns: int, cell: tuple[int, int], target: Path) -> None:
    """Write images as the cells of one WebP picture, row by row.

    Args:
        images: As for `join_images`.
        columns: Cells in a row.
        cell: Width and height of each, pixels.
        target: The file to write.

    Raises:
        VideoError: An image cannot be read.
    """
    _joined(images, {"columns": columns, "cell": list(cell)}, target, _MAX_PIXELS)


def _joined(
    images: Sequence[bytes], options: dict[str, Any], target: Path, max_pixels: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="longvid-images-") as folder:
        for number, image in enumerate(images):
            (Path(folder) / f"{number:06d}").write_bytes(image)
        _written(_IMAGES, folder, options, target, max_pixels)


def _written(
    engine: str, path: str, options: dict[str, Any], target: Path, max_pixels: int = _MAX_PIXELS
) -> dict[str, Any]:
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))
        facts = _asked(engine, path, {**options, "target": str(partial)}, max_pixels)
        os.replace(partial, target)
    except OSError as error:
        raise VideoError(
            f"{target} cannot be written: {error.strerror}.",
            kind="unreadable",
            path=str(target),
            stage="clip",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return facts


def _asked(
    engine: str, path: str, options: dict[str, Any], max_pixels: int, limits: Limits = _LIMITS
) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    try:
        child = ChildProcess(engine, {**options, "max_pixels": max_pixels}, limits)
        try:
            for message, _ in child.ask({"kind": "probe", "path": path}):
                facts = message
        finally:
            child.close()
    except ChildFailure as failure:
        raise VideoError(str(failure), kind=failure.kind, path=path, stage="clip") from failure
    return facts
