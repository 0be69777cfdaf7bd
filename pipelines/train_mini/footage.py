"""Fit the score by which mini tells its drawn world from other footage.

    python -m pipelines.train_mini.footage --work DIR --clips FOLDER...

Films of seeds that no training used are drawn, and real clips are given. A ridge regression on the
features of `longvid.llm.known_footage` is fitted to +1 and -1, every video weighing the same. How
often it is wrong is measured on each source (a film, or the clips made from one recording) by a fit
that leaves that source out, on answers' worth of frames: eight that follow each other.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

import longvid
from longvid.llm.known_footage import frame_features
from longvid.models.checkpoint_files import MINI, VLM, locate, part_of
from longvid.store import Store
from longvid.types import Selection
from longvid.world.film import write_film
from longvid.world.scene import make_film

_FIRST_SEED = 30_000_000
_NUM_FILMS = 40
_RIDGE = 0.01
_THRESHOLD = 0.3
_SHOWN_FRAMES = 8
_SENTENCE = (
    "These frames do not look like the drawn world, which is all that the shipped model mini can "
    "read: what it answers and finds in them means nothing. Name a real model, such as --config "
    "longvid."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, measure and write `known_footage.json` beside mini's weights."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.train_mini.footage")
    parser.add_argument("--work", type=Path, required=True, help="films and the store")
    parser.add_argument("--clips", nargs="+", required=True, help="real footage")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    films = [_film(options.work, number) for number in range(_NUM_FILMS)]
    store = options.work / "store"
    longvid.index([*films, *options.clips], store=store)
    videos = _features(Store.open(str(store)), {film.name for film in films})
    weights, bias = _fit(videos)
    scored = []
    for source in sorted({_source(name) for name, _, _ in videos}):
        left_out = [video for video in videos if _source(video[0]) == source]
        others = _fit([video for video in videos if _source(video[0]) != source])
        scored += [(drawn, rows @ others[0] + others[1]) for _, drawn, rows in left_out]
    document = {
        "sentence": _SENTENCE,
        "threshold": _THRESHOLD,
        "measured": _measured(scored),
        "bias": round(bias, 6),
        "weights": [round(float(weight), 6) for weight in weights],
    }
    path = part_of(locate(MINI), VLM) / "known_footage.json"
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
    print(json.dumps(document["measured"], indent=1))
    return 0


def _film(folder: Path, number: int) -> Path:
    path = folder / f"film{number}.mp4"
    if not path.exists():
        film = make_film(_FIRST_SEED + number, 0, duration_seconds=60, num_needles=2)
        # Sizes, rates and qualities differ, so that none of them is what the score sees.
        size, fps = (128 if number % 14 < 10 else 256), (10 if number % 3 else 24)
        crf = 20 if number % 2 else 30
        write_film(film, path, size=size, fps=fps, crf=crf)
    return path


def _source(name: str) -> str:
    return name if name.startswith("film") else name.split("_")[0].split(".")[0]


def _features(store: Store, drawn: set[str]) -> list[tuple[str, bool, torch.Tensor]]:
    found = []
    for stored in store.videos():
        keys = [(stored.video.video_id, index) for index in range(stored.num_segments)]
        segments = tuple(store.load(keys))
        shown = Selection(segments, (), sum(len(segment.tokens) for segment in segments))
        name = Path(stored.video.path).name
        found.append((name, name in drawn, frame_features(shown)))
    return found


def _fit(videos: Sequence[tuple[str, bool, torch.Tensor]]) -> tuple[torch.Tensor, float]:
    """Return weights of the features and a bias, (D,) float64."""
    rows = torch.cat([features for _, _, features in videos])
    mean, spread = rows.mean(0), rows.std(0) + 1e-6
    num_drawn = sum(drawn for _, drawn, _ in videos)
    targets, shares = [], []
    for _, drawn, features in videos:
        side = num_drawn if drawn else len(videos) - num_drawn
        targets.append(torch.full((len(features),), 1.0 if drawn else -1.0).double())
        shares.append(torch.full((len(features),), 0.5 / side / len(features)).double())
    target, share = torch.cat(targets), torch.cat(shares)
    scaled = torch.cat([(rows - mean) / spread, torch.ones(len(rows), 1).double()], dim=1)
    square = (scaled * share[:, None]).T @ scaled
    square[:-1, :-1] += _RIDGE * torch.eye(rows.shape[1]).double()
    solved = torch.linalg.solve(square, (scaled * share[:, None]).T @ target)
    weights = solved[:-1] / spread
    return weights, float(solved[-1] - mean @ weights)


def _measured(scored: Sequence[tuple[bool, torch.Tensor]]) -> dict[str, list[int]]:
    """Count [right, all] by video and by eight frames that follow each other."""
    counts = {
        f"{kind}_{unit}": [0, 0] for kind in ("drawn", "real") for unit in ("videos", "answers")
    }
    for drawn, scores in scored:
        kind = "drawn" if drawn else "real"
        starts = range(0, max(1, len(scores) - _SHOWN_FRAMES + 1), 2)
        parts = [scores[start : start + _SHOWN_FRAMES] for start in starts]
        for unit, means in (("videos", [scores]), ("answers", parts)):
            right = sum((float(part.mean()) >= _THRESHOLD) == drawn for part in means)
            counts[f"{kind}_{unit}"][0] += right
            counts[f"{kind}_{unit}"][1] += len(means)
    return counts


if __name__ == "__main__":
    raise SystemExit(main())
