"""Turn a video file into frames at wanted times, in a child process that can be killed.

    path ─probe→ Video          Chunk ─decode→ FrameBatch | Failure, one a segment

A decoder part (`PyAVDecoder`, the default; `TorchcodecDecoder`, `DecordDecoder`) holds settings.
Its `setup()` returns a running decoder, whose child process does everything that touches the file:
videos are untrusted, and native decoders hang, crash and eat memory. Which times are wanted, and
what becomes of the frames, this room does not know.

For a wanted time the frame on display is taken: the one with the greatest presentation time not
after it (`plan.on_display`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longvid.decode.decord import DecordDecoder
    from longvid.decode.pyav import PyAVDecoder
    from longvid.decode.torchcodec import TorchcodecDecoder

__all__ = [
    "DecordDecoder",
    "PyAVDecoder",
    "TorchcodecDecoder",
    "available_decoders",
    "ffmpeg_version",
]

_HOMES = {
    "DecordDecoder": "longvid.decode.decord",
    "PyAVDecoder": "longvid.decode.pyav",
    "TorchcodecDecoder": "longvid.decode.torchcodec",
}

#: Below this release FFmpeg's parsers have published holes.
_SAFE_FFMPEG = (8, 1, 2)


def __getattr__(name: str) -> Any:
    # The child process imports this package and must not pay for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'longvid.decode' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def ffmpeg_version() -> tuple[str, bool]:
    """Return the FFmpeg release inside PyAV, and whether it is at least 8.1.2."""
    import re

    import av

    version = str(av.ffmpeg_version_info)
    numbers = re.match(r"n?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if numbers is None:
        return version, False
    release = tuple(int(number or 0) for number in numbers.groups())
    return version, release >= _SAFE_FFMPEG


def available_decoders() -> dict[str, str]:
    """Say for each decoder why it cannot be used here; "" means that it can."""
    from longvid.decode.decord_engine import why_no_decord
    from longvid.decode.torchcodec_engine import why_no_torchcodec

    return {"pyav": _why_no_pyav(), "torchcodec": why_no_torchcodec(), "decord": why_no_decord()}


def _why_no_pyav() -> str:
    import importlib

    try:
        importlib.import_module("av")
    except (ImportError, OSError) as error:
        return f"PyAV cannot be imported ({error}); reinstall it with `pip install av`."
    return ""
