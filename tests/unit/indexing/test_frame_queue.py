"""The queue between decoding and encoding: bounded by bytes and by number, closed from any side."""

from __future__ import annotations

import resource
import threading

import pytest
import torch

from longvid.indexing.frame_queue import FrameQueue, QueueClosed, max_batches
from longvid.indexing.messages import ChunkDone, DecodedItem
from longvid.types import Chunk, Failure, FrameBatch, SegmentPlan, Video

CHUNK = Chunk(
    Video("clip.mp4", "a" * 32, 0.0, 8.0, 1.0, 8, 4, 4),
    (SegmentPlan(0, 0.0, 8.0, (0.0,), (True,)),),
)


def frames(num_bytes: int) -> DecodedItem:
    one = torch.ones(1, dtype=torch.float64)
    data = torch.zeros(1, 3, 1, num_bytes // 3, dtype=torch.uint8)
    return DecodedItem(CHUNK, FrameBatch("a" * 32, 0, 0.0, 8.0, data, one, one, one > 0))


def blocks(queue: FrameQueue, message: DecodedItem | ChunkDone) -> bool:
    """Whether putting a message waits; then take messages until it does not."""
    thread = threading.Thread(target=queue.put, args=(message,))
    thread.start()
    thread.join(0.2)
    if not thread.is_alive():
        return False
    while thread.is_alive():
        queue.get()
        thread.join(0.05)
    return True


def test_it_is_full_by_bytes_and_takes_one_batch_more() -> None:
    queue = FrameQueue(100, 1000)
    queue.put(frames(90))
    queue.put(frames(900))
    assert blocks(queue, frames(3))


def test_it_is_full_by_number_whatever_the_bytes() -> None:
    queue = FrameQueue(1000, 2)
    queue.put(frames(3))
    queue.put(frames(3))
    assert blocks(queue, ChunkDone(CHUNK, 0.0))


def test_what_holds_no_frames_takes_no_room() -> None:
    queue = FrameQueue(100, 2)
    gap = Failure("a" * 32, "clip.mp4", "decode", "corrupt", "damaged", 1, 0.0, 8.0)
    for _ in range(50):
        queue.put(DecodedItem(CHUNK, gap))
        queue.put(ChunkDone(CHUNK, 0.0))
    assert not blocks(queue, frames(90))


@pytest.mark.parametrize("error", [None, ValueError("broken")])
def test_closing_it_ends_all_waiting(error: Exception | None) -> None:
    queue = FrameQueue(10, 1)
    raised: list[BaseException] = []

    def put() -> None:
        try:
            for _ in range(2):
                queue.put(frames(30))
        except QueueClosed as closed:
            raised.append(closed)

    thread = threading.Thread(target=put)
    thread.start()
    queue.close(error)
    thread.join(60)
    assert [type(each) for each in raised] == [QueueClosed]
    with pytest.raises(QueueClosed if error is None else ValueError):
        queue.get()


@pytest.mark.parametrize(("limit", "expected"), [(1024, 448), (256, 64), (20, 8)])
def test_descriptors_bound_the_number(
    limit: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert max_batches() == expected
