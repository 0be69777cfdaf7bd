"""Commands that inspect or repair a store: status, failures, remove, store."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from longvid.cli.command import Commands
from longvid.cli.output import (
    ERROR,
    OK,
    clock,
    dump,
    failure_row,
    printable,
    remark,
    say,
    share,
    short_names,
    table,
    text_lines,
)
from longvid.errors import ConfigError, counted

if TYPE_CHECKING:
    from longvid.store import VideoStatus


def add_commands(commands: Commands) -> None:
    """Register them."""
    commands.add("status", _status, "Show what a store holds.", commands.store)

    failures = commands.add(
        "failures", _failures, "List what could not be indexed, and why.", commands.store
    )
    failures.add_argument("--kind", help="only failures of this kind")
    failures.add_argument("--stderr", action="store_true", help="show what decoders printed")

    remove = commands.add("remove", _remove, "Remove videos from a store.", commands.store)
    remove.add_argument("videos", nargs="+", metavar="VIDEO", help="path, file name or id")

    tag = commands.add("tag", _tag, "Give a video tags, to search by them.", commands.store)
    tag.add_argument("video", metavar="VIDEO", help="path, file name or id")
    tag.add_argument(
        "tags", nargs="*", metavar="KEY=VALUE", help="no value takes the key away; none shows them"
    )

    store = commands.add("store", _store, "Verify or repair a store.", commands.store)
    store.add_argument(
        "action",
        choices=("verify", "rebuild", "clean", "compact"),
        help="verify: compare every object with its checksum. rebuild: make the catalog and the "
        "search index again. clean: remove leftovers of killed runs; only while nothing indexes. "
        "compact: make quantised codes of a search index of 100,000 vectors or more",
    )
    store.add_argument(
        "--codes", default="pq", help="of compact: pq, opq or sq (default: %(default)s)"
    )


def _status(options: argparse.Namespace) -> int:
    from longvid.store import Store
    from longvid.store.tags import tags_text

    store = Store.open(options.store)
    status = store.status()
    num_lines = store.texts.current().num_lines
    if options.json:
        shared = {"fingerprint": store.fingerprint, "space": store.space, "text_lines": num_lines}
        dump({**dataclasses.asdict(status), **shared})
        return OK
    say(
        f"{counted(status.num_videos, 'video')}, {clock(status.duration_seconds)}: "
        f"{counted(status.num_segments, 'segment')}, {counted(status.num_tokens, 'token')}, "
        f"{status.num_bytes / 1e6:.1f} MB{share(status.num_bytes, status.source_bytes)}, "
        f"{counted(status.num_failures, 'failure')}"
    )
    say(f"fingerprint {store.fingerprint}, token space {store.space}")
    if num_lines:
        say(", ".join(text_lines(number, source) for source, number in num_lines.items()))
    columns = ("video", "id", "length", "segments", "tokens", "gaps")
    names = short_names([video.path for video in status.videos])
    table(columns if status.videos else (), [_row(video, names) for video in status.videos])
    for video in status.videos:
        if video.aliases:
            say(printable(f"{video.path} is also named {', '.join(video.aliases)}"))
        if video.tags:
            say(printable(f"{video.path} has the tags {tags_text(video.tags)}"))
    for sentence in status.damaged.values():
        remark(sentence)
    return OK


def _row(video: VideoStatus, names: dict[str, str]) -> tuple[object, ...]:
    return (
        names[video.path],
        video.video_id[:8],
        clock(video.duration_seconds),
        video.num_segments,
        video.num_tokens,
        video.num_gaps,
    )


def _failures(options: argparse.Namespace) -> int:
    from longvid.store import Store

    kind = known_kind(options.kind)
    store = Store.open(options.store)
    failures = store.failures(kind=kind)
    for sentence in store.damaged_failures().values():
        remark(sentence)
    if options.json:
        dump([dataclasses.asdict(failure) for failure in failures])
    elif failures:
        table(
            ("video", "stage", "kind", "tries", "decoder", "from", "to", "error"),
            [
                (
                    *failure_row(failure)[:3],
                    failure.attempts,
                    failure.decoder,
                    *failure_row(failure)[3:],
                )
                for failure in failures
            ],
        )
        if options.stderr:
            for failure in failures:
                if failure.stderr:
                    say(f"\n{failure.path}:\n{failure.stderr}")
        remark(f"\nTry them again with: longvid retry --store {options.store}")
    else:
        remark("No failures.")
    return OK


def _remove(options: argparse.Namespace) -> int:
    from longvid.store import Store

    store = Store.open(options.store)
    # Every name is understood before anything is removed.
    video_ids = list(dict.fromkeys(store.find(name, damaged=True) for name in options.videos))
    store.remove(video_ids)
    store.clear_failures(video_ids)
    store.refresh()
    if options.json:
        dump({"removed": video_ids})
    else:
        say(f"{len(video_ids)} removed, {store.status().num_videos} left")
    return OK


def _tag(options: argparse.Namespace) -> int:
    from longvid.store import Store
    from longvid.store.tags import parsed_tags, tags_text

    given = parsed_tags(options.tags)
    store = Store.open(options.store)
    video_id = store.find(options.video)
    store.tag(video_id, given)
    [tags] = [stored.tags for stored in store.videos() if stored.video.video_id == video_id]
    if options.json:
        dump({"video_id": video_id, "tags": tags})
    elif tags:
        say(printable(tags_text(tags)))
    else:
        remark("The video has no tags.")
    return OK


def _store(options: argparse.Namespace) -> int:
    from longvid.store import Store

    store = Store.open(options.store)
    if options.action == "rebuild":
        store.rebuild()
        status = store.status()
        made = {"videos": status.num_videos, "segments": status.num_segments}
        if options.json:
            dump(made)
        else:
            segments = counted(status.num_segments, "segment")
            say(f"rebuilt from {counted(status.num_videos, 'video')} of {segments}")
        for sentence in status.damaged.values():
            remark(sentence)
        return OK
    if options.action == "compact":
        num_made = store.compact(options.codes)
        if options.json:
            dump({"parts": num_made})
        else:
            say(f"{counted(num_made, 'part')} of quantised codes made")
        if not num_made:
            remark("Nothing to do: fewer than 100,000 vectors stay exact, and codes are made once.")
        return OK
    if options.action == "clean":
        removed = store.clean()
        if options.json:
            dump({"removed": removed})
        else:
            say(f"{counted(len(removed), 'leftover')} removed")
        return OK
    findings = store.verify()
    if options.json:
        dump([dataclasses.asdict(finding) for finding in findings])
    elif findings:
        table(
            ("kind", "object", "message"),
            [(finding.kind, finding.name, finding.message) for finding in findings],
        )
    else:
        videos = counted(store.status().num_videos, "video")
        say(f"{videos}, every object fits its checksum")
    # Leftovers that no reader sees are no damage.
    harmless = ("orphan", "foreign")
    return ERROR if any(finding.kind not in harmless for finding in findings) else OK


def known_kind(kind: str | None) -> str | None:
    """Return the kind if there is such a kind of failure, or None.

    Raises:
        ConfigError: There is none; the sentence lists them.
    """
    from longvid.types import FAILURE_KINDS

    if kind is not None and kind not in FAILURE_KINDS:
        raise ConfigError(f"No failure kind {kind!r}; known are {', '.join(FAILURE_KINDS)}.")
    return kind
