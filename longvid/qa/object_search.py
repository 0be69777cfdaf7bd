"""Find the frame with an object: a text against the vectors of boxes that a store keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from longvid.errors import QuestionError
from longvid.lazy_import import torch
from longvid.store import Store
from longvid.store.object_vectors import read_objects


@dataclass(frozen=True, slots=True)
class ObjectEvidence:
    """A box that a text was found in.

    Args:
        video_id, path: Of the video.
        seconds: When the picture is shown.
        thing: What the detector called it.
        xyxy: Left, top, right, bottom in [0, 1] of the upright frame.
        score: Similarity to the text.
    """

    video_id: str
    path: str
    seconds: float
    thing: str
    xyxy: tuple[float, ...]
    score: float


def search_objects(
    store: Store, embedding: torch.Tensor, video_ids: Iterable[str], top_k: int
) -> list[ObjectEvidence]:
    """Return the boxes nearest to a text, best first, one a picture; equal ones in time order.

    Every vector is compared: boxes are few beside frames.

    Args:
        store: Holds boxes with vectors.
        embedding: (E,) of the text.
        video_ids: The videos that count.
        top_k: How many boxes.

    Raises:
        QuestionError: No box has a vector.
        StoreError: Boxes or vectors are damaged.
    """
    query = embedding.float().numpy()
    paths = {one.video.video_id: one.video.path for one in store.videos()}
    best: dict[tuple[str, float], ObjectEvidence] = {}
    for video_id in video_ids:
        start = store.clock_start_seconds(video_id)
        for found in read_objects(store, video_id):
            scores = found.vectors @ query
            for place in np.argsort(-scores, kind="stable"):
                thing, box = found.boxes[place]
                picture = video_id, box.pts_seconds
                score = float(scores[place])
                if picture not in best or score > best[picture].score:
                    best[picture] = ObjectEvidence(
                        video_id, paths[video_id], box.pts_seconds - start, thing, box.xyxy, score
                    )
    if not best:
        raise QuestionError(
            f"No box of {store.uri} has a vector; make them with longvid boxes --embed, after "
            'longvid boxes --detector NAME --things "red car, dog".'
        )
    ranked = sorted(best.values(), key=lambda one: (-one.score, one.path, one.seconds))
    return ranked[:top_k]
