"""The recognised text of a video: one annotation a source, written in parts, resumed and replaced.

    kind "speech" or "screen", fingerprint of the text source
        000000.json …    {"done": seconds, "lines": [[start, end, text, language, confidence, box,
                          words], …]}, in time order
        complete.json    {} once the whole video is read

Every part is published as soon as it is written, so that a run which was killed goes on after the
last of them. What another text source wrote stays until the new text is complete.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from longvid.errors import LongvidError, StoreError
from longvid.store.annotation_writer import AnnotationWriter
from longvid.store.annotations import AnnotationKey
from longvid.store.player_time import in_player_time, stored_subtitles
from longvid.types import TextLine, Word
from longvid.types.text_line import TextSourceName

if TYPE_CHECKING:
    from longvid.store.store import Store

#: Sources whose text is recognised; subtitles are kept as they always were.
RECOGNISED: tuple[TextSourceName, ...] = ("speech", "screen")
_COMPLETE = "complete.json"
_TOUCHING_SECONDS = 0.05


class TextWriter:
    """Writes the text that one source reads in one video.

    Args:
        store: Where the video is.
        video_id: Of the video.
        source: "speech" or "screen".
        fingerprint: Of the text source, its weights and its version.

    Raises:
        StoreError: What is there is damaged.
    """

    def __init__(
        self, store: Store, video_id: str, source: TextSourceName, fingerprint: str
    ) -> None:
        self._annotations = store.annotations
        self._key = AnnotationKey(video_id, source, fingerprint)
        self._writer = AnnotationWriter(store.annotations, self._key)
        parts = self._writer.parts
        #: Whether the whole video is read.
        self.is_complete = any(entry.name == _COMPLETE for part in parts for entry in part.entries)
        #: Up to where it is read, None at the beginning.
        self.done_seconds: float | None = None
        if parts and not self.is_complete:
            name = parts[-1].entries[-1].name
            found = self._annotations.read(video_id, source, fingerprint, [name]) or {}
            self.done_seconds = float(json.loads(found[name])["done"])

    def add(self, lines: Sequence[TextLine], done_seconds: float) -> None:
        """Write the next lines.

        Args:
            lines: In time order, none of them before the last.
            done_seconds: Up to where the video is read now.

        Raises:
            StoreError: The store refuses.
        """
        document = {"done": done_seconds, "lines": [_row(line) for line in lines]}
        self._write(f"{len(self._writer.parts):06d}.json", document)
        self.done_seconds = done_seconds

    def finish(self) -> None:
        """Say that the whole video is read, and remove what other text sources wrote.

        Raises:
            StoreError: The store refuses.
        """
        self._write(_COMPLETE, {})
        self.is_complete = True
        for key in self._annotations.list_keys(self._key.video_id, self._key.kind):
            if key != self._key:
                self._annotations.remove(key.video_id, key.kind, key.fingerprint)

    def _write(self, name: str, document: object) -> None:
        data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(
            errors="replace"  # half a character, from a server's JSON
        )
        self._writer.add({name: data})


def text_fingerprints(store: Store, video_id: str, source: TextSourceName) -> tuple[str, ...]:
    """Return the fingerprints of the text sources whose text of a video is kept, sorted."""
    return tuple(key.fingerprint for key in store.annotations.list_keys(video_id, source))


def read_recognised(store: Store, video_id: str, source: TextSourceName) -> tuple[TextLine, ...]:
    """Return what was recognised in a video, in time order; what is read of it so far.

    The times are those of a player. While a text source replaces another one, the complete text
    counts.

    Raises:
        StoreError: The text is damaged.
    """
    best: dict[str, bytes] = {}
    for fingerprint in text_fingerprints(store, video_id, source):
        entries = store.annotations.read(video_id, source, fingerprint) or {}
        if not best or (_COMPLETE in entries and _COMPLETE not in best):
            best = entries
    lines: list[TextLine] = []
    try:
        for name, data in best.items():
            if name != _COMPLETE:
                lines += [_line(row, source) for row in json.loads(data)["lines"]]
    except (ValueError, KeyError, TypeError, LongvidError) as error:
        raise StoreError(
            f"The {source} text of video {video_id} in the store {store.uri} cannot be read "
            f"({error}); make it again with longvid text."
        ) from error
    clock_start = store.clock_start_seconds(video_id)
    return tuple(in_player_time(line, clock_start) for line in joined_lines(lines))


def read_text(store: Store, video_id: str) -> tuple[TextLine, ...]:
    """Return all timed text of a video, subtitles included, in time order of a player.

    Raises:
        StoreError: Some of it is damaged.
    """
    lines = [*stored_subtitles(store, video_id)]
    for source in RECOGNISED:
        lines += read_recognised(store, video_id, source)
    return tuple(sorted(lines, key=lambda line: (line.start_seconds, line.end_seconds)))


def remove_text(store: Store, video_id: str, source: TextSourceName) -> bool:
    """Remove what was recognised in a video; False where there is nothing."""
    keys = store.annotations.list_keys(video_id, source)
    for key in keys:
        store.annotations.remove(key.video_id, key.kind, key.fingerprint)
    return bool(keys)


def joined_lines(lines: Sequence[TextLine]) -> tuple[TextLine, ...]:
    """Join lines of the screen that were cut where one part ends and the next begins."""
    joined: list[TextLine] = []
    for line in sorted(lines, key=lambda line: (line.start_seconds, line.end_seconds)):
        for place in range(len(joined) - 1, max(-1, len(joined) - 9), -1):
            before = joined[place]
            touch = abs(line.start_seconds - before.end_seconds) < _TOUCHING_SECONDS
            if line.source == "screen" and touch and before.text == line.text:
                joined[place] = replace(before, end_seconds=line.end_seconds)
                break
        else:
            joined.append(line)
    return tuple(joined)


def _row(line: TextLine) -> list[object]:
    words = [
        [round(word.start_seconds, 3), round(word.end_seconds, 3), word.text] for word in line.words
    ]
    box = None if line.box is None else [round(edge, 4) for edge in line.box]
    times = [round(line.start_seconds, 3), round(line.end_seconds, 3)]
    return [*times, line.text, line.language, round(line.confidence, 4), box, words]


def _line(row: Sequence[object], source: TextSourceName) -> TextLine:
    start, end, text, language, confidence, box, words = row
    return TextLine(
        float(start),  # type: ignore[arg-type]  # checked by float itself
        float(end),  # type: ignore[arg-type]
        str(text),
        source,
        str(language),
        float(confidence),  # type: ignore[arg-type]
        None if box is None else tuple(float(edge) for edge in box),  # type: ignore[attr-defined]
        tuple(Word(float(a), float(b), str(word)) for a, b, word in words),  # type: ignore[attr-defined]
    )
