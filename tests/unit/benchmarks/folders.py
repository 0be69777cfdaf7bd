"""Small benchmark folders that tests make: drawn clips, and MSVD-QA's files in four flavours."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FLAVOURS = ("qa-json", "csv", "q-a", "igvlm")


@dataclass(frozen=True)
class Row:
    """One question of a clip: number of the clip, text, gold."""

    id: int
    clip: int
    question: str
    answer: str

    @property
    def name(self) -> str:
        return f"clip{self.clip}_0_10"


def write_msvd(folder: Path, flavour: str, split: str, rows: Sequence[Row]) -> None:
    """Write rows as MSVD-QA circulates; in `q-a` the answers stand in another order."""
    folder.mkdir(parents=True, exist_ok=True)
    if flavour == "qa-json":
        listed = [
            {"id": r.id, "question": r.question, "answer": r.answer, "video_id": r.clip}
            for r in rows
        ]
        (folder / f"{split}_qa.json").write_text(json.dumps(listed))
    elif flavour == "csv":
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["question", "answer", "video_id", "id", "type"])
            writer.writerows([r.question, r.answer, r.clip, r.id, "what"] for r in rows)
    elif flavour == "q-a":
        questions = [
            {"video_name": r.name, "question": r.question, "question_id": f"v_{r.name}_{r.id}"}
            for r in rows
        ]
        answers = [
            {"answer": r.answer, "type": 0, "question_id": f"v_{r.name}_{r.id}"}
            for r in reversed(rows)
        ]
        (folder / f"{split}_q.json").write_text(json.dumps(questions))
        (folder / f"{split}_a.json").write_text(json.dumps(answers))
    else:
        with (folder / "MSVD_QA.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            names = ("video_id", "answer", "question", "video_name", "question_id")
            writer.writerow(["", *names, "question_type"])
            writer.writerows(
                [n, r.clip, r.answer, r.question, r.name, f"{r.clip}_{r.id}", 0]
                for n, r in enumerate(rows, 1)
            )


def write_mapping(folder: Path, rows: Sequence[Row]) -> None:
    """Write which clip has which number."""
    pairs = sorted({(row.name, row.clip) for row in rows})
    (folder / "youtube_mapping.txt").write_text(
        "".join(f"{name} vid{number}\n" for name, number in pairs)
    )


def draw_clips(folder: Path, numbers: Sequence[int], seed: int = 77_001) -> list[Row]:
    """Draw a clip of one shot for each number, as vidN.mp4, with questions about it."""
    from longvid.world.film import write_film
    from longvid.world.questions import ask, view
    from longvid.world.scene import generator, make_film

    folder.mkdir(parents=True, exist_ok=True)
    types = dict.fromkeys(("shape", "color", "where", "background", "size"), 1.0)
    rows: list[Row] = []
    for place, number in enumerate(numbers):
        film = make_film(seed, place)
        write_film(film, folder / f"vid{number}.mp4", fps=5)
        drawn = ask(view(film), generator(seed + 1, place), 4, types)
        rows += [
            Row(30_000 + len(rows) + i, number, question.text, question.answer)
            for i, question in enumerate(drawn)
        ]
    return rows


def generated_rows(count: int, per_clip: int = 26, first_clip: int = 1451) -> list[Row]:
    """Make rows without clips, for tests of speed and memory."""
    random = np.random.default_rng(3)
    answers = ("man", "play", "ride", "sing", "dog", "cut", "woman", "talk")
    return [
        Row(i, first_clip + i // per_clip, f"what is thing {i} doing?", answers[k])
        for i, k in enumerate(random.integers(0, len(answers), count))
    ]
