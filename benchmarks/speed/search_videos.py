"""Time a search of the nearest videos alone, beside searching the segments of all of them.

Films of 100 segments have 1 to 10 of the subjects that all films share, in scenes of 2 to 18
segments. Vectors, their cone and both kinds of question are those of `benchmarks.speed.search`.
Truth is comparing every question with every segment, which is the same search without lists.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.measurements import Row, median_row
from benchmarks.speed.drawn_vectors import rows_of_videos, unit
from longvid.store.index_shard import make_quantized_part
from longvid.store.int8_rows import to_int8
from longvid.store.local_objects import LocalObjects
from longvid.store.vectors import Hit, VectorIndex
from longvid.store.video_index import VideoIndex

Floats = npt.NDArray[np.float32]

_PER_FILM, _FILMS_PER_SUBJECT, _MOST_SUBJECTS = 100, 5, 10
_SHORTEST_SCENE, _LONGEST_SCENE = 2, 18
_CONE, _SCENE, _FRAME, _ASKED = 0.6, 0.8, 0.6, 1.2
_NEAREST = (16, 64, 256)
#: Questions that comparing with everything is timed on.
_SLOW = 5


class DrawnFilms:
    """The vectors of drawn films, as stores keep them, as a `VectorSource`."""

    def __init__(self, num_films: int, width: int, num_queries: int, seed: int) -> None:
        self.shape = num_films * _PER_FILM, width
        self._random = np.random.default_rng(seed)
        self._codes = np.empty(self.shape, np.int8)
        self._scales = np.empty(self.shape[0], np.float32)
        pictures, texts = self._directions(2)
        subjects = self._directions(max(_MOST_SUBJECTS, num_films // _FILMS_PER_SUBJECT))
        about: list[Floats] = []
        for film in range(num_films):
            scenes, lengths = self._scenes(subjects)
            content = scenes.repeat(lengths, axis=0)[:_PER_FILM]
            content = unit(content + _FRAME * self._directions(_PER_FILM))
            rows = slice(film * _PER_FILM, (film + 1) * _PER_FILM)
            vectors = unit(_CONE * pictures + (1 - _CONE) * content)
            self._codes[rows], self._scales[rows] = to_int8(vectors)
            about.append(scenes[self._random.integers(len(scenes))])
        chosen = self._random.choice(num_films, num_queries)
        meant = unit(np.array(about)[chosen] + _ASKED * self._directions(num_queries))
        seen = self.take(np.sort(self._random.choice(self.shape[0], num_queries)))
        self.questions = {
            "text": unit(_CONE * texts + (1 - _CONE) * meant),
            "frame": unit(seen + self._directions(num_queries)),
        }

    def take(self, rows: npt.NDArray[np.int64]) -> Floats:
        found: Floats = self._codes[rows].astype(np.float32) * self._scales[rows, None]
        return found

    def _directions(self, count: int) -> Floats:
        return unit(self._random.standard_normal((count, self.shape[1]), dtype=np.float32))

    def _scenes(self, subjects: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Draw the scenes of a film and how many segments each has, at least a film's."""
        number = self._random.integers(1, _MOST_SUBJECTS + 1)
        mine = subjects[self._random.choice(len(subjects), number, replace=False)]
        lengths = self._random.integers(
            _SHORTEST_SCENE, _LONGEST_SCENE + 1, _PER_FILM // _SHORTEST_SCENE
        )
        lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), _PER_FILM)) + 1]
        content = mine[self._random.integers(number, size=len(lengths))]
        return unit(content + _SCENE * self._directions(len(lengths))), lengths


def run_videos(options: argparse.Namespace) -> list[Row]:
    """Build both levels over drawn films, and search them by either."""
    films = DrawnFilms(options.videos, options.width, options.queries, options.seed)
    size = f"{options.videos} films of {_PER_FILM} segments"
    with tempfile.TemporaryDirectory(prefix="longvid-videos-") as temporary:
        objects = LocalObjects(temporary)
        rows = rows_of_videos(0, options.videos * _PER_FILM, _PER_FILM)
        make_quantized_part(objects, rows, films, options.codes or "pq")
        manifests = dict.fromkeys(rows.video_ids, "")
        segments = VectorIndex(objects, options.width, lambda *_: ())
        segments.refresh(manifests, keep=True)
        started = time.perf_counter()
        videos = VideoIndex(objects, options.width, segments)
        videos.refresh(manifests, keep=True)
        found = [Row(size, "vectors of films", "build", time.perf_counter() - started, "s")]
        for kind, queries in films.questions.items():
            found += _searched(options, segments, videos, queries, f"{size}, {kind} queries")
    return found


def _searched(
    options: argparse.Namespace,
    segments: VectorIndex,
    videos: VideoIndex,
    queries: Floats,
    task: str,
) -> list[Row]:
    top_k, recall = options.top_k, options.recall

    def every(recall: float) -> Callable[[Floats], list[Hit]]:
        return lambda query: segments.search(query, top_k, 1, (), recall)

    def nearest(number: int) -> Callable[[Floats], list[Hit]]:
        return lambda query: videos.search(query, top_k, 1, (), recall, None, number)

    truth = [_keys(every(1.0)(query)) for query in queries]
    searches = {
        "every segment": every(1.0),
        f"lists, recall {recall}": every(recall),
        **{f"segments of the {number} nearest films": nearest(number) for number in _NEAREST},
    }
    rows = []
    for subject, search in searches.items():
        asked = queries[:_SLOW] if subject == "every segment" else queries
        for query in asked:  # what is read from disk is not timed
            search(query)
        took, shares, best = [], [], []
        for query, wanted in zip(asked, truth, strict=False):
            started = time.perf_counter()
            hits = search(query)
            took.append(1000 * (time.perf_counter() - started))
            keys = _keys(hits)
            shares.append(len(set(keys) & set(wanted)) / len(wanted))
            best.append(keys[0] == wanted[0])
        rows += [
            median_row(task, subject, "wall", took, "ms"),
            Row(task, subject, f"of the best {top_k}", statistics.fmean(shares), "", len(shares)),
            Row(task, subject, "best segment", statistics.fmean(best), "", len(best)),
        ]
    return rows


def _keys(hits: list[Hit]) -> list[tuple[str, int]]:
    return [(hit.video_id, hit.segment_index) for hit in hits]
