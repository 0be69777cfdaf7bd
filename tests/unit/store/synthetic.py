"""Made-up segments and videos: the same in every process."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from longvid.store import Store
from longvid.types import Segment, Tokens, Video

WIDTH, TOKEN_WIDTH = 16, 8


def make_segment(
    video_id: str, index: int, *, num_frames: int = 5, num_tokens: int = 7, seed: int = 0
) -> Segment:
    """Make a segment whose content depends on its identity and the seed only."""
    generator = torch.Generator().manual_seed(hash_of(video_id) + 1009 * index + 7919 * seed)
    embeddings = torch.randn(num_frames, WIDTH, generator=generator)
    frame = torch.randint(0, num_frames, (num_tokens,), generator=generator)
    return Segment(
        video_id=video_id,
        segment_index=index,
        start_seconds=2.0 * index,
        end_seconds=2.0 * index + 2.0,
        pts_seconds=2.0 * index + torch.arange(num_frames, dtype=torch.float64) / 3,
        slow=torch.arange(num_frames) % 2 == 0,
        frame_embeddings=torch.nn.functional.normalize(embeddings, dim=1),
        tokens=Tokens(
            data=torch.randn(num_tokens, TOKEN_WIDTH, generator=generator).half(),
            frame=frame.sort().values.int(),
            position=torch.rand(num_tokens, 2, generator=generator),
            size=torch.rand(num_tokens, generator=generator) + 1,
        ),
        space="test-space",
    )


def hash_of(video_id: str) -> int:
    """Turn a name into a seed, the same in every process."""
    return sum(ord(letter) * 31**i for i, letter in enumerate(video_id)) % 10**6


def make_video(video_id: str, path: str | None = None) -> Video:
    """Make a video of 16 seconds."""
    return Video(path or f"/videos/{video_id}.mp4", video_id, 0.0, 16.0, 25.0, 400, 720, 1280)


def add_video(
    store: Store,
    video_id: str,
    *,
    path: str | None = None,
    chunks: Sequence[int] = (3, 2),
    **how: int,
) -> list[Segment]:
    """Index a made-up video: `chunks` says how many segments each chunk has."""
    segments, records, first = [], [], 0
    for count in chunks:
        chunk = [make_segment(video_id, i, **how) for i in range(first, first + count)]
        records.append(store.write_chunk(video_id, chunk))
        segments += chunk
        first += count
    store.finish(make_video(video_id, path), records, [])
    return segments


def assert_same(one: Segment, other: Segment) -> None:
    """Require equal segments, bit for bit."""
    for name in ("video_id", "segment_index", "start_seconds", "end_seconds", "space"):
        assert getattr(one, name) == getattr(other, name)
    pairs = [
        (getattr(one, n), getattr(other, n)) for n in ("pts_seconds", "slow", "frame_embeddings")
    ]
    pairs += [
        (getattr(one.tokens, n), getattr(other.tokens, n))
        for n in ("data", "frame", "position", "size")
    ]
    for left, right in pairs:
        assert left.dtype == right.dtype
        assert torch.equal(left, right)
