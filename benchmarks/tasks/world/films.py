"""Films as files and stores, made once and kept: what the yardstick is applied to.

A film's file is known by what it shows and how it is written, a store by its configuration and its
suite; another renderer, other weights or another index side make other files.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.tasks.world.suites import Suite, draw_film, draw_questions
from longvid.api import index
from longvid.compress.pooling import GridPooling
from longvid.config import Config
from longvid.store import Store
from longvid.world.draw import Painter
from longvid.world.film import frames, write_film
from longvid.world.scene import Film
from longvid.world.views import WorldQuestion

_PROBED_FRAMES = 5


@dataclass(frozen=True, slots=True)
class Case:
    """One film: its file, its questions, and the store that holds it."""

    suite: Suite
    film: Film
    questions: tuple[WorldQuestion, ...]
    path: Path
    store: str


def index_config(config: Config, suite: Suite) -> Config:
    """Return the index side of a suite: every sampled frame, full or on the suite's grid.

    Compressors are applied when questions are asked: they are `Segment -> Segment`, so the
    arithmetic is the same, and a film is encoded once for all of them. Segments are cut anew too,
    so their length does not make another store.
    """
    side = suite.grid
    compressors = () if side == _FULL_SIDE else (GridPooling(height=side, width=side),)
    sample = dataclasses.replace(
        config.sample, fps=suite.sample_fps, segment_frames=_SEGMENT_FRAMES
    )
    return dataclasses.replace(config, sample=sample, compressors=compressors)


_FULL_SIDE = 8
_SEGMENT_FRAMES = 16


def prepare(
    suite: Suite,
    seed: int,
    num_films: int,
    folder: Path,
    config: Config,
    say: Callable[[str], None],
    kind: str = "store",
    films: Sequence[Film] | None = None,
) -> list[Case]:
    """Write the films that are not there, index those that are not in the store.

    Args:
        suite: The kind of film.
        seed: The range of seeds.
        num_films: How many, from index 0.
        folder: The cache.
        config: They are indexed with, such as `index_config` returns.
        say: Told what is being done.
        kind: Sets a store apart from others with the same fingerprint.
        films: These in place of the suite's own, with no questions about them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = str(folder / f"{kind}-{suite.name.replace(' ', '')}-{config.fingerprint()}")
    painter = Painter(suite.file_size)
    cases = []
    for number in range(num_films):
        film = draw_film(suite, seed, number) if films is None else films[number]
        path = folder / f"{suite.name.replace(' ', '')}-{_digest(film, suite, painter)}.mp4"
        if not path.exists():
            say(f"writing film {number + 1} of {num_films}: {film.duration_seconds:.0f} s")
            partial = path.with_suffix(".part.mp4")
            write_film(film, partial, fps=suite.file_fps, size=suite.file_size, painter=painter)
            partial.rename(path)
        questions = tuple(draw_questions(suite, seed, number, film)) if films is None else ()
        cases.append(Case(suite, film, questions, path, store))
    known = set()
    if Path(store, "store.json").exists():
        known = {Path(stored.video.path).name for stored in Store.open(store).videos()}
    missing = [str(case.path) for case in cases if case.path.name not in known]
    if missing:
        say(f"indexing {len(missing)} films")
        index(missing, store=store, config=config)
    return cases


def _digest(film: Film, suite: Suite, painter: Painter) -> str:
    """Name a film by its shots, a few of its pictures and the form of its file."""
    times = np.linspace(0.0, film.duration_seconds - 1e-3, _PROBED_FRAMES)
    state = hashlib.blake2b(digest_size=8)
    state.update(f"{film.shots}{suite.file_fps}{suite.file_size}".encode())
    for picture in frames(film, times, painter):
        state.update(picture.tobytes())
    return state.hexdigest()
