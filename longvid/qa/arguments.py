"""Arguments that a caller gives, checked at the border: one sentence instead of a TypeError."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from longvid.errors import BudgetError, QuestionError, StoreError, counted, shown
from longvid.protocols import LanguageModelPart
from longvid.store import Store
from longvid.types import Question

#: No path is longer.
_MOST_CHARACTERS = 4096


def _is_name(name: str) -> bool:
    """Return whether a system could take this as a name."""
    valid = "\0" not in name
    try:
        name.encode()
    except UnicodeEncodeError:
        valid = False
    return valid and bool(name.strip()) and len(name) <= _MOST_CHARACTERS


def store_name(store: object) -> str:
    """Return the folder or URI of a store as text.

    Raises:
        StoreError: It is neither text nor a path, or it is empty.
    """
    name = os.fspath(store) if isinstance(store, (str, Path)) else ""
    if not _is_name(name):
        raise StoreError(f"store must be a folder or a URI, got {shown(store)}.")
    return name


def video_name(video: object) -> str:
    """Return the name, path or id of a video as text.

    Raises:
        QuestionError: It is neither text nor a path, or it is empty.
    """
    name = os.fspath(video) if isinstance(video, (str, Path)) else ""
    if not _is_name(name):
        raise QuestionError(f"video must be the name, path or id of one video, got {shown(video)}.")
    return name


def budget_share(budget: object, num_parts: int) -> int:
    """Return the visual tokens for each of the questions that one question joins.

    Raises:
        BudgetError: The budget is no whole number of at least 1, or less than one token for each.
    """
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
        raise BudgetError(
            f"budget must be a whole number of visual tokens, at least 1, got {shown(budget)}."
        )
    if budget < num_parts:
        raise BudgetError(
            f"A budget of {counted(budget, 'visual token')} is too small for {num_parts} questions "
            "joined in one; raise it, or ask them one by one."
        )
    return budget // num_parts


def require_top_k(top_k: object) -> None:
    """Refuse what is no number of results.

    Raises:
        QuestionError: It is no whole number of at least 1.
    """
    if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
        raise QuestionError(f"top_k must be a whole number of at least 1, got {shown(top_k)}.")


def require_questions(questions: object) -> None:
    """Refuse what is no list of questions.

    Raises:
        QuestionError: It is none, or holds something else.
    """
    if isinstance(questions, str) or not isinstance(questions, Sequence):
        raise QuestionError(f"ask_many takes a list of longvid.Question, got {shown(questions)}.")
    for question in questions:
        require_question(question)


def require_question(question: object) -> None:
    """Refuse what is no question, such as its text.

    Raises:
        QuestionError: It is none.
    """
    if not isinstance(question, Question):
        raise QuestionError(
            f"A question is a longvid.Question, got {shown(question)}; write "
            f"longvid.Question({shown(question)})."
        )


def require_same_space(llm: LanguageModelPart, store: Store) -> None:
    """Refuse a language model that cannot read a store, before its weights are read."""
    spaces = llm.spaces()
    if spaces and not llm.reads_pictures and store.space not in spaces:
        raise QuestionError(
            f"The store's tokens are of {store.space}, but the language model reads "
            f"{' or '.join(spaces)}; index again with --config of that model, or ask with "
            "the store's own."
        )
