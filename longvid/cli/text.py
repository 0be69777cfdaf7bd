"""The command that adds timed text to a store: text."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from longvid.cli.command import Commands
from longvid.cli.output import (
    FAILURES,
    OK,
    clock,
    dump,
    failure_row,
    printable,
    remark,
    say,
    short_names,
    table,
    text_lines,
    warn,
)
from longvid.errors import ConfigError, counted

if TYPE_CHECKING:
    from longvid.indexing.text_reader import TextResult
    from longvid.store import Store
    from longvid.types import Video


def add_commands(commands: Commands) -> None:
    """Register them."""
    text = commands.add(
        "text", _text, "Add speech and screen text to a store, or list its text.", commands.store
    )
    text.add_argument("videos", nargs="*", metavar="VIDEO", help="only these: path, name or id")
    text.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="NAME",
        help="read with this text source: screen_text, whisper, faster_whisper, remote, "
        "pocketsphinx; give it twice for speech and screen",
    )
    text.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting, such as text_sources.0.model=FOLDER",
    )
    text.add_argument(
        "--again", action="store_true", help="replace text that another source has read"
    )
    text.add_argument("--remove", choices=("speech", "screen"), help="remove recognised text")


def _text(options: argparse.Namespace) -> int:
    from longvid.store import Store

    if options.remove and (options.source or options.set or options.again):
        raise ConfigError("--remove removes text and reads none; give it alone.")
    if options.again and not (options.source or options.set):
        raise ConfigError("--again reads text anew; name what reads it with --source.")
    store = Store.open(options.store)
    ids = [store.find(name) for name in options.videos]
    videos = {stored.video.video_id: stored.video for stored in store.videos()}
    chosen = [videos[video_id] for video_id in ids] or list(videos.values())
    if options.remove:
        return _remove(options, store, chosen)
    if options.source or options.set:
        return _read(options, store, chosen)
    return _list(options, store, chosen)


def _remove(options: argparse.Namespace, store: Store, videos: Sequence[Video]) -> int:
    from longvid.store.timed_text import remove_text

    removed = sum(remove_text(store, video.video_id, options.remove) for video in videos)
    store.refresh()
    if options.json:
        dump({"removed": removed})
    else:
        say(f"removed the {options.remove} text of {counted(removed, 'video')}")
    return OK


def _list(options: argparse.Namespace, store: Store, videos: Sequence[Video]) -> int:
    from longvid.store.timed_text import read_text

    rows = [(video, line) for video in videos for line in read_text(store, video.video_id)]
    names = short_names([video.path for video in videos])
    if options.json:
        dump([{"video": video.path, **dataclasses.asdict(line)} for video, line in rows])
        return OK
    if not rows:
        remark("No text: add it with --source, or index subtitles beside the videos.")
    table(
        ("video", "from", "to", "source", "text"),
        [
            (
                names[video.path],
                clock(line.start_seconds),
                clock(line.end_seconds),
                line.source,
                line.text,
            )
            for video, line in rows
        ],
    )
    return OK


def _read(options: argparse.Namespace, store: Store, videos: Sequence[Video]) -> int:
    from longvid.config import Config, change
    from longvid.indexing.text_threads import TextThreads

    tables = {**store.config, "run": {}}
    if options.source:
        tables["text_sources"] = [{"name": name} for name in options.source]
    config = Config.from_dict(change(tables, options.set))
    if not config.text_sources:
        raise ConfigError("No text source is named; give --source, such as --source screen_text.")
    num_lines: dict[str, int] = {}
    paths = {video.video_id: video.path for video in videos}
    names = short_names(list(paths.values()))

    def count(result: TextResult) -> None:
        for source, number in result.num_lines.items():
            num_lines[source] = num_lines.get(source, 0) + number
            name = printable(names[paths[result.video_id]])
            is_silent = source == "speech" and result.is_silent
            remark(f"{name}: {'no sound' if is_silent else text_lines(number, source)}")

    remark("reading; a video is named when it is done")
    with TextThreads(config, store, again=options.again) as threads:
        for video in videos:
            threads.submit(video)
        failures, note = threads.finish(count)
    store.refresh()
    if options.json:
        dump({"lines": num_lines, "failures": [dataclasses.asdict(one) for one in failures]})
    else:
        counts = ", ".join(text_lines(number, source) for source, number in num_lines.items())
        say(counts or "nothing to read")
        header = ("video", "stage", "kind", "from", "to", "error")
        table(header, [failure_row(failure) for failure in failures])
    warn(note)
    return FAILURES if failures else OK
