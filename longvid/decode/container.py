"""Open an untrusted file as a video, and map what FFmpeg says into longvid's errors.

FFmpeg's defaults follow a text file named `x.mp4` into other files (ffconcat, HLS playlists). Here
only true containers are read, only the named file is opened, and only decoders of video are let
near the data.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from longvid.decode.encryption import (
    has_encrypted_track,
    is_encrypted,
    is_scrambled_transport_stream,
)
from longvid.decode.mp4_boxes import lacks_movie
from longvid.errors import VideoError

#: Demuxers that read one self-contained file.
FORMATS = ",".join(
    (
        *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "gif"),
        *("mxf", "dv", "ivf", "apng", "yuv4mpegpipe"),  # cameras, and sequences of pictures
        *("h264", "hevc", "mjpeg", "mpegvideo", "m4v"),  # streams without a container
    )
)

#: Video decoders. Audio decoders are not on the list: no sound is ever decoded.
CODECS = ",".join(
    (
        *("h264", "hevc", "libdav1d", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video"),
        *("h263", "flv", "vp6", "vp6f", "theora", "msmpeg4v1", "msmpeg4v2", "msmpeg4"),
        *("wmv1", "wmv2", "wmv3", "vc1", "mjpeg", "gif", "prores", "dnxhd", "ffv1", "rawvideo"),
        *("dvvideo", "huffyuv", "ffvhuff", "utvideo", "v210", "png", "apng", "qtrle"),
        *("cinepak", "svq1", "h261", "msrle", "msvideo1", "rpza", "smc"),
    )
)

_MOST_READ_ERRORS = 32

_TS_DISCONT: Any = Flags.ts_discont.value  # PyAV's stubs take the value for the member
_ROUNDING_SECONDS = 2e-6
#: The first picture of a sound recording comes this soon after its first sound.
_LATEST_START_SECONDS = 10.0


def unusable(path: str, kind: str, sentence: str) -> VideoError:
    """Make the error for a file that cannot be used at all."""
    return VideoError(f"{path} {sentence}", kind=kind, path=path, stage="probe")


def encrypted(path: str) -> VideoError:
    """Make the error for a file whose pictures nobody can see without a key."""
    return unusable(
        path, "unsupported", "is encrypted; only videos without copy protection can be read."
    )


def undecodable(path: str, kind: str, sentence: str) -> VideoError:
    """Make the error for a file that gives no picture, which may be because it is encrypted."""
    if has_encrypted_track(path) or is_scrambled_transport_stream(path):
        return encrypted(path)
    return unusable(path, kind, sentence)


def decoder_options(max_pixels: int, **more: str) -> dict[str, str]:
    """Return the options every decoder is opened with."""
    return {"codec_whitelist": CODECS, "max_pixels": str(max_pixels), **more}


def open_video(path: str, max_pixels: int) -> tuple[InputContainer, VideoStream]:
    """Open a file and choose its video.

    Args:
        path: Any path; nothing but a regular file is opened.
        max_pixels: Refuse larger frames.

    Returns:
        The container and its best video stream; every other stream is discarded by the demuxer.

    Raises:
        VideoError: It cannot be read, is not a video, or is not allowed.
    """
    _require_file(path)
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        **decoder_options(max_pixels),
    }
    try:
        # The prefix keeps a colon in a file name from being read as a protocol.
        container = av.open(
            f"file:{os.path.abspath(path)}", options=options, metadata_errors="ignore"
        )
    except av.error.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from error
        if error.errno in (errno.EACCES, errno.ENOENT, errno.EIO, errno.ELOOP):
            raise unusable(path, "unreadable", f"cannot be read: {error.strerror}.") from error
        if lacks_movie(path):
            raise unusable(
                path,
                "corrupt",
                "is cut off: the index at its end is missing, as after a download or a recording "
                "that stopped; get it again, or repair it.",
            ) from error
        raise undecodable(
            path,
            "unsupported",
            f"is not a video that can be read: {_reason(error)}. Allowed containers are {FORMATS}.",
        ) from error
    try:
        return container, _choose_stream(container, path, max_pixels)
    except BaseException:
        container.close()
        raise


def _require_file(path: str) -> None:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise unusable(path, "unreadable", f"cannot be read: {reason}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise unusable(
            path, "unreadable", "is not a regular file; name a video file, or a folder of them."
        )
    if status.st_size == 0:
        raise unusable(path, "unsupported", "is empty.")
    if not os.access(path, os.R_OK):
        raise unusable(path, "unreadable", "cannot be read: permission denied.")


def _reason(error: av.error.FFmpegError) -> str:
    if isinstance(error, av.error.InvalidDataError):
        return "its data are not those of a known container, or are damaged at the start"
    if error.errno in (errno.EINVAL, errno.EPERM):
        return "its true format is not allowed"
    return str(error.strerror)


def _choose_stream(container: InputContainer, path: str, max_pixels: int) -> VideoStream:
    best: Any = container.streams.best("video")
    if best is None or Disposition.attached_pic in best.disposition:
        others = [
            stream
            for stream in container.streams.video
            if Disposition.attached_pic not in stream.disposition
        ]
        best = others[0] if others else None
    if best is None:
        raise undecodable(path, "unsupported", "holds no video stream.")
    if is_encrypted(path, container.format.name, best.metadata):
        raise encrypted(path)
    codec = best.codec_context
    name = codec.name if codec is not None else "unknown"
    if codec is None or name not in CODECS.split(","):
        raise undecodable(
            path, "unsupported", f"is coded as {name}, which is not among the allowed codecs."
        )
    width, height = codec.width, codec.height
    if not width * height:  # FFmpeg forgets a size when a decoder refuses it
        width, height = _size_in_header(path, best.index)
    if height * width > max_pixels:
        raise unusable(
            path,
            "too-large",
            f"has frames of {width}x{height} pixels; at most {max_pixels} pixels are "
            "allowed (decoder setting max_pixels).",
        )
    for stream in container.streams:
        if stream.index != best.index:
            stream.discard = Discard.all
    stream_of_video: VideoStream = best
    return stream_of_video


def _size_in_header(path: str, index: int) -> tuple[int, int]:
    """Return width and height of a stream as the container gives them; no decoder is let near."""
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        "codec_whitelist": "none",
    }
    try:
        with av.open(
            f"file:{os.path.abspath(path)}", options=options, metadata_errors="ignore"
        ) as container:
            codec: Any = container.streams[index].codec_context
            return (0, 0) if codec is None else (codec.width, codec.height)
    except (av.error.FFmpegError, IndexError):  # the decoder will say what is wrong
        return 0, 0


def clock_start_seconds(container: InputContainer, first_seconds: float) -> float:
    """Return the time of the stream that a player shows as 0; see `Video`."""
    if not may_restart(container):
        return 0.0
    start = (container.start_time or 0) / 1_000_000
    # FFmpeg rounds it, and of a damaged clock it may be anything.
    is_sound = _ROUNDING_SECONDS < first_seconds - start < _LATEST_START_SECONDS
    return start if container.start_time is not None and is_sound else first_seconds


def may_restart(container: InputContainer) -> bool:
    """Tell whether a container's clock may begin at any time, and again in the middle."""
    return bool(container.format.flags & _TS_DISCONT)


def packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream] | None]:
    """Yield the stream's packets from where the container stands, and None for a read error.

    A damaged file is read on behind the damage, as long as the reader finds its way.
    """
    errors = 0
    while errors <= _MOST_READ_ERRORS:
        try:
            for packet in container.demux(stream):
                if packet.size:  # an empty packet would put the decoder into its final flush
                    errors = 0
                    yield packet
            return
        except av.error.FFmpegError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError from error
            errors += 1
            yield None
        except IndexError:
            # PyAV, of a packet whose stream was not there when the file was opened.
            errors += 1
            yield None
