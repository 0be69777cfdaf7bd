"""Commands that ask a store: ask, search."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from longvid.cli.command import Commands, OneValue, add_tag, load
from longvid.cli.output import (
    OK,
    dump,
    print_answer,
    print_evidence,
    print_objects,
    print_tracks,
    read_clock,
    remark,
    warn,
)
from longvid.errors import ConfigError, LongvidError, VideoError, counted

if TYPE_CHECKING:
    from longvid.config import Config
    from longvid.qa.video_qa import VideoQA
    from longvid.types import Answer

_PATH = "only videos with a path like it, such as */a*"
_TAG = "only videos that longvid tag or index --tag gave this value"


def add_commands(commands: Commands) -> None:
    """Register them."""
    ask = commands.add(
        "ask", _ask, "Ask a question of a store, or of one video.", commands.configured
    )
    ask.add_argument("question", help="what to ask, in words")
    ask.add_argument("--store", action=OneValue, help="folder or URI of the store")
    ask.add_argument("--video", action=OneValue, help="name, path or id of one video")
    ask.add_argument("--choice", action="append", default=[], help="an option; give two or more")
    ask.add_argument("--budget", type=int, help="the most visual tokens shown")
    ask.add_argument("--path", action=OneValue, default="", help=_PATH)
    add_tag(ask, _TAG)
    _add_span(ask)
    ask.add_argument(
        "--ground",
        action=OneValue,
        metavar="GROUNDER",
        nargs="?",
        const="",
        help="find what the answer names in the stored pictures; drawn_shapes serves mini",
    )
    ask.add_argument(
        "--ground-frames",
        action=OneValue,
        choices=("stored", "decoded"),
        help="look at stored pictures, or at frames decoded again from their files",
    )
    ask.add_argument(
        "--overlay", metavar="DIR", help="write those pictures and a clip with the boxes drawn"
    )
    ask.add_argument(
        "--open", action="store_true", help="cut the first evidence from its file and play it"
    )

    search = commands.add(
        "search",
        _search,
        "Find the segments nearest to a text.",
        commands.store,
        commands.configured,
    )
    search.add_argument("text", help="what to look for, in words")
    search.add_argument("--video", action=OneValue, help="name, path or id of one video")
    search.add_argument("--top-k", type=int, default=5, help="how many (default: 5)")
    search.add_argument("--path", action=OneValue, default="", help=_PATH)
    add_tag(search, _TAG)
    _add_span(search)
    search.add_argument(
        "--text",
        dest="text_lines",
        action="store_true",
        help="search speech, screen text and subtitles by words",
    )
    search.add_argument(
        "--source",
        action=OneValue,
        choices=("subtitle", "speech", "screen"),
        help="search this text only",
    )
    search.add_argument(
        "--objects", action="store_true", help="find boxes kept by longvid boxes --embed"
    )
    search.add_argument(
        "--subtitles", action="store_true", help="search subtitles only, by their words"
    )


def _add_span(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--after", action=OneValue, help="only what is shown after this time, as 90 or 1:30"
    )
    command.add_argument("--before", action=OneValue, help="only what is shown before this time")


def _ask(options: argparse.Namespace) -> int:
    from longvid.progress import busy
    from longvid.qa.video_qa import VideoQA

    span, tags = _span(options), _tags(options)
    if options.store is None and (tags or options.path):
        raise ConfigError("--path and --tag choose videos of a --store; name it.")
    if options.store is None and options.video is None:
        raise ConfigError("Name a --store, or a --video to ask about.")
    if options.overlay is not None and options.ground is None:
        raise ConfigError("--overlay draws the boxes of --ground; give both.")
    if options.ground_frames is not None and options.ground is None:
        raise ConfigError("--ground-frames says what --ground looks at; give both.")
    if options.store is None:
        if options.ground is not None:
            raise ConfigError("--ground needs a --store with pictures; index into one first.")
        from longvid.api import index_into_cache

        store, video = index_into_cache(options.video, load(options))
        qa = VideoQA(store)
    else:
        video = options.video
        qa = _open_qa(options)
    with busy(sys.stderr, "loading the models and asking"), _naming_damage(qa):
        answer = qa.ask(
            options.question,
            video=video,
            choices=options.choice,
            budget=options.budget,
            span=span,
            paths=options.path,
            tags=tags,
        )
    warn(answer.note)
    _warn_of_damage(qa, answer.note)
    if options.open:
        from longvid.cli.evidence_clip import open_evidence

        remark(open_evidence(answer.evidence))
    if options.overlay is not None:
        _write_overlay(qa, answer, Path(options.overlay))
    if options.json:
        dump(dataclasses.asdict(answer))
        return OK
    print_answer(answer.text)
    print_evidence(answer.evidence)
    print_tracks(answer.tracks)
    seconds = sum(value for step, value in answer.seconds.items() if step in ("llm", "load_models"))
    rest = sum(answer.seconds.get(step, 0.0) for step in ("embed", "search", "load", "select"))
    remark(
        f"\n{answer.visual_tokens} visual tokens, {answer.prompt_tokens} in the prompt, "
        f"{answer.output_tokens} out · models {seconds:.2f} s, the rest {rest * 1000:.0f} ms"
    )
    return OK


def _write_overlay(qa: VideoQA, answer: Answer, folder: Path) -> None:
    """Write pictures and a clip with the boxes, and say what became of them."""
    from longvid.cli.overlay import write_overlay, write_overlay_clip

    written = write_overlay(qa.store, answer.tracks, folder)
    remark(f"{counted(len(written), 'picture')} with boxes in {folder}")
    try:
        clip = write_overlay_clip(answer, folder)
    except VideoError as error:
        warn(str(error))
        return
    if clip is None:
        remark("No evidence has boxes and its file as it was indexed, so no clip was cut.")
    else:
        remark(f"{clip}")


def _open_qa(options: argparse.Namespace) -> VideoQA:
    """Open a store with its own configuration, changed by --config, --ground and --set."""
    from longvid.qa.video_qa import VideoQA

    grounder = [f"grounder.name={options.ground}"] if options.ground else []
    if options.ground_frames is not None:
        grounder.append(f"ask.ground_frames={options.ground_frames}")
    config = _configuration(options, [*grounder, *options.set])
    if options.ground is not None and config.grounder is None:
        raise ConfigError(
            "The configuration names no grounder; give one, such as --ground drawn_shapes."
        )
    return VideoQA(options.store, config)


def _configuration(options: argparse.Namespace, settings: Sequence[str]) -> Config:
    """Return the configuration of --config, or the store's own, with single settings changed."""
    from longvid.config import Config, change, load_config
    from longvid.qa.arguments import store_name
    from longvid.store import Store

    if options.config:
        return load_config(options.config, settings)
    # How the machine was used that made the store says nothing of this one.
    tables = {**Store.open(store_name(options.store)).config, "run": {}}
    return Config.from_dict(change(tables, settings))


def _warn_of_damage(qa: VideoQA, said: str = "") -> None:
    """Name the videos that were left out because they are damaged, unless that was said."""
    from longvid.qa.damage_note import damage_notes

    for sentence in damage_notes(qa.store):
        if sentence not in said:
            warn(sentence)


@contextmanager
def _naming_damage(qa: VideoQA) -> Iterator[None]:
    """Where something is not found, name what is damaged: it may be that."""
    try:
        yield
    except LongvidError as error:
        _warn_of_damage(qa, str(error))
        raise


def _search(options: argparse.Namespace) -> int:
    from longvid.progress import busy
    from longvid.qa.video_qa import VideoQA

    if options.top_k < 1:
        raise ConfigError(f"--top-k must be at least 1, got {options.top_k}.")
    qa = VideoQA(options.store, _configuration(options, options.set))
    by_words = options.subtitles or options.text_lines or options.source
    span, tags = _span(options), _tags(options)
    if (options.path or span) and (options.subtitles or options.objects):
        raise ConfigError(
            "--path, --after and --before filter the search of pictures and of --text."
        )
    if options.objects and by_words:
        raise ConfigError("--objects searches boxes, not text; give it without --text.")
    if options.subtitles and options.source not in (None, "subtitle"):
        raise ConfigError(
            f"--subtitles searches subtitles only; give it without --source {options.source}."
        )
    if options.objects:
        return _search_objects(options, qa)
    notes: list[str] = []
    with busy(sys.stderr, "searching"), _naming_damage(qa):
        if options.subtitles:
            found = qa.search_subtitles(
                options.text, video=options.video, top_k=options.top_k, tags=tags
            )
        elif options.text_lines or options.source:
            found, notes = qa.search_text_noted(
                options.text,
                video=options.video,
                top_k=options.top_k,
                source=options.source or "",
                paths=options.path,
                span=span,
                tags=tags,
            )
        else:
            found, notes = qa.search_noted(
                options.text,
                video=options.video,
                top_k=options.top_k,
                paths=options.path,
                span=span,
                tags=tags,
            )
    for note in notes:
        warn(note)
    _warn_of_damage(qa, " ".join(notes))
    if not found:
        remark(_nothing_found(options))
    if options.json:
        dump([dataclasses.asdict(span) for span in found])
    else:
        print_evidence(found)
    return OK


def _search_objects(options: argparse.Namespace, qa: VideoQA) -> int:
    with _naming_damage(qa):
        found, notes = qa.search_objects_noted(
            options.text, video=options.video, top_k=options.top_k, tags=_tags(options)
        )
    for note in notes:
        warn(note)
    if options.json:
        dump([dataclasses.asdict(one) for one in found])
    else:
        print_objects(found)
    return OK


def _tags(options: argparse.Namespace) -> dict[str, str]:
    from longvid.store.tags import parsed_tags

    return parsed_tags(options.tag)


def _span(options: argparse.Namespace) -> tuple[float, float] | None:
    """Return the span that --after and --before leave, None without them."""
    if options.after is None and options.before is None:
        return None
    start = 0.0 if options.after is None else read_clock(options.after)
    end = math.inf if options.before is None else read_clock(options.before)
    if start >= end:
        raise ConfigError(f"--after {options.after} leaves nothing before {options.before}.")
    return start, end


def _nothing_found(options: argparse.Namespace) -> str:
    if options.subtitles or options.source == "subtitle":
        what = "subtitle"
    elif options.source:
        what = f"line of {options.source} text"
    elif options.text_lines:
        what = "line of text"
    else:
        return "Nothing was found: the store has no segments to search."
    within = f" of {options.video}" if options.video else ""
    return f"No {what}{within} has these words; longvid text lists what there is."
