"""Known footage: what a checkpoint says of the videos that it can read.

A model of a small world answers about any picture, and its answer means nothing where the picture
is not of that world. A checkpoint may therefore hold `known_footage.json`: a linear score of the
mean of a frame's tokens, and the score below which frames are not of its world. How often that is
wrong is in the file, measured on videos that were left out of the fit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from longvid.errors import ModelError
from longvid.lazy_import import torch
from longvid.types import Selection

_FILE = "known_footage.json"


@dataclass(frozen=True, slots=True)
class KnownFootage:
    """Scores the frames that a question is shown.

    Args:
        weights: Of the features of a frame, as `frame_features` gives them.
        bias: Added to the score.
        threshold: Least mean score of frames of the known world.
        sentence: What is said of others.
    """

    weights: tuple[float, ...]
    bias: float
    threshold: float
    sentence: str

    @classmethod
    def read(cls, folder: Path) -> KnownFootage | None:
        """Read what a checkpoint says; None where it says nothing.

        Raises:
            ModelError: The file is damaged.
        """
        path = folder / _FILE
        if not path.is_file():
            return None
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            weights = tuple(float(weight) for weight in table["weights"])
            return cls(weights, float(table["bias"]), float(table["threshold"]), table["sentence"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is damaged ({error!r}); install longvid again.") from error

    def note(self, selection: Selection) -> str:
        """Return the caveat for what is shown, "" where it is of the known world."""
        features = frame_features(selection)
        if not len(features) or features.shape[1] != len(self.weights):
            return ""
        score = features @ torch.tensor(self.weights, dtype=torch.float64) + self.bias
        return "" if float(score.mean()) >= self.threshold else self.sentence


def frame_features(selection: Selection) -> torch.Tensor:
    """Return the mean token of every shown frame, (T, D) float64."""
    rows = []
    for segment in selection.segments:
        counts = segment.tokens.counts(segment.num_frames)
        sums = torch.zeros(segment.num_frames, segment.tokens.data.shape[1], dtype=torch.float64)
        sums.index_add_(0, segment.tokens.frame.long(), segment.tokens.data.double())
        rows.append((sums / counts.clamp(min=1)[:, None])[counts > 0])
    return torch.cat(rows) if rows else torch.zeros(0, 0, dtype=torch.float64)
