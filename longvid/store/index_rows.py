"""Which segment each row of one shard of the search index belongs to, as arrays and as Parquet."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from longvid.store.chunk_record import SegmentRecord
from longvid.store.parquet import parse_table, write_table
from longvid.types import player_seconds

#: (lists probed, recall measured) pairs, both increasing; empty for an exact index.
Calibration = tuple[tuple[int, float], ...]

_METADATA = "longvid"
#: Rounding to a nanosecond moves no time so far, in seconds.
_NEAR = 1e-6


@dataclass(frozen=True, slots=True)
class TimeFilter:
    """Keeps rows of segments that overlap a span in the time of a player.

    Args:
        start_seconds, end_seconds: The span.
        clock_starts: What a player's time begins at in the time of the stream, by video id, where
            that is not 0.
    """

    start_seconds: float
    end_seconds: float
    clock_starts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One row a vector, in the order in which FAISS numbers them.

    Args:
        video_ids: The videos that have rows, in order of appearance.
        digests: Checksum of the manifest of each.
        video: (rows,) int32, position of the row's video in `video_ids`, non-decreasing.
        segment_index: (rows,) int32.
        start_seconds, end_seconds: (rows,) float64.
        calibration: Of the index.
        index_bytes, index_seal: Size and seal of the file with the index.
        factor, codes_seal: Of a quantised index: candidates scored again for each row wanted, and
            the seal of the file with the vectors; 0 and "" where the index holds them.
    """

    video_ids: tuple[str, ...]
    digests: tuple[str, ...]
    video: npt.NDArray[np.int32]
    segment_index: npt.NDArray[np.int32]
    start_seconds: npt.NDArray[np.float64]
    end_seconds: npt.NDArray[np.float64]
    calibration: Calibration = ()
    index_bytes: int = 0
    index_seal: str = ""
    factor: int = 0
    codes_seal: str = ""

    def __len__(self) -> int:
        return len(self.video)

    @classmethod
    def of_video(cls, video_id: str, manifest: str, segments: Sequence[SegmentRecord]) -> Rows:
        counts = [segment.num_vectors for segment in segments]
        return cls(
            video_ids=(video_id,),
            digests=(manifest,),
            video=np.zeros(sum(counts), np.int32),
            segment_index=np.repeat(np.array([s.index for s in segments], np.int32), counts),
            start_seconds=np.repeat(np.array([s.start_seconds for s in segments]), counts),
            end_seconds=np.repeat(np.array([s.end_seconds for s in segments]), counts),
        )

    @classmethod
    def concatenate(cls, tables: Sequence[Rows]) -> Rows:
        """Put rows one after the other; no video may appear in two tables."""
        offsets = np.cumsum([0, *(len(table.video_ids) for table in tables)])
        return cls(
            video_ids=tuple(video_id for table in tables for video_id in table.video_ids),
            digests=tuple(digest for table in tables for digest in table.digests),
            video=np.concatenate(
                [table.video + np.int32(o) for table, o in zip(tables, offsets, strict=False)]
            ),
            segment_index=np.concatenate([table.segment_index for table in tables]),
            start_seconds=np.concatenate([table.start_seconds for table in tables]),
            end_seconds=np.concatenate([table.end_seconds for table in tables]),
        )

    def take(self, rows: npt.NDArray[np.int64]) -> Rows:
        """Keep these sorted rows and the videos they belong to."""
        kept, video = np.unique(self.video[rows], return_inverse=True)
        return Rows(
            video_ids=tuple(self.video_ids[i] for i in kept.tolist()),
            digests=tuple(self.digests[i] for i in kept.tolist()),
            video=video.astype(np.int32),
            segment_index=self.segment_index[rows],
            start_seconds=self.start_seconds[rows],
            end_seconds=self.end_seconds[rows],
        )

    def of_place(self, place: int) -> npt.NDArray[np.int64]:
        """Return the rows of the video at a place in `video_ids`, in order."""
        return np.arange(*np.searchsorted(self.video, [place, place + 1]))

    def of_videos(self, video_ids: Collection[str]) -> npt.NDArray[np.bool_]:
        """Mark the rows of some videos, (rows,) bool."""
        wanted = set(video_ids)
        chosen = np.array([video_id in wanted for video_id in self.video_ids], bool)
        marked: npt.NDArray[np.bool_] = chosen[self.video]
        return marked

    def within(self, times: TimeFilter) -> npt.NDArray[np.bool_]:
        """Mark the rows whose segments overlap a span, (rows,) bool."""
        starts = times.clock_starts
        offsets = np.array([starts.get(video_id, 0.0) for video_id in self.video_ids])[self.video]
        begin = _player_times(self.start_seconds, offsets, times.end_seconds)
        end = _player_times(self.end_seconds, offsets, times.start_seconds)
        marked: npt.NDArray[np.bool_] = (begin < times.end_seconds) & (end > times.start_seconds)
        return marked

    def span(self, row: int) -> tuple[str, int, float, float]:
        """Return video id, segment index, start and end of a row."""
        return (
            self.video_ids[int(self.video[row])],
            int(self.segment_index[row]),
            float(self.start_seconds[row]),
            float(self.end_seconds[row]),
        )


def _player_times(
    stream: npt.NDArray[np.float64], offsets: npt.NDArray[np.float64], border: float
) -> npt.NDArray[np.float64]:
    """Return `player_seconds` of each row; times far from a border are left unrounded.

    numpy rounds otherwise than Python at ties, and times are shown as Python rounds them.
    """
    times = stream - offsets
    for row in np.flatnonzero((offsets != 0) & (np.abs(times - border) < _NEAR)):
        times[row] = player_seconds(float(stream[row]), float(offsets[row]))
    return times


def write_rows(rows: Rows) -> bytes:
    """Serialise as Parquet."""
    table = pa.table(
        {
            "video": rows.video,
            "segment_index": rows.segment_index,
            "start_seconds": rows.start_seconds,
            "end_seconds": rows.end_seconds,
        }
    )
    metadata: dict[str, object] = {
        "video_ids": rows.video_ids,
        "digests": rows.digests,
        "calibration": rows.calibration,
        "index_bytes": rows.index_bytes,
        "index_seal": rows.index_seal,
    }
    if rows.factor:
        metadata |= {"factor": rows.factor, "codes_seal": rows.codes_seal}
    return write_table([table], table.schema, {_METADATA: json.dumps(metadata)})


def read_rows(data: bytes) -> Rows | None:
    """Read what `write_rows` wrote; None if it is damaged or has no seal."""
    try:
        table = parse_table(data, must_be_sealed=True)
        metadata = json.loads(table.schema.metadata[_METADATA.encode()])
        return Rows(
            video_ids=tuple(metadata["video_ids"]),
            digests=tuple(metadata["digests"]),
            video=table["video"].to_numpy(),
            segment_index=table["segment_index"].to_numpy(),
            start_seconds=table["start_seconds"].to_numpy(),
            end_seconds=table["end_seconds"].to_numpy(),
            calibration=tuple((int(n), float(r)) for n, r in metadata["calibration"]),
            index_bytes=metadata["index_bytes"],
            index_seal=metadata["index_seal"],
            factor=metadata.get("factor", 0),
            codes_seal=metadata.get("codes_seal", ""),
        )
    except (ValueError, KeyError, TypeError):
        return None
