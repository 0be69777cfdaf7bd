"""What the tools do: one store, opened when it is first needed, and the folders it may index from.

Nothing here knows the protocol. Blocking calls; one at a time touches the models.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.errors import LongvidError, QuestionError, StoreError

if TYPE_CHECKING:
    from longvid.config import Config
    from longvid.indexing.report import Progress
    from longvid.qa.video_qa import VideoQA
    from longvid.store import Store, StoredVideo
    from longvid.types import Evidence, Picture
    from longvid.types.text_line import TextSourceName

_MOST_LINES = 500
_MOST_PICTURES = 32
_MOST_RESULTS = 50


class VideoLibrary:
    """A store as an agent uses it.

    Args:
        store_uri: Folder or URI; made by the first indexing when it is not there.
        config: Preset or TOML file of a new store.
        roots: Folders whose files may be indexed; none allows no indexing.
    """

    def __init__(self, store_uri: str, config: str, roots: Sequence[Path]) -> None:
        self._store_uri = store_uri
        self._config = config
        self._roots = [root.expanduser().resolve() for root in roots]
        self._qa: VideoQA | None = None
        self._lock = threading.Lock()

    @property
    def store(self) -> Store:
        """The store.

        Raises:
            StoreError: Nothing was indexed yet.
        """
        return self._opened().store

    def _opened(self) -> VideoQA:
        from longvid.qa.video_qa import VideoQA

        with self._lock:
            if self._qa is None:
                self._qa = VideoQA(self._store_uri)
            return self._qa

    def list_videos(self) -> list[dict[str, Any]]:
        from longvid.store import Store

        try:
            store = Store.open(self._store_uri)
        except StoreError:
            return []
        return [self._described(stored) for stored in store.videos()]

    def _described(self, stored: StoredVideo) -> dict[str, Any]:
        return {
            "video_id": stored.video.video_id,
            "name": os.path.basename(stored.paths[0]) if stored.paths else "",
            "path": stored.paths[0] if stored.paths else "",
            "duration_seconds": stored.video.duration_seconds,
            "num_segments": stored.num_segments,
            "tags": dict(stored.tags),
            "stale": _is_stale(stored),
        }

    def index(self, path: str, on_progress: Callable[[Progress], None]) -> dict[str, Any]:
        """Index a video, or every video of a folder.

        Args:
            path: Inside one of the roots.
            on_progress: Called as it goes on.

        Raises:
            QuestionError: The path is not inside a root, or is not there.
        """
        import longvid

        real = self._allowed(path)
        report = longvid.index(
            [str(real)], store=self._store_uri, config=self._own_config(), on_progress=on_progress
        )
        if self._qa is not None:
            self._qa.store.refresh()
        return {
            "videos_indexed": report.videos_indexed,
            "videos_skipped": report.videos_skipped,
            "videos_failed": report.videos_failed,
            "seconds_of_video": report.video_seconds,
            "failures": [
                {"path": failure.path, "error": failure.error} for failure in report.failures
            ],
        }

    def _own_config(self) -> Config | str:
        from longvid.config import Config
        from longvid.store import Store

        try:
            return Config.from_dict({**Store.open(self._store_uri).config, "run": {}})
        except StoreError:
            return self._config

    def _allowed(self, path: str) -> Path:
        try:
            real = Path(path).expanduser().resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            real = None
        if real is None or not any(real.is_relative_to(root) for root in self._roots):
            names = ", ".join(map(str, self._roots)) or "none (start the server with --root FOLDER)"
            raise QuestionError(
                f"{path!r} may not be indexed, or is not there; allowed folders are {names}."
            )
        return real

    def ask(
        self, question: str, video: str | None, choices: Sequence[str], budget: int | None
    ) -> dict[str, Any]:
        """Answer a question, with the spans that support the answer."""
        qa = self._opened()
        answer = qa.ask(question, video=video, choices=tuple(choices), budget=budget)
        return {
            "answer": answer.text,
            "evidence": self._spans(answer.evidence),
            "visual_tokens": answer.visual_tokens,
            "note": answer.note,
        }

    def search(self, text: str, video: str | None, top_k: int) -> dict[str, Any]:
        """Find lines that hold words of a text, and the moments nearest to it."""
        if not 1 <= top_k <= _MOST_RESULTS:
            raise QuestionError(f"top_k must be 1 to {_MOST_RESULTS}, got {top_k}.")
        found, notes = self._opened().search_all_noted(text, video=video, top_k=top_k)
        return {"results": self._spans(found), "note": " ".join(notes)}

    def _spans(self, evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
        stale = {
            stored.video.video_id: _is_stale(stored) for stored in self._opened().store.videos()
        }
        return [
            {
                "video_id": span.video_id,
                "path": span.path,
                "start_seconds": span.start_seconds,
                "end_seconds": span.end_seconds,
                "score": span.score,
                "text": span.text,
                "source": span.source,
                "stale": stale.get(span.video_id, False),
            }
            for span in evidence
        ]

    def frames(self, video: str, seconds: Sequence[float]) -> list[Picture]:
        """Return the stored picture nearest to each time."""
        from longvid.store import stored_pictures

        if not 1 <= len(seconds) <= _MOST_PICTURES:
            raise QuestionError(f"Give 1 to {_MOST_PICTURES} times, got {len(seconds)}.")
        store = self.store
        return stored_pictures(store, store.find(video), seconds)

    def transcript(
        self,
        video: str,
        start_seconds: float,
        end_seconds: float,
        source: TextSourceName | None = None,
    ) -> dict[str, Any]:
        """Return the lines of timed text of a span, in time order.

        Args:
            video: Id, name or path.
            start_seconds, end_seconds: Half-open span, in the time of a player.
            source: The only one wanted; None for all three.
        """
        from longvid.store.timed_text import read_text

        store = self.store
        video_id = store.find(video)
        lines = [
            {
                "start_seconds": line.start_seconds,
                "end_seconds": line.end_seconds,
                "text": line.text,
                "source": line.source,
            }
            for line in read_text(store, video_id)
            if source in (None, line.source)
            and line.start_seconds < end_seconds
            and line.end_seconds > start_seconds
        ]
        return {
            "video_id": video_id,
            "lines": lines[:_MOST_LINES],
            "num_more": max(0, len(lines) - _MOST_LINES),
        }


def _is_stale(stored: StoredVideo) -> bool:
    """Return whether a video's file is there and is not the one that was indexed."""
    from longvid.inputs import content_id

    for path in stored.paths:
        try:
            if os.path.isfile(path):
                return content_id(path) != stored.video.video_id
        except (OSError, LongvidError):
            continue
    return False
