"""Time search by quantised codes over more vectors than memory holds.

The vectors are those of `benchmarks.speed.search`: topics, scenes of a topic, frames of a scene, in
a cone of pictures. They are drawn block by block, each block from its own seed, whenever they are
read, so no more than a block is ever held. Truth is comparing every query with every vector as it
was drawn, in the pass that builds the index. Beside longvid stand numpy over the same int8 rows and
plain FAISS: the same codes without scoring candidates again.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.measurements import Row
from longvid.store.chunk_record import SegmentRecord
from longvid.store.faiss_index import load_faiss
from longvid.store.index_compaction import LARGEST_QUANTIZED
from longvid.store.index_rows import Rows
from longvid.store.index_shard import Part, make_quantized_part
from longvid.store.local_objects import LocalObjects
from longvid.store.quantized_index import QuantizedVectors

__all__ = ["Drawn", "run_codes"]

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_PER_SCENE, _SCENES_PER_TOPIC, _PER_VIDEO = 16, 40, 1000
_CONE = 0.6
#: A block holds whole topics, so that it needs no other.
_BLOCK = _PER_SCENE * _SCENES_PER_TOPIC * 64


@dataclass(slots=True)
class Drawn:
    """Some of the vectors that a seed stands for, as a source.

    Args:
        first, count: Which.
        width: E.
        seed: Of all of them.
        seconds: Adds up what drawing took.
    """

    first: int
    count: int
    width: int
    seed: int
    seconds: float = 0.0
    _kept: tuple[int, Floats] | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors of which width."""
        return self.count, self.width

    def take(self, rows: Places) -> Floats:
        """Return the vectors of some sorted rows, (K, E) float32."""
        pieces = []
        places = rows + self.first
        bounds = np.flatnonzero(np.diff(places // _BLOCK)) + 1
        for piece in np.split(places, bounds):
            number = int(piece[0]) // _BLOCK
            pieces.append(self._block(number)[piece - number * _BLOCK])
        return np.concatenate(pieces)

    def _block(self, number: int) -> Floats:
        if self._kept is None or self._kept[0] != number:
            started = time.perf_counter()
            self._kept = number, _block(self.width, self.seed, number)[0]
            self.seconds += time.perf_counter() - started
        return self._kept[1]


def _directions(random: np.random.Generator, count: int, width: int) -> Floats:
    return _unit(random.standard_normal((count, width), dtype=np.float32))


def _unit(vectors: Floats) -> Floats:
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors


def _block(width: int, seed: int, number: int) -> tuple[Floats, Floats]:
    """Draw a block of vectors and the scenes that they belong to."""
    pictures, _ = _directions(np.random.default_rng(seed), 2, width)
    random = np.random.default_rng([seed, number])
    num_scenes = _BLOCK // _PER_SCENE
    topics = _directions(random, num_scenes // _SCENES_PER_TOPIC, width)
    scenes = topics.repeat(_SCENES_PER_TOPIC, axis=0)
    scenes = _unit(scenes + 0.8 * _directions(random, num_scenes, width))
    content = _unit(scenes.repeat(_PER_SCENE, axis=0) + 0.6 * _directions(random, _BLOCK, width))
    return _unit(_CONE * pictures + (1 - _CONE) * content), scenes


def questions(count: int, width: int, number: int, seed: int) -> dict[str, Floats]:
    """Draw questions about vectors in all blocks: texts, and frames turned away.

    Args:
        count: Vectors.
        width: E.
        number: Questions of each kind.
        seed: Of the vectors.
    """
    random = np.random.default_rng([seed, 1 << 40])
    _, texts = _directions(np.random.default_rng(seed), 2, width)
    about, seen = [], []
    for row in np.sort(random.choice(count, min(number, count), replace=False)).tolist():
        vectors, scenes = _block(width, seed, row // _BLOCK)
        about.append(scenes[row % _BLOCK // _PER_SCENE])
        seen.append(vectors[row % _BLOCK])
    content = _unit(np.array(about) + 1.2 * _directions(random, len(about), width))
    return {
        "text": _unit(_CONE * texts + (1 - _CONE) * content),
        "frame": _unit(np.array(seen) + _directions(random, len(seen), width)),
    }


def _rows(first: int, count: int) -> Rows:
    tables = []
    for start in range(first, first + count, _PER_VIDEO):
        number = min(_PER_VIDEO, first + count - start)
        segments = [SegmentRecord(i, float(i), i + 1.0, 1, 1, 1) for i in range(number)]
        tables.append(Rows.of_video(f"{start:032x}", "", segments))
    return Rows.concatenate(tables)


def _slices(count: int) -> Iterator[tuple[int, int]]:
    """Cut the vectors into as few parts as may be built, of equal size."""
    number = -(-count // LARGEST_QUANTIZED)
    bounds = [count * k // number for k in range(number + 1)]
    yield from ((a, b - a) for a, b in itertools.pairwise(bounds))


def run_codes(options: argparse.Namespace) -> list[Row]:
    """Build parts of codes, search them, and search without them."""
    size = f"{options.vectors} vectors of {options.width}, codes {options.codes}"
    asked = questions(options.vectors, options.width, options.queries, options.seed)
    rows = []
    with tempfile.TemporaryDirectory(prefix="longvid-codes-") as temporary:
        objects = LocalObjects(options.index or temporary)
        parts: list[tuple[int, Part]] = []
        drawing, started = 0.0, time.perf_counter()
        for first, count in _slices(options.vectors):
            source = Drawn(first, count, options.width, options.seed)
            part = make_quantized_part(objects, _rows(first, count), source, options.codes)
            parts.append((first, part))
            drawing += source.seconds
        built = time.perf_counter() - started - drawing
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        stored = sum(info.num_bytes for info in objects.listing("vectors")) / 2**20
        rows += [
            Row(f"build, {size}", "longvid", "wall less drawing", built, "s"),
            Row(f"build, {size}", "longvid", "vectors a second", options.vectors / built, ""),
            Row(f"build, {size}", "longvid", "peak RSS of the build", peak, "MiB"),
            Row(f"build, {size}", "longvid", "index", stored, "MiB"),
        ]
        truth = _truth(options, asked)
        for kind, queries in asked.items():
            rows += _searched(f"top {options.top_k} of {size}, {kind} queries", options,
                              parts, queries, truth[kind])  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [*rows, Row(f"build, {size}", "longvid", "peak RSS of the whole run", peak, "MiB")]


def _truth(options: argparse.Namespace, asked: dict[str, Floats]) -> dict[str, Places]:
    """Compare every query with every vector as drawn."""
    faiss = load_faiss()
    found: dict[str, list[tuple[Floats, Places]]] = {kind: [] for kind in asked}
    for first in range(0, options.vectors, _BLOCK):
        block = _block(options.width, options.seed, first // _BLOCK)[0]
        block = block[: options.vectors - first]
        for kind, queries in asked.items():
            most = min(options.top_k, len(block))
            scores, rows = faiss.knn(queries, block, most, metric=faiss.METRIC_INNER_PRODUCT)
            found[kind].append((scores, rows + first))
    truth = {}
    for kind, pieces in found.items():
        scores = np.concatenate([piece[0] for piece in pieces], axis=1)
        rows = np.concatenate([piece[1] for piece in pieces], axis=1)
        order = np.argsort(-scores, axis=1)[:, : options.top_k]
        truth[kind] = np.take_along_axis(rows, order, axis=1)
    return truth


def _searched(
    task: str,
    options: argparse.Namespace,
    parts: Sequence[tuple[int, Part]],
    queries: Floats,
    truth: Places,
) -> list[Row]:
    def of_parts(find: Callable[[Part, Floats], tuple[Places, Floats]], query: Floats) -> Places:
        pieces = [(first, *find(part, query)) for first, part in parts]
        rows = np.concatenate([rows + first for first, rows, _ in pieces])
        scores = np.concatenate([scores for *_, scores in pieces])
        best: Places = rows[np.argsort(-scores)[: options.top_k]]
        return best

    def longvid(part: Part, query: Floats) -> tuple[Places, Floats]:
        return part.search(query, options.top_k, (), options.recall)

    def plain(part: Part, query: Floats) -> tuple[Places, Floats]:
        assert isinstance(part.nearest, QuantizedVectors)
        return part.nearest.by_codes(query, options.top_k, options.recall)

    def numpy(part: Part, query: Floats) -> tuple[Places, Floats]:
        return part.nearest.search(query, options.top_k)

    rows = []
    for subject, find, number in (
        (f"longvid, recall {options.recall}", longvid, len(queries)),
        ("FAISS, codes alone", plain, len(queries)),
        ("numpy, int8 rows", numpy, min(3, len(queries))),
    ):
        of_parts(find, queries[0])
        took, hits = [], []
        for query, wanted in zip(queries[:number], truth, strict=False):
            started = time.perf_counter()
            found = of_parts(find, query)
            took.append(1000 * (time.perf_counter() - started))
            hits.append(len(np.intersect1d(found, wanted)) / len(wanted))
        spread = max(took) - min(took)
        rows.append(Row(task, subject, "wall", statistics.median(took), "ms", len(took), spread))
        mean = statistics.fmean(hits)
        rows.append(Row(task, subject, "recall", mean, "", len(hits), max(hits) - min(hits)))
    return rows
