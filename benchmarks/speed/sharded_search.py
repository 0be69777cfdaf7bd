"""Time a search whose parts are dealt out to Ray actors, beside the same parts in one process.

Results are compared, hit by hit. Then one shard's process is killed: how soon a search answers
without it and says so, and how soon all parts are searched again.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from benchmarks.measurements import Row, median_row
from longvid.store.index_shard import Part
from longvid.store.segment_search import ShardPlan
from longvid.store.vectors import search_parts

if TYPE_CHECKING:
    from longvid.cluster.search_shards import ShardActors

Floats = npt.NDArray[np.float32]

_DEADLINE_SECONDS = 5.0
_LONGEST_RETURN_SECONDS = 120.0


def run_shards(
    uri: str,
    parts: Sequence[Part],
    asked: Mapping[str, Floats],
    options: argparse.Namespace,
    size: str,
) -> list[Row]:
    """Search by shards, compare with one process, kill one and wait for it.

    Args:
        uri: Of the index.
        parts: All of it.
        asked: Questions by kind, (Q, E) float32 each.
        options: Of the command.
        size: What is searched, in words.
    """
    from longvid.cluster.search_shards import ShardActors

    manifests = {video: "" for part in parts for video in part.rows.video_ids}
    names = [part.name for part in parts]
    plans = [
        ShardPlan(tuple(names[k :: options.shards]), options.width, 1, manifests)
        for k in range(options.shards)
    ]
    started = time.perf_counter()
    actors = ShardActors(uri, plans, deadline_seconds=_DEADLINE_SECONDS, cpus=0.25)
    try:
        actors.wait()
        opened = time.perf_counter() - started
        queries = np.concatenate(list(asked.values()))
        subject = f"{options.shards} shards"
        task = f"top {options.top_k} of {size}"
        same, alone, apart = 0, [], []
        for counted in (False, True):  # the first round reads what the second finds in memory
            for query in queries:
                began = time.perf_counter()
                one = search_parts(parts, uri, query, options.top_k, 1, (), options.recall)
                between = time.perf_counter()
                many = actors.search(query, options.top_k, (), options.recall)
                ended = time.perf_counter()
                if counted:
                    alone.append(1000 * (between - began))
                    apart.append(1000 * (ended - between))
                    same += many.hits == one and not many.missing
        rows = [
            Row(task, subject, "ready", opened, "s"),
            Row(task, subject, "questions with the same hits", same / len(queries), ""),
            median_row(task, "one process", "wall", alone, "ms"),
            median_row(task, subject, "wall", apart, "ms"),
        ]
        rows += _killed(actors, queries[0], options, task, subject)
    finally:
        actors.close()
    return rows


def _killed(
    actors: ShardActors, query: Floats, options: argparse.Namespace, task: str, subject: str
) -> list[Row]:
    """Kill the process of the last shard; time the answer without it, and its return."""
    os.kill(actors.process_ids()[-1], signal.SIGKILL)
    started = time.perf_counter()
    found = actors.search(query, options.top_k, (), options.recall)
    first = time.perf_counter() - started
    print("a shard was killed: " + ("; ".join(found.missing) or "nothing was missing"),
          file=sys.stderr)  # fmt: skip
    rows = [
        Row(task, f"{subject}, one killed", "first answer", 1000 * first, "ms"),
        Row(task, f"{subject}, one killed", "shards said missing", len(found.missing), ""),
    ]
    while found.missing and time.perf_counter() - started < _LONGEST_RETURN_SECONDS:
        time.sleep(0.1)
        found = actors.search(query, options.top_k, (), options.recall)
    back = time.perf_counter() - started if not found.missing else float("inf")
    return [*rows, Row(task, f"{subject}, one killed", "all searched again", back, "s")]
