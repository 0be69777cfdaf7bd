"""The process of the models from inside: cancelling, and searches beside answers."""

from __future__ import annotations

import io
import json
import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from longvid.server import model_process
from longvid.types import Question


class Pipe:
    """Standard input that is written line by line."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self.lines = os.fdopen(read, encoding="utf-8")
        self._write = os.fdopen(write, "w", encoding="utf-8")

    def send(self, **message: Any) -> None:
        self._write.write(json.dumps(message) + "\n")
        self._write.flush()

    def close(self) -> None:
        self._write.close()


class Outbox:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.arrived = threading.Condition()

    def send(self, event: dict[str, Any]) -> None:
        with self.arrived:
            self.events.append(event)
            self.arrived.notify_all()

    def wait(self, **wanted: Any) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            for event in self.events:
                if wanted.items() <= event.items():
                    return event
            return None

        with self.arrived:
            assert self.arrived.wait_for(found, 30), (wanted, self.events)
            event = found()
        assert event is not None
        return event


class Models:
    """Writes one token after the other until it is stopped."""

    config = SimpleNamespace(ask=SimpleNamespace(batch_questions=4))
    store = SimpleNamespace(refresh=lambda: None)

    def __init__(self) -> None:
        self.next_token = threading.Semaphore(0)
        self.tokens = 0
        self.stopped = threading.Event()

    def ask_many(self, questions: list[Question], budget: int | None, listener: Any) -> list[Any]:
        while not listener.stopped(0):
            self.next_token.acquire()
            self.tokens += 1
            listener.text(0, "x" * self.tokens)
        self.stopped.set()
        return []

    def search_all_noted(self, text: str, **_: Any) -> tuple[list[Any], list[str]]:
        return [], ["a", "b"]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    ended = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda _: ended.set())
    return ended


def test_a_cancelled_answer_stops_within_one_token_and_searches_do_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch, ended: threading.Event
) -> None:
    pipe, outbox, models = Pipe(), Outbox(), Models()
    monkeypatch.setattr(model_process.sys, "stdin", pipe.lines)
    inbox = model_process._Inbox()
    server = model_process._Server(models, inbox, outbox)  # type: ignore[arg-type]  # played
    monkeypatch.setattr(model_process, "zip", lambda *_, **__: (), raising=False)
    threading.Thread(target=server.run, daemon=True).start()
    asked = {"text": "?", "video_ids": [], "choices": [], "budget": None, "history": []}
    pipe.send(id=1, kind="ask", time_range=None, max_tokens=None, **asked)
    models.next_token.release()
    outbox.wait(id=1, event="text", text="x")
    # The model is busy; a search is answered meanwhile.
    pipe.send(id=2, kind="search", text="star", video=None, top_k=1, tags={}, time_range=None)
    found = {"results": [], "note": "a b"}
    assert outbox.wait(id=2, event="done")["result"] == found
    pipe.send(id=1, kind="cancel")
    while not inbox.cancelled(1):
        pass
    models.next_token.release(10)
    assert models.stopped.wait(30)
    assert models.tokens <= 2
    pipe.close()
    assert ended.wait(30)  # the server is gone
    pipe.lines.close()


def test_what_nobody_foresaw_ends_the_process_and_not_its_thread_alone(
    monkeypatch: pytest.MonkeyPatch, ended: threading.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(error: threading.ExceptHookArgs) -> None:
        model_process._end_process(error)

    monkeypatch.setattr(threading, "excepthook", end)
    thread = threading.Thread(target=lambda: {}["nothing"])
    thread.start()
    assert ended.wait(30)
    thread.join()
    assert "KeyError: 'nothing'" in capsys.readouterr().err


def test_an_answer_ends_at_its_most_tokens(
    monkeypatch: pytest.MonkeyPatch, ended: threading.Event
) -> None:
    monkeypatch.setattr(model_process.sys, "stdin", io.StringIO(""))
    outbox = Outbox()
    listener = model_process._Listener([7], [2], outbox, model_process._Inbox())  # type: ignore[arg-type]  # played
    assert not listener.stopped(0)
    listener.text(0, "a")
    assert not listener.stopped(0)
    listener.text(0, "a b")
    assert listener.stopped(0)
