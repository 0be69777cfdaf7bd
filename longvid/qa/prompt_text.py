"""Subtitles in the prompt: which lines a question is shown beside the selected frames."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from longvid.lazy_import import torch
from longvid.llm.prompt import with_subtitles
from longvid.store import Store, stored_subtitles
from longvid.timed_text.alignment import (
    align_to_covering_frame,
    align_to_preceding_frame,
    list_at_frames,
)
from longvid.types import Question, Segment, Selection, TextLine

#: Videos whose subtitles are kept at hand.
_VIDEOS_KEPT = 64


class PromptText:
    """Adds the subtitles of the shown segments to a prompt.

    Args:
        store: Where the subtitles are.
        mode: "none", "listed", "interleaved" or "covering", as `ask.subtitles`.
    """

    def __init__(self, store: Store, mode: str) -> None:
        self._mode = mode
        #: Subtitles, in order of their start, in place of those that the store has of a video.
        self.replaced: dict[str, Sequence[TextLine]] = {}
        self._stored = lru_cache(_VIDEOS_KEPT)(lambda video_id: stored_subtitles(store, video_id))

    def subtitles(self, video_id: str) -> Sequence[TextLine]:
        """Return the subtitles of a video."""
        if video_id in self.replaced:
            return self.replaced[video_id]
        return self._stored(video_id)

    def add(self, question: Question, selection: Selection) -> tuple[Question, Selection]:
        """List the subtitles of the shown segments before the question, or between its frames."""
        if self._mode == "none":
            return question, selection
        by_video = itertools.groupby(selection.segments, lambda segment: segment.video_id)
        spoken: list[tuple[str, ...]] = []
        lines: list[str] = []
        for _, group in by_video:
            segments = list(group)
            said = self._within(segments, question.span)
            shown = torch.cat([s.tokens.counts(s.num_frames) > 0 for s in segments])
            pts_seconds = torch.cat([segment.pts_seconds for segment in segments])[shown]
            if self._mode == "listed":
                lines += list_at_frames(said, pts_seconds.tolist())
                continue
            place = (
                align_to_preceding_frame if self._mode == "interleaved" else align_to_covering_frame
            )
            after = iter(place(said, pts_seconds.tolist()))
            texts = [next(after) if seen else "" for seen in shown.tolist()]
            for segment in segments:
                spoken.append(tuple(texts[: segment.num_frames]))
                del texts[: segment.num_frames]
        if lines:
            text = with_subtitles(question.text, dict.fromkeys(lines))
            question = replace(question, text=text)
        return question, replace(selection, spoken=tuple(spoken))

    def _within(
        self, segments: Sequence[Segment], span: tuple[float, float] | None
    ) -> tuple[TextLine, ...]:
        """Return the subtitles of the shown segments of one video, each once; of a span alone."""
        first, last = span or (-math.inf, math.inf)
        return tuple(
            line
            for line in self.subtitles(segments[0].video_id)
            if line.start_seconds < last
            and line.end_seconds > first
            and any(
                line.start_seconds < segment.end_seconds
                and line.end_seconds > segment.start_seconds
                for segment in segments
                if len(segment.tokens)
            )
        )
