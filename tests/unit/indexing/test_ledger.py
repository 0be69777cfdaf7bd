"""The ledger's account of videos in work, with a real store and made-up segments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from longvid.indexing.ledger import Ledger
from longvid.indexing.messages import Opened, VideoText, Written
from longvid.indexing.video_reader import open_video
from longvid.remote_files import file_state
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


def opened(path: Path, content: str) -> Opened:
    return Opened(str(path), video(str(path), content), file_state(str(path)))


def begin(ledger: Ledger, found: Opened) -> Video:
    assert isinstance(found.found, Video)
    assert ledger.start(found.found, 1, found)
    return found.found


def test_a_file_that_changes_while_it_is_indexed_is_opened_again(
    ledger: Ledger, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_text("old")
    before = begin(ledger, opened(clip, "a"))
    clip.write_text("new and longer")
    record = written(ledger, before.video_id, 0)
    assert ledger.chunk_done(Written(before.video_id, record, (), {})) == (str(clip),)
    assert not ledger.store.has(before.video_id)
    after = begin(ledger, opened(clip, "b"))
    record = written(ledger, after.video_id, 0)
    assert ledger.chunk_done(Written(after.video_id, record, (), {})) == ()
    assert [stored.video.video_id for stored in ledger.store.videos()] == [after.video_id]
    assert ledger.failures == []
    assert ledger.progress.videos_open == 0


def test_only_the_name_whose_file_changed_is_opened_again(ledger: Ledger, tmp_path: Path) -> None:
    clips = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
    for clip in clips:
        clip.write_text("same")
    first = begin(ledger, opened(clips[0], "a"))
    second = opened(clips[1], "a")
    assert isinstance(second.found, Video)
    assert not ledger.start(second.found, 1, second)
    clips[1].write_text("another")
    record = written(ledger, first.video_id, 0)
    assert ledger.chunk_done(Written(first.video_id, record, (), {})) == (str(clips[1]),)
    (stored,) = ledger.store.videos()
    assert stored.paths == (str(clips[0]),)


def test_a_file_that_changes_without_end_is_one_failure(ledger: Ledger, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    for number in range(1, 4):
        clip.write_text("x" * number)
        found = begin(ledger, opened(clip, str(number)))
        clip.write_text("y" * (number + 1))
        record = written(ledger, found.video_id, 0)
        again = ledger.chunk_done(Written(found.video_id, record, (), {}))
        assert again == ((str(clip),) if number < 3 else ())
    (failure,) = ledger.failures
    assert "changed while it was indexed" in failure.error
    assert ledger.store.videos() == []


def test_a_file_that_is_gone_by_the_end_is_kept(ledger: Ledger, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_text("here")
    found = begin(ledger, opened(clip, "a"))
    clip.unlink()
    assert (
        ledger.chunk_done(Written(found.video_id, written(ledger, found.video_id, 0), (), {})) == ()
    )
    assert ledger.store.has(found.video_id)


@pytest.mark.parametrize(
    ("num_indexed", "num_failed", "too_often"),
    [(19, 1, False), (1, 1, True), (0, 1, True), (9, 1, False), (0, 0, False)],
)
def test_a_run_fails_by_its_share_of_failed_videos(
    num_indexed: int, num_failed: int, too_often: bool, ledger: Ledger
) -> None:
    for number in range(num_failed):
        ledger.fail(Failure("", f"{number}.mp4", "probe", "unreadable", "gone"))
    for number in range(num_indexed):
        ledger.skip(f"again{number}.mp4")
    report = ledger.report(1.0, "")
    assert report.failed_too_often == too_often


def test_a_gap_is_no_failure_of_the_run(ledger: Ledger) -> None:
    clip = video("clip.mp4")
    start(ledger, clip, 1)
    done(ledger, clip.video_id, written(ledger, clip.video_id, 0), gap(clip, 8.0))
    report = ledger.report(1.0, "")
    assert len(report.failures) == 1
    assert not report.failed_too_often
