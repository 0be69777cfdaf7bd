"""Put the rows of a benchmark to longvid: index their videos, ask, and note what was shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.published_protocols import OptionForm
from benchmarks.harness.record import Record
from benchmarks.harness.subtitle_files import read_subtitles
from longvid.config import Config
from longvid.errors import QuestionError
from longvid.indexing.report import Progress
from longvid.llm.prompt import list_choices
from longvid.qa.video_qa import VideoQA
from longvid.sample import plan_segments
from longvid.timed_text.alignment import list_at_frames
from longvid.types import Answer, Failure, Query, Question, Segment, TextLine, Track, Video

_MILLI = 3
_SUBTITLES = "This video's subtitles are listed below:"

Window = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a row becomes a question.

    Args:
        question: Template with the field {question}.
        options: "likelihood" lets the model score each option; "text" lists them with letters
            and reads the letter from what the model writes.
        form: How options are listed under "text"; None as `longvid.llm.prompt` does.
        text_only: Shows no frame at all, to see what words alone give away.
        subtitles: Folder of subtitle files, None for none. Where the configuration does not say
            how they are shown (`ask.subtitles`), the lines at the sampled frames are put before the
            question, as Video-MME does.
    """

    question: str = "{question}"
    options: str = "likelihood"
    form: OptionForm | None = None
    text_only: bool = False
    subtitles: Path | None = None


def question_of(
    record: Record, protocol: Protocol, video_id: str, lines: Sequence[str] = ()
) -> Question:
    """Lay a row out as the protocol says.

    Args:
        record: The row.
        protocol: Words around the question, and how options are put.
        video_id: Of its video.
        lines: Lines of subtitles.
    """
    text = protocol.question.replace("{question}", record.question.strip())
    if lines:
        text = "\n".join((_SUBTITLES, *lines, text))
    if not record.options:
        return Question(text, (video_id,))
    if protocol.options == "likelihood":
        return Question(text, (video_id,), record.options)
    if protocol.form is not None:
        return Question(protocol.form.write(text, record.options), (video_id,))
    return Question(text + list_choices(record.options, lettered=True), (video_id,))


@dataclass(frozen=True, slots=True)
class _Subtitles:
    """The subtitles of one video: with their times, or as the lines at the sampled frames."""

    path: Path | None = None
    readable: bool = False
    subtitles: tuple[TextLine, ...] = ()
    listed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Notes:
    """What the selector below knows of the questions in hand."""

    windows: dict[Question, Window] = field(default_factory=dict)
    shown: dict[Question, list[float]] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget the last batch."""
        self.windows.clear()
        self.shown.clear()


@dataclass(frozen=True, slots=True)
class _Watched:
    """The configuration's selectors, within the part that is asked about, and what they showed.

    Frames outside that part are left out first; a part between two sampled frames, or behind the
    end, shows the frame nearest to its middle.

    Args:
        notes: Parts that are asked about, and what was shown.
        selectors: Of the configuration.
        text_only: Nothing is shown.
    """

    notes: _Notes
    selectors: tuple[Any, ...]
    text_only: bool = False

    def setup(self, device: str = "cpu") -> _Watched:
        return replace(self, selectors=tuple(one.setup(device) for one in self.selectors))

    def __call__(self, query: Query, segments: Sequence[Segment], budget: int) -> Sequence[Segment]:
        segments = self._inside(query, segments)
        for select in self.selectors:
            segments = select(query, segments, budget)
        if self.text_only:
            segments = [s.with_tokens(s.tokens.keep(s.tokens.frame < 0)) for s in segments]
        shown = []
        for segment in segments:
            frames = torch.unique_consecutive(segment.tokens.frame).long()
            shown += [round(seconds, _MILLI) for seconds in segment.pts_seconds[frames].tolist()]
        self.notes.shown[query.question] = shown
        return segments

    def _inside(self, query: Query, segments: Sequence[Segment]) -> Sequence[Segment]:
        window = self.notes.windows.get(query.question)
        if window is None:
            return segments
        start, end = window
        times = torch.cat([segment.pts_seconds for segment in segments])
        if not ((times >= start) & (times <= end)).any():
            start = end = float(times[(times - (start + end) / 2).abs().argmin()])
        kept = []
        for segment in segments:
            inside = (segment.pts_seconds >= start) & (segment.pts_seconds <= end)
            if inside.any():
                tokens = segment.tokens
                kept.append(segment.with_tokens(tokens.keep(inside[tokens.frame.long()])))
        return kept


class Asker:
    """Asks rows of one store and returns what a log of predictions keeps of each."""

    def __init__(self, store: str, config: Config, protocol: Protocol) -> None:
        self.notes = _Notes()
        watched = _Watched(self.notes, config.selectors, protocol.text_only)
        self._protocol = protocol
        self._qa = VideoQA(
            store,
            replace(config, selectors=(watched,)),
            config.run.device,
            allow_empty=protocol.text_only,
        )
        self._sample = config.sample
        self._videos = {
            path: stored.video for stored in self._qa.store.videos() for path in stored.paths
        }
        self._between = config.ask.subtitles != "none"
        self._subtitles = _Subtitles()
        self._failures = {
            failure.path: failure for failure in self._qa.store.failures() if not failure.is_gap
        }

    def ask(self, rows: Sequence[tuple[Record, str]]) -> Iterator[dict[str, Any]]:
        """Answer rows, each with the path of its video; a row that fails says so.

        Args:
            rows: Best with the rows of one video side by side.

        Yields:
            One prediction a row, in the same order; as many at a time as are answered at a time
            (`ask.batch_questions`), so that little is lost when the process dies.
        """
        step = self._qa.config.ask.batch_questions
        for first in range(0, len(rows), step):
            yield from self._ask(rows[first : first + step])

    def _ask(self, rows: Sequence[tuple[Record, str]]) -> list[dict[str, Any]]:
        self.notes.clear()
        self._qa.subtitles.clear()
        results: list[dict[str, Any]] = []
        asked: list[tuple[int, Question]] = []
        later: list[int] = []
        for place, (record, path) in enumerate(rows):
            video = self._videos.get(path)
            if video is None:
                results.append(_undecoded(record, self._failures.get(path)))
                continue
            results.append({"id": record.id})
            lines = self._lines(record, video, results[-1])
            try:
                question = question_of(record, self._protocol, video.video_id, lines)
            except QuestionError as error:  # an option given twice
                results[-1].update(status="model_error", error_kind="question", error=str(error))
                continue
            window = _window(record)
            if self.notes.windows.setdefault(question, window) != window:
                later.append(place)  # the same words about another part of the same video
            else:
                asked.append((place, question))
        answers = self._qa.ask_many([question for _, question in asked])
        for (place, question), answer in zip(asked, answers, strict=True):
            results[place].update(_outcome(answer, self.notes.shown.get(question, [])))
        if later:
            for place, result in zip(later, self._ask([rows[i] for i in later]), strict=True):
                results[place] = result
        return results

    def _lines(self, record: Record, video: Video, result: dict[str, Any]) -> list[str]:
        """Return what is to stand before the question, or lay out what stands between frames.

        How many lines there are goes into the result; None where the file cannot be read.
        """
        if self._protocol.subtitles is None:
            return []
        path = self._protocol.subtitles / record.subtitles
        if self._subtitles.path != path:  # rows of one video share its subtitles
            self._subtitles = self._read_subtitles(
                path, record.subtitles_from_seconds or 0.0, video
            )
        subtitles = self._subtitles
        if self._between:
            self._qa.subtitles[video.video_id] = subtitles.subtitles
        result["subtitle_lines"] = (
            len(subtitles.listed or subtitles.subtitles) if subtitles.readable else None
        )
        return subtitles.listed

    def _read_subtitles(self, path: Path, start: float, video: Video) -> _Subtitles:
        try:
            lines = read_subtitles(path, start, video.end_seconds)
        except AnnotationError:
            return _Subtitles(path)
        if self._between:
            return _Subtitles(path, True, lines)
        segments = plan_segments(video, self._sample)
        times = [seconds for segment in segments for seconds in segment.sample_seconds]
        return _Subtitles(path, True, (), list_at_frames(lines, times))


def _window(record: Record) -> Window:
    if record.start_seconds is None or record.end_seconds is None:
        return None
    return record.start_seconds, record.end_seconds


def _outcome(answer: Answer | Failure, shown: Sequence[float]) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"status": "model_error", "error_kind": answer.kind, "error": answer.error}
    told: dict[str, Any] = {"status": "ok", "answer": answer.text}
    if answer.choice is not None:
        told["choice"] = answer.choice
        told["choice_scores"] = [round(score, 5) for score in answer.choice_scores]
    if answer.tracks:
        told["tracks"] = [_track(track) for track in answer.tracks]
    return {
        **told,
        "frames": list(shown),
        "spans": [
            [round(span.start_seconds, _MILLI), round(span.end_seconds, _MILLI)]
            for span in answer.evidence
        ],
        "visual_tokens": answer.visual_tokens,
        "prompt_tokens": answer.prompt_tokens,
        "output_tokens": answer.output_tokens,
        "seconds": {step: round(value, 6) for step, value in answer.seconds.items()},
    }


def _track(track: Track) -> dict[str, Any]:
    boxes = [
        [round(box.pts_seconds, _MILLI), *(round(side, 4) for side in box.xyxy)]
        for box in track.boxes
    ]
    return {"phrase": track.phrase, "boxes": boxes}


def _undecoded(record: Record, failure: Failure | None) -> dict[str, Any]:
    if failure is None:
        return {
            "id": record.id,
            "status": "decode_error",
            "error_kind": "unreadable",
            "error": f"The video of {record.id} is not in the store.",
        }
    broken_by_model = failure.stage == "encode"
    return {
        "id": record.id,
        "status": "model_error" if broken_by_model else "decode_error",
        "error_kind": failure.kind,
        "error": failure.error,
    }


def index_videos(
    paths: Iterable[str],
    store: str,
    config: Config,
    runner: str,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Index the videos that the store does not hold yet."""
    from longvid.indexing.ledger import open_store

    sizes = {
        path: stored.source_bytes
        for stored in open_store(store, config).videos()
        for path in stored.paths
    }
    # A file of the name and size that was indexed is not read again to see that it is the same.
    missing = [path for path in paths if sizes.get(path) != os.path.getsize(path)]
    if not missing:
        return
    if runner == "ray":
        from longvid.cluster import ray_runner

        ray_runner.index(missing, store=store, config=config, on_progress=on_progress)
    else:
        from longvid import api

        api.index(missing, store=store, config=config, on_progress=on_progress)


def model_identity(config: Config) -> Mapping[str, str]:
    """Name the weights that answer."""
    from longvid.models import checkpoint_files

    name = str(getattr(config.llm, "model", ""))
    folder = checkpoint_files.part_of(checkpoint_files.locate(name), checkpoint_files.VLM)
    return {"name": Path(name).name, "weights": checkpoint_files.identity(folder)}
