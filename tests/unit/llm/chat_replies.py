"""Replies of chat servers, in the shapes each sends, and a server that plays them to a question."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from longvid.llm.openai import OpenAILanguageModel
from longvid.testing.synthetic import make_segment
from longvid.types import Picture, Question, Selection

Event = dict[str, Any]
OPEN = Question("what is on the table ?")
CLOSED = Question("what color is it ?", choices=("red", "dark blue", "green"))


def logprobs(tokens: dict[str, float]) -> Event:
    first = next(iter(tokens))
    listed = [
        {"token": token, "logprob": value, "bytes": list(token.encode())}
        for token, value in tokens.items()
    ]
    return {"content": [{**listed[0], "token": first, "top_logprobs": listed}]}


def openai(text: str, letters: dict[str, float] | None = None) -> list[Event]:
    """OpenAI: a role first, usage in an event of its own, a dated model."""
    base = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "system_fingerprint": "fp_1",
    }
    scores = logprobs(letters) if letters else None
    role = {"role": "assistant", "content": "", "refusal": None}
    events = [{"index": 0, "delta": role, "logprobs": None, "finish_reason": None}]
    events += [
        {
            "index": 0,
            "delta": {"content": piece},
            "logprobs": scores if not place else None,
            "finish_reason": None,
        }
        for place, piece in enumerate(_pieces(text))
    ]
    events.append({"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"})
    usage = {"prompt_tokens": 120, "completion_tokens": 7, "total_tokens": 127}
    return [
        *({**base, "choices": [event], "usage": None} for event in events),
        {**base, "choices": [], "usage": usage},
    ]


def vllm(text: str, letters: dict[str, float] | None = None) -> list[Event]:
    """vLLM: the model as it was named, `prompt_token_ids` beside, log-probabilities of all."""
    base = {"id": "chatcmpl-v", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    scores = logprobs(letters) if letters else None
    events: list[Event] = [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
    ]
    events += [
        {"index": 0, "delta": {"content": piece}, "logprobs": scores, "token_ids": None}
        for piece in _pieces(text)
    ]
    events[-1] |= {"finish_reason": "stop", "stop_reason": None}
    return [
        *({**base, "choices": [event]} for event in events),
        {**base, "choices": [], "usage": {"prompt_tokens": 120, "completion_tokens": 7}},
    ]


def ollama(text: str, letters: dict[str, float] | None = None) -> list[Event]:
    """Ollama: a fingerprint of its own, role in every event, no log-probabilities."""
    base = {
        "id": "chatcmpl-9",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "system_fingerprint": "fp_ollama",
    }
    events: list[Event] = [
        {"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}
        for piece in _pieces(text)
    ]
    events.append(
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
    )
    usage = {"prompt_tokens": 120, "completion_tokens": 7, "total_tokens": 127}
    return [
        *({**base, "choices": [event]} for event in events),
        {**base, "choices": [], "usage": usage},
    ]


def llama_cpp(text: str, letters: dict[str, float] | None = None) -> list[Event]:
    """llama.cpp: null content first, timings beside usage, the model's file as its name."""
    base = {
        "created": 1,
        "id": "chatcmpl-x",
        "model": "qwen2.5-vl-q4.gguf",
        "system_fingerprint": "b5200",
        "object": "chat.completion.chunk",
    }
    scores = logprobs(letters) if letters else None
    events: list[Event] = [
        {"finish_reason": None, "index": 0, "delta": {"role": "assistant", "content": None}}
    ]
    for place, piece in enumerate(_pieces(text)):
        event: Event = {"finish_reason": None, "index": 0, "delta": {"content": piece}}
        events.append(event | ({"logprobs": scores} if scores and not place else {}))
    events.append({"finish_reason": "stop", "index": 0, "delta": {}})
    usage = {"completion_tokens": 7, "prompt_tokens": 120, "total_tokens": 127}
    timings = {"prompt_n": 120, "prompt_ms": 1.0, "predicted_n": 7}
    return [
        *({"choices": [event], **base} for event in events),
        {"choices": [], **base, "usage": usage, "timings": timings},
    ]


def whole(text: str) -> Event:
    """A server that does not stream answers in one object."""
    return {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 120, "completion_tokens": 7},
    }


def whole_message(message: Event, finish_reason: str = "stop") -> Event:
    """One object around a message as it is."""
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {**whole(""), "choices": [choice]}


def _pieces(text: str) -> list[str]:
    return [text[at : at + 4] for at in range(0, len(text), 4)]


@dataclass
class Play:
    """One reply of a server.

    Args:
        events: Streamed one after the other; a dict is sent whole.
        status: Of the reply.
        body: Sent instead, as it is.
        headers: Besides the usual.
        cut: Leave out the end, as a server that dies.
        wait_seconds: Before the reply begins.
    """

    events: list[Event] | Event = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    wait_seconds: float = 0.0


@dataclass
class Served:
    """A server at work: what it was asked, and where it is."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serve(choose: Callable[[int, dict[str, Any]], Play]) -> Iterator[Served]:
    """Serve what `choose` says for the n-th request, on loopback."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            request = json.loads(self.rfile.read(size))
            with lock:
                number = len(served.requests)
                served.requests.append({"path": self.path, **request})
                served.keys.append(self.headers.get("Authorization", ""))
            play = choose(number, request)
            time.sleep(play.wait_seconds)
            self.send_response(play.status)
            self.send_header("Connection", "close")
            self.close_connection = True
            for name, value in play.headers.items():
                self.send_header(name, value)
            streamed = isinstance(play.events, list) and play.body is None
            kind = "text/event-stream" if streamed else "application/json"
            self.send_header("Content-Type", kind)
            self.end_headers()
            if play.body is not None:
                self.wfile.write(play.body)
            elif isinstance(play.events, dict):
                self.wfile.write(json.dumps(play.events).encode())
            else:
                events = play.events[:2] if play.cut else play.events
                for event in events:
                    self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                if not play.cut:
                    self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Served(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def selection(num_pictures: int = 3, video_id: str = "a") -> Selection:
    segment = make_segment(4, 2, 2, video_id=video_id)
    pictures = tuple(
        Picture(video_id, float(60 * k), b"\xff\xd8picture%d" % k, 8, 8)
        for k in range(num_pictures)
    )
    return Selection((segment,), (), 1000, pictures=pictures)


def part(url: str, **changes: Any) -> OpenAILanguageModel:
    settings: dict[str, Any] = {"model": "m", "timeout_seconds": 20.0, "retries": 0}
    return OpenAILanguageModel(url=url, **{**settings, **changes})


def ask(play: Play | list[Play], question: Question = OPEN, **changes: Any) -> Any:
    plays = play if isinstance(play, list) else [play]
    with serve(lambda number, request: plays[min(number, len(plays) - 1)]) as served:
        worker = part(served.url, **changes).setup()
        return worker.answer(question, selection()), served, worker
