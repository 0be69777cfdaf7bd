"""Weigh a store: what `longvid status` says of it, what it is made of, and what was foreseen.

Every video given is indexed into one store. How much is kept of a second depends on widths, grids
and frames, and hardly on what weights say, so a tower of true widths with one random layer stands
for the whole one. Only what zlib would save depends on them.
"""

from __future__ import annotations

import argparse
import tempfile
import zlib
from collections import Counter
from pathlib import Path

from safetensors import safe_open

from benchmarks.measurements import Row
from benchmarks.speed.random_weights import with_random_weights
from longvid.api import index
from longvid.capacity import needs_of
from longvid.config import Config, load_config
from longvid.store import Store

_RATES_MBIT = (1.25, 2.5, 5.0)
"""Of ordinary 720p footage, megabits a second, for which the share is worked out."""

_KINDS = {
    "tokens": "tokens",
    "scale": "tokens",
    "position": "places and sizes",
    "size": "places and sizes",
    "frame_embeddings": "frame embeddings",
    "frame_embeddings_scale": "frame embeddings",
    "vectors": "search vectors",
    "vectors_scale": "search vectors",
}
_PER_FRAME = "times of frames"
_REST = "heads, manifests, catalog, search index"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--video", metavar="FILE", action="append", required=True)
    parser.add_argument("--config", default="longvid", metavar="NAME|FILE")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[])
    parser.add_argument("--random-weights", action="store_true", help="of the true sizes")
    parser.add_argument("--depth", type=int, default=1, help="most layers of random weights")


def run(options: argparse.Namespace) -> list[Row]:
    """Index the videos and weigh what is kept."""
    config = load_config(options.config, options.set)
    with tempfile.TemporaryDirectory(prefix="longvid-store-") as folder:
        if options.random_weights:
            config = with_random_weights(config, folder, options.depth, towers_only=True)
        index(options.video, store=f"{folder}/store", config=config)
        store = Store.open(f"{folder}/store")
        store.refresh()
        return [*_shares(store, config), *_parts(store)]


def _shares(store: Store, config: Config) -> list[Row]:
    """Compare what is kept with the videos: each by itself, then all as `longvid status` does."""
    task = "kept of the videos"
    rows = []
    for stored in store.videos():
        subject, seconds = Path(stored.video.path).name, stored.video.duration_seconds
        source = stored.source_bytes
        rows += [
            Row(task, subject, "height", stored.video.height, ""),
            Row(task, subject, "source", source * 8e-6 / seconds, "Mbit/s"),
            Row(task, subject, "kept", stored.num_bytes / seconds / 1000, "kB/s"),
            Row(task, subject, "share", 100 * stored.num_bytes / source, "%"),
            Row(task, subject, "tokens", stored.num_tokens / seconds, "1/s"),
        ]
    status = store.status()
    seconds, subject = status.duration_seconds, "all, as longvid status"
    kept = status.num_bytes / seconds
    rows += [Row(task, subject, "kept", kept / 1000, "kB/s")]
    if status.source_bytes:
        rows += [
            Row(task, subject, "source", status.source_bytes * 8e-6 / seconds, "Mbit/s"),
            Row(task, subject, "share", 100 * status.num_bytes / status.source_bytes, "%"),
        ]
    foreseen = sum(
        needs_of(config, one.video.duration_seconds / 3600).store for one in store.videos()
    )
    rows += [
        Row(task, subject, "tokens", status.num_tokens / seconds, "1/s"),
        Row(task, subject, "longvid doctor", foreseen / status.num_bytes, "of it"),
    ]
    for rate in _RATES_MBIT:
        share = 100 * kept / (rate * 1e6 / 8)
        rows.append(Row("the same store", f"of {rate:g} Mbit/s", "share", share, "%"))
    return rows


def _parts(store: Store) -> list[Row]:
    """Say what a second of video is made of in the store, and what zlib would save of tokens."""
    task = "what is kept of a second"
    status = store.status()
    weights: Counter[str] = Counter()
    tokens = squeezed = 0
    for path in sorted(Path(store.uri).glob("videos/*/*.safetensors")):
        with safe_open(path, framework="pt") as chunk:
            for name in chunk.keys():  # noqa: SIM118  # no mapping
                values = chunk.get_tensor(name)
                weights[_KINDS.get(name, _PER_FRAME)] += values.nbytes
                if name == "tokens":
                    tokens += values.nbytes
                    squeezed += len(zlib.compress(values.numpy().tobytes()))
    weights[_REST] = status.num_bytes - weights.total()
    rows = [
        Row(task, kind, "bytes", weight / status.duration_seconds, "B/s")
        for kind, weight in weights.most_common()
    ]
    return [*rows, Row("token values", "after zlib", "size", squeezed / tokens, "of it")]
