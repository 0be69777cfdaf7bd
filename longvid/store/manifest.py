"""The manifest of a video: the object whose presence says that the video is in the store.

It holds nothing that depends on when, where or under which name the video was indexed, so equal
content gives equal bytes. Names are objects of their own beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from longvid.errors import LongvidError, StoreError
from longvid.store.chunk_record import ChunkRecord
from longvid.store.fields import real, text, whole
from longvid.store.layout import VIDEOS, check_video_id, dump_json
from longvid.store.seal import parse_json
from longvid.types import Failure, Video

#: Of a gap's failure, only these repeat from run to run.
_GAP_FIELDS = ("stage", "kind", "error", "start_seconds", "end_seconds")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the store holds of one video.

    Args:
        video: As probed; its path is "", since names are kept apart.
        chunks: In order of their first segment.
        gaps: Spans that could not be indexed, in time order.
        source_bytes: Size of the video file, 0 if it was not known.
    """

    video: Video
    chunks: tuple[ChunkRecord, ...]
    gaps: tuple[Failure, ...]
    source_bytes: int = 0

    @property
    def video_id(self) -> str:
        return self.video.video_id

    @property
    def num_segments(self) -> int:
        return sum(len(chunk.segments) for chunk in self.chunks)

    @property
    def num_tokens(self) -> int:
        return sum(chunk.num_tokens for chunk in self.chunks)

    @property
    def num_bytes(self) -> int:
        return sum(chunk.num_bytes for chunk in self.chunks)

    def chunk_path(self, chunk: ChunkRecord) -> str:
        """Name the object of one of the chunks."""
        return f"{VIDEOS}/{self.video_id}/{chunk.file}"

    def to_json(self) -> bytes:
        """Serialise, equal manifests to equal bytes."""
        video = asdict(self.video)
        del video["path"]
        if not self.video.clock_jumps:  # the clocks of most videos do not jump
            del video["clock_jumps"]
        if not self.video.clock_start_seconds:
            del video["clock_start_seconds"]
        return dump_json(
            {
                "video": video,
                "source_bytes": self.source_bytes,
                "chunks": [chunk.to_dict() for chunk in self.chunks],
                "gaps": [{name: getattr(gap, name) for name in _GAP_FIELDS} for gap in self.gaps],
            }
        )


def parse_manifest(data: bytes, video_id: str) -> Manifest:
    """Undo `Manifest.to_json`.

    Raises:
        ValueError: It is not whole, or of another video.
    """
    try:
        document = parse_json(data)
        video = _video(document["video"])
        if video.video_id != video_id:
            raise ValueError("it is of another video")
        return Manifest(
            video=video,
            chunks=tuple(ChunkRecord.from_dict(chunk) for chunk in document["chunks"]),
            gaps=tuple(_gap(gap, video_id) for gap in document["gaps"]),
            source_bytes=whole(document["source_bytes"], "source_bytes", most=1 << 62),
        )
    except (KeyError, TypeError, AttributeError, LongvidError) as error:
        raise ValueError(f"it is no manifest of a video ({error!r})") from error


def _video(document: Mapping[str, Any]) -> Video:
    return Video(
        path="",
        video_id=text(document["video_id"], "video_id"),
        start_seconds=real(document["start_seconds"], "start_seconds"),
        duration_seconds=real(document["duration_seconds"], "duration_seconds"),
        average_fps=real(document["average_fps"], "average_fps"),
        num_frames=whole(document["num_frames"], "num_frames"),
        height=whole(document["height"], "height"),
        width=whole(document["width"], "width"),
        clock_jumps=tuple(
            (real(at, "clock_jumps"), real(jump, "clock_jumps"))
            for at, jump in document.get("clock_jumps", ())
        ),
        clock_start_seconds=real(document.get("clock_start_seconds", 0.0), "clock_start_seconds"),
    )


def _gap(document: Mapping[str, Any], video_id: str) -> Failure:
    start, end = document["start_seconds"], document["end_seconds"]
    return Failure(
        video_id=video_id,
        path="",
        stage=text(document["stage"], "stage"),
        kind=text(document["kind"], "kind"),
        error=text(document["error"], "error"),
        start_seconds=None if start is None else real(start, "start_seconds"),
        end_seconds=None if end is None else real(end, "end_seconds"),
    )


def make_manifest(
    video: Video, records: Sequence[ChunkRecord], gaps: Sequence[Failure], source_bytes: int
) -> Manifest:
    """Make a manifest of what workers reported, in whatever order.

    Raises:
        StoreError: There is nothing to keep, or two chunks hold the same segment.
    """
    check_video_id(video.video_id)
    if not records:
        raise StoreError(
            f"Nothing of {video.path} could be indexed, so it is no part of the store; record a "
            "failure instead."
        )
    # The same chunk reported twice, by a task that was run again, counts once.
    chunks = sorted(set(records), key=lambda record: (record.segments[0].index, record.file))
    indices = [segment.index for chunk in chunks for segment in chunk.segments]
    if len(set(indices)) != len(indices) or indices != sorted(indices):
        raise StoreError(
            f"Chunks of {video.path} overlap: segments {indices} were reported; each segment may "
            "be written once."
        )
    ordered = sorted(
        gaps, key=lambda gap: (gap.start_seconds or 0.0, gap.end_seconds or 0.0, gap.stage)
    )
    return Manifest(replace(video, path=""), tuple(chunks), tuple(ordered), source_bytes)
