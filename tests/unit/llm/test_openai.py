"""A model on a server: what it is shown, what is read of its reply, and every way to fail."""

from __future__ import annotations

import base64
import dataclasses
import functools
import random
from collections.abc import Callable
from typing import Any

import pytest

from longvid.errors import ConfigError, LongvidError, ModelError, QuestionError
from longvid.llm import openai
from longvid.llm.chat_server import ChatServer
from longvid.llm.openai import OpenAILanguageModel
from longvid.testing.synthetic import make_segment
from longvid.types import Selection
from tests.unit.llm import chat_replies as replies
from tests.unit.llm.chat_replies import CLOSED, OPEN, Play, ask, part, selection, serve

SHAPES = [replies.openai, replies.vllm, replies.ollama, replies.llama_cpp]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_an_open_answer_is_read_from_every_shape(shape: Callable[..., Any]) -> None:
    found, served, worker = ask(Play(shape("Three bottles of water.")), input_price=2.0)
    assert found.text == "Three bottles of water."
    assert (found.prompt_tokens, found.output_tokens) == (120, 7)
    assert set(found.seconds) == {"prefill", "decode"}
    assert worker.spent.num_questions == 1
    assert worker.spent.cost == pytest.approx(120 * 2.0 / 1e6)
    [request] = served.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["stream"] is True
    assert request["temperature"] == 0


def test_pictures_have_their_clock_before_them_and_words_after() -> None:
    segment = make_segment(4, 2, 2)
    spoken = (("", " [he says yes] ", "", ""),)
    shown = dataclasses.replace(selection(2), segments=(segment,), spoken=spoken)
    with serve(lambda *_: Play(replies.vllm("ok"))) as served:
        part(served.url, system="Be brief.").setup().answer(OPEN, shown)
    system, user = served.requests[0]["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    kinds = [piece["type"] for piece in user["content"]]
    assert kinds == ["text", "image_url", "text", "text", "image_url", "text"]
    texts = [piece["text"] for piece in user["content"] if piece["type"] == "text"]
    assert texts == ["00:00.0:", "[he says yes]", "01:00.0:", OPEN.text]
    url = user["content"][1]["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/jpeg;base64,")) == b"\xff\xd8picture0"


def test_pictures_of_several_videos_are_told_apart_and_thinned() -> None:
    first, second = selection(9), selection(9, "b")
    both = Selection(
        first.segments + second.segments, (), 1000, pictures=first.pictures + second.pictures
    )
    with serve(lambda *_: Play(replies.vllm("ok"))) as served:
        part(served.url, max_pictures=4).setup().answer(OPEN, both)
    texts = [p["text"] for p in served.requests[0]["messages"][0]["content"] if "text" in p]
    assert texts[:-1] == [
        "Video 1, 02:00.0:",
        "Video 1, 06:00.0:",
        "Video 2, 02:00.0:",
        "Video 2, 06:00.0:",
    ]


@pytest.mark.parametrize("shape", [replies.openai, replies.vllm, replies.llama_cpp])
def test_choices_are_compared_by_log_probabilities(shape: Callable[..., Any]) -> None:
    letters = {"B": -0.2, " A": -2.0, "The": -3.5}
    found, served, _ = ask(Play(shape("B", letters)), CLOSED)
    assert (found.choice, found.text) == (1, "dark blue")
    assert found.choice_scores == (-2.0, -0.2, -3.5)  # C is less likely than any listed
    assert served.requests[0]["top_logprobs"] == 20
    content = served.requests[0]["messages"][-1]["content"]
    assert "\nA. red\nB. dark blue\nC. green\n" in content[-1]["text"]


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("B", 1),
        ("B. dark blue", 1),
        ("(C)", 2),
        ("A thing that is green, so the answer is C.", 2),
        ("The answer is C.", 2),
        ("It looks dark blue to me.", 1),
    ],
)
def test_without_them_the_letter_counts(text: str, choice: int) -> None:
    found, _, _ = ask(Play(replies.ollama(text)), CLOSED)
    assert (found.choice, found.choice_scores) == (choice, ())


def test_an_answer_that_names_no_option_is_a_named_failure() -> None:
    with pytest.raises(ModelError, match=r"answered 'I cannot tell', which names none of A, B, C"):
        ask(Play(replies.ollama("I cannot tell")), CLOSED)


def test_fields_that_a_server_does_not_know_are_left_out() -> None:
    no_logprobs = Play(status=400, body=b'{"error": {"message": "logprobs is not supported"}}')
    renamed = Play(
        status=400,
        body=b'{"error": {"message": "Unsupported parameter: max_tokens; use '
        b"'max_completion_tokens' instead.\"}}",
    )
    found, served, _ = ask([no_logprobs, renamed, Play(replies.openai("A"))], CLOSED)
    assert found.choice == 0
    assert "logprobs" in served.requests[0]
    assert "logprobs" not in served.requests[1]
    assert "max_completion_tokens" in served.requests[2]
    assert "max_tokens" not in served.requests[2]


@pytest.mark.parametrize(
    ("play", "sentence"),
    [
        (Play(replies.vllm("Three bottles"), cut=True), "broke off in the middle of an answer"),
        (Play(status=429, body=b'{"error": "slow down"}'), r"limits the rate .* says: slow down"),
        (Play(status=401, body=b"{}"), "wants a key .* set OPENAI_API_KEY"),
        (Play(status=404, body=b'{"detail": "no such model"}'), "knows no model 'm'.*no such mod"),
        (Play(status=503, body=b"busy"), "refuses the question with status 503. It says: busy"),
        (
            Play(status=400, body=b'{"error": {"message": "this model reads no images"}}'),
            "may read no pictures, or fewer than these 3; choose a vision model",
        ),
        (Play(status=413, body=b""), "lower llm.max_pictures"),
        (Play(body=b"<html>hello"), "is not JSON"),
        (Play({"choices": [3]}), "no chat completion that can be read"),
        (Play([{"error": {"message": "out of memory"}}]), "error in the middle.*out of memory"),
    ],
    ids=lambda value: "" if isinstance(value, Play) else value[:20],
)
def test_faults_are_named(play: Play, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ModelError, match=sentence):
        ask(play)


def test_a_server_that_hangs_is_left_in_time() -> None:
    with pytest.raises(ModelError, match=r"did not answer within 0\.2 s; raise llm\.timeout"):
        ask(Play(replies.vllm("late"), wait_seconds=0.8), timeout_seconds=0.2)


def test_no_server_is_a_sentence() -> None:
    with serve(lambda *_: Play()) as served:
        url = served.url
    with pytest.raises(ModelError, match="No server listens at http"):
        part(url).setup().answer(OPEN, selection())


def test_faults_that_pass_are_tried_again_and_retry_after_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("longvid.llm.chat_server.time.sleep", waited.append)
    limited = Play(status=429, body=b"{}", headers={"Retry-After": "7"})
    broken = Play(replies.vllm("Three"), cut=True)
    found, served, _ = ask([limited, broken, Play(replies.vllm("Three"))], retries=2)
    assert found.text == "Three"
    assert len(served.requests) == 3
    assert [seconds for seconds in waited if seconds] == [7.0, 1.0]


def test_a_changed_model_is_refused() -> None:
    def other(number: int, request: Any) -> Play:
        events = replies.vllm("ok")
        return Play([{**event, "model": f"m{number}"} for event in events])

    with serve(other) as served:
        worker = part(served.url).setup()
        worker.answer(OPEN, selection())
        with pytest.raises(ModelError, match="answered as 'm1', after 'm0' before"):
            worker.answer(OPEN, selection())


def test_the_key_comes_from_the_environment_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret")
    _, served, worker = ask(Play(replies.vllm("ok")), key_variable="MY_KEY")
    assert served.keys == ["Bearer s3cret"]
    assert "s3cret" not in repr(worker._server)
    with pytest.raises(ModelError, match="refuses the key in MY_KEY") as caught:
        ask(Play(status=401, body=b"{}"), key_variable="MY_KEY")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-s3cret\n", "sk s3cret", "sk-s3crét"])
def test_a_key_that_no_header_can_carry_is_named_by_its_variable(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="MY_KEY holds a space, a line end") as caught:
        part("http://127.0.0.1:1/v1", key_variable="MY_KEY").setup()
    assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize(
    "play",
    [
        Play(status=401, body=b'{"error": {"message": "no such key: sk-s3cret"}}'),
        Play(status=500, body=b"x" * 290 + b" sk-s3cret"),
        Play(body=b"<html>" + b"x" * 45 + b" sk-s3cret"),
        Play([{"error": "sk-s3cret has no credit"}]),
        Play(replies.ollama("The key sk-s3cret names nothing")),
    ],
    ids=["refused", "cut", "no JSON", "in the middle", "no option"],
)
def test_a_key_that_a_server_repeats_is_masked(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-s3cret")
    with pytest.raises(ModelError, match="…") as caught:
        ask(play, CLOSED)
    assert "sk-s3" not in str(caught.value)


def test_a_reply_in_one_piece_is_read_too() -> None:
    found, _, _ = ask(Play(replies.whole("Three bottles.")))
    assert (found.text, found.prompt_tokens) == ("Three bottles.", 120)


def test_nothing_to_show_is_a_sentence() -> None:
    with pytest.raises(QuestionError, match=r"store\.pictures = frame"):
        part("http://127.0.0.1:1/v1").setup().answer(OPEN, selection(0))


class _Listener:
    def __init__(self, stop_after: int) -> None:
        self.heard: list[str] = []
        self._stop_after = stop_after

    def selected(self, index: int, selection: Selection) -> None:
        """Not asked by a language model."""

    def text(self, index: int, text: str) -> None:
        self.heard.append(text)

    def stopped(self, index: int) -> bool:
        return len(self.heard) >= self._stop_after


def test_text_is_heard_as_it_comes_and_can_be_stopped() -> None:
    with serve(lambda *_: Play(replies.vllm("Three bottles of water."))) as served:
        worker = part(served.url).setup()
        whole, cut = _Listener(99), _Listener(2)
        [answer] = worker.answer_many([(OPEN, selection())], whole)
        [stopped] = worker.answer_many([(OPEN, selection())], cut)
    assert whole.heard[-1] == getattr(answer, "text", None) == "Three bottles of water."
    assert cut.heard == ["Thre", "Three bo"]
    assert getattr(stopped, "text", None) == "Three bo"


def test_many_questions_with_faults_each_answered_or_named() -> None:
    draw = random.Random(0)
    faults = [
        Play(replies.vllm("Three"), cut=True),
        Play(status=503, body=b"busy"),
        Play(status=429, body=b"{}"),
        Play(body=b"not json"),
    ]
    chosen = [draw.choice(faults) if draw.random() < 0.2 else Play(replies.vllm("Three"))]
    chosen += [
        draw.choice(faults) if draw.random() < 0.2 else Play(replies.vllm("Three"))
        for _ in range(199)
    ]
    with serve(lambda number, request: chosen[number % len(chosen)]) as served:
        worker = part(served.url, num_parallel=8).setup()
        found = worker.answer_many([(OPEN, selection(1))] * 60)
    assert len(found) == 60
    failures = [one for one in found if isinstance(one, LongvidError)]
    assert 0 < len(failures) < 30
    assert all(str(one).startswith("The server") for one in failures)
    assert all(one.text == "Three" for one in found if not isinstance(one, LongvidError))
    assert worker.spent.num_questions == 60 - len(failures)


def test_of_a_thousand_questions_each_is_answered_where_faults_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One attempt in twenty fails in one of five ways; another attempt is answered."""
    monkeypatch.setattr(openai, "ChatServer", functools.partial(ChatServer, backoff_seconds=0.01))
    draw = random.Random(1)
    faults = [
        Play(replies.vllm("Three"), cut=True),
        Play(status=503, body=b"busy"),
        Play(status=429, body=b"{}", headers={"Retry-After": "0"}),
        Play(status=500, body=b"{}"),
        Play(body=b"not json"),
    ]
    good = Play(replies.vllm("Three"))
    plays = [draw.choice(faults) if draw.random() < 0.05 else good for _ in range(4000)]
    with serve(lambda number, request: plays[number]) as served:
        worker = part(served.url, num_parallel=8, retries=3).setup()
        found = worker.answer_many([(OPEN, selection(1))] * 1000)
    assert [getattr(one, "text", one) for one in found] == ["Three"] * 1000
    assert worker.spent.num_questions == 1000
    assert 1030 < len(served.requests) < 1080  # the attempts that failed


def test_a_fault_that_stays_is_named_when_the_attempts_are_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openai, "ChatServer", functools.partial(ChatServer, backoff_seconds=0.01))
    with serve(lambda number, request: Play(status=503, body=b"busy")) as served:
        worker = part(served.url, retries=2).setup()
        [found] = worker.answer_many([(OPEN, selection(1))])
    assert isinstance(found, LongvidError)
    assert "status 503" in str(found)
    assert len(served.requests) == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"url": "127.0.0.1:8000"}, "llm.url must be an address"),
        ({"url": "http://me:pw@host/v1"}, "llm.url holds a name or a password"),
        ({"url": "http://host/v1?key=s3cret"}, r"llm.url holds .* after \? or #"),
        ({"url": "http://host:99999/v1"}, "cannot be read: Port out of range"),
        ({"url": "http://host:abc/v1"}, "cannot be read: Port could not be cast"),
        ({"url": "http://[::1/v1"}, "cannot be read: Invalid IPv6"),
        ({"url": "http://a host/v1"}, "llm.url must be an address"),
        ({"choice_answer": "text"}, "use auto or letter"),
        ({"max_pictures": 0}, "llm.max_pictures must be at least 1"),
        ({"retries": -1}, "llm.retries must be at least 0"),
        ({"timeout_seconds": float("nan")}, "llm.timeout_seconds must be above 0"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        OpenAILanguageModel(**{"model": "m", **changes})


def test_no_model_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"llm\.model is empty"):
        OpenAILanguageModel().setup()
