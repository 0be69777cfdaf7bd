"""Whether answers about drawn films are grounded: answer right, box right, time right.

    python -m benchmarks world --ground

Each film is indexed with its pictures and asked by the preset with the drawn world's grounder. A
question counts that names one thing; its true boxes are known at every time. Of each length:

    answered right              of the questions
    right, box right            of the right answers: the mean IoU of the box over the frames that
                                were shown and show the thing is at least 0.7; a frame without a box
                                counts 0, and so does an answer whose frames miss the thing
    IoU, track IoU, time IoU    means over the right answers; the track is the first, over all
                                frames shown, so a box where nothing is counts too
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measurements import Row
from benchmarks.tasks.world.suites import SUITES, Suite, draw_film, draw_questions
from longvid.api import index
from longvid.config import Config
from longvid.methods.grounding_metrics import box_overlap, temporal_iou, video_iou
from longvid.qa.shown_pictures import shown_pictures
from longvid.qa.video_qa import VideoQA
from longvid.types import Question, Track
from longvid.world.film import write_film
from longvid.world.grounder import DrawnShapes
from longvid.world.scene import Film
from longvid.world.truth import true_boxes
from longvid.world.views import SIGN_SLOT, WorldQuestion

__all__ = ["LENGTHS", "Grounded", "run_grounding", "score_tracks"]

#: Lengths, and films of each.
LENGTHS = {"1 min": 8, "1 h": 1}
_BOX_RIGHT, _TRACK_RIGHT = 0.7, 0.6


@dataclass(frozen=True, slots=True)
class Grounded:
    """What became of one question.

    Args:
        right: Whether the answer is.
        box: Mean IoU over the frames that show the thing; 0 where no frame does.
        track: vIoU of the first track, over all frames shown.
        time: tIoU of that track.
        seconds: That grounding took.
    """

    right: bool
    box: float
    track: float
    time: float
    seconds: float = 0.0


def run_grounding(
    config: Config,
    seed: int,
    cache: Path,
    lengths: Sequence[str],
    say: Callable[[str], None],
) -> list[Row]:
    """Ask films of each length, and return the figures.

    Args:
        config: Whose grounder and pictures are replaced.
        seed: Range of seeds of the films.
        cache: Folder of films and stores that are kept.
        lengths: Some of LENGTHS.
        say: Told what is being done.
    """
    store = dataclasses.replace(config.store, pictures="frame")
    config = dataclasses.replace(config, store=store, grounder=DrawnShapes())
    rows: list[Row] = []
    for length in lengths:
        suite = SUITES[length]
        results = _run(suite, config, seed, cache, say)
        rows += _rows(length, results)
    return rows


def score_tracks(
    tracks: Sequence[Track], times: Sequence[float], truth: dict[int, tuple[float, ...]]
) -> tuple[float, float, float]:
    """Return box, track and time IoU of the first track.

    Args:
        tracks: Of one thing, the likeliest first.
        times: Of the frames shown.
        truth: Its box by the place of the frame in `times`.
    """
    places = {time: place for place, time in enumerate(times)}
    found = {places[box.pts_seconds]: box.xyxy for track in tracks[:1] for box in track.boxes}
    overlaps = [box_overlap(found[at], box) if at in found else 0.0 for at, box in truth.items()]
    mean = statistics.fmean(overlaps) if overlaps else 0.0
    return mean, video_iou(found, truth), temporal_iou(found, truth)


def _run(
    suite: Suite, config: Config, seed: int, cache: Path, say: Callable[[str], None]
) -> list[Grounded]:
    cache.mkdir(parents=True, exist_ok=True)
    films: list[tuple[Film, Path]] = []
    for number in range(LENGTHS[suite.name]):
        film = draw_film(suite, seed, number)
        path = cache / f"ground-{suite.number}-{seed}-{number}.mp4"
        if not path.exists():
            say(f"writing film {number + 1}: {film.duration_seconds:.0f} s")
            partial = path.with_suffix(".part.mp4")
            write_film(film, partial, fps=suite.file_fps, size=suite.file_size)
            partial.rename(path)
        films.append((film, path))
    store = str(cache / f"ground-{suite.number}-{seed}-{config.fingerprint()}")
    say(f"indexing {len(films)} films of {suite.name}")
    index([path for _, path in films], store=store, config=config)
    results: list[Grounded] = []
    with VideoQA(store, config) as qa:
        for number, (film, path) in enumerate(films):
            asked = draw_questions(suite, seed, number, film)
            results += [_ask(qa, film, path, one) for one in asked if len(_things(one)) == 1]
            say(f"{suite.name}, film {number + 1}: {len(results)} questions")
    return results


def _things(question: WorldQuestion) -> list[tuple[int, int]]:
    return [thing for thing in question.things if thing[1] != SIGN_SLOT]


def _ask(qa: VideoQA, film: Film, path: Path, asked: WorldQuestion) -> Grounded:
    answer = qa.ask(asked.text, video=path)
    shown = qa.select(Question(asked.text, video_ids=(str(path),)))
    times = [picture.pts_seconds for picture in shown_pictures(qa.store, shown)]
    (thing,) = _things(asked)
    truth = dict(true_boxes(film, [thing], times)[thing])
    scores = score_tracks(answer.tracks, times, {**truth})
    right = answer.text.strip() == asked.answer
    return Grounded(right, *scores, seconds=answer.seconds["ground"])


def _rows(length: str, results: Sequence[Grounded]) -> list[Row]:
    right = [one for one in results if one.right]
    name = f"grounded answers, {length}"
    figures: list[tuple[str, list[float]]] = [
        ("answered right", [float(one.right) for one in results]),
        ("right, box right", [float(one.box >= _BOX_RIGHT) for one in right]),
        ("right, track right", [float(one.track >= _TRACK_RIGHT) for one in right]),
        ("right, IoU of the box", [one.box for one in right]),
        ("right, track IoU", [one.track for one in right]),
        ("right, time IoU", [one.time for one in right]),
    ]
    rows = [
        Row(name, "drawn_shapes", what, round(statistics.fmean(values), 4), "", len(values))
        for what, values in figures
        if values
    ]
    seconds = [one.seconds for one in results]
    if seconds:
        median = round(statistics.median(seconds), 3)
        rows.append(
            Row(name, "drawn_shapes", "seconds an answer, median", median, "s", len(seconds))
        )
    return rows
