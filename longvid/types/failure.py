"""What could not be done, as data."""

from __future__ import annotations

from dataclasses import dataclass

from longvid.types.carrier import require

FAILURE_KINDS = (
    "unreadable",  # missing, no permission, a directory, a pipe
    "unsupported",  # not a video, or a container or codec that is not allowed
    "corrupt",  # a video whose data cannot be decoded, in part or at all
    "too-large",  # more pixels a frame, or a larger subtitle file, than allowed
    "decode-timeout",  # the decoder did not finish before its deadline
    "out-of-memory",  # the decoder or the model asked for more memory than it may have
    "decoder-crash",  # the decoding process died
    "decoder-error",  # the decoder raised an error that it should not raise
    "worker-crash",  # the process of a runner died every time that it worked on this video
    "model",  # the encoder failed on this video
    "store",  # the result could not be written
    "question",  # cannot be asked of this store or model
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that could not be done, as data, so that the run goes on.

    Args:
        video_id: Content hash, or "" when the content could not be read.
        path: The video as the user named it.
        stage: "probe", "decode", "encode", "text" (subtitles, speech or screen text; the rest of
            the video is not affected), "write" or "ask".
        kind: One of FAILURE_KINDS.
        error: One sentence.
        attempts: How often it was tried.
        start_seconds, end_seconds: The gap, when only a part of the video is missing.
        stderr: The last lines that the decoder printed.
        decoder: Name of the decoder or text source that was used, "" where none was.
    """

    video_id: str
    path: str
    stage: str
    kind: str
    error: str
    attempts: int = 1
    start_seconds: float | None = None
    end_seconds: float | None = None
    stderr: str = ""
    decoder: str = ""

    def __post_init__(self) -> None:
        require(
            self.kind in FAILURE_KINDS,
            f"Unknown failure kind {self.kind!r}; known are {', '.join(FAILURE_KINDS)}.",
        )

    @property
    def is_gap(self) -> bool:
        """True when the rest of the video was indexed."""
        return self.start_seconds is not None
