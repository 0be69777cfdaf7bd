"""What rules read from a question: the caption it asks for, its kind, its places."""

from __future__ import annotations

import pytest

from longvid.config import Ask
from longvid.errors import ConfigError
from longvid.qa.routing import route_of
from longvid.question_form import QuestionKind, caption_of, kind_of, places_of, search_forms


@pytest.mark.parametrize(
    ("question", "caption"),
    [
        ("where is the red star ?", "red star"),
        ("what happens to the yellow circle ?", "yellow circle"),
        ("what color is the cross with sign j ?", "cross with sign j"),
        ("which sign is with the red square ?", "red square"),
        ("which background comes before the red star ?", "red star"),
        ("what comes right after the shot with sign k ?", "sign k"),
        ("Who opens the door?", "opens the door"),
        ("What color is the car that he drives?", "car that he drives"),
        ("Is there a cat?", "cat"),
        ("a dark tunnel", "dark tunnel"),
        ("Summarize the video", ""),
        ("which background comes first ?", ""),
        ("?", ""),
    ],
)
def test_a_question_asks_for_a_caption(question: str, caption: str) -> None:
    assert caption_of(question) == caption


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("where is the red star ?", QuestionKind.NEEDLE),
        ("how many circles are with sign k ?", QuestionKind.NEEDLE),
        ("how many times does he fall?", QuestionKind.COUNT),
        ("list every goal", QuestionKind.COUNT),
        ("what comes right after the red star ?", QuestionKind.ORDER),
        ("what happens next?", QuestionKind.ORDER),
        ("what is this video about?", QuestionKind.GLOBAL),
        ("what is the first background ?", QuestionKind.GLOBAL),
    ],
)
def test_a_question_is_of_a_kind(question: str, kind: QuestionKind) -> None:
    assert kind_of(question) is kind


def test_a_long_text_and_one_character_are_searched_by_themselves() -> None:
    long = "the man who " * 3000
    assert search_forms(long, "both") == [long]
    assert search_forms("x", "both") == ["x"]
    assert search_forms("where is the dog?", "question") == ["where is the dog?"]
    assert search_forms("where is the dog?", "caption") == ["dog"]


@pytest.mark.parametrize(
    "joint", [" and ", " And ", ", and ", "? and ", "  and\n", " & ", "; ", "? ", " ? And "]
)
def test_questions_are_joined_however_they_are_written(joint: str) -> None:
    parts = places_of(f"Who sings{joint}where is the dog?")
    assert parts == ("Who sings?", "where is the dog?")


def test_joined_questions_are_about_two_places() -> None:
    assert places_of("who sings, and where is the dog?") == ("who sings?", "where is the dog?")
    for text in (
        "where is the dog and what color is it?",
        "who sings and what happens then?",
        "what is behind the dog and how many cats are there?",
        "who sings and why?",
        "what comes before and what comes after the goal?",
        "what is behind and what is next to the dog?",
    ):
        assert places_of(text) == (text,), "one part is about the place of the other"
    assert places_of("are the cat and the dog friends?") == ("are the cat and the dog friends?",)


def test_routes_follow_the_kind() -> None:
    ask = Ask(num_segments=8, num_rescored=20, min_score=0.1, route="auto")
    assert route_of("what is this video about?", ask).spreads
    assert route_of("where is the dog?", ask).ask.num_segments == 1
    assert route_of("what comes after the goal?", ask).ask.context_segments == 2
    counted = route_of("how many times does he fall?", ask)
    assert (counted.ask.num_segments, counted.only_fitting) == (20, True)


def test_without_routing_all_questions_are_put_alike() -> None:
    ask = Ask(num_segments=8)
    assert route_of("what is this video about?", ask).ask is ask
    assert not route_of("how many times does he fall?", ask).only_fitting


@pytest.mark.parametrize(
    "changed",
    [
        {"query_forms": "poem"},
        {"route": "far"},
        {"moment_share": 1.5},
        {"num_rescored": 0},
        {"moment_share": 0.5, "moment_shots": True},
        {"cut_similarity": 2.0},
        {"cut_similarity": float("nan")},
    ],
)
def test_settings_that_mean_nothing_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="ask"):
        Ask(**changed)  # type: ignore[arg-type]  # on purpose
