"""Where an answer's things are: the grounder, on pictures of the frames shown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from longvid.config import Config
from longvid.errors import counted
from longvid.protocols import Grounder, LanguageModel
from longvid.qa.candidate_choice import choose_tracks
from longvid.qa.decoded_pictures import decoded_pictures
from longvid.qa.prepared import Clock
from longvid.qa.shown_pictures import shown_pictures
from longvid.store import Store
from longvid.store.detected_boxes import detector_fingerprint, with_stored_boxes
from longvid.types import Answer, Picture, Question, Selection

_MOST_PICTURES = 64


class AnswerGrounding:
    """Grounds answers with a configuration's grounder, loaded at the first answer.

    Boxes that the store has of its detector are taken, and only the rest is looked for. Frames that
    are decoded again are looked at themselves.

    Args:
        config: With its grounder; None leaves answers as they are.
        store: Holds the pictures.
        device: Where its model runs.
    """

    def __init__(self, config: Config, store: Store, device: str) -> None:
        self._part = config.grounder
        self._frames = config.ask.ground_frames
        self._reads_pictures = config.llm.reads_pictures
        self._store = store
        self._device = device
        self._grounder: Grounder | None = None
        self._fingerprint = ""

    def require_checkpoints(self) -> None:
        """Find what the grounder needs, so that no question is answered for nothing.

        Raises:
            ModelError: A checkpoint is missing.
        """
        for checkpoint in self._part.checkpoints() if self._part is not None else ():
            checkpoint.find()

    def add(
        self, question: Question, answer: Answer, selection: Selection, llm: LanguageModel
    ) -> Answer:
        """Return the answer with its tracks, or with a note that nothing was found.

        The time that it takes is `seconds["ground"]`; "ground_pictures", "ground_find" and
        "ground_choose" are parts of it.

        Args:
            question, answer, selection: What was asked, answered and shown.
            llm: Chooses among candidates, where the grounder gives several.

        Raises:
            StoreError: The store keeps no pictures of a video that was shown.
            ModelError: The grounder's checkpoint is missing.
        """
        if self._part is None:
            return answer
        clock = Clock()
        started = time.perf_counter()
        pictures = selection.pictures or shown_pictures(self._store, selection)
        if self._grounder is None:
            self._grounder = self._part.setup(self._device)
            self._fingerprint = detector_fingerprint(self._part)
        chosen = nothing = not_decoded = ""
        with clock("ground_pictures"):
            shown = _spread(pictures, _MOST_PICTURES)
            if self._frames == "decoded":
                shown, not_decoded = decoded_pictures(self._store, shown)
            else:
                shown = with_stored_boxes(self._store, shown, self._fingerprint)
        with clock("ground_find"):
            tracks = tuple(self._grounder(question, answer, shown))
        if any(track.is_candidate for track in tracks):
            with clock("ground_choose"):
                tracks, chosen = choose_tracks(
                    tracks,
                    question,
                    answer,
                    selection,
                    shown,
                    llm,
                    reads_pictures=self._reads_pictures,
                )
        if not tracks:
            seen = counted(len(shown), "picture")
            nothing = f"Nothing that the answer names was found in {seen}."
        note = " ".join(filter(None, (answer.note, not_decoded, chosen, nothing)))
        seconds = {**answer.seconds, **clock.seconds, "ground": time.perf_counter() - started}
        return replace(answer, tracks=tracks, note=note, seconds=seconds)


def _spread(pictures: Sequence[Picture], most: int) -> Sequence[Picture]:
    """Return at most so many pictures, evenly spread."""
    if len(pictures) <= most:
        return pictures
    return [pictures[place * len(pictures) // most] for place in range(most)]
