"""From the log of a run to findings: accuracies, and differences that may be reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.harness import statistics
from benchmarks.harness.record import Record
from benchmarks.harness.run import Run
from benchmarks.harness.scored_row import logged_rows
from benchmarks.harness.statistics import Estimate
from benchmarks.tasks.world.suites import Suite
from longvid.world.prior import TextGuesser

LEAST_ABOVE_PRIOR = 0.1
LEAST_FALL = 0.05
LEAST_QUESTIONS = 5
RECALL_AT = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm at one budget.

    Args:
        arm, budget: Which.
        right: A mark for each row, in order.
        tokens, frames: Shown, means over the rows.
        seconds: That it took in all.
    """

    arm: str
    budget: int
    right: tuple[bool, ...]
    tokens: float
    frames: float
    seconds: float


def read_run(run: Run) -> tuple[list[Record], list[Cell], list[list[int]]]:
    """Return the rows of a run, its cells, and the ranks of each row's evidence."""
    with run.plan() as plan:
        run.load_predictions(plan.database)
        answered = list(logged_rows(plan))
    cells = []
    for name in answered[0][1]["cells"]:
        arm, _, budget = name.rpartition(" @ ")
        marks = [prediction["cells"][name] for _, prediction in answered]
        right = tuple(mark[0] for mark in marks)
        tokens, frames, seconds = (sum(mark[i] for mark in marks) for i in (1, 2, 3))
        count = len(marks)
        cells.append(Cell(arm, int(budget), right, tokens / count, frames / count, seconds))
    return [row for row, _ in answered], cells, [prediction["ranks"] for _, prediction in answered]


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
        rows: Its questions.
        cells: The marks of every arm and budget.
        ranks: Of each row's evidence among the segments.
        guesser: The text-only baseline.
    """

    suite: Suite
    rows: list[Record]
    cells: list[Cell]
    ranks: list[list[int]]
    guesser: TextGuesser
    types: list[TypeRow] = field(init=False)

    def __post_init__(self) -> None:
        guessed = [self.guesser.guess(row.question) == row.answers[0] for row in self.rows]
        largest = max(cell.budget for cell in self.cells if cell.arm == "oracle")
        enough = self.cell("oracle", min(512, largest)).right
        least = min(cell.budget for cell in self.cells if cell.arm == "uniform")
        little = [
            self.cell("uniform", least).right,
            self.cell("llama_vid", min(512, largest)).right,
        ]
        self.types = []
        for name in sorted({row.group["type"] for row in self.rows}):
            of = self.of_types(name)
            self.types.append(
                TypeRow(
                    name,
                    len(of),
                    _share(guessed, of),
                    min(_share(marks, of) for marks in little),
                    _share(enough, of),
                )
            )

    def of_types(self, *names: str) -> list[int]:
        """Return the questions of these types."""
        return [i for i, row in enumerate(self.rows) if row.group["type"] in names]

    def named(self, by: str) -> list[int]:
        """Return the questions that name their place in one way."""
        return [i for i, row in enumerate(self.rows) if row.group["named by"] == by]

    @property
    def judging(self) -> list[int]:
        """Return the questions on which methods may be compared."""
        return self.of_types(*(row.type for row in self.types if row.judges))

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
        of = range(len(self.rows)) if of is None else of
        return statistics.mean([float(cell.right[i]) for i in of], self.films(of))

    def gain(self, left: Cell, right: Cell) -> Estimate:
        """Estimate left - right on the questions that may judge."""
        of = self.judging
        return statistics.difference(
            [float(left.right[i]) for i in of],
            [float(right.right[i]) for i in of],
            self.films(of),
        )

    def films(self, of: Sequence[int]) -> list[str]:
        """Return the film of each question."""
        return [self.rows[i].cluster for i in of]


def recall_at(findings: Findings, of: Sequence[int], k: int) -> Estimate:
    """Estimate how many evidence spans are shown by one of the k best segments.

    A question's value is the share of its spans.
    """
    values = [sum(rank <= k for rank in findings.ranks[i]) / len(findings.ranks[i]) for i in of]
    return statistics.mean(values, findings.films(of))


def _share(marks: Sequence[bool], of: Sequence[int]) -> float:
    return sum(marks[i] for i in of) / len(of)
