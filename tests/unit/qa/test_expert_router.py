"""Which experts a question is shown: by rules, by a language model, and what it falls back to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longvid.config import load_config
from longvid.errors import ConfigError, QuestionError
from longvid.protocols import Generation
from longvid.qa.box_lines import BoxLines
from longvid.qa.expert_router import ExpertRouter, Experts
from longvid.qa.text_search import TextSearch
from longvid.store import Store
from longvid.store.timed_text import TextWriter
from longvid.types import Question, Selection, TextLine

VIDEO = "a" * 32
LINES = {
    "speech": ["doctor Keller waits at the harbor", "and here we speak of the ferry"],
    "screen": ["HARBOR OPENS 8:15", "THE LONG NIGHT"],
}


class Replies:
    """A language model that replies with one text, and keeps what it was asked."""

    def __init__(self, reply: str | QuestionError) -> None:
        self.reply, self.prompts = reply, list[str]()

    def answer(self, question: Question, selection: Selection) -> Generation:
        self.prompts.append(question.text)
        assert not selection.segments
        if isinstance(self.reply, QuestionError):
            raise self.reply
        return Generation(self.reply, 1, 1, {})


@pytest.fixture
def router(tmp_path: Path) -> Callable[..., ExpertRouter]:
    store = Store.create(
        tmp_path / "store", fingerprint="f" * 16, config={}, space="space", embedding_width=4
    )
    for source, lines in LINES.items():
        writer = TextWriter(store, VIDEO, source, "f")  # type: ignore[arg-type]
        of_source: Any = source
        writer.add(
            [TextLine(4.0 * i, 4.0 * i + 3, text, of_source) for i, text in enumerate(lines)], 10.0
        )
        writer.finish()

    def make(*settings: str) -> ExpertRouter:
        ask = load_config("mini", list(settings)).ask
        return ExpertRouter(TextSearch(store, {}, ask), BoxLines(store), ask)

    return make


def chosen(router: ExpertRouter, text: str, llm: Any = None, video: str = VIDEO) -> Experts:
    return router.choose(Question(text, video_ids=(video,)), {}, llm)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Where is the red star?", ("pictures",)),
        ("what sign is with the red heart ?", ("pictures",)),
        ("What color is the harbor?", ("pictures",)),
        ("Who waits at the harbor?", ("speech",)),
        ("When does the harbor open, says the sign?", ("screen",)),
        ("What does the title say?", ("screen",)),
        ("What color is the star when the ferry is mentioned?", ("pictures", "speech")),
        ("What is this video about?", ("pictures", "speech", "screen")),
        ("Who waits at the harbor and where is the red star?", ("pictures", "speech")),
    ],
)
def test_rules(router: Callable[..., ExpertRouter], text: str, names: tuple[str, ...]) -> None:
    assert chosen(router("ask.experts=rules"), text).names == names


def test_where_lines_are_about_half_of_it_pictures_are_shown_too(
    router: Callable[..., ExpertRouter],
) -> None:
    found = chosen(router("ask.experts=rules"), "Who waits with a cup of tea at the harbor?")
    assert found.names == ("pictures", "speech")
    assert not found.most_lines
    assert chosen(router("ask.experts=rules"), "Who waits at the harbor?").most_lines == 4


def test_all_and_what_a_video_has_not(router: Callable[..., ExpertRouter]) -> None:
    assert not chosen(router(), "Who waits at the harbor?").is_choice
    rules = router("ask.experts=rules")
    assert chosen(rules, "Who waits at the harbor?", video="b" * 32).names == ("pictures",)
    speech = router("ask.experts=rules", "ask.text_sources=['speech']")
    assert chosen(speech, "When does the harbor open, says the sign?").names == ("pictures",)


def test_the_model_chooses_by_letters(router: Callable[..., ExpertRouter]) -> None:
    model = router("ask.experts=model")
    llm = Replies("B, C")
    assert chosen(model, "Who waits at the harbor?", llm).names == ("speech", "screen")
    assert "A: the pictures" in llm.prompts[0]
    assert chosen(model, "Who waits?", Replies("Answer: C")).names == ("screen",)


@pytest.mark.parametrize("reply", ["none of them", QuestionError("It knows no such word.")])
def test_rules_where_the_model_names_none(router: Callable[..., ExpertRouter], reply: Any) -> None:
    found = chosen(router("ask.experts=model"), "Who waits at the harbor?", Replies(reply))
    assert found.names == ("speech",)
    assert "chosen by rules" in found.note


def test_an_unknown_way_to_choose_is_refused() -> None:
    with pytest.raises(ConfigError, match="all, rules or model"):
        load_config("mini", ["ask.experts=guess"])
