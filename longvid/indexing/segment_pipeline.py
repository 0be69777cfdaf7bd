"""Reduce, encode and compress the frames of one segment: the arithmetic of the index side."""

from __future__ import annotations

import contextlib
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from longvid.compress.whole_video import compress_video, groups_of
from longvid.config import Config
from longvid.errors import OpError
from longvid.laws import require_compressed
from longvid.lazy_import import torch
from longvid.models.transformers_logging import loading
from longvid.protocols import segments_together
from longvid.types import Failure, FrameBatch, Segment, Video

#: So many pictures that stayed for a whole segment are kept: chunks of a video may come mixed.
_STILLS_KEPT = 4


class SegmentPipeline:
    """Reduce, encode and compress the frames of one segment: the index side's arithmetic.

    A picture that stays on display for several whole segments (a slide, a stream with a variable
    frame rate) is encoded once: every part gives the same bits for the same frames.

    A compressor that sees several segments together, and all behind it, wait for a whole chunk:
    `finish_chunk`.
    """

    def __init__(self, config: Config, device: str) -> None:
        with loading():
            self.reducer = config.reducer.setup(device)
            self.encoder = config.encoder.setup(device)
            compressors = [(part, part.setup(device)) for part in config.compressors]
        alone = itertools.takewhile(lambda item: segments_together(item[0]) == 1, compressors)
        self.compressors = list(alone)
        self.chunk_compressors = compressors[len(self.compressors) :]
        self._stills: OrderedDict[tuple[object, ...], Segment] = OrderedDict()

    def __call__(self, batch: FrameBatch) -> Segment:
        if len(batch) != 1:
            return self.encode(batch)
        # The times of a video name its frames.
        key = (batch.video_id, float(batch.pts_seconds[0]), bool(batch.slow[0]), batch.data.shape)
        still = self._stills.pop(key, None)
        if still is None:
            still = self.encode(batch)
        self._stills[key] = still
        while len(self._stills) > _STILLS_KEPT:
            self._stills.popitem(last=False)
        return replace(
            still,
            segment_index=batch.segment_index,
            start_seconds=batch.start_seconds,
            end_seconds=batch.end_seconds,
        )

    def encode(self, batch: FrameBatch) -> Segment:
        """Turn one batch into one segment, whatever came before: the twin."""
        segment = self.encoder(self.reducer(batch))
        for part, compress in self.compressors:
            segment = require_compressed(part, segment, compress(segment))
        return segment

    def try_chunk(
        self, video: Video, decoded: Iterable[FrameBatch | Failure]
    ) -> tuple[list[Segment], list[Failure]]:
        """Encode a whole chunk, turning a model's failure on one segment into a gap."""
        results = [
            self.try_segment(video, item) if isinstance(item, FrameBatch) else item
            for item in decoded
        ]
        segments = [result for result in results if isinstance(result, Segment)]
        gaps = [result for result in results if isinstance(result, Failure)]
        segments, refused = self.finish_chunk(video, segments)
        return segments, gaps + refused

    def finish_chunk(
        self, video: Video, segments: list[Segment]
    ) -> tuple[list[Segment], list[Failure]]:
        """Apply the compressors that see several segments together, and those behind them.

        Args:
            video: The video that the chunk belongs to.
            segments: All of the chunk that could be encoded, in time order.

        Returns:
            The segments, and those of a refused group as gaps.
        """
        gaps: list[Failure] = []
        for part, compress in self.chunk_compressors:
            done: list[Segment] = []
            for group in groups_of(segments, segments_together(part)):
                try:
                    found = compress_video(compress, group)
                    done += [
                        require_compressed(part, given, one)
                        for given, one in zip(group, found, strict=True)
                    ]
                except (RuntimeError, OpError) as error:
                    gaps += [
                        _failure(video, one.start_seconds, one.end_seconds, error) for one in group
                    ]
            segments = done
        return segments, gaps

    def try_segment(self, video: Video, batch: FrameBatch) -> Segment | Failure:
        """Encode one segment; what torch or a part refuses of its tokens becomes a gap."""
        try:
            return replace(self(batch), pictures=batch.pictures)
        except (RuntimeError, OpError) as error:
            return _failure(video, batch.start_seconds, batch.end_seconds, error)


def _failure(
    video: Video, start_seconds: float, end_seconds: float, error: RuntimeError | OpError
) -> Failure:
    memory = isinstance(error, torch.OutOfMemoryError)
    return Failure(
        video.video_id,
        video.path,
        "encode",
        "out-of-memory" if memory else "model",
        f"The encoder failed on {video.path} at {video.player_seconds(start_seconds):.1f} s: "
        f"{str(error).splitlines()[0]}",
        start_seconds=start_seconds,
        end_seconds=end_seconds,
    )


@contextlib.contextmanager
def torch_threads(num_threads: int | None) -> Iterator[None]:
    """Set the number of threads of one torch operation until the block ends.

    Args:
        num_threads: None changes nothing.
    """
    before = torch.get_num_threads()
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
