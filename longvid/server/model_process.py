"""The process that holds a store's models: questions in, events out, a JSON object a line.

It is started by `model_worker.py` as `python -m longvid.server.model_process STORE CONFIG`.
Questions that wait are answered side by side, and each event carries the id of its request:

    {"event": "ready", "model": …}
    {"id": 3, "event": "evidence", "evidence": […], "budget": {…}}
    {"id": 3, "event": "text", "text": "…so far"}
    {"id": 3, "event": "done", "answer": {…}, "is_cut": false}
    {"id": 3, "event": "error", …}
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import sys
import threading
from collections.abc import Sequence
from typing import Any

from longvid.config import load_config
from longvid.errors import LongvidError, StoreError
from longvid.indexing.ledger import open_store
from longvid.qa.video_qa import VideoQA
from longvid.server.api_errors import api_error_of
from longvid.store import Store
from longvid.types import Answer, Failure, Question, Selection


class _Outbox:
    """Writes events to the real standard output; whatever else prints goes to standard error."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._lock = threading.Lock()

    def send(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, default=str)
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()


class _Inbox:
    """Requests that wait, and the ids that were cancelled, waiting or not.

    Questions wait for the language model; what needs the embedder alone has a queue of its own.
    """

    def __init__(self) -> None:
        self._questions: queue.Queue[dict[str, Any]] = queue.Queue()
        self.others: queue.Queue[dict[str, Any]] = queue.Queue()
        self._cancelled: set[int] = set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            request = json.loads(line)
            if request["kind"] == "cancel":
                self._cancelled.add(request["id"])
            elif request["kind"] in ("ask", "refresh"):  # a store does not change under a question
                self._questions.put(request)
            else:
                self.others.put(request)
        os._exit(0)  # the server is gone, and with it whoever waits for an answer

    def cancelled(self, request_id: int) -> bool:
        return request_id in self._cancelled

    def forget(self, request_id: int) -> None:
        self._cancelled.discard(request_id)

    def take(self, most: int) -> list[dict[str, Any]]:
        """Wait for a question; return it with others that wait."""
        taken = [self._questions.get()]
        while len(taken) < most and not self._questions.empty():
            taken.append(self._questions.get())
        return taken


class _Listener:
    """Passes on what becomes of the questions of one batch while it does."""

    def __init__(
        self, ids: Sequence[int], max_tokens: Sequence[int | None], outbox: _Outbox, inbox: _Inbox
    ) -> None:
        self._ids = ids
        self._max_tokens = max_tokens
        self._num_tokens = [0] * len(ids)
        self._texts = [""] * len(ids)
        self._goes_on = [False] * len(ids)
        self._outbox = outbox
        self._inbox = inbox

    def selected(self, index: int, selection: Selection) -> None:
        self._outbox.send({"id": self._ids[index], "event": "evidence", **described(selection)})

    def text(self, index: int, text: str) -> None:
        self._num_tokens[index] += 1  # the model tells of every step, and a step is a token
        self._goes_on[index] = (
            text != self._texts[index]
        )  # the token that ends an answer is no text
        self._texts[index] = text
        self._outbox.send({"id": self._ids[index], "event": "text", "text": text})

    def stopped(self, index: int) -> bool:
        return self._is_long(index) or self._inbox.cancelled(self._ids[index])

    def is_cut(self, index: int) -> bool:
        """Tell whether an answer was ended before the model ended it."""
        return self._goes_on[index] and self._is_long(index)

    def _is_long(self, index: int) -> bool:
        most = self._max_tokens[index]
        return most is not None and self._num_tokens[index] >= most


def described(selection: Selection) -> dict[str, Any]:
    """Return what is shown to the model, as plain data: evidence, tokens, frames by detail."""
    frames = []
    for segment in selection.segments:
        counts = segment.tokens.counts(segment.num_frames).tolist()
        for seconds, tokens in zip(segment.pts_seconds.tolist(), counts, strict=True):
            if tokens:
                frames.append(
                    {"video_id": segment.video_id, "seconds": seconds, "num_tokens": tokens}
                )
    tiers: dict[int, int] = {}
    for frame in frames:
        tiers[frame["num_tokens"]] = tiers.get(frame["num_tokens"], 0) + 1
    return {
        "evidence": [dataclasses.asdict(span) for span in selection.evidence],
        "budget": {
            "budget": selection.budget,
            "visual_tokens": selection.num_tokens,
            "num_frames": len(frames),
            "tiers": [
                {"tokens_per_frame": size, "num_frames": count, "num_tokens": size * count}
                for size, count in sorted(tiers.items(), reverse=True)
            ],
            "frames": frames,
        },
    }


def _question(request: dict[str, Any]) -> Question:
    span = request["time_range"]
    return Question(
        request["text"],
        tuple(request["video_ids"]),
        tuple(request["choices"]),
        None if span is None else (span[0], span[1]),
        tuple((asked, answered) for asked, answered in request["history"]),
    )


class _Server:
    def __init__(self, qa: VideoQA, inbox: _Inbox, outbox: _Outbox) -> None:
        self._qa = qa
        self._inbox = inbox
        self._outbox = outbox

    def run(self) -> None:
        threading.Thread(target=self._do_others, daemon=True).start()
        most = self._qa.config.ask.batch_questions
        while True:
            requests = self._inbox.take(most)
            by_budget: dict[int | None, list[dict[str, Any]]] = {}
            for request in requests:
                if request["kind"] == "refresh":
                    self._do(request)
                elif not self._is_cancelled(request):
                    by_budget.setdefault(request["budget"], []).append(request)
            for budget, group in by_budget.items():
                self._ask(group, budget)
            for request in requests:
                self._inbox.forget(request["id"])

    def _do_others(self) -> None:
        """Search beside the language model's work: neither waits for the other."""
        while True:
            request = self._inbox.others.get()
            if not self._is_cancelled(request):
                self._do(request)
            self._inbox.forget(request["id"])

    def _is_cancelled(self, request: dict[str, Any]) -> bool:
        if not self._inbox.cancelled(request["id"]):
            return False
        self._error(request["id"], "cancelled", "The question was cancelled.", 499)
        return True

    def _ask(self, requests: Sequence[dict[str, Any]], budget: int | None) -> None:
        questions: list[Question] = []
        kept: list[int] = []
        max_tokens: list[int | None] = []
        for request in requests:
            try:
                questions.append(_question(request))
                kept.append(request["id"])
                max_tokens.append(request["max_tokens"])
            except LongvidError as error:
                self._refuse(request["id"], error)
        if not questions:
            return
        listener = _Listener(kept, max_tokens, self._outbox, self._inbox)
        try:
            answers = self._qa.ask_many(questions, budget, listener=listener)
        except LongvidError as error:
            for request_id in kept:
                self._refuse(request_id, error)
            return
        for index, (request_id, answer) in enumerate(zip(kept, answers, strict=True)):
            if isinstance(answer, Answer):
                done = {"answer": dataclasses.asdict(answer), "is_cut": listener.is_cut(index)}
                self._outbox.send({"id": request_id, "event": "done", **done})
            else:
                self._fail(request_id, answer)

    def _do(self, request: dict[str, Any]) -> None:
        """Answer what needs the embedder alone."""
        try:
            if request["kind"] == "search":
                span = request["time_range"]
                spans, notes = self._qa.search_all_noted(
                    request["text"],
                    video=request["video"],
                    top_k=request["top_k"],
                    span=None if span is None else (span[0], span[1]),
                    tags=request["tags"],
                )
                found = [dataclasses.asdict(span) for span in spans]
                result: Any = {"results": found, "note": " ".join(notes)}
            elif request["kind"] == "refresh":
                self._qa.store.refresh()
                result = None
            elif request["kind"] == "relevance":
                curve = self._qa.relevance(request["text"], video=request["video"])
                result = [[one.start_seconds, one.end_seconds, one.score] for one in curve]
            else:
                raise ValueError(f"unknown request {request['kind']!r}")
        except LongvidError as error:
            self._refuse(request["id"], error)
            return
        self._outbox.send({"id": request["id"], "event": "done", "result": result})

    def _fail(self, request_id: int, failure: Failure) -> None:
        status = {"question": 400, "store": 503}.get(failure.kind, 503)
        self._error(request_id, f"{failure.kind}_error", failure.error, status)

    def _refuse(self, request_id: int, error: LongvidError) -> None:
        refused = api_error_of(error)
        self._error(request_id, refused.code, refused.message, refused.status)

    def _error(self, request_id: int, code: str, message: str, status: int) -> None:
        event = {"event": "error", "code": code, "message": message, "status": status}
        self._outbox.send({"id": request_id, **event})


def _open_or_make(store: str, config: str) -> str:
    """Return a store's URI; one that is not there is made, so that it can be asked later."""
    try:
        Store.open(store)
    except StoreError:
        open_store(store, load_config(config))
    return store


def _end_process(error: threading.ExceptHookArgs) -> None:
    """End the process at what nobody foresaw: the next question starts it again.

    Without the thread it would go on, and never answer what the thread is for.
    """
    threading.__excepthook__(error)
    os._exit(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one store until standard input closes."""
    store, config = sys.argv[1:] if arguments is None else arguments
    outbox = _Outbox()
    inbox = _Inbox()
    threading.excepthook = _end_process
    try:
        qa = VideoQA(_open_or_make(store, config))
        note = qa.llm.note or qa.embedder.note
    except LongvidError as error:
        outbox.send({"event": "failed", "message": str(error)})
        return 1
    outbox.send({"event": "ready", "note": note})
    _Server(qa, inbox, outbox).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
