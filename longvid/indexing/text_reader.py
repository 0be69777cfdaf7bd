"""Let the text sources of a configuration read a video, and write what they read.

This is one function of one video, for every runner: it reads what is missing, goes on where a
killed run stopped, and turns what a video does not allow into failures of stage "text".
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from longvid import registry
from longvid.config import Config, torch_device
from longvid.config.tables import part_table
from longvid.decode.audio_decoder import SAMPLE_RATE, AudioReader
from longvid.decode.cuts import read_cuts
from longvid.errors import ConfigError, ModelError, VideoError, counted
from longvid.inputs import holds_video
from longvid.protocols import ScreenText, ScreenTextPart, Speech, SpeechPart, TextSourcePart
from longvid.remote_files import LocalCopies
from longvid.store import Store
from longvid.store.timed_text import TextWriter, text_fingerprints
from longvid.types import Audio, Chunk, Failure, FrameBatch, FrameSize, SegmentPlan, TextLine, Video

#: Text is written after each so many seconds of a video; a killed run repeats no more than this.
_PART_SECONDS = 300.0
_FRAMES_A_SEGMENT = 8


def text_fingerprint(part: TextSourcePart) -> str:
    """Name what a text source reads: its settings, its weights and its version.

    Returns:
        16 hexadecimal digits.

    Raises:
        ConfigError: Its package is not installed.
        ModelError: Its checkpoint is missing.
    """
    described = [part_table("text_source", part, fingerprint=True), part.identity()]
    text = json.dumps(described, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class TextResult:
    """What the text sources did with one video.

    Args:
        video_id: Of the video.
        num_lines: Written, by source.
        kept: Sources whose text by other settings was kept.
        complete: Names of the text sources of which the store holds all lines.
        failures: Of stage "text".
        is_silent: Speech was looked for, and there is no sound.
    """

    video_id: str
    num_lines: dict[str, int]
    kept: tuple[str, ...] = ()
    complete: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    is_silent: bool = False


def summed(store: Store, results: Iterable[TextResult]) -> tuple[list[Failure], str]:
    """Put the failures of a run on record, in place of earlier ones, and say what was kept.

    Returns:
        The failures, and a note for a person, or "".
    """
    failures: list[Failure] = []
    complete: set[tuple[str, str]] = set()
    num_kept = 0
    for result in results:
        failures += result.failures
        complete |= {(result.video_id, name) for name in result.complete}
        num_kept += bool(result.kept)
    if complete:
        store.clear_failures(
            {video_id for video_id, _ in complete},
            lambda failure: (
                failure.stage == "text" and (failure.video_id, failure.decoder) in complete
            ),
        )
    if failures:
        store.record_failures(failures)
    if not num_kept:
        return failures, ""
    return failures, (
        f"{counted(num_kept, 'video')} kept text that other settings, weights or versions of a "
        "text source have read; longvid text --again replaces it"
    )


class TextReader:
    """Reads the text of videos, one after the other; close it at the end.

    Args:
        config: Names the text sources, the decoder, the device and the room for remote files.

    Raises:
        ConfigError: Two sources of one kind, or a package is not installed.
        ModelError: A checkpoint is missing.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._parts = {part.source: part for part in config.text_sources}
        if len(self._parts) < len(config.text_sources):
            raise ConfigError(
                "text_sources holds two of one kind; keep one that hears and one that reads the "
                "screen."
            )
        self._fingerprints = {
            source: text_fingerprint(part) for source, part in self._parts.items()
        }
        self._copies = LocalCopies(config.run.cache_mb * 1_000_000)
        self._speech: Speech | None = None
        self._screen: ScreenText | None = None
        self._audio: AudioReader | None = None

    def __enter__(self) -> TextReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that decode."""
        if self._audio is not None:
            self._audio.close()
            self._audio = None

    def read(self, store: Store, video: Video, *, again: bool = False) -> TextResult:
        """Read what is missing of a video's text, and write it.

        Args:
            store: Holds the video.
            video: Its path names the file.
            again: Replace text that other settings, weights or versions have read.

        Raises:
            StoreError: The store refuses, or holds damaged text.
        """
        num_lines: dict[str, int] = {}
        kept: list[str] = []
        complete: list[str] = []
        failures: list[Failure] = []
        is_silent = False
        for source, part in self._parts.items():
            name = registry.name_of("text_source", part)
            fingerprint = self._fingerprints[source]
            there = text_fingerprints(store, video.video_id, source)
            if there and fingerprint not in there and not again:
                kept.append(source)
                continue
            writer = TextWriter(store, video.video_id, source, fingerprint)
            if writer.is_complete:
                complete.append(name)
                continue
            try:
                with self._copies.open(video.path) as local:
                    _require_as_indexed(local, video)
                    num_lines[source] = self._write(writer, part, replace(video, path=local))
                is_silent |= source == "speech" and writer.done_seconds is None
                complete.append(name)
            except OSError as error:
                kind, sentence = "unreadable", f"{video.path} cannot be read: {_reason(error)}."
            except VideoError as error:
                kind, sentence = error.kind, str(error)
            except ModelError as error:
                kind, sentence = "model", str(error)
            else:
                continue
            sentence = f"No {source} text: {sentence}"
            failures.append(
                Failure(video.video_id, video.path, "text", kind, sentence, decoder=name)
            )
        lists = (tuple(kept), tuple(complete), tuple(failures))
        return TextResult(video.video_id, num_lines, *lists, is_silent)

    def _write(self, writer: TextWriter, part: TextSourcePart, video: Video) -> int:
        num_lines = 0
        for lines, done_seconds in self._pieces(part, video, writer.done_seconds):
            writer.add(lines, done_seconds)
            num_lines += len(lines)
        writer.finish()
        return num_lines

    def _pieces(
        self, part: TextSourcePart, video: Video, done_seconds: float | None
    ) -> Iterator[tuple[Sequence[TextLine], float]]:
        """Yield the lines of each part of a video, and up to where it is read."""
        device = torch_device(self._config.run.device)
        if part.source == "speech":
            return self._recognise_speech(part, video, done_seconds, device)
        return self._recognise_screen_text(part, video, done_seconds, device)

    def _recognise_speech(
        self, part: SpeechPart, video: Video, done_seconds: float | None, device: str
    ) -> Iterator[tuple[Sequence[TextLine], float]]:
        if part.sample_rate != SAMPLE_RATE:
            raise ConfigError(
                f"The speech source wants {part.sample_rate} samples a second; sound is decoded "
                f"to {SAMPLE_RATE}."
            )
        if self._audio is None:
            self._audio = AudioReader(part.language)
        if self._speech is None:
            self._speech = part.setup(device)
        start = -float("inf") if done_seconds is None else done_seconds
        blocks = self._audio.blocks(video.path, video.video_id, start)
        held: list[Audio] = []
        for block in blocks:
            held.append(block)
            if block.end_seconds - held[0].start_seconds >= _PART_SECONDS:
                yield list(self._speech(held)), block.end_seconds
                held = []
        if held:
            yield list(self._speech(held)), held[-1].end_seconds

    def _recognise_screen_text(
        self, part: ScreenTextPart, video: Video, done_seconds: float | None, device: str
    ) -> Iterator[tuple[Sequence[TextLine], float]]:
        if self._screen is None:
            self._screen = part.setup(device)
        size = _fit_into(part.frame_size(), video)
        decoder = replace(self._config.decoder, size=size).setup("cpu")
        try:
            start = video.start_seconds if done_seconds is None else done_seconds
            cuts = read_cuts(video.path)
            while start < video.end_seconds:
                end = min(video.end_seconds, start + _PART_SECONDS)
                plans = _plans(start, end, part.every_seconds, cuts)
                # Gaps are on record since the video was indexed.
                decoded = decoder.decode(Chunk(video, plans))
                found = (item for item in decoded if isinstance(item, FrameBatch))
                yield list(self._screen(found)), end
                start = end
        finally:
            decoder.close()


def _require_as_indexed(local: str, video: Video) -> None:
    """Raise VideoError if a file is not the one whose text is wanted."""
    if not holds_video(local, video.video_id):
        message = f"{video.path} has changed since it was indexed; index it again."
        raise VideoError(message, kind="unreadable", path=video.path, stage="text")


def _fit_into(size: FrameSize, video: Video) -> FrameSize:
    """Return the size at which a video fits into a box, not enlarged."""
    scale = min(1.0, size.height / video.height, size.width / video.width)
    height, width = round(video.height * scale), round(video.width * scale)
    return FrameSize(max(1, height), max(1, width))


def _plans(
    start: float, end: float, every_seconds: float, cuts: Sequence[float] = ()
) -> tuple[SegmentPlan, ...]:
    """Plan the frames that are looked at: one each so many seconds, and the first after a cut."""
    count = math.ceil((end - start) / every_seconds)
    grid = (start + index * every_seconds for index in range(count))
    times = sorted({*(time for time in grid if time < end), *(t for t in cuts if start < t < end)})
    plans: list[SegmentPlan] = []
    for first in range(0, len(times), _FRAMES_A_SEGMENT):
        inside = tuple(times[first : first + _FRAMES_A_SEGMENT])
        last = first + _FRAMES_A_SEGMENT
        until = times[last] if last < len(times) else end
        plans.append(SegmentPlan(len(plans), inside[0], until, inside, (False,) * len(inside)))
    return tuple(plans)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
