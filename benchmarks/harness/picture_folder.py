"""A folder of JPEG pictures as one video file, so that it goes the way that every video goes.

The pictures become the packets of a Motion JPEG video in MP4, byte by byte: nothing is decoded or
coded again, and whether a picture is broken is the decoder's to say.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from fractions import Fraction
from pathlib import Path

from benchmarks.harness.errors import AnnotationError

_SUFFIXES = (".jpg", ".jpeg")
_UNKNOWN_SIZE = (16, 16)


def pictures_of(names: list[str]) -> list[str]:
    """Return the pictures among the names of a folder, in the order of their numbers.

    >>> pictures_of(["10.jpg", "9.jpg", "notes.txt"])
    ['9.jpg', '10.jpg']
    """
    pictures = [name for name in names if name.lower().endswith(_SUFFIXES)]
    return sorted(pictures, key=lambda name: (len(name), name))


def as_video(folder: str, fps: float, target: Path) -> str:
    """Put the pictures of a folder into one file, unless it is there.

    The first picture is shown at 0 s. The name of the file follows from what the folder holds, so
    changed pictures are another video.

    Args:
        folder: Holds the pictures; numbers in their names give the order.
        fps: Pictures a second.
        target: Folder of such files, made when it is not there.

    Returns:
        Path of the file.

    Raises:
        AnnotationError: A file cannot be read or written.
    """
    paths = [os.path.join(folder, name) for name in pictures_of(os.listdir(folder))]
    facts = [(path, os.path.getsize(path), os.stat(path).st_mtime_ns) for path in paths]
    digest = hashlib.blake2b(repr((fps, facts)).encode(), digest_size=8).hexdigest()
    video = target / f"{os.path.basename(folder)}-{digest}.mp4"
    if not video.exists():
        target.mkdir(parents=True, exist_ok=True)
        partial = video.with_suffix(f".{os.getpid()}.part")
        try:
            _write(paths, fps, partial)
            partial.replace(video)
        except OSError as error:
            raise AnnotationError(
                f"The pictures of {folder} cannot be put into {target}: {error}."
            ) from error
        finally:
            partial.unlink(missing_ok=True)
    return str(video)


def _write(paths: list[str], fps: float, target: Path) -> None:
    import av

    rate = Fraction(fps).limit_denominator(1001)
    options = {"fflags": "+bitexact"}  # no time of writing: the same pictures give the same bytes
    with av.open(str(target), "w", format="mp4", options=options) as container:
        stream = container.add_stream("mjpeg", rate=rate)
        (stream.width, stream.height), stream.pix_fmt = _size(paths), "yuvj420p"
        for index, path in enumerate(paths):
            packet = av.Packet(Path(path).read_bytes())
            packet.stream, packet.time_base = stream, 1 / rate
            packet.pts = packet.dts = index
            packet.duration, packet.is_keyframe = 1, True
            container.mux(packet)


def _size(paths: list[str]) -> tuple[int, int]:
    """Return width and height as the head of the first picture says that is one."""
    from PIL import Image, UnidentifiedImageError

    for path in paths:
        with contextlib.suppress(UnidentifiedImageError), Image.open(path) as picture:
            return picture.size
    return _UNKNOWN_SIZE
