"""From marks to findings: accuracies, differences that may be reported, and the goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.harness import statistics
from benchmarks.harness.statistics import Estimate
from benchmarks.tasks.world.measure import Asked, Cell, Ranked
from benchmarks.tasks.world.suites import Suite
from longvid.world.prior import TextGuesser

__all__ = ["Findings", "TypeRow", "recall_at"]

LEAST_ABOVE_PRIOR = 0.1
LEAST_FALL = 0.05
LEAST_QUESTIONS = 5
RECALL_AT = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A type of question under baselines: what text alone, little and enough give."""

    type: str
    n: int
    prior: float
    little: float
    enough: float

    @property
    def judges(self) -> bool:
        """Tell whether methods may be compared on it.

        It must beat the text, and fall when frames or the grid are taken away.
        """
        return (
            self.n >= LEAST_QUESTIONS
            and self.enough - self.prior >= LEAST_ABOVE_PRIOR
            and self.enough - self.little >= LEAST_FALL
        )


@dataclass(slots=True)
class Findings:
    """The outcome of one suite.

    Args:
        suite: Which.
        asked: Its questions.
        cells: The marks of every arm and budget.
        ranks: Of the evidence among the segments.
        guesser: The text-only baseline.
    """

    suite: Suite
    asked: list[Asked]
    cells: list[Cell]
    ranks: list[Ranked]
    guesser: TextGuesser
    types: list[TypeRow] = field(init=False)

    def __post_init__(self) -> None:
        guessed = [self.guesser.guess(a.question.text) == a.question.answer for a in self.asked]
        largest = max(cell.budget for cell in self.cells if cell.arm == "oracle")
        enough = self.cell("oracle", min(512, largest)).right
        least = min(cell.budget for cell in self.cells if cell.arm == "uniform")
        little = [
            self.cell("uniform", least).right,
            self.cell("llama_vid", min(512, largest)).right,
        ]
        self.types = []
        for name in sorted({a.question.type for a in self.asked}):
            of = [i for i, a in enumerate(self.asked) if a.question.type == name]
            self.types.append(
                TypeRow(
                    name,
                    len(of),
                    _share(guessed, of),
                    min(_share(marks, of) for marks in little),
                    _share(enough, of),
                )
            )

    @property
    def films(self) -> list[int]:
        """Return the film of every question."""
        return [a.film for a in self.asked]

    @property
    def judging(self) -> list[int]:
        """Return the questions on which methods may be compared."""
        names = {row.type for row in self.types if row.judges}
        return [i for i, a in enumerate(self.asked) if a.question.type in names]

    def has(self, arm: str, budget: int) -> bool:
        """Tell whether an arm was run at a budget."""
        return any(cell.arm == arm and cell.budget == budget for cell in self.cells)

    def cell(self, arm: str, budget: int) -> Cell:
        """Return the marks of an arm at a budget."""
        for cell in self.cells:
            if (cell.arm, cell.budget) == (arm, budget):
                return cell
        raise KeyError(f"{arm} was not run at {budget} tokens on {self.suite.name}")

    def accuracy(self, cell: Cell, of: Sequence[int] | None = None) -> Estimate:
        """Estimate a cell's accuracy, over all questions or some."""
        of = range(len(self.asked)) if of is None else of
        return statistics.mean([float(cell.right[i]) for i in of], [self.films[i] for i in of])

    def gain(self, left: Cell, right: Cell) -> Estimate:
        """Estimate left - right on the questions that may judge."""
        of = self.judging
        return statistics.difference(
            [float(left.right[i]) for i in of],
            [float(right.right[i]) for i in of],
            [self.films[i] for i in of],
        )

    def named(self, by: str) -> list[int]:
        """Return the questions that name their place in one way."""
        return [i for i, a in enumerate(self.asked) if a.named_by == by]


def recall_at(findings: Findings, of: Sequence[int], k: int) -> Estimate:
    """Estimate how many evidence spans are shown by one of the k best segments.

    A question's value is the share of its spans.
    """
    values = [
        sum(rank <= k for rank in findings.ranks[i].ranks) / len(findings.ranks[i].ranks)
        for i in of
    ]
    return statistics.mean(values, [findings.films[i] for i in of])


def _share(marks: Sequence[bool], of: Sequence[int]) -> float:
    return sum(marks[i] for i in of) / len(of)
