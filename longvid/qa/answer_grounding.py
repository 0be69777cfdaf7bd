"""Where an answer's things are: the grounder, on the stored pictures of the frames shown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from longvid.errors import counted
from longvid.protocols import Grounder, GrounderPart
from longvid.qa.shown_pictures import shown_pictures
from longvid.store import Store
from longvid.store.detected_boxes import detector_fingerprint, with_stored_boxes
from longvid.types import Answer, Picture, Question, Selection

__all__ = ["AnswerGrounding"]

_MOST_PICTURES = 64


class AnswerGrounding:
    """Grounds answers with a configuration's grounder, loaded at the first answer.

    Boxes that the store has of its detector are taken, and only the rest is looked for.

    Args:
        part: The grounder; None leaves answers as they are.
        store: Holds the pictures.
        device: Where its model runs.
    """

    def __init__(self, part: GrounderPart | None, store: Store, device: str) -> None:
        self._part = part
        self._store = store
        self._device = device
        self._grounder: Grounder | None = None
        self._fingerprint = ""

    def add(self, question: Question, answer: Answer, selection: Selection) -> Answer:
        """Return the answer with its tracks, or with a note that nothing was found.

        The time that it takes is `seconds["ground"]`.

        Raises:
            StoreError: The store keeps no pictures of a video that was shown.
            ModelError: The grounder's checkpoint is missing.
        """
        if self._part is None:
            return answer
        started = time.perf_counter()
        pictures = selection.pictures or shown_pictures(self._store, selection)
        if self._grounder is None:
            self._grounder = self._part.setup(self._device)
            self._fingerprint = detector_fingerprint(self._part)
        shown = with_stored_boxes(self._store, _spread(pictures, _MOST_PICTURES), self._fingerprint)
        tracks = tuple(self._grounder(question, answer, shown))
        note = answer.note
        if not tracks:
            seen = counted(len(shown), "picture")
            nothing = f"Nothing that the answer names was found in {seen}."
            note = " ".join(filter(None, (note, nothing)))
        seconds = {**answer.seconds, "ground": time.perf_counter() - started}
        return replace(answer, tracks=tracks, note=note, seconds=seconds)


def _spread(pictures: Sequence[Picture], most: int) -> Sequence[Picture]:
    """Return at most so many pictures, evenly spread."""
    if len(pictures) <= most:
        return pictures
    return [pictures[place * len(pictures) // most] for place in range(most)]
