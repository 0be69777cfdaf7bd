"""The grounder for real footage: phrases of the answer, an open-vocabulary detector, tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longvid.errors import ConfigError
from longvid.methods.phrase_tracks import Detect, ground_phrases
from longvid.methods.phrases import noun_phrases
from longvid.methods.tracking import Detection, suppress
from longvid.types import Answer, CheckpointRef, Picture, Question, Track

if TYPE_CHECKING:
    import numpy as np

__all__ = ["OpenVocabulary"]


@dataclass(frozen=True, slots=True)
class OpenVocabulary:
    """Boxes of what an answer names, by OWLv2 or Grounding DINO, linked to tracks.

    An answer that names nothing ("yes", "two") is grounded by its question's things.

    Args:
        model: A folder or a hub name.
        threshold: Least score of a box; 0 takes the family's usual one, 0.2 or 0.3.
        most: Boxes of one plural thing in one picture.
        dtype: "auto", "float32", "bfloat16" or "float16".
    """

    model: str = "google/owlv2-base-patch16-ensemble"
    threshold: float = 0.0
    most: int = 8
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1 or self.most < 1:
            raise ConfigError(
                "grounder needs threshold in [0, 1) and most of at least 1, got "
                f"{self.threshold} and {self.most}."
            )

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        """Name the detector."""
        from longvid.models.checkpoint_ref import hub_checkpoint

        return (hub_checkpoint("grounder", "grounder.model", self.model),)

    def setup(self, device: str = "cpu") -> _Worker:
        """Load the detector.

        Raises:
            ModelError: It is missing, or of another family.
        """
        return _Worker(self.detector(device), self.most)

    def detector(self, device: str = "cpu") -> Detect:
        """Load the detector as a function of one picture and phrases.

        Raises:
            ModelError: It is missing, or of another family.
        """
        from longvid.models.detectors import load_detector

        find = load_detector(self.model, device, threshold=self.threshold, dtype=self.dtype)

        def detect(picture: np.ndarray, names: Sequence[str]) -> list[Detection]:
            return suppress(find(picture, names), most=self.most)

        return detect


@dataclass(frozen=True, slots=True)
class _Worker:
    detect: Detect
    most: int

    def __call__(
        self, question: Question, answer: Answer, pictures: Sequence[Picture]
    ) -> tuple[Track, ...]:
        """Return the tracks of what the answer names."""
        phrases = noun_phrases(answer.text)
        if not phrases:
            # What only the question names has no place in the answer.
            phrases = [type(one)(one.text, many=one.many) for one in noun_phrases(question.text)]
        return ground_phrases(phrases, pictures, self.detect, self.most)
