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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness.asker import Asker, Protocol
from benchmarks.harness.plan import Selection
from benchmarks.harness.predict import infer
from benchmarks.harness.record import Record
from benchmarks.harness.scored_row import logged_rows
from benchmarks.harness.video_folder import open_videos
from benchmarks.measurements import Row
from benchmarks.tasks.world.film_rows import open_rows, records_of
from benchmarks.tasks.world.films import Case, prepare
from benchmarks.tasks.world.suites import SUITES
from longvid.config import Config
from longvid.methods.grounding_metrics import box_overlap, temporal_iou, video_iou
from longvid.world.grounder import DrawnShapes
from longvid.world.scene import Film
from longvid.world.truth import true_boxes
from longvid.world.views import SIGN_SLOT

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
        seconds: That grounding took, by step.
        pictures: That were looked at.
    """

    right: bool
    box: float
    track: float
    time: float
    seconds: Mapping[str, float] = field(default_factory=dict)
    pictures: int = 0


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
        cache: Folder of films, stores and runs that are kept.
        lengths: Some of LENGTHS.
        say: Called with what is being done.
    """
    kept = dataclasses.replace(config.store, pictures="frame")
    config = dataclasses.replace(config, store=kept, grounder=DrawnShapes())
    rows: list[Row] = []
    for length in lengths:
        cases = prepare(SUITES[length], seed, LENGTHS[length], cache, config, say, "ground")
        results = _results(length, cases, config, cache)
        say(f"{length}: {len(results)} questions")
        rows += _rows(length, results)
    return rows


def _results(length: str, cases: Sequence[Case], config: Config, cache: Path) -> list[Grounded]:
    """Ask the questions that name one thing, and score what the log says of each."""
    films = {case.path.name: case.film for case in cases}
    things: dict[str, tuple[int, int]] = {}
    records = []
    questions = (question for case in cases for question in case.questions)
    for record, question in zip(records_of(cases), questions, strict=True):
        named = [thing for thing in question.things if thing[1] != SIGN_SLOT]
        if len(named) == 1:
            things[record.id] = named[0]
            records.append(record)
    run = open_rows(length, records, cache, config, grounds="box")
    with run.plan() as plan:
        infer(
            run,
            plan,
            Selection(),
            lambda: open_videos(run.header),
            lambda paths: Asker(cases[0].store, config, Protocol()),
        )
        run.load_predictions(plan.database)
        return [
            _grounded(record, prediction, films[record.cluster], things[record.id])
            for record, prediction in logged_rows(plan)
        ]


def _grounded(
    record: Record, prediction: Mapping[str, Any], film: Film, thing: tuple[int, int]
) -> Grounded:
    if prediction["status"] != "ok":
        return Grounded(False, 0.0, 0.0, 0.0)
    times = prediction["frames"]
    truth = dict(true_boxes(film, [thing], times)[thing])
    scores = score_tracks(prediction.get("tracks", ()), times, {**truth})
    right = prediction["answer"].strip() == record.answers[0]
    steps: Mapping[str, float] = prediction["seconds"]
    seconds = {step: taken for step, taken in steps.items() if step.startswith("ground")}
    return Grounded(right, *scores, seconds=seconds, pictures=len(times))


def score_tracks(
    tracks: Sequence[Mapping[str, Any]],
    times: Sequence[float],
    truth: dict[int, tuple[float, ...]],
) -> tuple[float, float, float]:
    """Return box, track and time IoU of the first track.

    Args:
        tracks: Of one thing as a log keeps them, the likeliest first.
        times: Of the frames shown.
        truth: Its box by the place of the frame in `times`.
    """
    places = {time: place for place, time in enumerate(times)}
    found = {places[at]: xyxy for track in tracks[:1] for at, *xyxy in track["boxes"]}
    overlaps = [box_overlap(found[at], box) if at in found else 0.0 for at, box in truth.items()]
    mean = statistics.fmean(overlaps) if overlaps else 0.0
    return mean, video_iou(found, truth), temporal_iou(found, truth)


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
    costs: list[tuple[str, str, list[float]]] = [
        (f"{step}, median", "s", [one.seconds[step] for one in results if step in one.seconds])
        for step in ("ground", "ground_pictures", "ground_find")
    ]
    costs.append(("pictures looked at, median", "", [float(one.pictures) for one in results]))
    return rows + [
        Row(name, "drawn_shapes", what, round(statistics.median(values), 4), unit, len(values))
        for what, unit, values in costs
        if values
    ]
