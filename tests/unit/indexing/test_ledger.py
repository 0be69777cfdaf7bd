"""The ledger's account of videos in work, with a real store and made-up segments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from longvid.indexing.ledger import Ledger
from longvid.indexing.messages import Opened, VideoText, Written
from longvid.indexing.video_reader import open_video
from longvid.store import ChunkRecord, Store
from longvid.types import Chunk, Failure, Segment, Tokens, Video

WIDTH = 4


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    store = Store.create(
        tmp_path / "store", fingerprint="f" * 16, config={}, space="space", embedding_width=WIDTH
    )
    return Ledger(store)


def video(name: str, content: str = "a") -> Video:
    return Video(name, content * 32, 0.0, 16.0, 1.0, 16, 8, 8)


def written(ledger: Ledger, video_id: str, index: int) -> ChunkRecord:
    tokens = Tokens.from_grid(torch.ones(1, 1, 2, 3))
    segment = Segment(
        video_id=video_id,
        segment_index=index,
        start_seconds=8.0 * index,
        end_seconds=8.0 * index + 8,
        pts_seconds=torch.tensor([8.0 * index], dtype=torch.float64),
        slow=torch.tensor([True]),
        frame_embeddings=torch.nn.functional.normalize(torch.ones(1, WIDTH)),
        tokens=tokens,
        space="space",
    )
    return ledger.store.write_chunk(video_id, [segment])


def start(ledger: Ledger, of: Video, num_chunks: int, text: VideoText = VideoText()) -> bool:  # noqa: B008  # immutable
    return ledger.start(of, num_chunks, Opened(of.path, of, text=text))


def done(ledger: Ledger, video_id: str, record: ChunkRecord | None, *gaps: Failure) -> None:
    ledger.chunk_done(Written(video_id, record, gaps, {}))


def gap(of: Video, start: float) -> Failure:
    return Failure(
        of.video_id, of.path, "decode", "corrupt", "damaged",
        start_seconds=start, end_seconds=start + 8,
    )  # fmt: skip


def test_a_video_is_finished_with_its_last_chunk_in_any_order(ledger: Ledger) -> None:
    clip = video("clip.mp4")
    assert start(ledger, clip, 2)
    done(ledger, clip.video_id, written(ledger, clip.video_id, 1))
    assert not ledger.store.has(clip.video_id)
    assert ledger.progress.videos_open == 1
    done(ledger, clip.video_id, written(ledger, clip.video_id, 0))
    assert ledger.store.has(clip.video_id)
    assert ledger.progress.videos_open == 0
    report = ledger.report(1.0, "")
    assert (report.videos_indexed, report.segments, report.tokens) == (1, 2, 4)


def test_a_partly_readable_video_is_kept_with_its_gap(ledger: Ledger) -> None:
    clip = video("clip.mp4")
    start(ledger, clip, 2)
    done(ledger, clip.video_id, written(ledger, clip.video_id, 0))
    done(ledger, clip.video_id, None, gap(clip, 8.0))
    (stored,) = ledger.store.videos()
    assert [failure.start_seconds for failure in stored.gaps] == [8.0]
    assert [failure.is_gap for failure in ledger.store.failures()] == [True]


def test_a_video_of_which_nothing_was_read_is_one_failure(ledger: Ledger) -> None:
    clip = video("clip.mp4")
    start(ledger, clip, 2)
    done(ledger, clip.video_id, None, gap(clip, 0.0))
    done(ledger, clip.video_id, None, gap(clip, 8.0))
    assert not ledger.store.has(clip.video_id)
    assert [failure.is_gap for failure in ledger.store.failures()] == [False]
    assert ledger.progress.videos_failed == 1


def test_the_same_content_is_indexed_once_and_listed_under_both_names(ledger: Ledger) -> None:
    first, second, third = video("first.mp4"), video("second.mp4"), video("third.mp4")
    assert start(ledger, first, 1)
    assert not start(ledger, second, 1)
    done(ledger, first.video_id, written(ledger, first.video_id, 0))
    assert not start(ledger, third, 1)
    (stored,) = ledger.store.videos()
    names = [os.path.basename(path) for path in sorted(stored.paths)]
    assert names == ["first.mp4", "second.mp4", "third.mp4"]


def test_a_later_success_clears_the_failure(ledger: Ledger) -> None:
    clip = video("clip.mp4")
    ledger.fail(Failure("", clip.path, "probe", "unreadable", "gone"))
    start(ledger, clip, 1)
    done(ledger, clip.video_id, written(ledger, clip.video_id, 0))
    assert ledger.store.failures() == []


class NeverOpens:
    """A decoder that must not be reached."""

    def probe(self, path: str, video_id: str | None = None) -> Video:
        raise AssertionError(path)

    def decode(self, chunk: Chunk) -> list[Failure]:
        raise AssertionError(chunk)

    def close(self) -> None:
        """Nothing to stop."""


@pytest.mark.parametrize("make", ["missing", "folder", "pipe", "loop"])
def test_what_is_no_regular_file_is_never_opened(make: str, tmp_path: Path) -> None:
    import os

    path = tmp_path / "thing.mp4"
    if make == "folder":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    elif make == "loop":
        path.symlink_to(path)
    failure = open_video(NeverOpens(), str(path))  # type: ignore[arg-type]  # a stand-in
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.kind) == ("probe", "unreadable")
