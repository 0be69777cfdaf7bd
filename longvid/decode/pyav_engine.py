"""The default engine: PyAV with a plan of groups of pictures.

It keeps the last few files open with their packet tables, so that the chunks of one video share
one scan.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from longvid.decode.codec import DecoderSettings, first_picture
from longvid.decode.container import (
    clock_start_seconds,
    encrypted,
    open_video,
    undecodable,
    unusable,
)
from longvid.decode.engine import Allocate, DecodedSegment, Gap, Progress
from longvid.decode.frame_source import Opened, PacketsMislead, Source
from longvid.decode.gop_plan import nearest_allowed, on_display
from longvid.decode.non_reference import disposable_test
from longvid.decode.packet_table import FrameTimes, PacketTable, scan
from longvid.decode.pixel_conversion import Painter, orientation_of
from longvid.decode.planned_source import PlannedSource
from longvid.decode.segment_assembler import assemble
from longvid.decode.sequential_source import SequentialSource
from longvid.decode.thumbnails import PictureMaker
from longvid.decode.truncated import is_cut
from longvid.errors import VideoError
from longvid.types import FrameSize, SegmentPlan, Video

_OPEN_FILES = 4
#: A segment that ends this close to the end of the video is its last.
_LAST_SEGMENT_SECONDS = 1e-3


@dataclass(slots=True)
class _OpenVideo:
    source: Source
    table: PacketTable | None  # None where packets foretell nothing
    pixel_aspect: float
    claimed_end_seconds: float | None  # as of `PacketTable`
    clock_start_seconds: float  # as of `Video`
    upright: tuple[int, int] | None = None  # height and width, once a picture was decoded


class PyAVEngine:
    """Decodes with PyAV.

    Args:
        options: The fields of `PyAVDecoder` that concern decoding.
        progress: Called for every packet.
        other_source: If given, pictures come from another library: it is called with the path, the
            frame times, the ranks of the keyframes (None if unknown) and FFmpeg's name of the
            container of a file that this engine has opened and found allowed.
    """

    def __init__(
        self,
        options: dict[str, Any],
        progress: Progress,
        other_source: Callable[[str, FrameTimes, Sequence[int] | None, str], Source] | None = None,
    ) -> None:
        self._other_source = other_source
        self._size = FrameSize(**{**options["size"], "fill": tuple(options["size"]["fill"])})
        self._settings = DecoderSettings(
            max_pixels=options["max_pixels"],
            loop_filter=options["loop_filter"],
            drop_disposable=options["drop_disposable"],
            count_messages=options.get("count_messages", False),
        )
        self._approximate: str = options["approximate"]
        self._tolerance_seconds: float = options["tolerance_seconds"]
        self._plan: bool = options["plan"]
        self._pictures: str = options["pictures"]
        self._progress = progress
        self._open: OrderedDict[tuple[object, ...], _OpenVideo] = OrderedDict()

    def probe(self, path: str, video_id: str) -> Video:
        """Read every packet of a file and decode its first picture."""
        video = self._video(path)
        times = video.source.times
        height, width = self._upright(path, video)
        start = times.pts_seconds(0)
        duration = times.seconds(times.end) - start
        return Video(
            path=path,
            video_id=video_id,
            start_seconds=start,
            duration_seconds=duration,
            average_fps=len(times) / duration if duration > 0 else 0.0,
            num_frames=len(times),
            height=height,
            width=width,
            clock_jumps=tuple((times.seconds(at), times.seconds(jump)) for at, jump in times.joins),
            clock_start_seconds=video.clock_start_seconds,
        )

    def decode(
        self, path: str, segments: Sequence[SegmentPlan], allocate: Allocate
    ) -> Iterator[DecodedSegment | Gap]:
        left = list(segments)
        try:
            for item in self._decode(path, self._video(path), segments, allocate):
                if isinstance(item, DecodedSegment):
                    while left.pop(0).segment_index != item.segment_index:
                        continue
                yield item
        except PacketsMislead:
            yield from self._decode(path, self._video(path, plan=False), left, allocate)

    def _decode(
        self, path: str, video: _OpenVideo, segments: Sequence[SegmentPlan], allocate: Allocate
    ) -> Iterator[DecodedSegment | Gap]:
        size = self._size
        if size.fit == "native":
            height, width = self._upright(path, video)
            size = replace(size, height=height, width=width)
        times = video.source.times
        exact = [on_display(times, item.sample_seconds) for item in segments]
        chosen = [self._choose(video, ranks) for ranks in exact]
        painter = Painter(size, video.pixel_aspect)
        maker = None
        if self._pictures != "none":
            upright = self._upright(path, video)
            every = self._pictures == "frame"
            maker = PictureMaker(*upright, video.pixel_aspect, every_frame=every)
        yield from assemble(video.source, segments, exact, chosen, painter, allocate, maker)
        claimed = video.claimed_end_seconds
        end = times.seconds(times.end)
        if claimed is not None and segments[-1].end_seconds >= end - _LAST_SEGMENT_SECONDS:
            yield Gap(end, claimed, "the file is cut or damaged from {start:.2f} s on")

    def group_starts(self, path: str) -> list[float]:
        """Return the times of the keyframes; that of the first frame alone, where none is one."""
        video = self._video(path)
        times, table = video.source.times, video.table
        if table is None:
            return [times.pts_seconds(0)]
        keyframes = np.flatnonzero(table.keyframe[table.packet_of])
        return [times.pts_seconds(rank) for rank in sorted({0, *keyframes.tolist()})]

    def pictures(
        self, path: str, start_seconds: float, end_seconds: float
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Yield the pictures whose time is in [start, end), with it: that of a carried-on clock."""
        ranks: Sequence[int] = ()
        given = -1
        for plan in (True, False):
            source = self._video(path, plan=plan).source
            seconds = source.times.all_seconds
            ranks = np.flatnonzero((seconds >= start_seconds) & (seconds < end_seconds)).tolist()
            try:
                for rank, picture in source.frames([rank for rank in ranks if rank > given]):
                    given = rank
                    if picture is not None:
                        yield source.times.pts_seconds(rank), picture
                return
            except PacketsMislead:
                continue

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].source.close()

    def _choose(self, video: _OpenVideo, ranks: list[int]) -> list[int]:
        table = video.table
        if self._approximate == "none" or table is None:
            return ranks
        if self._approximate == "keyframe":
            allowed = table.keyframe[table.packet_of]
        elif table.disposable is not None:
            allowed = ~table.disposable[table.packet_of]
        else:
            return ranks
        return nearest_allowed(
            table.times, ranks, np.flatnonzero(allowed).tolist(), self._tolerance_seconds
        )

    def _upright(self, path: str, video: _OpenVideo) -> tuple[int, int]:
        """Return height and width of the first picture, the right way up."""
        if video.upright is None:
            container, stream = open_video(path, self._settings.max_pixels)
            try:
                picture = first_picture(container, stream, self._settings, self._progress)
            finally:
                container.close()
            if picture is None:
                raise undecodable(path, "corrupt", "holds no picture that can be decoded.")
            video.upright = orientation_of(picture).shape(picture.height, picture.width)
        return video.upright

    def _video(self, path: str, *, plan: bool = True) -> _OpenVideo:
        """Return an open video, from the last few if the file has not changed.

        Args:
            path: The file.
            plan: False opens it anew, to be decoded from the start.
        """
        key: tuple[object, ...] = (path,)
        with contextlib.suppress(OSError, ValueError):  # opening it says why
            status = os.stat(path)
            key = (path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if key in self._open and plan:
            self._open.move_to_end(key)
            return self._open[key]
        if key in self._open:
            self._open.pop(key).source.close()
        while len(self._open) >= _OPEN_FILES:
            self._open.popitem(last=False)[1].source.close()
        self._open[key] = video = self._opened(path, plan and self._plan)
        return video

    def _opened(self, path: str, plan: bool) -> _OpenVideo:
        def reopen() -> Opened:
            return open_video(path, self._settings.max_pixels)

        container, stream = reopen()
        container_name = container.format.name
        pixel_aspect = float(stream.sample_aspect_ratio or 1)
        codec = stream.codec_context
        disposable = None
        if self._approximate == "reference":
            disposable = disposable_test(codec.name, codec.extradata)
        table = scan(container, stream, self._progress, disposable, is_cut(path))
        if table.encrypted:
            container.close()
            raise encrypted(path)
        planned = plan and table.reliable
        claimed_end = table.claimed_end_seconds
        source: Source
        if planned:
            opened = (container, stream)
            source = PlannedSource(reopen, opened, table, self._settings, self._progress)
        else:
            source = SequentialSource(reopen, self._settings, self._progress)
            claimed_end = claimed_end or source.claimed_end_seconds
        times = source.times
        clock_start = clock_start_seconds(container, times.pts_seconds(0)) if len(times) else 0.0
        if not planned:
            container.close()
        if not len(times) or self._other_source is not None:
            source.close()
        if not len(times):
            raise undecodable(path, "corrupt", "holds no frame that can be read.")
        if self._other_source is not None:
            if table.says_once:  # whoever reads a packet before decoding it takes that away
                raise unusable(
                    path,
                    "unsupported",
                    "says only once what its decoder needs, such as a palette, which other "
                    "libraries lose; use the decoder pyav.",
                )
            keyframes = np.flatnonzero(table.keyframe[table.packet_of]).tolist()
            source = self._other_source(path, times, keyframes if planned else None, container_name)
        return _OpenVideo(
            source=source,
            table=table if planned else None,
            pixel_aspect=pixel_aspect,
            claimed_end_seconds=claimed_end,
            clock_start_seconds=clock_start,
        )


def engine_over(
    make_source: Callable[[str, FrameTimes, Sequence[int] | None, str, int, Progress], Source],
    why_not: str,
    options: dict[str, Any],
    progress: Progress,
) -> PyAVEngine:
    """Make an engine whose pictures come from another library.

    Args:
        make_source: Called with path, frame times, ranks of the keyframes (None if unknown), name
            of the container, number of threads and progress.
        why_not: Why the library cannot be used here; "" if it can.
        options: As of `PyAVEngine`, with `num_threads`.
        progress: As of `PyAVEngine`.

    Raises:
        VideoError: The library cannot be used here.
    """
    if why_not:
        raise VideoError(why_not, kind="unsupported", path="", stage="probe")

    def source(
        path: str, times: FrameTimes, keyframes: Sequence[int] | None, container: str
    ) -> Source:
        return make_source(path, times, keyframes, container, options["num_threads"], progress)

    return PyAVEngine(options, progress, source)
