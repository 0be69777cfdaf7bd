"""What is tried: which arms, at which budgets, at which length.

The whole grid of arms, budgets and lengths would take hours. Curves over all budgets are drawn for
the baselines, the published systems and the preset; every pair of selector and compressor is run
at one length and one budget; hours are asked at three budgets, ten hours at one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from benchmarks.tasks.world.arms import (
    COMPRESSIONS,
    SELECTORS,
    Arm,
    baselines,
    of_config,
    of_parts,
    published,
)
from benchmarks.tasks.world.film_tokens import Cut
from benchmarks.tasks.world.suites import SUITES, Suite
from longvid.config import Config
from longvid.select.frames import Uniform

BUDGETS = (32, 64, 128, 256, 512, 1024, 2048)
MATRIX_SUITE, MATRIX_BUDGET = "1 min", 128
PRESET = "longvid"
"""Name of the arm that is the default preset, as mini can run it."""

PAIRED = " with "
"""Between selector and compression in the name of an arm."""

FULL_GRID = "uniform 8x8"
EVERYTHING = "everything, 1 fps"
EVERYTHING_BUDGET = 8000
TENTH_BUDGET = 416
"""A tenth of the tokens of a minute at 1 frame a second and 64 tokens a frame."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One suite with its films and the cells that are run on it."""

    suite: Suite
    cells: tuple[tuple[Arm, int], ...]


def trials_of(config: Config, *, quick: bool) -> list[Trial]:
    """Return the trials of a full run, or of one that takes minutes.

    The grid of parts comes last, as a second trial of its suite: it decides no goal.

    Args:
        config: The preset that is judged, as the arm `longvid`.
        quick: Fewer films, lengths and budgets.
    """
    if quick:
        return [_quick(suite, config) for suite in _quick_suites()]
    grid = Trial(SUITES[MATRIX_SUITE], tuple((arm, MATRIX_BUDGET) for arm in matrix()))
    return [*(Trial(suite, tuple(_cells(suite, config))) for suite in SUITES.values()), grid]


def _methods(suite: Suite, config: Config) -> list[Arm]:
    preset = of_config(PRESET, config, suite.sample_fps)
    return [*baselines(), *published(suite.sample_fps), preset]


def _cells(suite: Suite, config: Config) -> list[tuple[Arm, int]]:
    hours = suite.seconds >= 3600
    cells = []
    for arm in _methods(suite, config):
        budgets: tuple[int, ...] = (128, 512, 2048) if hours else BUDGETS
        seldom = hours and arm.name in ("random frames", "longvu")
        if arm.name == "no video" or seldom or suite.seconds > 10_800:
            budgets = (512,)
        cells += [(arm, budget) for budget in budgets]
    if suite.grid == 8:
        full = of_parts(FULL_GRID, (), (Uniform(),))
        cells += [(full, budget) for budget in (128, 512, 2048)]
    if suite.name == MATRIX_SUITE:
        cells += _tenth(suite, config)
    return cells


def matrix() -> list[Arm]:
    """Return every selector with every compressor."""
    return [
        of_parts(paired(selector, name), parts, (part,))
        for selector, part in SELECTORS.items()
        for name, parts in COMPRESSIONS.items()
    ]


def paired(selector: str, compression: str) -> str:
    """Name the arm of a selector and a compression."""
    return selector + PAIRED + compression


def _tenth(suite: Suite, config: Config) -> list[tuple[Arm, int]]:
    cut = Cut(every=round(suite.sample_fps))
    everything = of_parts(EVERYTHING, (), (Uniform(),), cut=cut)
    by_name = {arm.name: arm for arm in _methods(suite, config)}
    return [
        (everything, EVERYTHING_BUDGET),
        (by_name["uniform"], TENTH_BUDGET),
        (by_name[PRESET], TENTH_BUDGET),
    ]


def _quick_suites() -> list[Suite]:
    sizes = {"10 s": 12, "1 min": 8, "10 min": 3}
    return [dataclasses.replace(SUITES[name], num_films=count) for name, count in sizes.items()]


def _quick(suite: Suite, config: Config) -> Trial:
    budgets = (64, 256) if suite.seconds < 600 else (512,)
    cells = [(arm, budget) for arm in _methods(suite, config) for budget in budgets]
    if suite.name == "10 s":
        cells.append((of_parts(FULL_GRID, (), (Uniform(),)), 512))
    return Trial(suite, tuple(cells))
