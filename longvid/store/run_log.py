"""Summaries of runs, one sealed object each."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

from longvid.store.layout import RUNS
from longvid.store.objects import Objects
from longvid.store.seal import sealed_json


def write_run(objects: Objects, summary: Mapping[str, object]) -> None:
    """Write a summary of plain JSON types, under a name that begins with the time."""
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    objects.write(f"{RUNS}/{when}-{secrets.token_hex(4)}.json", sealed_json(summary))
