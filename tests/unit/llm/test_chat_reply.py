"""What is read of a chat server's reply: log-probabilities, content, counts."""

from __future__ import annotations

import pytest

from longvid.errors import ModelError
from tests.unit.llm import chat_replies as replies
from tests.unit.llm.chat_replies import CLOSED, Play, ask


def test_log_probabilities_are_those_of_the_place_of_the_letter() -> None:
    blank = replies.logprobs({"\n": -0.1, "A": -9.0})["content"]
    letter = replies.logprobs({"B": -0.3, "A": -1.5})["content"]
    for content, scores in ((blank, ()), (blank + letter, (-1.5, -0.3, -1.5))):
        event = replies.whole("\nB")
        event["choices"][0]["logprobs"] = {"content": content}
        found, _, _ = ask(Play(event), CLOSED)
        assert (found.choice, found.choice_scores) == (1, scores)


def test_a_letter_that_alone_is_listed_does_not_tie_with_those_that_are_not() -> None:
    found, _, _ = ask(Play(replies.openai("B", {"B": -0.2})), CLOSED)
    assert found.choice == 1


def test_an_article_is_not_a_letter_with_log_probabilities_either() -> None:
    found, _, _ = ask(Play(replies.openai("A look shows green.", {"A": -0.2, "B": -3.0})), CLOSED)
    assert (found.text, found.choice_scores) == ("green", ())


def renamed(events: list[replies.Event]) -> list[replies.Event]:
    return [*events[:-1], {**events[-1], "model": "other"}]


@pytest.mark.parametrize(
    ("play", "sentence"),
    [
        (Play({**replies.whole(""), "choices": []}), "the reply has no choices"),
        (Play([{"choices": [], "model": "m"}]), "the reply has no choices"),
        (Play(replies.whole_message({"content": None})), "the content of the reply is empty"),
        (
            Play(replies.whole_message({"content": "", "reasoning_content": "Hm."}, "length")),
            "it only thought",
        ),
        (
            Play(replies.whole_message({"content": None, "refusal": "I will not."})),
            "it refuses, with the words: I will not.",
        ),
        (Play(replies.whole_message({"content": ""}, "content_filter")), "content filter held"),
        (Play(replies.whole_message({"content": ""}, "length")), "max_new_tokens was used up"),
        (Play(replies.whole_message({"content": 3})), "its content is of type int, not text"),
        (
            Play(replies.whole_message({"content": [{"type": "image_url"}]})),
            "a part of type 'image_url' that is no text",
        ),
        (
            Play(renamed(replies.openai("Three bottles."))),
            "its model is 'gpt-4o-2024-08-06' and then 'other'",
        ),
    ],
    ids=lambda value: "" if isinstance(value, Play) else value[:24],
)
def test_a_reply_without_text_says_why(play: Play, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        ask(play)


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "Three "}, {"type": "text", "text": "bottles."}]
    found, _, _ = ask(Play(replies.whole_message({"content": parts})))
    assert (found.text, found.cut) == ("Three bottles.", "")


@pytest.mark.parametrize(
    ("pieces", "text"),
    [(["a \ud83d", "\ude00 face"], "a \U0001f600 face"), (["a \ud83d", " face"], "a \ufffd face")],
)
def test_a_character_that_was_cut_in_two_is_joined(pieces: list[str], text: str) -> None:
    start, *_, stop, usage = replies.openai("")
    events = [{**start, "choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    found, _, _ = ask(Play([start, *events, stop, usage]))
    assert found.text == text


def test_an_answer_that_was_cut_is_kept_with_a_note() -> None:
    found, _, _ = ask(Play(replies.whole_message({"content": "Three bot"}, "length")))
    assert (found.text, found.note) == ("Three bot", "")  # a note would prefer a quoted line
    assert found.cut == "The answer was cut at llm.max_new_tokens (256)."


@pytest.mark.parametrize(
    "usage",
    [
        b"[1]",
        b'{"completion_tokens": 1e400}',
        b'{"completion_tokens": "many"}',
        b'{"completion_tokens": NaN}',
        b'{"completion_tokens": 1.5}',
        b'{"completion_tokens": -3}',
        b'{"completion_tokens": true}',
        b'{"completion_tokens": 1' + b"0" * 400 + b"}",
    ],
)
def test_counts_that_cannot_be_are_unknown(usage: bytes) -> None:
    body = b'{"choices": [{"message": {"content": "Three."}}], "usage": ' + usage + b"}"
    found, _, _ = ask(Play(body=body), output_price=1.0)
    assert (found.text, found.output_tokens) == ("Three.", 0)


@pytest.mark.parametrize(
    ("play", "sentence"),
    [
        (Play(body=b"[" * 200_000), "is not JSON"),
        (Play(status=400, body=b"[" * 60_000), r"status 400\. It says: \[\["),
    ],
    ids=["reply", "error"],
)
def test_json_of_endless_depth_is_a_sentence(play: Play, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        ask(play)
