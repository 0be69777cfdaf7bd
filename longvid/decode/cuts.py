"""Where the shots of a video begin, as far as its file says, by a child that can be killed."""

from __future__ import annotations

from longvid.decode.process import ChildFailure, ChildProcess, Limits
from longvid.errors import VideoError

_LIMITS = Limits(deadline_seconds=3600.0, stall_seconds=60.0, memory_bytes=1 << 30)


def read_cuts(path: str) -> tuple[float, ...]:
    """Return when the first frames of shots are shown, in presentation time, increasing.

    Args:
        path: A local file; its packets are read, and nothing is decoded.

    Raises:
        VideoError: The file cannot be read; the stage is "text".
    """
    child = ChildProcess("longvid.decode.cut_engine:CutEngine", {}, _LIMITS)
    try:
        for message, _ in child.ask({"kind": "probe", "path": path}):
            return tuple(message["pts_seconds"])
    except ChildFailure as failure:
        sentence = f"The cuts of {path} cannot be found: {failure}."
        raise VideoError(sentence, kind=failure.kind, path=path, stage="text") from failure
    finally:
        child.close()
    return ()
