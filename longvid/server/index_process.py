"""One indexing job in a process of its own: progress as JSON lines, the report as the last one.

python -m longvid.server.index_process STORE CONFIG VIDEO
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence

import longvid
from longvid.config import Config, load_config
from longvid.errors import LongvidError
from longvid.indexing.report import Progress
from longvid.store import Store

__all__ = ["main"]

_EVERY_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Index one video; exit status 0 when it is in the store."""
    store_uri, config_name, video = sys.argv[1:] if arguments is None else arguments
    last = 0.0

    def show(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY_SECONDS:
            return
        last = now
        _print({"done_seconds": progress.seconds_done, "total_seconds": progress.seconds_known})

    try:
        report = longvid.index(
            [video], store=store_uri, config=_config(store_uri, config_name), on_progress=show
        )
    except LongvidError as error:
        _print({"error": str(error), "kind": "store"})
        return 1
    failed = [failure for failure in report.failures if not failure.is_gap]
    if failed:
        _print({"error": failed[0].error, "kind": failed[0].kind})
        return 1
    names = Store.open(store_uri).names()
    _print({"video_id": names.get(video, ""), "report": dataclasses.asdict(report)})
    return 0


def _config(store_uri: str, name: str) -> Config:
    """Return the store's own configuration, or the named one for a store that is not there."""
    try:
        return Config.from_dict({**Store.open(store_uri).config, "run": {}})
    except LongvidError:
        return load_config(name)


def _print(line: dict[str, object]) -> None:
    print(json.dumps(line, default=str), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
