"""Laws of decoders, checked on one video of yours."""

from __future__ import annotations

import tempfile
from pathlib import Path

from longvid.errors import VideoError
from longvid.laws import require_law
from longvid.lazy_import import torch
from longvid.protocols import Decoder, DecoderPart
from longvid.sample import Sampling, plan_chunks
from longvid.testing.part_laws import check_part
from longvid.types import Chunk, Failure, FrameBatch

#: A container rounds times to its own clock, of which none is coarser.
_CLOCK_SECONDS = 0.02


def check_decoder(part: DecoderPart, path: str | Path) -> None:
    """Check the laws of a decoder on a sound video of at least two segments of 2 seconds.

    It reads the same facts twice; returns one batch or failure a segment, in order, at its size;
    takes for each wanted time the frame on display; gives the same bits twice, and for one segment
    whatever was decoded before; refuses a file that is no video; and may be closed twice.

    Args:
        part: With settings of your choice.
        path: A video that decodes without a gap.

    Raises:
        LawError: It breaks a law.
        VideoError: The video cannot be opened.
    """
    check_part("decoder", part)
    decoder = part.setup()
    try:
        video = decoder.probe(str(path))
        require_law(decoder.probe(str(path)) == video, part, "reads the same facts twice")
        require_law(video.duration_seconds > 0, part, "finds a video's length")
        chunks = plan_chunks(video, Sampling(fps=2.0, segment_frames=4))
        chunk = Chunk(video, tuple(plan for one in chunks for plan in one.segments))
        batches = _decoded(part, decoder, chunk)
        for batch in batches:
            _check_batch(part, chunk, batch)
        last = Chunk(video, chunk.segments[-1:])
        for again in (_decoded(part, decoder, chunk)[-1], _decoded(part, decoder, last)[-1]):
            same = torch.equal(again.data, batches[-1].data)
            same = same and torch.equal(again.pts_seconds, batches[-1].pts_seconds)
            require_law(same, part, "decodes a segment to the same bits, whatever came before")
        _check_refusal(part, decoder)
    finally:
        decoder.close()
        decoder.close()


def _decoded(part: DecoderPart, decoder: Decoder, chunk: Chunk) -> list[FrameBatch]:
    """Decode a chunk that has no gap."""
    items = list(decoder.decode(chunk))
    gaps = [item for item in items if isinstance(item, Failure)]
    require_law(not gaps, part, "decodes a sound video without a gap", f"{gaps[:1]}")
    batches = [item for item in items if isinstance(item, FrameBatch)]
    order = [batch.segment_index for batch in batches]
    wanted = [plan.segment_index for plan in chunk.segments]
    require_law(order == wanted, part, "yields one item a segment, in order", f"{order}")
    return batches


def _check_batch(part: DecoderPart, chunk: Chunk, batch: FrameBatch) -> None:
    """Check the size and the times of the frames of one segment."""
    require_law(batch.video_id == chunk.video.video_id, part, "names the video of its frames")
    size = part.size
    given = (chunk.video.height, chunk.video.width)
    height, width = given if size.fit == "native" else (size.height, size.width)
    shape = tuple(batch.data.shape[2:])
    require_law(shape == (height, width), part, "returns frames of its size", f"{shape}")
    [plan] = [plan for plan in chunk.segments if plan.segment_index == batch.segment_index]
    starts = batch.pts_seconds.tolist()
    ends = (batch.pts_seconds + batch.duration_seconds).tolist()
    for wanted in plan.sample_seconds:
        shown = any(
            start - _CLOCK_SECONDS <= wanted < end + _CLOCK_SECONDS
            for start, end in zip(starts, ends, strict=True)
        )
        require_law(shown, part, "takes the frame on display", f"none of {starts} at {wanted}")
    require_law(len(starts) <= len(plan.sample_seconds), part, "returns no frame unasked")


def _check_refusal(part: DecoderPart, decoder: Decoder) -> None:
    """Check that a file of zeros is refused as the protocol says."""
    with tempfile.TemporaryDirectory() as folder:
        zeros = Path(folder) / "zeros.mp4"
        zeros.write_bytes(bytes(4096))
        refused = False
        try:
            decoder.probe(str(zeros))
        except VideoError:
            refused = True
    require_law(refused, part, "refuses what is no video with a VideoError")
