"""The grounder for real footage: phrases of the answer, an open-vocabulary detector, tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from longvid.errors import ConfigError, require_one_of
from longvid.methods.mask_tracks import Propagate, follow
from longvid.methods.phrase_tracks import Detect, ground_phrases
from longvid.methods.phrases import noun_phrases
from longvid.methods.tracking import Detection, suppress
from longvid.types import Answer, CheckpointRef, Picture, Question, Track

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class OpenVocabulary:
    """Boxes of what an answer names, by an open-vocabulary detector, linked to tracks.

    The detector is of OWLv2, Grounding DINO or OmDet-Turbo.

    An answer that names nothing ("yes", "two") is grounded by its question's things.

    Args:
        model: A folder or a hub name.
        threshold: Least score of a box; 0 takes the family's usual one, 0.2 or 0.3.
        most: Boxes of one plural thing in one picture.
        dtype: "auto", "float32", "bfloat16" or "float16".
        tracker: SAM 2 follows each thing's best box by masks through the pictures around it, such
            as "facebook/sam2.1-hiera-tiny"; "" links boxes of single pictures.
        masks: Whether the boxes of things that `tracker` followed carry its masks too, as COCO's
            run lengths.
        choice: What decides between several things that one phrase may mean: the detector's
            "score", or the language model, in one call more a question ("model").
    """

    model: str = "google/owlv2-base-patch16-ensemble"
    threshold: float = 0.0
    most: int = 8
    dtype: str = "auto"
    tracker: str = field(default="", metadata={"fingerprint": False})
    choice: str = field(default="score", metadata={"fingerprint": False})
    masks: bool = field(default=False, metadata={"fingerprint": False})

    def __post_init__(self) -> None:
        require_one_of("grounder.choice", self.choice, ("score", "model"))
        if self.masks and not self.tracker:
            raise ConfigError(
                "grounder.masks needs a tracker that makes them; set grounder.tracker, such as "
                "facebook/sam2.1-hiera-tiny."
            )
        if not 0 <= self.threshold < 1 or self.most < 1:
            raise ConfigError(
                "grounder needs threshold in [0, 1) and most of at least 1, got "
                f"{self.threshold} and {self.most}."
            )

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        from longvid.models.checkpoint_ref import hub_checkpoint

        detector = hub_checkpoint("grounder", "grounder.model", self.model)
        if not self.tracker:
            return (detector,)
        return detector, hub_checkpoint("tracker", "grounder.tracker", self.tracker)

    def setup(self, device: str = "cpu") -> _Worker:
        propagate = None
        if self.tracker:
            from longvid.models.mask_tracker import load_mask_tracker

            propagate = load_mask_tracker(self.tracker, device, dtype=self.dtype)
        return _Worker(
            self.detector(device), self.most, self.choice == "model", propagate, self.masks
        )

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
    is_model_asked: bool = False
    propagate: Propagate | None = None
    masks: bool = False

    def __call__(
        self, question: Question, answer: Answer, pictures: Sequence[Picture]
    ) -> tuple[Track, ...]:
        phrases = noun_phrases(answer.text)
        if not phrases:
            # What only the question names has no place in the answer.
            phrases = [type(one)(one.text, many=one.many) for one in noun_phrases(question.text)]
        tracks = ground_phrases(
            phrases, pictures, self.detect, self.most, candidates=self.is_model_asked
        )
        if self.propagate is None:
            return tracks
        return follow(tracks, pictures, self.propagate, masks=self.masks)
