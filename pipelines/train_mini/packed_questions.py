"""Questions packed behind the visual tokens of their film."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from longvid.world.questions import WorldQuestion
from longvid.world.scene import Film

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Questions packed behind the visual tokens of their film.

    ids, group, place, label (B, L): token, number of its question in the film (0: padding), place
    in the question, and the token to predict there (-100: none). `state` (B, L): where an answer
    begins, what the thing asked about does (motion, or 9 + event), if it is about that; else -100.
    `questions` per film, in group order.
    """

    ids: Tensor
    group: Tensor
    place: Tensor
    label: Tensor
    state: Tensor
    questions: tuple[tuple[WorldQuestion, ...], ...]


def pack_questions(
    films: list[Film],
    asked: list[tuple[WorldQuestion, ...]],
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device,
) -> TextBatch:
    """Pack the questions of each film into one row."""
    vocabulary = tokenizer.get_vocab()
    answer_id, end_id = vocabulary["<answer>"], vocabulary["<eos>"]
    rows: list[list[tuple[int, int, int, int, int]]] = []
    for film, questions in zip(films, asked, strict=True):
        row: list[tuple[int, int, int, int, int]] = []
        for number, question in enumerate(questions, start=1):
            prompt = [vocabulary[word] for word in question.text.split()] + [answer_id]
            answer = [vocabulary[word] for word in question.answer.split()] + [end_id]
            ids = prompt + answer[:-1]
            labels = [-100] * (len(prompt) - 1) + answer
            states = [-100] * len(ids)
            states[len(prompt) - 1] = _asked_state(film, question)
            row.extend(
                (token, number, place, label, state)
                for place, (token, label, state) in enumerate(zip(ids, labels, states, strict=True))
            )
        rows.append(row)
    length = -(-max(1, *(len(row) for row in rows)) // 16) * 16  # a film may have no question
    packed = np.zeros((len(rows), length, 5), dtype=np.int64)
    packed[..., 3:] = -100
    for number, row in enumerate(rows):
        packed[number, : len(row)] = np.asarray(row, dtype=np.int64).reshape(-1, 5)
    columns = torch.from_numpy(packed).to(device).unbind(-1)
    ids_, group, place_, label_, state_ = columns
    return TextBatch(ids_, group, place_, label_, state_, tuple(asked))


_MOVING_TYPES = ("motion", "yes_no_motion", "event")


def _asked_state(film: Film, question: WorldQuestion) -> int:
    """Return what the thing of a question does: its motion, or 9 + its event; -100 if not asked."""
    if question.type not in _MOVING_TYPES:
        return -100
    [(shot, slot)] = question.things
    thing = film.shots[shot].things[slot]
    return thing.motion if thing.event == 0 else 9 + thing.event
