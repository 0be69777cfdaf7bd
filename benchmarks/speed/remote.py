"""What asking a model on a server costs beside the server: `llm.name = openai`.

The server is a stand-in on loopback that takes the request and answers at once, so what is left of
a question is longvid's own: the search, the stored pictures, the request and the reading of the
reply. The time of the server, from the start of a request to the end of its reply, is taken off.
"""

from __future__ import annotations

import argparse
import json
import queue
import statistics
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.measurements import Row, median_row
from benchmarks.option_checks import require_count, require_positive
from benchmarks.speed.footage import CLIP, QUESTIONS, loop_clip
from longvid.config import load_config
from longvid.indexing.local_runner import run_local
from longvid.qa.video_qa import VideoQA

_REPLY = ("A ", "red ", "car", ".")
#: So many seconds a reply may take to be noted after it was read.
_PATIENCE = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--video", metavar="FILE", help="default: a clip of the tests, repeated")
    parser.add_argument("--minutes", type=float, default=60.0, help="of it")
    parser.add_argument("--questions", type=int, default=100, help="one after the other")


class _Server(ThreadingHTTPServer):
    """Answers every chat with one short streamed reply, and keeps how long that took it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        #: Of each request, once its reply is sent: seconds it took and its size in bytes.
        self.served: queue.Queue[tuple[float, int]] = queue.Queue()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        started = time.perf_counter()
        size = int(self.headers["Content-Length"])
        json.loads(self.rfile.read(size))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for place, piece in enumerate(_REPLY):
            finish = "stop" if place == len(_REPLY) - 1 else None
            choice = {"index": 0, "delta": {"content": piece}, "finish_reason": finish}
            self._send({"model": "m", "choices": [choice]})
        self._send({"model": "m", "choices": [], "usage": {"prompt_tokens": 1}})
        self.wfile.write(b"data: [DONE]\n\n")
        self.server.served.put((time.perf_counter() - started, size))

    def _send(self, event: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def run(options: argparse.Namespace) -> list[Row]:
    """Index once, then ask.

    Raises:
        ConfigError: A number is out of range, or the video cannot be read.
    """
    require_positive("--minutes", options.minutes)
    require_count("--questions", options.questions)
    clip = str(options.video or CLIP)
    server = _Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="longvid-remote-") as folder:
        video = loop_clip(clip, f"{folder}/film{Path(clip).suffix}", options.minutes * 60)
        report = run_local([video], f"{folder}/store", load_config("mini"))
        if report.videos_failed:
            sys.exit(report.failures[0].error)
        settings = ["llm.name=openai", f'llm.url="{server.url}"', "llm.model=m"]
        with VideoQA(f"{folder}/store", load_config("mini", settings)) as qa:
            qa.ask(QUESTIONS[0])  # loads the embedder and the index
            server.served.get(timeout=_PATIENCE)
            beside: list[float] = []
            served: list[tuple[float, int]] = []
            prepared: list[float] = []
            for number in range(options.questions):
                started = time.perf_counter()
                answer = qa.ask(QUESTIONS[number % len(QUESTIONS)])
                seconds = time.perf_counter() - started
                # The reply is read before the server's thread has stopped its clock.
                served.append(server.served.get(timeout=_PATIENCE))
                beside.append(1000 * (seconds - served[-1][0]))
                prepared.append(sum(answer.seconds[name] for name in ("embed", "search", "load")))
    server.shutdown()
    server.server_close()
    return _rows(options, beside, prepared, served)


def _rows(
    options: argparse.Namespace,
    beside: list[float],
    prepared: list[float],
    served: list[tuple[float, int]],
) -> list[Row]:
    task = f"a question about {options.minutes:g} minutes, asked of a server"
    p95 = statistics.quantiles(beside, n=20)[-1] if len(beside) > 1 else beside[0]
    own = [1000 * seconds for seconds, _ in served]
    kilobytes = [size / 1000 for _, size in served]
    n = len(beside)
    return [
        median_row(task, "longvid", "beside the server", beside, "ms"),
        Row(task, "longvid", "beside the server, p95", p95, "ms", n),
        Row(task, "longvid", "of it search", 1000 * statistics.median(prepared), "ms", n),
        Row(task, "server", "its own", statistics.median(own), "ms", n),
        Row(task, "server", "request", statistics.median(kilobytes), "kB", n),
    ]
