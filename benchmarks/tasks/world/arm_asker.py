"""Ask every question about drawn films of every arm, as the rows of any benchmark are asked.

Films come one after the other, each read once for all arms; what an arm shows of two questions
alike is read by the language model once.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.record import Record
from benchmarks.tasks.world.answer_check import Reader, Sheet
from benchmarks.tasks.world.arms import Arm, Shown
from benchmarks.tasks.world.film_tokens import Cut, Shelf, read_shelf
from longvid.config import Ask, Config
from longvid.qa.moment_score import query_embedding
from longvid.question_form import search_forms
from longvid.store import Store
from longvid.types import Query, Question

_MICRO = 6

Embed = Callable[[Sequence[str]], Sequence[Query]]
Mark = tuple[bool, int, int, float]
"""Whether the answer is right, tokens and frames shown, and seconds that it took."""


class ArmAsker:
    """Asks rows of one store; the prediction of a row holds a mark for every cell.

    Args:
        store: Where the films are indexed.
        cells: Arms and budgets.
        reader: Judges answers.
        embed: From texts to queries.
        cut: Segments among which evidence is ranked.
        search: How they are ranked.
    """

    def __init__(
        self,
        store: str,
        cells: Sequence[tuple[Arm, int]],
        reader: Reader,
        embed: Embed,
        cut: Cut,
        search: Ask,
    ) -> None:
        self._store = Store.open(store)
        self._cells = cells
        self._reader = reader
        self._embed = embed
        self._cut, self._search = cut, search

    def ask(self, rows: Sequence[tuple[Record, str]]) -> Iterator[dict[str, Any]]:
        """Yield one prediction a row, with those of a film side by side.

        `cells` holds by arm and budget what `Mark` says, `ranks` what `evidence_ranks` finds.
        """
        for path, group in itertools.groupby(rows, key=lambda row: row[1]):
            yield from self._ask_film(Path(path).name, [record for record, _ in group])

    def _ask_film(self, name: str, records: Sequence[Record]) -> Iterator[dict[str, Any]]:
        shelf = read_shelf(self._store, name)
        queries = self._embed([record.question for record in records])
        ranks = [
            evidence_ranks(shelf, query, record, self._cut, self._search)
            for query, record in zip(queries, records, strict=True)
        ]
        known: dict[tuple[str, str], bool] = {}
        marks = {
            f"{arm.name} @ {budget}": self._marks(arm, budget, shelf, queries, records, known)
            for arm, budget in self._cells
        }
        for place, record in enumerate(records):
            cells = {cell: of[place] for cell, of in marks.items()}
            yield {"id": record.id, "status": "ok", "ranks": ranks[place], "cells": cells}

    def _marks(
        self,
        arm: Arm,
        budget: int,
        shelf: Shelf,
        queries: Sequence[Query],
        records: Sequence[Record],
        known: dict[tuple[str, str], bool],
    ) -> list[Mark]:
        """Ask one arm; what was shown and asked before is not read again."""
        started = time.perf_counter()
        if arm.reads_question:
            shown = [
                arm.show(shelf, query, record, budget)
                for query, record in zip(queries, records, strict=True)
            ]
        else:
            shown = [arm.show(shelf, queries[0], records[0], budget)] * len(records)
        names = {id(item): _name(item) for item in shown}
        waiting: dict[str, tuple[Shown, list[Record]]] = {}
        for item, record in zip(shown, records, strict=True):
            if (names[id(item)], record.question) not in known:
                waiting.setdefault(names[id(item)], (item, []))[1].append(record)
        sheets = [
            Sheet(item, tuple((one.question, one.answers[0]) for one in asked))
            for item, asked in waiting.values()
        ]
        for (name, (_, asked)), right in zip(
            waiting.items(), self._reader.right(sheets), strict=True
        ):
            known.update(((name, one.question), r) for one, r in zip(asked, right, strict=True))
        marks = []
        seconds = round((time.perf_counter() - started) / len(records), _MICRO)
        for item, record in zip(shown, records, strict=True):
            num_tokens = sum(len(segment.tokens) for segment in item)
            if num_tokens > budget:
                raise ValueError(f"{arm.name} shows {num_tokens} tokens of {budget}")
            num_frames = sum(int((s.tokens.counts(s.num_frames) > 0).sum()) for s in item)
            right_ = known[names[id(item)], record.question]
            marks.append((right_, num_tokens, num_frames, seconds))
        return marks


def _name(shown: Shown) -> str:
    """Name what is shown by its tokens and the frames they are of."""
    state = hashlib.blake2b(digest_size=12)
    for segment in shown:
        state.update(segment.tokens.counts(segment.num_frames).numpy().tobytes())
        state.update(segment.tokens.data.float().numpy().tobytes())
    return state.hexdigest()


def evidence_ranks(shelf: Shelf, query: Query, record: Record, cut: Cut, search: Ask) -> list[int]:
    """Return for each span of evidence the best rank, from 1, of a segment with a frame in it.

    A span that no segment shows has the rank behind the last.
    """
    segments = shelf.segments(cut)
    order = shelf.search(query.embedding, cut, search)
    rank = {index: place for place, (index, _) in enumerate(order, start=1)}
    ranks = []
    for start, end in record.evidence:
        inside = [
            rank[i]
            for i, segment in enumerate(segments)
            if bool(((segment.pts_seconds >= start) & (segment.pts_seconds < end)).any())
        ]
        ranks.append(min(inside, default=len(order) + 1))
    return ranks


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
