"""Every question-free compressor at the same number of tokens: `world --equal-budget`.

A film is seen at 1 frame a second with its full grid. Each compressor is set to leave 2, 5, 10 or
25 % of those tokens, and where it leaves more (it rounds up, or keeps a first frame whole), whole
frames go, evenly, until the budget is kept. What was published for a whole video runs on the whole
film too, beside the segments that indexing sees. The published systems are run at the same budgets,
and every token of a film is shown once, as the bound that the shares are measured against.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.harness.record import Record
from benchmarks.tasks.world.arms import Arm, Shown, baselines, of_config, of_parts, published
from benchmarks.tasks.world.film_tokens import Cut, Shelf
from benchmarks.tasks.world.suites import SUITES, Suite
from benchmarks.tasks.world.trials import EVERYTHING, PRESET, Trial
from longvid.compress.flashvid import FlashVID
from longvid.compress.prune import RandomPruning
from longvid.compress.ranking import (
    DifferentialTokenDrop,
    EfficientVideoSampling,
    VCast,
    VidCom2,
)
from longvid.compress.token_merging import TokenMerging
from longvid.compress.whole_video import compress_video
from longvid.config import Config
from longvid.select.frames import Uniform
from longvid.types import Query, Segment

LENGTHS = ("1 min", "10 min")
SHARES = (0.02, 0.05, 0.10, 0.25)
WHOLE = ", whole video"
"""Behind the name of a compressor that sees a film at once."""

COMPRESSORS = tuple(
    name + part for part in ("", WHOLE) for name in ("evs", "vidcom2", "v-cast", "dtd", "flashvid")
)
"""The arms of published compressors."""

BASELINE_BUDGET = 512


def equal_budget_trials(config: Config) -> list[Trial]:
    """Return the cells of every length: baselines, the preset, and each compressor.

    Args:
        config: The preset that is judged, as the arm `longvid`.
    """
    return [_trial(SUITES[name], config) for name in LENGTHS]


def budget_of(suite: Suite, share: float) -> int:
    """Return how many tokens a share of a film is, at 1 frame a second."""
    return round(share * max(10.0, suite.seconds) * suite.grid**2)


def full_budget(suite: Suite) -> int:
    """Return what no film of a suite exceeds at 1 frame a second: a film ends with a whole shot."""
    return round(1.5 * max(10.0, suite.seconds) * suite.grid**2)


def arms_of(suite: Suite, share: float) -> list[Arm]:
    """Return every compressor, set to leave a share of the tokens."""
    cut = Cut(every=max(1, round(suite.sample_fps)))
    of_papers: dict[str, Any] = {
        "evs": EfficientVideoSampling(ratio=1 - share),
        "vidcom2": VidCom2(ratio=share),
        "v-cast": VCast(ratio=share),
        "dtd": DifferentialTokenDrop(share=1 - share),
        "flashvid": FlashVID(ratio=share),
    }
    others: dict[str, Any] = {
        "tome": TokenMerging(unit="ratio", amount=1 - share),
        "random tokens": RandomPruning(ratio=1 - share),
    }
    return [
        *(_arm(name, part, cut, whole=False) for name, part in {**of_papers, **others}.items()),
        *(_arm(name + WHOLE, part, cut, whole=True) for name, part in of_papers.items()),
        _arm("whole frames", None, cut, whole=False),
    ]


def _arm(name: str, part: Any, cut: Cut, *, whole: bool) -> Arm:
    def compress(segments: Sequence[Segment]) -> Sequence[Segment]:
        if part is None:
            return segments
        return compress_video(part, segments) if whole else [part(one) for one in segments]

    def show(shelf: Shelf, query: Query, row: Record, budget: int) -> Shown:
        chosen = shelf.segments(cut, (name, part), compress)
        return tuple(Uniform()(query, chosen, budget))

    return Arm(name, show, reads_question=False)


def _trial(suite: Suite, config: Config) -> Trial:
    cut = Cut(every=max(1, round(suite.sample_fps)))
    systems = published(suite.sample_fps)
    preset = of_config(PRESET, config, suite.sample_fps)
    everything = of_parts(EVERYTHING, (), (Uniform(),), cut=cut)
    cells = [(arm, BASELINE_BUDGET) for arm in baselines()]
    cells += [(arm, BASELINE_BUDGET) for arm in systems if arm.name == "llama_vid"]
    cells.append((everything, full_budget(suite)))
    for share in SHARES:
        arms = [*arms_of(suite, share), *systems, preset]
        cells += [(arm, budget_of(suite, share)) for arm in arms]
    return Trial(suite, tuple(cells))
