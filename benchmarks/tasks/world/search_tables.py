"""What a search finds in drawn films: one place, two places, a film among many, and nothing.

    python -m benchmarks world --search --seeds tuning

Everything is asked of stores as `longvid index` makes them with the preset, by `StoreSearch` and
`VideoQA`, so what is measured is what a person gets:

first       things that one shot of a film has (a shape in a colour, a sign): is that shot first?
settings    the same by other settings of the search
nothing     pairs of shape and colour that a film has, and that it has not: what tells them apart?
two places  one question about two places an hour apart: are both shown, and both answered?
library     signs and pairs that one shot of all films has: are film and shot first?
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurements import Row
from benchmarks.tasks.world.films import Case, prepare
from benchmarks.tasks.world.library import LIBRARY, draw_library
from benchmarks.tasks.world.suites import SUITES, Suite
from longvid.config import Ask, Config
from longvid.models.mini_vocabulary import BACKGROUNDS, COLORS, PLACES, SHAPES, SIGNS
from longvid.qa.candidate_segments import CandidateSearch
from longvid.qa.confirmation import confirm
from longvid.qa.moment_score import query_embedding
from longvid.qa.routing import Route
from longvid.qa.second_look import SecondLook
from longvid.qa.video_qa import VideoQA
from longvid.question_form import caption_of, search_forms
from longvid.store import Hit
from longvid.types import Answer, Query, Question
from longvid.world.questions import view
from longvid.world.scene import CHANGES, Film

_AT = (1, 3, 8)
_APART_SECONDS = 3600.0
#: Questions about true things that may be refused, where thresholds are compared.
_REFUSED = 0.02
#: Segments this near to the best one show its shot, and are no rivals of it.
_SHOT_SECONDS = 20.0
_RIVALS = 5
#: Segments that the model is asked about, and what its yes is worth beside a score.
_LOOKED_AT, _YES_WEIGHT = 3, 0.2
#: Scores segments by their best frames, not by whole shots as the preset does.
_BEST_QUARTER: dict[str, Any] = {"moment_share": 0.25, "moment_shots": False}
#: The preset takes a frame a second.
_FRAME_SECONDS = 1.0

SETTINGS: dict[str, dict[str, object]] = {
    "preset": {},
    "captions": {"query_forms": "caption"},
    "questions and captions": {"query_forms": "both"},
    "best quarter of the frames": _BEST_QUARTER,
    "both, best quarter": {"query_forms": "both", **_BEST_QUARTER},
    "model asked of 3 segments": {
        "confirm_segments": 3,
        "confirm_prompt": "is there a {caption} ?",
    },
}
_AS_ASKED = "best score as the preset gives it"


@dataclass(frozen=True, slots=True)
class Place:
    """A thing that one shot has: what is asked, what a caption calls it, and where it is."""

    kind: str
    text: str
    answer: str
    start_seconds: float
    end_seconds: float


def places(film: Film, sample_fps: float) -> list[Place]:
    """Return a question for every pair and every sign that one shot of a film has."""
    seen = view(film, np.arange(0.0, film.duration_seconds, 1.0 / sample_fps))
    found = []
    for item in seen.things:
        thing = item.thing
        unique = seen.pairs[thing.shape, thing.color] == 1 and thing.event != CHANGES
        if unique and item.visible and thing.place >= 0:
            text = f"where is the {COLORS[thing.color]} {SHAPES[thing.shape]} ?"
            found.append(Place("pair", text, PLACES[thing.place], *film.span(item.shot)))
    for shot in seen.shown:
        if seen.unique_sign(shot):
            text = f"what is behind sign {SIGNS[film.shots[shot].sign]} ?"
            background = BACKGROUNDS[film.shots[shot].background]
            found.append(Place("sign", text, background, *film.span(shot)))
    return found


class _Finder:
    """Searches one store by one setting, the language model's second look included."""

    def __init__(self, qa: VideoQA, ask: Ask) -> None:
        self._qa, self._ask = qa, ask
        self._search = CandidateSearch(qa.store, Route(ask))
        self._look = SecondLook(qa.store, ask)

    def hits(self, text: str, video_ids: tuple[str, ...], count: int) -> list[Hit]:
        """Return the best segments, best first; `count` of 0 ranks all."""
        rows = self._qa.embedder.embed_text(search_forms(text, self._ask.query_forms))
        question = Question(text, video_ids=video_ids)
        query = Query(question, query_embedding(rows), rows[:0])
        hits = self._search.hits(query, count)
        if self._ask.confirm_segments:
            # As `SecondLook.find`, which cuts to `ask.num_segments` what is ranked here.
            hits, _ = self._look._confirmed(text, hits, self._qa.llm)
        return hits


def _rank(hits: Sequence[Hit], place: Place) -> int:
    """Return the place of the first segment that shows a frame of a shot, from 1."""
    for number, hit in enumerate(hits, 1):
        shared = min(hit.end_seconds, place.end_seconds) - max(
            hit.start_seconds, place.start_seconds
        )
        if shared >= _FRAME_SECONDS:
            return number
    return len(hits) + 1


def _shares(task: str, subject: str, ranks: Sequence[int], at: Sequence[int] = _AT) -> list[Row]:
    return [
        Row(task, f"{subject} (n={len(ranks)})", f"in the first {most}",
            statistics.fmean(rank <= most for rank in ranks), "")
        for most in at if ranks
    ]  # fmt: skip


def first(cases: Sequence[Case], qa: VideoQA, config: Config) -> list[Row]:
    """Rank the shot of every thing that one shot of a film has, by every setting."""
    rows: list[Row] = []
    asked = [
        (qa.store.find(case.path.name), place)
        for case in cases
        for place in places(case.film, config.sample.fps)
    ]
    for name, changes in SETTINGS.items():
        finder = _Finder(qa, dataclasses.replace(config.ask, **changes))  # type: ignore[arg-type]
        ranks = [
            (place.kind, _rank(finder.hits(place.text, (video,), max(_AT)), place))
            for video, place in asked
        ]
        for kind in ("pair", "sign"):
            of = [rank for one, rank in ranks if one == kind]
            rows += _shares(f"{cases[0].suite.name}, right shot by {kind}", name, of)
    return rows


def nothing(cases: Sequence[Case], qa: VideoQA, config: Config) -> list[Row]:
    """Compare what may tell a thing that is in a film from one that is not."""
    finder = _Finder(qa, config.ask)
    by_moment = _Finder(qa, dataclasses.replace(config.ask, **_BEST_QUARTER))
    values: dict[str, tuple[list[float], list[float]]] = {}
    for case in cases:
        video = qa.store.find(case.path.name)
        for text, is_there in _pairs(case.film, config.sample.fps):
            hits = finder.hits(text, (video,), 0)
            found = {name: measure(hits) for name, measure in MEASURES.items()}
            found[_AS_ASKED] = finder.hits(text, (video,), 1)[0].score
            found["best quarter of the frames"] = by_moment.hits(text, (video,), 1)[0].score
            likelihood = _likelihood(qa, text, hits)
            found[f"model's yes, best of {_LOOKED_AT}"] = likelihood
            found["best score and model's yes"] = hits[0].score + _YES_WEIGHT * likelihood
            for name, value in found.items():
                values.setdefault(name, ([], []))[is_there].append(value)
    rows = []
    for name, (absent, there) in values.items():
        threshold = float(np.quantile(there, _REFUSED, method="lower"))
        task = f"{cases[0].suite.name}, nothing fits"
        subject = f"{name} (n={len(there)} there, {len(absent)} not)"
        rows += [
            Row(task, subject, f"false answers where {_REFUSED:.0%} are refused",
                statistics.fmean(value >= threshold for value in absent), ""),
            Row(task, subject, "threshold", threshold, ""),
            Row(task, subject, "area under the curve", _area(there, absent), ""),
        ]  # fmt: skip
    absent, there = values[_AS_ASKED]
    least = config.ask.fitting
    subject = f"ask.fit_score = {least:g} (n={len(there)} there, {len(absent)} not)"
    return [
        *rows,
        Row(task, subject, "false answers", statistics.fmean(v >= least for v in absent), ""),
        Row(task, subject, "true ones refused", statistics.fmean(v < least for v in there), ""),
    ]


def _pairs(film: Film, sample_fps: float) -> Iterator[tuple[str, bool]]:
    """Yield a question for every pair of shape and colour, and whether the film has it."""
    seen = view(film, np.arange(0.0, film.duration_seconds, 1.0 / sample_fps))
    plain = {
        (item.thing.shape, item.thing.color)
        for item in seen.things
        if item.visible and item.thing.event != CHANGES
    }
    for shape, name in enumerate(SHAPES):
        for color, word in enumerate(COLORS):
            is_there = (shape, color) in plain
            if is_there or not seen.pairs[shape, color]:
                yield f"where is the {word} {name} ?", is_there


def _likelihood(qa: VideoQA, text: str, hits: Sequence[Hit]) -> float:
    """Ask the model whether one of the best segments shows what a question is about."""
    best = hits[:_LOOKED_AT]
    segments = qa.store.load([(hit.video_id, hit.segment_index) for hit in best])
    prompt = f"is there a {caption_of(text)} ?"
    return max(confirm(qa.llm, prompt, best, segments, len(best)).likelihoods)


def _margin(hits: Sequence[Hit]) -> float:
    """Return how far the best segment is above the mean of the best ones of other shots."""
    best = hits[0]
    middle = (best.start_seconds + best.end_seconds) / 2
    others = [
        hit.score
        for hit in hits[1:]
        if abs((hit.start_seconds + hit.end_seconds) / 2 - middle) > _SHOT_SECONDS
    ]
    return best.score - statistics.fmean(others[:_RIVALS] or [best.score])


def _deviations(hits: Sequence[Hit]) -> float:
    """Return how far the best segment is above the video's mean, in standard deviations."""
    scores = [hit.score for hit in hits]
    return (scores[0] - statistics.fmean(scores)) / max(statistics.pstdev(scores), 1e-9)


MEASURES: Mapping[str, Callable[[Sequence[Hit]], float]] = {
    "best score": lambda hits: hits[0].score,
    "above other shots": _margin,
    "above the mean, in deviations": _deviations,
    "best score and above other shots": lambda hits: hits[0].score + _margin(hits),
}


def _area(there: Sequence[float], absent: Sequence[float]) -> float:
    """Return the share of pairs of one thing that is there and one that is not in right order."""
    above = np.asarray(there)[:, None] - np.asarray(absent)[None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def two_places(cases: Sequence[Case], qa: VideoQA, config: Config) -> list[Row]:
    """Ask about two places that are an hour apart in one question."""
    rows = []
    asked = [
        (f"{a.text.removesuffix(' ?')} and {b.text}", qa.store.find(case.path.name), (a, b))
        for case in cases
        for a, b in _far_apart(places(case.film, config.sample.fps))
    ]
    for route in ("none", "auto") if asked else ():
        asking = VideoQA(qa.store.uri, dataclasses.replace(
            config, ask=dataclasses.replace(config.ask, route=route)))  # fmt: skip
        both, right = [], []
        for text, video, two in asked:
            selection = asking.select(Question(text, video_ids=(video,)))
            times = [
                time
                for segment in selection.segments
                for time in segment.pts_seconds[
                    segment.tokens.counts(segment.num_frames) > 0
                ].tolist()
            ]
            both.append(all(
                any(one.start_seconds <= time < one.end_seconds for time in times) for one in two
            ))  # fmt: skip
            # One that the model cannot read is a failure: mini knows no "and".
            [answer] = asking.ask_many([Question(text, video_ids=(video,))])
            expected = "; ".join(place.answer for place in two)
            right.append(isinstance(answer, Answer) and answer.text == expected)
        task = f"{cases[0].suite.name}, two places an hour apart"
        subject = f"ask.route = {route} (n={len(both)})"
        rows += [
            Row(task, subject, "both are shown", statistics.fmean(both), ""),
            Row(task, subject, "both are answered", statistics.fmean(right), ""),
        ]
    return rows


def _far_apart(found: Sequence[Place]) -> Iterator[tuple[Place, Place]]:
    """Yield pairs of places an hour apart, each place in at most one."""
    left = sorted(found, key=lambda place: place.start_seconds)
    while left:
        one = left.pop(0)
        far = [p for p in left if p.start_seconds - one.end_seconds >= _APART_SECONDS]
        if far:
            left.remove(far[0])
            yield one, far[0]


def library(cases: Sequence[Case], qa: VideoQA, config: Config) -> list[Row]:
    """Look for things that one shot of all films has, in all films at once."""
    rows = []
    shared = _shared(cases, config.sample.fps)
    for name, changes in SETTINGS.items():
        finder = _Finder(qa, dataclasses.replace(config.ask, **changes))  # type: ignore[arg-type]
        ranks: dict[str, list[int]] = {}
        for case, place in shared:
            video = qa.store.find(case.path.name)
            hits = finder.hits(place.text, (), max(_AT))
            right = [
                number
                for number, hit in enumerate(hits, 1)
                if hit.video_id == video and _rank([hit], place) == 1
            ]
            ranks.setdefault(place.kind, []).append(right[0] if right else len(hits) + 1)
        for kind, of in ranks.items():
            task = f"library of {len(cases)} films, right film and shot by {kind}"
            rows += _shares(task, name, of)
    return rows


def _shared(cases: Sequence[Case], sample_fps: float) -> list[tuple[Case, Place]]:
    """Return the places that no other film has too."""
    found: dict[str, list[tuple[Case, Place]]] = {}
    there: dict[str, int] = {}
    for case in cases:
        for place in places(case.film, sample_fps):
            found.setdefault(place.text, []).append((case, place))
        for text in _everything(case.film, sample_fps):
            there[text] = there.get(text, 0) + 1
    return [one[0] for text, one in found.items() if len(one) == 1 and there[text] == 1]


def _everything(film: Film, sample_fps: float) -> set[str]:
    """Return the question of everything that a film has, once or more often."""
    seen = view(film, np.arange(0.0, film.duration_seconds, 1.0 / sample_fps))
    pairs = {f"where is the {COLORS[c]} {SHAPES[s]} ?" for (s, c), n in seen.pairs.items() if n}
    return pairs | {f"what is behind sign {SIGNS[sign]} ?" for sign, n in seen.signs.items() if n}


TABLES = ("first", "nothing", "two places", "library")


def run_search_tables(
    config: Config,
    seed: int,
    cache: Path,
    tables: Sequence[str],
    most_films: int | None,
    say: Callable[[str], None],
) -> list[Row]:
    """Measure some of TABLES.

    Args:
        config: The preset.
        seed: The range of seeds.
        cache: Folder of films and stores.
        tables: Of TABLES.
        most_films: Of a table; None for those of a full run.
        say: Told what is being done.
    """
    suites: dict[str, Suite] = {
        "first": SUITES["1 h"],
        "nothing": SUITES["10 min"],
        "two places": SUITES["3 h"],
        "library": LIBRARY,
    }
    rows: list[Row] = []
    for table in tables:
        suite = suites[table]
        count = min(suite.num_films, most_films or suite.num_films)
        drawn = draw_library(seed, count) if table == "library" else None
        cases = prepare(suite, seed, count, cache, config, say, films=drawn)
        qa = VideoQA(cases[0].store, config)
        say(f"{table}: {len(cases)} films are ready")
        if table == "first":
            rows += first(cases, qa, config)
        elif table == "nothing":
            rows += nothing(cases, qa, config)
        elif table == "two places":
            rows += two_places(cases, qa, config)
        else:
            rows += library(cases, qa, config)
    return rows
