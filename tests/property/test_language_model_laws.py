"""Laws of the language models that run here: mini, and the one that quotes."""

from __future__ import annotations

from typing import Any

import pytest

from longvid.config import load_config
from longvid.errors import LawError
from longvid.llm.huggingface import Worker
from longvid.llm.quote import Quote
from longvid.testing import check_language_model, make_frames
from longvid.types import Question, Selection

QUESTION = Question("what color is the star ?", choices=("red", "blue", "green"))


@pytest.fixture(scope="module")
def selection() -> Selection:
    encoder = load_config("mini").encoder
    size = encoder.frame_size()
    segment = encoder.setup()(make_frames(4, height=size.height, width=size.width))
    return Selection((segment,), (), len(segment.tokens))


def test_laws_of_mini(selection: Selection) -> None:
    check_language_model(load_config("mini").llm, selection, QUESTION)


def test_laws_of_the_one_that_quotes() -> None:
    check_language_model(Quote(), Selection((), (), 1), QUESTION)


def test_a_broken_law_is_named(selection: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "_check_space", lambda self, shown: None)
    part: Any = load_config("mini").llm
    with pytest.raises(LawError, match="refuses tokens of another space with a ModelError"):
        check_language_model(part, selection, QUESTION)
