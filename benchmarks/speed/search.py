"""Time the search index: building it, and finding the 50 nearest of many vectors.

The vectors imitate what a store holds. Films have topics, scenes belong to topics, neighbouring
frames resemble each other, and pictures and texts lie in two cones of the sphere that are far
apart. Questions therefore come in two kinds: "text", from the other cone, and "frame", turned
away from a stored vector. Recall is against comparing with every vector.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measurements import Row, median_row
from benchmarks.speed.drawn_vectors import rows_of_videos, unit
from benchmarks.speed.processes import own_peak_mib
from longvid.errors import ConfigError
from longvid.store.faiss_index import load_faiss
from longvid.store.index_shard import make_part, open_part
from longvid.store.local_objects import LocalObjects

Floats = npt.NDArray[np.float32]

_PER_SCENE = 16
_SCENES_PER_TOPIC = 40
_PER_VIDEO = 1000
_CONE = 0.6
_WARM = 3
#: More vectors than this are drawn as they are read, and searched by codes.
_IN_MEMORY = 2_000_000
_BUILT = "built.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vectors", type=int, default=200_000, help="how many (%(default)s)")
    parser.add_argument("--width", type=int, default=768, help="of a vector (%(default)s)")
    parser.add_argument("--top-k", type=int, default=50, help="wanted (%(default)s)")
    parser.add_argument("--queries", type=int, default=50, help="of each kind (%(default)s)")
    parser.add_argument("--recall", type=float, default=0.98, help="asked of (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors (%(default)s)")
    parser.add_argument(
        "--codes",
        choices=("pq", "opq", "sq"),
        help=f"quantised, vectors drawn as they are read (pq above {_IN_MEMORY} vectors)",
    )
    parser.add_argument(
        "--shards", type=int, default=0, metavar="N", help="search codes by N Ray actors too"
    )
    parser.add_argument(
        "--videos", type=int, metavar="N", help="films of 100 segments, the nearest searched first"
    )
    parser.add_argument(
        "--index", metavar="FOLDER", help="keep the index there, or search the one that is there"
    )


def make_vectors(
    count: int, width: int, num_queries: int, seed: int
) -> tuple[Floats, dict[str, Floats]]:
    """Make stored vectors and both kinds of question.

    Returns:
        (count, width) and, by kind, (num_queries, width); all float32 of unit norm.
    """
    random = np.random.default_rng(seed)

    def directions(number: int) -> Floats:
        return unit(random.standard_normal((number, width), dtype=np.float32))

    pictures, texts = directions(2)
    num_scenes = -(-count // _PER_SCENE)
    topics = directions(-(-num_scenes // _SCENES_PER_TOPIC))
    scenes = topics.repeat(_SCENES_PER_TOPIC, axis=0)[:num_scenes]
    scenes = unit(scenes + 0.8 * directions(num_scenes))
    vectors = np.empty((count, width), np.float32)
    for first in range(0, count, 1 << 16):
        rows = np.arange(first, min(first + (1 << 16), count))
        content = unit(scenes[rows // _PER_SCENE] + 0.6 * directions(len(rows)))
        vectors[rows] = unit(_CONE * pictures + (1 - _CONE) * content)
    meant = scenes[random.choice(num_scenes, num_queries)]
    content = unit(meant + 1.2 * directions(num_queries))
    seen = vectors[random.choice(count, num_queries)]
    return vectors, {
        "text": unit(_CONE * texts + (1 - _CONE) * content),
        "frame": unit(seen + directions(num_queries)),
    }


def _timed(search: Callable[[Floats], object], queries: Floats) -> list[float]:
    """Return milliseconds by query, after some that do not count."""
    for query in queries[:_WARM]:
        search(query)
    found = []
    for query in queries:
        started = time.perf_counter()
        search(query)
        found.append(1000 * (time.perf_counter() - started))
    return found


def run(options: argparse.Namespace) -> list[Row]:
    """Build an index of made-up vectors, search it, and search without it."""
    if options.videos:
        from benchmarks.speed.search_videos import run_videos

        return run_videos(options)
    if options.codes or options.shards or options.vectors > _IN_MEMORY:
        options.codes = options.codes or "pq"
        from benchmarks.speed.search_codes import run_codes

        return run_codes(options)
    vectors, questions = make_vectors(options.vectors, options.width, options.queries, options.seed)
    size = f"{options.vectors} vectors of {options.width}"
    rows = []
    with tempfile.TemporaryDirectory(prefix="longvid-search-") as temporary:
        objects = LocalObjects(options.index or temporary)
        name, built = _build(objects, vectors)
        rows.append(Row(f"build, {size}", "longvid", "wall", built, "s"))
        stored = (objects.size(f"{name}.faiss") or 0) / 2**20
        rows.append(Row(f"build, {size}", "longvid", "index", stored, "MiB"))
        started = time.perf_counter()
        part = open_part(objects, name, options.width)
        if part is None:
            sys.exit(f"the index {name} could not be read back")
        opened = 1000 * (time.perf_counter() - started)
        rows.append(Row(f"build, {size}", "longvid", "open", opened, "ms"))
        # The file is mapped: the first search of a list reads it from disk, which is not timed.
        part.search(questions["text"][0], options.top_k, (), 1.0)
        flat = load_faiss().IndexFlatIP(options.width)
        flat.add(vectors)
        for kind, queries in questions.items():
            task = f"top {options.top_k} of {size}, {kind} queries"
            truth = flat.search(queries, options.top_k)[1]
            searches: dict[str, Callable[[Floats], npt.NDArray[np.int64]]] = {
                f"longvid, recall {options.recall}": lambda query: part.search(
                    query, options.top_k, (), options.recall
                )[0],
                "longvid, recall 1.0": lambda query: part.search(query, options.top_k, (), 1.0)[0],
                "FAISS flat": lambda query: flat.search(query[None], options.top_k)[1][0],
                "numpy": lambda query: _by_numpy(vectors, query, options.top_k),
            }
            for subject, search in searches.items():
                took = _timed(search, queries)
                hits = [
                    len(np.intersect1d(search(query), wanted)) / options.top_k
                    for query, wanted in zip(queries, truth, strict=True)
                ]
                rows.append(median_row(task, subject, "wall", took, "ms"))
                mean = statistics.fmean(hits)
                rows.append(
                    Row(task, subject, "recall", mean, "", len(hits), max(hits) - min(hits))
                )
    whole = "peak RSS of the whole run"
    return [*rows, Row(f"build, {size}", "longvid", whole, own_peak_mib(), "MiB")]


def _build(objects: LocalObjects, vectors: Floats) -> tuple[str, float]:
    """Build the index, unless it is there; return its name and the seconds that it took."""
    known = objects.read(_BUILT)
    if known is not None:
        found: dict[str, Any] = json.loads(known)
        if found["shape"] != list(vectors.shape):
            raise ConfigError(
                f"The index in {objects.uri} is of {found['shape']} vectors, asked for are "
                f"{list(vectors.shape)}; name another folder."
            )
        return found["name"], found["seconds"]
    started = time.perf_counter()
    rows = rows_of_videos(0, len(vectors), _PER_VIDEO)
    name = make_part(objects, rows, vectors, keep=True).name
    seconds = time.perf_counter() - started
    made = {"shape": list(vectors.shape), "name": name, "seconds": seconds}
    objects.write(_BUILT, json.dumps(made).encode())
    return name, seconds


def _by_numpy(vectors: Floats, query: Floats, top_k: int) -> npt.NDArray[np.int64]:
    scores = vectors @ query
    best = np.argpartition(-scores, top_k)[:top_k]
    ordered: npt.NDArray[np.int64] = best[np.argsort(-scores[best])]
    return ordered
