"""Ask every question of every film to every arm, and note which are answered rightly."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch

from benchmarks.tasks.world.answer_check import Reader, Sheet
from benchmarks.tasks.world.arms import Arm, Shown
from benchmarks.tasks.world.film_tokens import Cut, Shelf, read_shelf
from benchmarks.tasks.world.films import Case
from benchmarks.tasks.world.suites import named_by
from longvid.config import Ask, Config
from longvid.qa.moment_score import query_embedding
from longvid.qa.question_form import search_forms
from longvid.store import Store
from longvid.types import Query, Question
from longvid.world.views import WorldQuestion

__all__ = ["Asked", "Cell", "Ranked", "ask_all", "rank_evidence"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with the film it is about."""

    film: int
    question: WorldQuestion
    named_by: str


@dataclass(slots=True)
class Cell:
    """One arm at one budget: a mark for each question of the suite, in order.

    `tokens` and `frames` are means over the questions; `seconds` is what the cell took.
    """

    arm: str
    budget: int
    right: list[bool] = field(default_factory=list)
    tokens: float = 0.0
    frames: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ranked:
    """For one question, the best rank (from 1) among segments that touch each evidence span."""

    ranks: tuple[int, ...]


Embed = Callable[[Sequence[str]], Sequence[Query]]


def ask_all(
    cases: Sequence[Case],
    plan: Iterable[tuple[Arm, int]],
    reader: Reader,
    embed: Embed,
    visit: Callable[[Shelf, Sequence[Query]], None] | None = None,
) -> tuple[list[Asked], list[Cell]]:
    """Run a plan of arms and budgets over the films of a suite.

    Args:
        cases: The films.
        plan: What is run.
        reader: Judges answers.
        embed: From texts to queries.
        visit: Called with every film, for other measurements.
    """
    arms = list(plan)
    cells = [Cell(arm.name, budget) for arm, budget in arms]
    asked: list[Asked] = []
    for number, case in enumerate(cases):
        shelf = read_shelf(case, Store.open(case.store))
        queries = embed([question.text for question in case.questions])
        asked.extend(Asked(number, q, named_by(q)) for q in case.questions)
        if visit is not None:
            visit(shelf, queries)
        known: dict[tuple[str, str], bool] = {}
        for cell, (arm, budget) in zip(cells, arms, strict=True):
            started = time.perf_counter()
            _ask_film(cell, arm, budget, shelf, queries, reader, known)
            cell.seconds += time.perf_counter() - started
        shelf.forget()
    for cell in cells:
        cell.tokens /= max(1, len(asked))
        cell.frames /= max(1, len(asked))
    return asked, cells


def _ask_film(
    cell: Cell,
    arm: Arm,
    budget: int,
    shelf: Shelf,
    queries: Sequence[Query],
    reader: Reader,
    known: dict[tuple[str, str], bool],
) -> None:
    """Add one film's marks to a cell; what was shown and asked before is not read again."""
    questions = shelf.case.questions
    if arm.reads_question:
        shown = [
            arm.show(shelf, query, question, budget)
            for query, question in zip(queries, questions, strict=True)
        ]
    else:
        shown = [arm.show(shelf, queries[0], questions[0], budget)] * len(questions)
    names = {id(item): _name(item) for item in shown}
    waiting: dict[str, tuple[Shown, list[WorldQuestion]]] = {}
    for item, question in zip(shown, questions, strict=True):
        num_tokens = sum(len(segment.tokens) for segment in item)
        if num_tokens > budget:
            raise ValueError(f"{arm.name} shows {num_tokens} tokens of {budget}")
        cell.tokens += num_tokens
        cell.frames += sum(int((s.tokens.counts(s.num_frames) > 0).sum()) for s in item)
        if (names[id(item)], question.text) not in known:
            waiting.setdefault(names[id(item)], (item, []))[1].append(question)
    sheets = [
        Sheet(item, tuple((q.text, q.answer) for q in asked)) for item, asked in waiting.values()
    ]
    for (name, (_, asked)), marks in zip(waiting.items(), reader.right(sheets), strict=True):
        known.update(((name, q.text), mark) for q, mark in zip(asked, marks, strict=True))
    cell.right.extend(
        known[names[id(item)], question.text]
        for item, question in zip(shown, questions, strict=True)
    )


def _name(shown: Shown) -> str:
    """Name what is shown by its tokens and the frames they are of."""
    state = hashlib.blake2b(digest_size=12)
    for segment in shown:
        state.update(segment.tokens.counts(segment.num_frames).numpy().tobytes())
        state.update(segment.tokens.data.float().numpy().tobytes())
    return state.hexdigest()


def rank_evidence(shelf: Shelf, queries: Sequence[Query], cut: Cut, ask: Ask) -> list[Ranked]:
    """Rank a film's segments for every question and find those that show its evidence.

    A segment shows a span when one of its frames lies in it.
    """
    segments = shelf.segments(cut)
    found = []
    for query, question in zip(queries, shelf.case.questions, strict=True):
        order = shelf.search(query.embedding, cut, ask)
        rank = {index: place for place, (index, _) in enumerate(order, start=1)}
        spans = []
        for start, end in question.evidence:
            inside = [
                rank[i]
                for i, segment in enumerate(segments)
                if bool(((segment.pts_seconds >= start) & (segment.pts_seconds < end)).any())
            ]
            spans.append(min(inside, default=len(order) + 1))
        found.append(Ranked(tuple(spans)))
    return found


def embedding(config: Config, words: Callable[[str], torch.Tensor]) -> Embed:
    """Return a function that embeds questions for search and for scores by words."""
    worker = config.encoder.setup_embedder("cpu")

    def embed(texts: Sequence[str]) -> list[Query]:
        found = []
        for text in texts:
            rows = worker.embed_text(search_forms(text, config.ask.query_forms))
            found.append(Query(Question(text), query_embedding(rows), words(text)))
        return found

    return embed
