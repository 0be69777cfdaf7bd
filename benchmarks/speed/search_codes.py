"""Time search by quantised codes over more vectors than memory holds.

The vectors are those of `benchmarks.speed.drawn_vectors`. Truth is comparing every question with
every vector, as stores keep them (int8) and, for what that costs, as they were drawn. Beside
longvid stand numpy over the same int8 rows and plain FAISS: the same codes without scoring
candidates again. With `--index FOLDER` parts that were built stay, and a build that was killed
goes on behind the last of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.measurements import Row, median_row
from benchmarks.speed.drawn_vectors import BLOCK, DrawnVectors, drawn, questions, rows_of_videos
from benchmarks.speed.processes import own_peak_mib
from longvid.errors import ConfigError
from longvid.store.faiss_index import load_faiss
from longvid.store.index_compaction import LARGEST_QUANTIZED
from longvid.store.index_shard import Part, make_quantized_part, of_parts, open_part
from longvid.store.int8_rows import to_int8
from longvid.store.local_objects import LocalObjects
from longvid.store.quantized_index import QuantizedVectors

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_PER_VIDEO = 1000
_BUILT = "built.json"
#: Questions that comparing with everything is timed on: each takes seconds.
_SLOW = 3
_NUMPY = "numpy, int8 rows"


@dataclass(frozen=True, slots=True)
class BuiltPart:
    """One part of the index: its name, its vectors, the seconds that building and drawing took.

    `processor` are those of all processors that building took.
    """

    name: str
    first: int
    count: int
    seconds: float
    drawing: float
    processor: float


def run_codes(options: argparse.Namespace) -> list[Row]:
    """Build parts of codes, search them, and search without them."""
    size = f"{options.vectors} vectors of {options.width}, codes {options.codes}"
    asked = questions(options.vectors, options.width, options.queries, options.seed)
    rows = []
    with tempfile.TemporaryDirectory(prefix="longvid-codes-") as temporary:
        objects = LocalObjects(options.index or temporary)
        built = _build(objects, options)
        seconds = sum(one.seconds for one in built)
        stored = sum(info.num_bytes for info in objects.listing("vectors")) / 2**20
        rows += [
            Row(f"build, {size}", "longvid", "wall less drawing", seconds, "s"),
            Row(f"build, {size}", "longvid", "vectors a second", options.vectors / seconds, ""),
            Row(
                f"build, {size}",
                "longvid",
                "processor time a vector",
                1e6 * sum(one.processor for one in built) / options.vectors,
                "us",
            ),
            Row(f"build, {size}", "longvid", "drawing", sum(one.drawing for one in built), "s"),
            Row(f"build, {size}", "longvid", "peak RSS of the build", own_peak_mib(), "MiB"),
            Row(f"build, {size}", "longvid", "index", stored, "MiB"),
        ]
        parts = [(one.first, _opened(objects, one, options.width)) for one in built]
        for number, (_, part) in enumerate(parts, 1):
            measured = part.nearest
            assert isinstance(measured, QuantizedVectors)
            probed = measured.num_probed(options.recall)
            reached = dict(measured.calibration)[probed]
            name = f"part {number}: {probed} lists probed, {measured.factor} candidates a row"
            rows.append(Row(f"build, {size}", name, "recall as measured then", reached, ""))
        truth, as_drawn = _truth(options, asked)
        for is_rival in (False, True):
            for kind, queries in asked.items():
                task = f"top {options.top_k} of {size}, {kind} queries"
                found = _searchers(options, with_numpy=is_rival)
                rows += _searched(task, options, found, parts, queries, truth[kind], as_drawn[kind])
            if not is_rival:  # numpy maps every row
                resident = _resident()
                rows.append(Row(f"search, {size}", "longvid", "resident", resident, "MiB"))
        if options.shards:
            from benchmarks.speed.sharded_search import run_shards

            rows += run_shards(objects.uri, [part for _, part in parts], asked, options, size)
    return [
        *rows,
        Row(f"build, {size}", "longvid", "peak RSS of the whole run", own_peak_mib(), "MiB"),
    ]


def _build(objects: LocalObjects, options: argparse.Namespace) -> list[BuiltPart]:
    """Build the parts that are not there yet, one after the other."""
    wanted = {name: getattr(options, name) for name in ("vectors", "width", "seed", "codes")}
    wanted["parts"] = len(list(_slices(options)))
    known = objects.read(_BUILT)
    found = {"of": wanted, "built": []} if known is None else json.loads(known)
    if found["of"] != wanted:
        raise ConfigError(
            f"The index in {objects.uri} is of {found['of']}, asked for are {wanted}; name another "
            "folder."
        )
    built = [BuiltPart(**one) for one in found["built"]]
    for first, count in list(_slices(options))[len(built) :]:
        started, used = time.perf_counter(), time.process_time()
        source = DrawnVectors(first, count, options.width, options.seed)
        part = make_quantized_part(
            objects, rows_of_videos(first, count, _PER_VIDEO), source, options.codes
        )
        seconds = time.perf_counter() - started - source.seconds
        processor = time.process_time() - used - source.processor_seconds
        built.append(BuiltPart(part.name, first, count, seconds, source.seconds, processor))
        kept = {"of": wanted, "built": [asdict(one) for one in built]}
        objects.write(_BUILT, json.dumps(kept).encode())
        print(f"{first + count} of {options.vectors}: {count / seconds:.0f} a second",
              file=sys.stderr)  # fmt: skip
    return built


def _opened(objects: LocalObjects, built: BuiltPart, width: int) -> Part:
    part = open_part(objects, built.name, width)
    if part is None:
        raise ConfigError(f"{built.name} in {objects.uri} is damaged; name another folder.")
    return part


def _slices(options: argparse.Namespace) -> Iterator[tuple[int, int]]:
    """Cut the vectors into as few parts as may be built, of equal size; a shard has one or more."""
    number = max(-(-options.vectors // LARGEST_QUANTIZED), options.shards)
    bounds = [options.vectors * k // number for k in range(number + 1)]
    yield from ((a, b - a) for a, b in itertools.pairwise(bounds))


def _truth(
    options: argparse.Namespace, asked: Mapping[str, Floats]
) -> tuple[dict[str, Places], dict[str, Places]]:
    """Compare every question with every vector, as stored and as drawn."""
    kinds = list(asked)
    queries = np.concatenate([asked[kind] for kind in kinds])
    stored, as_drawn = _Best(queries, options.top_k), _Best(queries, options.top_k)
    for first in range(0, options.vectors, BLOCK):
        block = drawn(options.width, options.seed, first // BLOCK)[: options.vectors - first]
        as_drawn.add(first, block)
        codes, scales = to_int8(block)
        stored.add(first, codes.astype(np.float32) * scales[:, None])
    bounds = np.cumsum([len(asked[kind]) for kind in kinds])[:-1]
    return (
        dict(zip(kinds, np.split(stored.rows, bounds), strict=True)),
        dict(zip(kinds, np.split(as_drawn.rows, bounds), strict=True)),
    )


class _Best:
    """The rows nearest to some questions, of blocks that come one after the other."""

    def __init__(self, queries: Floats, top_k: int) -> None:
        self._queries, self._top_k = queries, top_k
        self._scores = np.empty((len(queries), 0), np.float32)
        self.rows = np.empty((len(queries), 0), np.int64)

    def add(self, first: int, block: Floats) -> None:
        faiss = load_faiss()
        most = min(self._top_k, len(block))
        scores, rows = faiss.knn(self._queries, block, most, metric=faiss.METRIC_INNER_PRODUCT)
        scores = np.concatenate([self._scores, scores], axis=1)
        rows = np.concatenate([self.rows, rows + first], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self._top_k]
        self._scores = np.take_along_axis(scores, order, axis=1)
        self.rows = np.take_along_axis(rows, order, axis=1)


_Find = Callable[[Part, Floats], tuple[Places, Floats]]


def _searchers(options: argparse.Namespace, *, with_numpy: bool) -> dict[str, _Find]:
    """Return how a part is searched, by the name that is printed."""

    def longvid(part: Part, query: Floats) -> tuple[Places, Floats]:
        return part.search(query, options.top_k, (), options.recall)

    def plain(part: Part, query: Floats) -> tuple[Places, Floats]:
        assert isinstance(part.nearest, QuantizedVectors)
        return part.nearest.by_codes(query, options.top_k, options.recall)

    def numpy(part: Part, query: Floats) -> tuple[Places, Floats]:
        return part.nearest.search(query, options.top_k)

    if with_numpy:
        return {_NUMPY: numpy}
    return {f"longvid, recall {options.recall}": longvid, "FAISS, codes alone": plain}


def _searched(
    task: str,
    options: argparse.Namespace,
    searchers: Mapping[str, _Find],
    parts: Sequence[tuple[int, Part]],
    queries: Floats,
    truth: Places,
    as_drawn: Places,
) -> list[Row]:
    firsts = [first for first, _ in parts]

    def found_by(find: _Find, query: Floats) -> Places:
        pieces = of_parts([part for _, part in parts], lambda part: find(part, query))
        rows = np.concatenate([a + first for first, (a, _) in zip(firsts, pieces, strict=True)])
        scores = np.concatenate([scores for _, scores in pieces])
        best: Places = rows[np.argsort(-scores)[: options.top_k]]
        return best

    rows = []
    for subject, find in searchers.items():
        number = min(_SLOW, len(queries)) if subject == _NUMPY else len(queries)
        # What a question reads lies in the page cache, as the rest of a store that is asked often.
        for query in queries[:number] if subject != _NUMPY else ():
            found_by(find, query)
        took, hits, of_drawn = [], [], []
        for query, wanted, real in zip(queries[:number], truth, as_drawn, strict=False):
            started = time.perf_counter()
            found = found_by(find, query)
            took.append(1000 * (time.perf_counter() - started))
            hits.append(len(np.intersect1d(found, wanted)) / len(wanted))
            of_drawn.append(len(np.intersect1d(found, real)) / len(real))
        rows.append(median_row(task, subject, "wall", took, "ms"))
        for metric, values in (("recall", hits), ("recall of the vectors as drawn", of_drawn)):
            mean, spread = statistics.fmean(values), max(values) - min(values)
            rows.append(Row(task, subject, metric, mean, "", len(values), spread))
    return rows


def _resident() -> float:
    """Return the memory that the process has, MiB; where there is no /proc, the most it had."""
    status = Path("/proc/self/status")
    if not status.exists():
        return own_peak_mib()
    lines = status.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))
