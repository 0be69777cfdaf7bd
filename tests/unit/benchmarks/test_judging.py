"""Judges, tried against a real HTTP server on the loopback address."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.harness.errors import JudgeError
from benchmarks.harness.run import Run
from benchmarks.judging.client import CallFailed, ChatClient
from benchmarks.judging.judgements import Judged, judge
from benchmarks.judging.judges import JudgeOptions, judge_named, judges_named
from tests.unit.benchmarks.folders import Row
from tests.unit.benchmarks.stand_in import Parrot, go, lines, make_videos, new_run, says, scored

ROWS = [Row(i, 1451 + i // 4, f"what is thing {i} doing?", "play") for i in range(12)]
Reply = Callable[[dict[str, object], int], tuple[int, str]]


class Server:
    """An endpoint whose reply a test decides: (body of the call, its number) → status, text."""

    def __init__(self, reply: Reply) -> None:
        self.calls: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.calls.append(body)
                    outer.headers.append(dict(self.headers))
                    number = len(outer.calls)
                status, text = reply(body, number)
                data = text.encode()
                if status == 200 and not text.startswith("RAW"):
                    data = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
                self.send_response(status)
                length = 10_000 if text == "RAWDRIP" else len(data)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                try:
                    if text.startswith("RAWDRIP"):
                        for _ in range(1200):
                            self.wfile.write(b" ")
                            self.wfile.flush()
                            time.sleep(0.05)
                    self.wfile.write(data)
                except OSError:
                    return

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


Serve = Callable[[Reply], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(reply: Reply) -> Server:
        servers.append(Server(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def answered(tmp_path: Path, text: str = "playing") -> Run:
    run, videos = new_run(tmp_path, ROWS), make_videos(tmp_path / "videos", ROWS)
    go(run, Parrot(says(text)), videos)
    return run


def judged(run: Run, *names: str, retries: int = 0, timeout: float = 5.0) -> Judged:
    options = JudgeOptions(timeout_seconds=timeout, retries=retries, concurrency=4)
    with run.plan() as plan:
        return judge(run, plan, judges_named(names, options), options.concurrency)


def test_every_open_answer_is_judged_once(tmp_path: Path, serve: Serve) -> None:
    server = serve(lambda body, number: (200, "{'pred': 'yes', 'score': 4.8}"))
    run = answered(tmp_path)
    done = judged(run, f"openai:gpt-3.5-turbo-0125@{server.url}")
    assert (done.judged, done.failed) == (12, 0)
    assert {call["model"] for call in server.calls} == {"gpt-3.5-turbo-0125"}
    assert {call["temperature"] for call in server.calls} == {0}
    again = judged(run, f"openai:gpt-3.5-turbo-0125@{server.url}")
    assert (again.judged, again.kept) == (0, 12)
    result = scored(run)
    name = "gpt-3.5-turbo-0125"
    assert result["metrics"][f"judge:{name}"]["all"]["attempted"]["mean"] == 1.0
    assert result["judges"][name]["mean_score"]["mean"] == 4.0
    assert result["judges"][name]["agreement_with_exact+lemma"]["mean"] == 1.0
    row = lines(run.judgements_path)[0]
    assert row["raw"] == "{'pred': 'yes', 'score': 4.8}"
    assert row["score"] == 4.8
    assert row["prompt"]


def test_the_key_comes_from_the_environment(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "secret")
    server = serve(lambda body, number: (200, "yes, 5"))
    options = JudgeOptions(key_variable="SOME_KEY")
    assert judge_named(f"openai:m@{server.url}", options).reply("q", "a", "p") == "yes, 5"
    assert server.headers[0]["Authorization"] == "Bearer secret"


def test_a_failed_call_is_a_judge_error_and_never_a_no(tmp_path: Path, serve: Serve) -> None:
    broken = serve(lambda body, number: (500, "down"))
    run = answered(tmp_path)
    assert judged(run, f"openai:m@{broken.url}").failed == 12
    result = scored(run)
    both = result["metrics"]["judge:m"]["all"]
    assert (both["attempted"], both["all"]["mean"]) == (None, 0.0)
    assert result["judges"]["m"]["judge_errors"] == result["judges"]["m"]["unjudged"] == 12
    # The next call of the stage makes them again.
    working = serve(lambda body, number: (200, "{'pred': 'no', 'score': 1}"))
    assert judged(run, f"openai:m@{working.url}").judged == 12
    assert scored(run)["metrics"]["judge:m"]["all"]["all"]["mean"] == 0.0


def test_failures_are_retried(tmp_path: Path, serve: Serve) -> None:
    server = serve(
        lambda body, number: (503, "busy") if number < 3 else (200, "{'pred': 'yes', 'score': 5}")
    )
    client = ChatClient(server.url, "m", retries=3, backoff_seconds=0.01)
    assert "yes" in client.complete([{"role": "user", "content": "?"}])
    assert len(server.calls) == 3


def test_prose_is_no_verdict_and_is_not_asked_again(tmp_path: Path, serve: Serve) -> None:
    server = serve(lambda body, number: (200, "I think that this is a good answer."))
    run = answered(tmp_path)
    first = judged(run, f"openai:m@{server.url}")
    assert first.failed == 12
    assert "The judge wrote 'I think that this is a good answer.'" in first.why
    assert judged(run, f"openai:m@{server.url}").judged == 0
    assert scored(run)["judges"]["m"]["judge_errors"] == 12
    assert {row["status"] for row in lines(run.judgements_path)} == {"unparsed"}


@pytest.mark.parametrize("drips", [False, True])
def test_a_judge_that_hangs_or_drips_is_cut_off(serve: Serve, drips: bool) -> None:
    stop = threading.Event()

    def hang(body: dict[str, object], number: int) -> tuple[int, str]:
        if not drips:
            stop.wait(60)
        return 200, "RAWDRIP" if drips else "late"

    server = serve(hang)
    client = ChatClient(server.url, "m", timeout_seconds=0.4, retries=0)
    started = time.monotonic()
    with pytest.raises(CallFailed, match=r"within 0\.4 s"):
        client.complete([{"role": "user", "content": "?"}])
    assert time.monotonic() - started < 30  # the server goes on for a minute
    stop.set()


@pytest.mark.parametrize("text", ["RAW not json", 'RAW{"choices": []}'])
def test_an_answer_that_is_no_completion_fails(serve: Serve, text: str) -> None:
    server = serve(lambda body, number: (200, text))
    with pytest.raises(CallFailed, match="no chat completion"):
        ChatClient(server.url, "m", retries=0).complete([])


def test_a_refused_key_stops_the_stage_at_once(tmp_path: Path, serve: Serve) -> None:
    server = serve(lambda body, number: (401, "bad key"))
    run = answered(tmp_path)
    with pytest.raises(JudgeError, match="status 401: bad key"):
        judged(run, f"openai:m@{server.url}", retries=5)
    assert len(server.calls) <= 8


def test_a_call_that_is_refused_is_one_row_of_many(tmp_path: Path, serve: Serve) -> None:
    server = serve(
        lambda body, number: (400, "too long") if number == 5 else (200, "{'pred': 'yes'}")
    )
    run = answered(tmp_path)
    done = judged(run, f"openai:m@{server.url}", retries=3)
    assert (done.judged, done.failed) == (12, 1)
    assert "status 400: too long" in done.why
    assert len(server.calls) == 12  # a wrong call would be wrong again
    both = scored(run)["metrics"]["judge:m"]["all"]
    assert both["attempted"]["num_rows"] == 11
    assert both["all"]["mean"] == pytest.approx(11 / 12)


def test_nobody_there_is_a_failed_call() -> None:
    with pytest.raises(CallFailed, match="cannot be reached"):
        ChatClient("http://127.0.0.1:9/v1", "m", retries=0).complete([])


@pytest.mark.parametrize(
    "name", ["gpt-4", "openai:gpt-4", "recorded:", "other:a@b", "openai:m@ftp://x"]
)
def test_a_wrong_name_is_one_sentence(name: str) -> None:
    with pytest.raises(JudgeError):
        judge_named(name, JudgeOptions())


def test_a_recording_says_the_same_again(tmp_path: Path, serve: Serve) -> None:
    server = serve(
        lambda body, number: (200, f"{{'pred': '{'yes' if number % 3 else 'no'}', 'score': 3}}")
    )
    first = answered(tmp_path / "a")
    judged(first, f"openai:m@{server.url}")
    second = answered(tmp_path / "b")
    calls = len(server.calls)
    assert judged(second, f"recorded:{first.judgements_path}").failed == 0
    assert len(server.calls) == calls
    assert scored(first)["metrics"]["judge:m"] == scored(second)["metrics"]["judge:m"]
    other = answered(tmp_path / "c", "something else")
    assert judged(other, f"recorded:{first.judgements_path}").failed == 12


def test_the_majority_of_three_decides_and_a_tie_does_not(tmp_path: Path, serve: Serve) -> None:
    yes = serve(lambda body, number: (200, "{'pred': 'yes', 'score': 5}"))
    no = serve(lambda body, number: (200, "{'pred': 'no', 'score': 0}"))
    run = answered(tmp_path)
    judged(run, f"openai:a@{yes.url}", f"openai:b@{no.url}")
    result = scored(run)
    assert result["ties"] == 12
    assert result["metrics"]["judge:majority"]["all"]["attempted"] is None
    judged(run, f"openai:c@{yes.url}")
    assert scored(run)["metrics"]["judge:majority"]["all"]["all"]["mean"] == 1.0
    with pytest.raises(JudgeError, match="have the same name"):
        judged(run, f"openai:a@{yes.url}", f"openai:a@{no.url}")


def test_another_answer_is_judged_anew(tmp_path: Path, serve: Serve) -> None:
    server = serve(lambda body, number: (200, "{'pred': 'yes', 'score': 5}"))
    run = answered(tmp_path)
    judged(run, f"openai:m@{server.url}")
    log = run.folder / "predictions.jsonl"
    changed = {**lines(log)[0], "answer": "something else"}
    with log.open("a") as file:
        file.write(json.dumps(changed) + "\n")
    assert judged(run, f"openai:m@{server.url}").judged == 1
