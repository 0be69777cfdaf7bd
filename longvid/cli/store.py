"""Commands that look at a store: status, failures."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from typing import Any

from longvid.cli.command import Commands
from longvid.cli.show import OK, clock, dump, failure_row, share, table
from longvid.errors import ConfigError

__all__ = ["add_commands", "known_kind"]


def add_commands(commands: Commands) -> None:
    """Register them."""
    commands.add("status", _status, "Say what a store holds.", commands.store)

    failures = commands.add(
        "failures", _failures, "List what could not be indexed, and why.", commands.store
    )
    failures.add_argument("--kind", help="only failures of this kind")


def _status(options: argparse.Namespace) -> int:
    from longvid.store import Store

    store = Store.open(options.store)
    store.refresh()
    status = store.status()
    if options.json:
        dump(
            {
                **dataclasses.asdict(status),
                "fingerprint": store.fingerprint,
                "space": store.space,
                "content": [_stored_row(stored) for stored in store.videos()],
            }
        )
        return OK
    print(
        f"{status.num_videos} videos, {clock(status.duration_seconds)}: {status.num_segments} "
        f"segments, {status.num_tokens} tokens, {status.num_bytes / 1e6:.1f} MB"
        f"{share(status.num_bytes, status.source_bytes)}, {status.num_failures} failures"
    )
    print(f"fingerprint {store.fingerprint}, token space {store.space}")
    rows = [_stored_row(stored) for stored in store.videos()]
    table(tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows])
    return OK


def _stored_row(stored: Any) -> dict[str, Any]:
    return {
        "video": os.path.basename(stored.video.path),
        "id": stored.video.video_id[:8],
        "length": clock(stored.video.duration_seconds),
        "segments": stored.num_segments,
        "tokens": stored.num_tokens,
        "gaps": len(stored.gaps),
    }


def _failures(options: argparse.Namespace) -> int:
    from longvid.store import Store

    kind = known_kind(options.kind)
    failures = Store.open(options.store).failures(kind=kind)
    if options.json:
        dump([dataclasses.asdict(failure) for failure in failures])
    elif failures:
        table(
            ("video", "stage", "kind", "tries", "from", "to", "error"),
            [
                (*failure_row(failure)[:3], failure.attempts, *failure_row(failure)[3:])
                for failure in failures
            ],
        )
        print(f"\nTry them again with: longvid retry --store {options.store}", file=sys.stderr)
    else:
        print("No failures.", file=sys.stderr)
    return OK


def known_kind(kind: str | None) -> str | None:
    from longvid.types import FAILURE_KINDS

    if kind is not None and kind not in FAILURE_KINDS:
        raise ConfigError(f"No failure kind {kind!r}; known are {', '.join(FAILURE_KINDS)}.")
    return kind
