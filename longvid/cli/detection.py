"""The command that keeps boxes of things in stored pictures: boxes."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from longvid.cli.command import Commands
from longvid.cli.output import OK, dump, remark, say, short_names, table, warn
from longvid.errors import ConfigError, counted

if TYPE_CHECKING:
    from longvid.config import Config
    from longvid.indexing.report import OnPicture
    from longvid.store import Store


def add_commands(commands: Commands) -> None:
    """Register it."""
    boxes = commands.add(
        "boxes", _boxes, "Keep boxes of things in stored pictures, or list them.", commands.store
    )
    boxes.add_argument("videos", nargs="*", metavar="VIDEO", help="only these: path, name or id")
    boxes.add_argument(
        "--detector", metavar="NAME", help="open_vocabulary (OWLv2, Grounding DINO), drawn_shapes"
    )
    boxes.add_argument("--things", default="", metavar="A,B", help="what to look for")
    boxes.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting, such as grounder.model=FOLDER",
    )
    boxes.add_argument(
        "--embed", action="store_true", help="give boxes vectors, for search --objects"
    )
    boxes.add_argument("--remove", action="store_true", help="remove all boxes")


def _boxes(options: argparse.Namespace) -> int:
    from longvid.store import Store

    store = Store.open(options.store)
    chosen = [store.find(name) for name in options.videos]
    paths = {one.video.video_id: one.video.path for one in store.videos()}
    names = short_names(list(paths.values()))
    videos = {video_id: names[paths[video_id]] for video_id in chosen or paths}
    if options.remove and (options.detector or options.things or options.embed):
        raise ConfigError("--remove removes all boxes; give it alone.")
    if options.remove:
        return _remove(options, store, videos)
    if options.detector or options.things:
        return _find(options, store, videos)
    if options.embed:
        return _embed(options, store, videos)
    return _list(options, store, videos)


def _find(options: argparse.Namespace, store: Store, videos: dict[str, str]) -> int:
    from longvid.config import Config, change
    from longvid.indexing.picture_boxes import BoxFinder
    from longvid.world.grounder import DrawnShapes

    named = [f"grounder.name={options.detector}"] if options.detector else []
    tables = change({**store.config, "run": {}}, [*named, *options.set])
    config = Config.from_dict(tables)
    if config.grounder is None:
        raise ConfigError("No detector is named; give --detector open_vocabulary or drawn_shapes.")
    serves_mini = isinstance(config.grounder, DrawnShapes)
    finder = BoxFinder(config.grounder, options.things.split(","), config.run.device)
    pictures = boxes = 0
    for video_id, name, on_picture in _shown(store, videos):
        seen, found = finder.find(store, video_id, on_picture)
        pictures, boxes = pictures + seen, boxes + found
        remark(f"{name}: {counted(found, 'box')} in {counted(seen, 'new picture')}")
        if found and serves_mini:
            for note in _footage_notes(config, store, video_id):
                warn(note)
    embedded = _embedded(config, store, videos) if options.embed else 0
    if options.json:
        vectors = {"vectors": embedded} if options.embed else {}
        dump({"pictures": pictures, "boxes": boxes, **vectors})
    else:
        say(f"{counted(boxes, 'box')} in {counted(pictures, 'new picture')}")
    return OK


def _shown(store: Store, videos: dict[str, str]) -> Iterator[tuple[str, str, OnPicture]]:
    """Yield id and name of each video, and what shows how far its pictures are worked on."""
    from longvid.indexing.report import Progress
    from longvid.progress import index_progress

    known = {one.video.video_id: one.video for one in store.videos()}
    done = 0.0
    with index_progress(sys.stderr) as show:
        for number, (video_id, name) in enumerate(videos.items()):
            video = known[video_id]
            begun = Progress(
                videos_indexed=number,
                videos_open=1,
                seconds_known=done + video.duration_seconds,
                current=video.path,
                videos_listed=len(videos),
            )

            def on_picture(
                seconds: float, begun: Progress = begun, first: float = done - video.start_seconds
            ) -> None:
                show(replace(begun, seconds_done=max(0.0, first + seconds)))

            yield video_id, name, on_picture
            done = begun.seconds_known


def _footage_notes(config: Config, store: Store, video_id: str) -> list[str]:
    """Return the caveats about a video's pictures, none where the drawn world is what they show."""
    from longvid.qa.candidate_segments import evenly
    from longvid.qa.footage_note import LOOKED_AT, footage_notes, segments_at
    from longvid.store import stored_picture_times

    times = stored_picture_times(store, video_id)
    places = [(video_id, times[place]) for place in evenly(len(times), LOOKED_AT)]
    return footage_notes(store, config.llm, segments_at(store, places))


def _embed(options: argparse.Namespace, store: Store, videos: dict[str, str]) -> int:
    from longvid.config import Config, change
    from longvid.store.detected_boxes import BOXES

    config = Config.from_dict(change({**store.config, "run": {}}, options.set))
    embedded = 0
    if any(store.annotations.list_keys(video_id, BOXES) for video_id in videos):
        embedded = _embedded(config, store, videos)
    else:
        remark("No boxes are stored; look for some with --detector NAME --things.")
    if options.json:
        dump({"vectors": embedded})
    else:
        say(counted(embedded, "new vector"))
    return OK


def _embedded(config: Config, store: Store, videos: dict[str, str]) -> int:
    """Give the boxes vectors that have none; return how many."""
    from longvid.indexing.object_embedder import ObjectEmbedder
    from longvid.store.same_weights import require_same_weights

    require_same_weights(store, config)
    embedder, total = ObjectEmbedder(config, config.run.device), 0
    for video_id, name, on_picture in _shown(store, videos):
        embedded = embedder.embed(store, video_id, on_picture)
        remark(f"{name}: {counted(embedded, 'new vector')}")
        total += embedded
    return total


def _remove(options: argparse.Namespace, store: Store, videos: dict[str, str]) -> int:
    from longvid.store.detected_boxes import remove_boxes

    removed = sum(remove_boxes(store, video_id) for video_id in videos)
    if options.json:
        dump({"removed": removed})
    else:
        say(f"removed the boxes of {counted(removed, 'video')}")
    return OK


def _list(options: argparse.Namespace, store: Store, videos: dict[str, str]) -> int:
    from longvid.store.detected_boxes import read_boxes

    rows: list[tuple[str, str, int, int]] = []
    for video_id, name in videos.items():
        pictures: Counter[str] = Counter()
        boxes: Counter[str] = Counter()
        for found in read_boxes(store, video_id).values():
            for one in found:
                pictures.update(one.things)
                boxes.update(thing for thing, _ in one.boxes)
        rows += [(name, thing, pictures[thing], boxes[thing]) for thing in sorted(pictures)]
    if options.json:
        keys = ("video", "thing", "pictures", "boxes")
        dump([dict(zip(keys, row, strict=True)) for row in rows])
        return OK
    if not rows:
        remark('No boxes: add them with --detector NAME --things "red car, dog".')
    table(
        ("video", "thing", "pictures", "boxes"),
        [(name, thing, str(seen), str(found)) for name, thing, seen, found in rows],
    )
    return OK
