"""The server: how soon it is up, what HTTP adds to a question, and many questions at once.

The same questions are put to `VideoQA.ask_many` in this process and to a running server, in turn,
so that a machine whose pace drifts favours neither.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from statistics import median
from typing import Any

from benchmarks.measurements import Row
from benchmarks.speed.processes import peak_mb
from longvid.qa.video_qa import VideoQA
from longvid.types import Question

_TEXTS = (
    *("what color is the star?", "where is the circle?", "what shape is red?"),
    *("where is the square?", "what color is the triangle?", "what shape is blue?"),
)
_BESIDE = ("embed", "search", "load", "select")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", required=True, metavar="FOLDER", help="of mini, an hour of video"
    )
    parser.add_argument("--questions", type=int, default=200, help="at once")
    parser.add_argument("--single", type=int, default=50, help="one after the other")
    parser.add_argument("--runs", type=int, default=3)


class _Server:
    def __init__(self, store: str, folder: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "longvid.cli", "serve", "--port", str(self.port)),
                *("--store", store, "--data", folder),
            ],
            stderr=subprocess.DEVNULL,
        )
        self.healthy_seconds = self._until("/healthz", started)
        self.ready_seconds = self._until("/readyz", started)

    def _until(self, path: str, started: float) -> float:
        while self.process.poll() is None:
            try:
                if self.call(path)[0] == 200:
                    return time.perf_counter() - started
            except OSError:
                pass
            time.sleep(0.01)
        raise RuntimeError("the server ended")

    def call(self, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        data = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, data)
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        return found

    def ask_until_answered(self, text: str, statuses: Counter[int]) -> None:
        """Ask, and ask again where the server says when."""
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
            connection.request("POST", "/api/ask", json.dumps({"question": text}))
            answer = connection.getresponse()
            answer.read()
            statuses[answer.status] += 1
            connection.close()
            if answer.status != 429:
                return
            time.sleep(float(answer.headers["Retry-After"]))


def run(options: argparse.Namespace) -> list[Row]:
    qa = VideoQA(options.store)
    qa.ask(_TEXTS[0])
    with tempfile.TemporaryDirectory(prefix="longvid-serve-") as folder:
        server = _Server(options.store, folder)
        try:
            return [
                Row("start", "longvid serve", "healthy", server.healthy_seconds, "s"),
                Row("start", "longvid serve", "models loaded", server.ready_seconds, "s"),
                *_one_by_one(server, options.single),
                *_at_once(server, qa, options.questions, options.runs),
            ]
        finally:
            server.process.terminate()
            server.process.wait(60)


def _one_by_one(server: _Server, count: int) -> list[Row]:
    """Time everything but the language model, HTTP included."""
    beside: list[float] = []
    inside: list[float] = []
    for number in range(count):
        started = time.perf_counter()
        status, body = server.call("/api/ask", {"question": _TEXTS[number % len(_TEXTS)]})
        seconds = time.perf_counter() - started
        if status != 200:
            raise RuntimeError(f"status {status}: {body}")
        parts = body["answer"]["seconds"]
        beside.append(1000 * (seconds - parts["llm"]))
        inside.append(1000 * sum(parts[name] for name in _BESIDE))
    beside.sort()
    p95 = beside[min(count - 1, int(0.95 * count))]
    task = "one question after the other, all but the language model"
    return [
        Row(task, "over HTTP", "median", median(beside), "ms", n=count),
        Row(task, "over HTTP", "p95", p95, "ms", n=count),
        Row(task, "of it in the wing", "median", median(inside), "ms", n=count),
    ]


def _at_once(server: _Server, qa: VideoQA, count: int, runs: int) -> list[Row]:
    texts = [_TEXTS[number % len(_TEXTS)] for number in range(count)]
    own: list[float] = []
    served: list[float] = []
    statuses: Counter[int] = Counter()
    for _ in range(runs):
        started = time.perf_counter()
        qa.ask_many([Question(text) for text in texts])
        own.append(time.perf_counter() - started)
        threads = [
            threading.Thread(target=server.ask_until_answered, args=(text, statuses))
            for text in texts
        ]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        served.append(time.perf_counter() - started)
    memory = peak_mb(server.process.pid)
    task = f"{count} questions at once"
    return [
        Row(task, "ask_many in Python", "wall", median(own), "s", n=runs),
        Row(task, "over HTTP", "wall", median(served), "s", n=runs),
        Row(task, "over HTTP", "beside ask_many", median(served) / median(own), "x", n=runs),
        Row(task, "over HTTP", "server memory", memory, "MB"),
        *(Row(task, "over HTTP", f"status {code}", n, "") for code, n in sorted(statuses.items())),
    ]
