"""Clips for a player, cut or repackaged in a child process that can be killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from longvid.decode.process import ChildFailure, ChildProcess, Limits
from longvid.errors import VideoError

__all__ = ["cut_clip", "inspect_playback", "remux"]

_MAX_PIXELS = 8192 * 8192 // 2
_LIMITS = Limits(deadline_seconds=300.0, stall_seconds=30.0, memory_bytes=2 << 30)
_ENGINE = "longvid.decode.clip_engine:ClipEngine"


def cut_clip(
    path: str,
    start_seconds: float,
    end_seconds: float,
    target: Path,
    clock_start_seconds: float | None = None,
) -> dict[str, Any]:
    """Encode a span of a video as H.264 and AAC in MP4; returns the fields of `ClipFacts`.

    Args:
        path: A local video.
        start_seconds, end_seconds: The half-open span, in the time of a player.
        target: The file to write; what is there is replaced when the clip is complete.
        clock_start_seconds: As stored of the `Video`; None takes that of the file.

    Raises:
        VideoError: The file cannot be read, or nothing lies in the span.
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
    }
    return _written(path, {"mode": "cut", **span}, target)


def remux(path: str, target: Path, clock_start_seconds: float | None = None) -> dict[str, Any]:
    """Copy a video's packets into an MP4 file, without encoding; as `cut_clip` otherwise."""
    options = {"mode": "remux", "clock_start_seconds": clock_start_seconds}
    return _written(path, options, target)


def inspect_playback(path: str) -> str:
    """Return what a browser needs to play a file: "direct", "remux" or "proxy".

    Raises:
        VideoError: The file cannot be read.
    """
    return str(_asked(path, {"mode": "inspect"})["playable"])


def _written(path: str, options: dict[str, Any], target: Path) -> dict[str, Any]:
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        facts = _asked(path, {**options, "target": str(partial)})
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return facts


def _asked(path: str, options: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    try:
        child = ChildProcess(_ENGINE, {**options, "max_pixels": _MAX_PIXELS}, _LIMITS)
        try:
            for message, _ in child.ask({"kind": "probe", "path": path}):
                facts = message
        finally:
            child.close()
    except ChildFailure as failure:
        raise VideoError(str(failure), kind=failure.kind, path=path, stage="clip") from failure
    return facts
