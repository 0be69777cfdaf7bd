"""A running decoder: an engine in its child process, seen as longvid's carriers.

This is where a dead child, a damaged file or a late answer becomes a `Failure`, so that `decode`
never raises for a video.
"""

from __future__ import annotations

import base64
import mmap
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from longvid.decode.engine import DecodedSegment, Engine, EngineFactory, video_from_message
from longvid.decode.process import ChildFailure, ChildProcess, Limits
from longvid.errors import VideoError
from longvid.inputs import content_id
from longvid.lazy_import import torch
from longvid.timed_text.subtitle_formats import Line, text_lines
from longvid.types import Chunk, Failure, FrameBatch, Picture, SegmentPlan, TextLine, Video


class RunningDecoder:
    """One child process, started when it is first needed and again after it died.

    One chunk is decoded at a time; for more, set up more decoders.

    Args:
        engine: "module:factory" of the engine.
        options: Plain data for it.
        limits: What the child may use.
    """

    def __init__(self, engine: str, options: dict[str, Any], limits: Limits) -> None:
        self._engine, self._options, self._limits = engine, options, limits
        self._child: ChildProcess | None = None
        self._busy = threading.Lock()
        self._closed = False
        #: The largest distance so far of a returned frame to the exact one, seconds.
        self.max_pts_error_seconds = 0.0

    def __enter__(self) -> RunningDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def child_pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.alive else None

    def start(self) -> None:
        """Start the child now rather than at the first request.

        Raises:
            VideoError: It does not start.
        """
        with self._busy:
            try:
                self._ready_child("")
            except ChildFailure as failure:
                raise VideoError(str(failure), kind=failure.kind, path="") from failure

    def probe(self, path: str, video_id: str | None = None) -> Video:
        request = {"kind": "probe", "path": path, "video_id": video_id or ""}
        video = video_from_message(self._last_answer(request, stage="probe"))
        try:
            return video if video_id else replace(video, video_id=content_id(path))
        except OSError as error:
            sentence = f"{path} cannot be read: {error.strerror or error}."
            raise VideoError(sentence, kind="unreadable", path=path, stage="probe") from error

    def read_text(self, path: str) -> tuple[TextLine, ...]:
        lines: list[Line] = self._last_answer({"kind": "text", "path": path}, stage="text")["lines"]
        return text_lines(lines)

    def group_starts(self, path: str) -> tuple[float, ...]:
        """Return when the groups of pictures of a file begin; for `longvid.sample.split_at`.

        Returns:
            Stream times in seconds, increasing.

        Raises:
            VideoError: The file cannot be used as a video.
        """
        answer = self._last_answer({"kind": "groups", "path": path}, stage="probe")
        return tuple(answer["seconds"])

    def _last_answer(self, request: dict[str, str], stage: str) -> dict[str, Any]:
        """Put a question about the file at `path` to the child, and return its last message.

        Raises:
            VideoError: Of that stage, where the child fails.
        """
        path = request["path"]
        answer: dict[str, Any] = {}
        with self._busy:
            try:
                child = self._ready_child(path)
                for message, _ in child.ask(request):
                    answer = message
            except ChildFailure as failure:
                sentence = _sentence(path, failure)
                raise VideoError(sentence, kind=failure.kind, path=path, stage=stage) from failure
            finally:
                self._release()
        return answer

    def decode(self, chunk: Chunk) -> Iterator[FrameBatch | Failure]:
        """Yield one batch a segment in order, as soon as it is ready, and a failure for a gap.

        Args:
            chunk: At least one segment; times are stream times.
        """
        left = list(chunk.segments)
        with self._busy:
            try:
                child = self._ready_child(chunk.video.path)
                request = {
                    "kind": "decode",
                    "path": chunk.video.path,
                    "segments": [asdict(plan) for plan in left],
                }
                for message, memory in child.ask(request):
                    if message["kind"] == "gap":
                        yield _gap(chunk.video, message)
                        continue
                    while left[0].segment_index != message["segment_index"]:
                        left.pop(0)
                    batch = _batch(chunk.video, left.pop(0), message, memory)
                    error = message["pts_error_seconds"]
                    self.max_pts_error_seconds = max(self.max_pts_error_seconds, error)
                    del memory
                    yield batch
                    del batch
            except ChildFailure as failure:
                if not self._closed:
                    yield _failure(chunk, left, failure)
            finally:
                self._release()

    def close(self) -> None:
        """End the child. A thread that is decoding sees the end of its frames."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()
        if self._busy.acquire(blocking=False):
            self._release()
            self._busy.release()

    def _ready_child(self, path: str) -> ChildProcess:
        if self._closed:
            raise VideoError(
                "The decoder is closed; call setup() for a new one.",
                kind="decoder-crash",
                path=path,
            )
        if self._child is not None and not self._child.alive:
            self._child.close()
            self._child = None
        if self._child is None:
            self._child = ChildProcess(self._engine, self._options, self._limits)
        return self._child

    def _release(self) -> None:
        """Let go of a child that is dead or no longer wanted; called with the lock held."""
        if self._child is not None and (self._closed or not self._child.alive):
            self._child.close()
            self._child = None


class InProcessDecoder:
    """The same engine without a child: the slow way to be safe, the quick way to debug.

    A hang here hangs the caller. Benchmarks compare it with the child.
    """

    def __init__(self, factory: EngineFactory, options: dict[str, Any]) -> None:
        self._engine: Engine = factory(options, _no_progress)
        self.max_pts_error_seconds = 0.0

    def __enter__(self) -> InProcessDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def probe(self, path: str, video_id: str | None = None) -> Video:
        return self._engine.probe(path, video_id or content_id(path))

    def read_text(self, path: str) -> tuple[TextLine, ...]:
        from longvid.decode.subtitle_engine import read_text

        return text_lines(read_text(path, _no_progress))

    def group_starts(self, path: str) -> tuple[float, ...]:
        return tuple(self._engine.group_starts(path))

    def decode(self, chunk: Chunk) -> Iterator[FrameBatch | Failure]:
        plans = {plan.segment_index: plan for plan in chunk.segments}
        try:
            for item in self._engine.decode(chunk.video.path, chunk.segments, _heap_frames):
                if not isinstance(item, DecodedSegment):
                    message = {**asdict(item), "failure_kind": item.kind}
                    yield _gap(chunk.video, message)
                    continue
                message = {
                    "pts_seconds": item.pts_seconds,
                    "duration_seconds": item.duration_seconds,
                    "rows": item.rows,
                    "shape": item.data.shape,
                    "pictures": [asdict(picture) for picture in item.pictures],
                }
                self.max_pts_error_seconds = max(self.max_pts_error_seconds, item.pts_error_seconds)
                plan = plans.pop(item.segment_index)
                yield _batch(chunk.video, plan, message, item.data)
        except VideoError as error:
            failure = ChildFailure(error.kind, str(error))
            yield _failure(chunk, list(plans.values()), failure)

    def close(self) -> None:
        self._engine.close()


def _no_progress() -> None:
    return


def _heap_frames(shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.empty(shape, np.uint8)


def _batch(
    video: Video, plan: SegmentPlan, message: dict[str, Any], memory: mmap.mmap | Any
) -> FrameBatch:
    """Wrap the frames of a segment without copying them: the tensor keeps the memory alive."""
    shape = tuple(message["shape"])
    data = torch.frombuffer(memory, dtype=torch.uint8, count=int(np.prod(shape))).view(shape)
    slow = torch.zeros(shape[0], dtype=torch.bool)
    for row, is_slow in zip(message["rows"], plan.slow, strict=True):
        if row >= 0 and is_slow:
            slow[row] = True
    return FrameBatch(
        video_id=video.video_id,
        segment_index=plan.segment_index,
        start_seconds=plan.start_seconds,
        end_seconds=plan.end_seconds,
        data=data,
        pts_seconds=torch.tensor(message["pts_seconds"], dtype=torch.float64),
        duration_seconds=torch.tensor(message["duration_seconds"], dtype=torch.float64),
        slow=slow,
        pictures=tuple(_picture(video.video_id, one) for one in message["pictures"]),
    )


def _picture(video_id: str, message: dict[str, Any]) -> Picture:
    """Restore a picture; across a pipe its bytes are base64."""
    jpeg = message["jpeg"]
    data = jpeg if isinstance(jpeg, bytes) else base64.b64decode(jpeg)
    return Picture(video_id, message["pts_seconds"], data, message["height"], message["width"])


def _gap(video: Video, message: dict[str, Any]) -> Failure:
    start, end = (video.player_seconds(message[name]) for name in ("start_seconds", "end_seconds"))
    sentence = message["sentence"].format(start=start, end=end)
    return Failure(
        video_id=video.video_id,
        path=video.path,
        stage="decode",
        kind=message["failure_kind"],
        error=f"{video.path}: {sentence}; the rest is kept.",
        start_seconds=message["start_seconds"],
        end_seconds=message["end_seconds"],
    )


def _sentence(path: str, failure: ChildFailure) -> str:
    text = str(failure) or "the decoder ran out of the memory it may use"
    return text if path in text else f"{path}: {text.removesuffix('.')}."


def _failure(chunk: Chunk, left: list[SegmentPlan], failure: ChildFailure) -> Failure:
    return Failure(
        video_id=chunk.video.video_id,
        path=chunk.video.path,
        stage="decode",
        kind=failure.kind,
        error=_sentence(chunk.video.path, failure),
        start_seconds=left[0].start_seconds if left else chunk.end_seconds,
        end_seconds=chunk.end_seconds,
        stderr=failure.stderr,
    )
