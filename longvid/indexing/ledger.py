"""Account of the videos in progress; each is finished when its last chunk is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from longvid.config import Config, Run
from longvid.errors import ConfigError, FailureRateError, counted
from longvid.indexing.messages import Opened, Written
from longvid.indexing.remembered_folders import stored_tables
from longvid.indexing.report import IndexReport, Progress
from longvid.indexing.subtitle_writer import add_subtitles, keep_subtitles
from longvid.inputs import VIDEO_SUFFIXES
from longvid.remote_files import file_state
from longvid.store import ChunkRecord, Store
from longvid.store.player_time import in_player_time
from longvid.store.tags import require_tags
from longvid.store.video_paths import stored_path
from longvid.types import Failure, Video

#: The share of failures is looked at from this number of videos on.
_MIN_TRIED = 20
#: A file that changed this often while it was indexed is a failure.
_MAX_CHANGES = 3


def open_store(uri: str, config: Config) -> Store:
    """Create a store, or open an existing one with the same configuration.

    No weights are loaded for it.
    """
    return Store.create(
        uri,
        fingerprint=config.fingerprint(),
        config=stored_tables(config),
        space=config.space(),
        embedding_width=config.encoder.embedding_width(),
        options=config.store,
    )


def exhausted_paths(store: Store, max_attempts: int) -> frozenset[str]:
    """Return the paths that failed so often that a run leaves them alone."""
    return frozenset(
        failure.path
        for failure in store.failures()
        if failure.attempts >= max_attempts and not failure.is_gap and failure.stage != "text"
    )


def empty_input_error(skipped: Sequence[str] = ()) -> ConfigError:
    """Make the error for an empty list of videos."""
    return ConfigError(
        "No video is named: give files, or a folder that holds files ending in "
        f"{', '.join(sorted(VIDEO_SUFFIXES))}." + "".join(f" {sentence}" for sentence in skipped)
    )


@dataclass(slots=True)
class _OpenVideo:
    video: Video
    num_chunks: int
    chunks_left: int
    records: list[ChunkRecord] = field(default_factory=list)
    gaps: list[Failure] = field(default_factory=list)
    names: dict[str, Opened] = field(default_factory=dict)  # the one that is decoded first


class Ledger:
    """Keeps account of the running videos and finishes each when its last chunk is written.

    It holds only running videos, so its memory does not grow with the length of the list. Both
    runners use it; it is called from one thread.

    Args:
        store: Where finished videos are recorded.
        run: Says how many videos may fail.
        again: Videos that are indexed anew although the store holds them. What it holds stays
            until the new is complete.
        tags: Given to every video, those that the store holds among them.
    """

    def __init__(
        self,
        store: Store,
        run: Run | None = None,
        again: Collection[str] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.store = store
        self.progress = Progress()
        #: Videos that are in the store since this was last emptied, old ones among them.
        self.finished: list[Video] = []
        self.failures: list[Failure] = []
        self.segments = self.frames = self.tokens = self.num_bytes = 0
        self._run = run or Run()
        self._again, self._tags = set(again), require_tags(tags or {})
        # What the names meant before this run: one that means something else now has moved on.
        self._owners = store.names()
        self._without_subtitles = {f.video_id for f in store.failures() if _is_subtitles(f)}
        self._open: dict[str, _OpenVideo] = {}
        self._num_changes: Counter[str] = Counter()

    def start(self, video: Video, num_chunks: int, opened: Opened) -> bool:
        """Open a video; False when its content is running or stored under another name."""
        anew = video.video_id in self._again
        if video.video_id in self._open:
            self._open[video.video_id].names[video.path] = opened
        elif not anew and self.store.has(video.video_id):
            self._keep(video)
            self._take_in_text(video, opened)
            self._add_path(video.video_id, video.path)
        else:
            self._open[video.video_id] = _OpenVideo(
                video, num_chunks, num_chunks, names={video.path: opened}
            )
            self._count(videos_open=1, seconds_known=video.duration_seconds, current=video.path)
            return True
        self.skip(video.path)
        return False

    def _take_in_text(self, video: Video, opened: Opened) -> None:
        """Keep the subtitles of a name of a finished video, in place of an earlier failure."""
        add_subtitles(self.store, video.video_id, video.path, opened.text)
        self._record(opened.text.failures)
        if not opened.text.failures and video.video_id in self._without_subtitles:
            path = stored_path(video.path)
            self.store.clear_failures(
                [video.video_id], lambda failure: _is_subtitles(failure) and failure.path == path
            )

    def count_bytes(self, path: str, num_bytes: int) -> None:
        """Count the size of a file that was looked at."""
        self._count(bytes_opened=num_bytes, current=path)

    def skip(self, path: str) -> None:
        """Count a video that is not tried."""
        self._count(videos_skipped=1, current=path)

    def fail(self, failure: Failure) -> None:
        """Record a video that never opened."""
        self._record([failure])
        self._count_failed(failure.path)

    def chunk_done(self, written: Written) -> tuple[str, ...]:
        """Take in a written chunk and its gaps.

        Returns:
            Names to open again: their files changed while they were indexed.
        """
        record = written.record
        entry = self._open[written.video_id]
        entry.chunks_left -= 1
        done = entry.video.duration_seconds / entry.num_chunks
        self._count(seconds_done=done, current=entry.video.path)
        entry.gaps.extend(written.gaps)
        if record is not None:
            entry.records.append(record)
            self.segments += len(record.segments)
            self.frames += sum(segment.num_frames for segment in record.segments)
            self.tokens += sum(segment.num_tokens for segment in record.segments)
            self.num_bytes += record.num_bytes
        if entry.chunks_left:
            return ()
        del self._open[written.video_id]
        self._count(videos_open=-1, current=entry.video.path)
        changed = [path for path, opened in entry.names.items() if _has_changed(opened)]
        if entry.video.path in changed:
            changed = list(entry.names)  # what was decoded may be of either content
        else:
            for path in changed:
                del entry.names[path]
            self._finish(entry)
        return tuple(path for path in changed if self._may_open_again(path))

    def _may_open_again(self, path: str) -> bool:
        self._num_changes[path] += 1
        if self._num_changes[path] < _MAX_CHANGES:
            return True
        sentence = (
            f"{path} changed while it was indexed, {_MAX_CHANGES} times; index it again when it is "
            "complete."
        )
        self.fail(Failure("", path, "decode", "unreadable", sentence))
        return False

    def _finish(self, entry: _OpenVideo) -> None:
        video = entry.video
        if not entry.records:
            first = entry.gaps[0]
            self._record([replace(first, start_seconds=None, end_seconds=None)])
            self._count_failed(video.path)
            return
        gaps = sorted(entry.gaps, key=lambda gap: gap.start_seconds or 0.0)
        self.store.clear_failures([video.video_id, video.path])
        texts = {path: opened.text for path, opened in entry.names.items()}
        keep_subtitles(self.store, video, texts)
        state = entry.names[video.path].state
        self.store.finish(
            video,
            entry.records,
            gaps,
            source_bytes=state.num_bytes if state else 0,
            replace=video.video_id in self._again,
        )
        self._again.discard(video.video_id)
        self._keep(video)
        for path in entry.names:
            self._add_path(video.video_id, path)
        of_text = (each for text in texts.values() for each in text.failures)
        self._record([*gaps, *of_text], video.clock_start_seconds)
        self._count(videos_indexed=1, video_seconds=video.duration_seconds, current=video.path)

    def _keep(self, video: Video) -> None:
        """Take in a video that the store has by now."""
        self.finished.append(video)
        if self._tags:
            self.store.tag(video.video_id, self._tags)

    def _add_path(self, video_id: str, path: str) -> None:
        """Name a video, and take the name from the video that had it: the file was changed."""
        self.store.add_path(video_id, path)
        before = self._owners.pop(path, video_id)
        if before != video_id:
            self.store.remove_path(before, path)

    def _record(self, failures: Sequence[Failure], clock_start_seconds: float = 0.0) -> None:
        if failures:
            self.store.record_failures(failures)
            self.failures += [in_player_time(each, clock_start_seconds) for each in failures]

    def _count_failed(self, path: str, **changes: float) -> None:
        self._count(videos_failed=1, current=path, **changes)
        failed = self.progress.videos_failed
        tried = failed + self.progress.videos_indexed
        limit = self._run.max_failure_rate
        if self._run.stop_early and tried >= _MIN_TRIED and failed > limit * tried:
            raise FailureRateError(
                f"{failed} of {counted(tried, 'video')} failed, more than run.max_failure_rate = "
                f"{limit:g} allows; what was finished is kept. See longvid "
                f"failures --store {self.store.uri}, fix the cause and run the same command again."
            )

    def _count(self, *, current: str, **changes: float) -> None:
        values = {name: getattr(self.progress, name) + by for name, by in changes.items()}
        self.progress = replace(self.progress, current=current, **values)

    def summary(self, seconds: float) -> dict[str, Any]:
        """Count what the run did, in plain JSON types, for `Store.record_run`."""
        return {
            "seconds": seconds,
            "videos_indexed": self.progress.videos_indexed,
            "videos_skipped": self.progress.videos_skipped,
            "videos_failed": self.progress.videos_failed,
            "video_seconds": self.progress.video_seconds,
            "segments": self.segments,
            "frames": self.frames,
            "tokens": self.tokens,
            "bytes": self.num_bytes,
            "failures_by_kind": dict(Counter(failure.kind for failure in self.failures)),
        }

    def report(self, seconds: float, note: str) -> IndexReport:
        """Sum the run up."""
        return IndexReport(
            store=self.store.uri,
            videos_indexed=self.progress.videos_indexed,
            videos_skipped=self.progress.videos_skipped,
            videos_failed=self.progress.videos_failed,
            segments=self.segments,
            frames=self.frames,
            tokens=self.tokens,
            video_seconds=self.progress.video_seconds,
            failures=tuple(self.failures),
            seconds=seconds,
            note=note,
            max_failure_rate=self._run.max_failure_rate,
        )


def _is_subtitles(failure: Failure) -> bool:
    """Whether a failure is of a subtitle file or stream; speech and screen text name a source."""
    return failure.stage == "text" and not failure.decoder


def _has_changed(opened: Opened) -> bool:
    """Whether a file is another than when it was opened; one that is gone by now is not."""
    try:
        return opened.state is not None and file_state(opened.path) != opened.state
    except OSError:
        return False
