"""Hostile requests to a running server: no death, no 5xx without a sentence, nothing from outside.

    python -m tests.fuzz.server_requests --requests 10000 --seed 7 --json FILE

Requests are drawn from the server's own OpenAPI document (bodies, paths, queries, headers of every
kind of nonsense) and from lists of what has broken other servers: paths that climb out of folders,
addresses of this machine in every spelling, thousands of ranges, broken forms, deep JSON.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

SECRET = "the secret of a file outside"
_TEXTS = (
    *("", " ", "what color is the star?", "\0", "\ud800", "‮", "a" * 9000, "<script>", "%00"),
    *(
        "{question}",
        "<|im_end|>",
        "<image>",
        "../../etc/passwd",
        "0x7f000001",
        "'; DROP TABLE jobs",
    ),
)
_PATHS = (
    *("/etc/passwd", "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd"),
    *(
        "....//....//etc/passwd",
        "/proc/self/environ",
        "file:///etc/passwd",
        "\\..\\..\\etc\\passwd",
    ),
    *("file://localhost/etc/passwd", "file://evil/etc/passwd", "/dev/zero", "/dev/stdin", "~root"),
)
_URLS = (
    *("http://127.0.0.1/", "http://2130706433/", "http://0177.0.0.1/", "http://[::1]/"),
    *("http://[::ffff:127.0.0.1]/", "http://localhost./", "http://169.254.169.254/latest/"),
    *("https://a@127.0.0.1/", "http://0/", "ftp://127.0.0.1/x.mp4", "gopher://x", "javascript:1"),
    *("data:video/mp4;base64,AAAA", "data:video/mp4;base64,!!", "data:text/html;base64,AAAA"),
    *("longvid://nothing", "longvid://", "longvid://../../x", "concat:/etc/passwd", "rtsp://x/"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 1e308, 2**70, [], {}, [[]], [None], {"a": {"b": []}}, *_TEXTS[:8]),
)


@dataclass
class Outcome:
    """What came of the requests."""

    num_requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if kind < 0.6 or depth > 3:
        return rng.choice(_VALUES)
    if kind < 0.8:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    names = ("text", "type", "url", "file_id", "video_url", "content", "role", "x")
    return {rng.choice(names): _value(rng, depth + 1) for _ in range(rng.randrange(4))}


def _message(rng: random.Random) -> Any:
    parts: list[Any] = [
        {"type": "text", "text": rng.choice(_TEXTS)},
        {"type": "video_url", "video_url": {"url": rng.choice((*_URLS, *_PATHS))}},
        {"type": "video", "video": rng.choice((*_URLS, [1], None))},
        {"type": "file", "file": {"file_id": rng.choice(_TEXTS)}},
        {"type": rng.choice(_TEXTS), "text": 1},
        _value(rng),
    ]
    content = rng.choice((rng.choice(_TEXTS), rng.sample(parts, rng.randrange(1, 4)), None))
    return {"role": rng.choice(("user", "user", "assistant", "system", "x", 1)), "content": content}


def _body(rng: random.Random, path: str) -> bytes:
    if rng.random() < 0.1:
        return rng.choice((b"", b"{", b"[" * 5000, b'{"a":' * 3000, b"\xff\xfe", b"NaN", b"null"))
    body: dict[str, Any] = {}
    if "chat" in path or "decisions" in path:
        body = {
            "model": rng.choice(("store", *_TEXTS)),
            "messages": [_message(rng) for _ in range(rng.randrange(3))],
            "stream": rng.choice((True, False, None, "x")),
            "longvid": {"budget": _value(rng), "videos": _value(rng)} if rng.random() < 0.5 else {},
            "questions": [{"type": rng.choice(("choice", "score", "x")), "question": "x"}],
        }
    elif "videos" in path:
        body = {"path": rng.choice(_PATHS), "file_id": rng.choice((None, *_TEXTS))}
    elif "uploads" in path:
        name = rng.choice(("a.mp4", "../a.mp4", "a\0.mp4", "a.txt", *_TEXTS))
        body = {"filename": name, "bytes": rng.choice((0, -1, 10, 2**62, 1e9, None)), "md5": "x"}
        body["part_ids"] = _value(rng)
    else:
        body = {
            name: rng.choice((rng.choice(_TEXTS), _value(rng)))
            for name in ("question", "text", "choices", "videos", "budget", "history", "top_k")
        }
        body["time_range"] = _value(rng)
    for _ in range(rng.randrange(3)):
        if body and rng.random() < 0.5:
            body.pop(rng.choice(list(body)))
        else:
            body[rng.choice(("x", "n", "tools", "stream", "store", "key"))] = _value(rng)
    return json.dumps(body).encode()


def _request(
    rng: random.Random, routes: Sequence[tuple[str, str]]
) -> tuple[str, str, bytes, dict[str, str]]:
    method, route = rng.choice(routes)
    path = route
    while "{" in path:
        before, _, rest = path.partition("{")
        after = rest.partition("}")[2]
        given = rng.choice((*_TEXTS, *_PATHS, "x"))
        raw = given if rng.random() < 0.3 else quote(given.encode(errors="replace"), safe="")
        path = before + raw + after
    query = "&".join(
        f"{name}={quote(str(rng.choice(_VALUES)).encode(errors='replace'))}"
        for name in rng.sample(("t", "start", "end", "question", "cursor", "store", "points"), 3)
    )
    if rng.random() < 0.5:
        path += f"?{query}"
    headers = {
        "Content-Type": rng.choice(("application/json", "text/plain", "multipart/form-data"))
    }
    if rng.random() < 0.2:
        headers["Range"] = "bytes=" + ",".join(f"{n}-{n}" for n in range(rng.choice((1, 5, 900))))
    if rng.random() < 0.1:
        headers[rng.choice(("Host", "Origin", "Cookie", "Authorization"))] = rng.choice(
            ("evil.example", "Bearer x", "longvid_session=x", "a" * 4000)
        )
    if "multipart" in headers["Content-Type"] and rng.random() < 0.7:
        headers["Content-Type"] += "; boundary=b"
        name = rng.choice(("file", "data", "x"))
        filename = rng.choice(("a.mp4", "../../a.mp4", "a.exe", ""))
        body = (
            f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
            f"{'x' * rng.choice((0, 10, 5000))}\r\n{rng.choice(('--b--', '--b', ''))}\r\n"
        ).encode()
        return method, path, body, headers
    return method, path, b"" if method in ("GET", "HEAD") else _body(rng, route), headers


def attack(host: str, port: int, num_requests: int, seed: int, quiet: bool = True) -> Outcome:
    """Send hostile requests, one after the other.

    Args:
        host, port: Of a server that may be harmed.
        num_requests: How many.
        seed: Of the requests.
        quiet: Print nothing.
    """
    rng = random.Random(seed)
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET", "/openapi.json")
    spec = json.loads(connection.getresponse().read())
    # A stream of events has no end; the page's files are files.
    routes = [
        (method.upper(), path)
        for path, methods in spec["paths"].items()
        for method in methods
        if path != "/api/events"
    ]
    routes += [("GET", f"/assets/{name}") for name in _PATHS]
    outcome = Outcome()
    for number in range(num_requests):
        method, path, body, headers = _request(rng, routes)
        started = time.monotonic()
        try:
            connection.putrequest(method, _sendable(path), skip_host="Host" in headers)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
        except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
            connection.close()
            if isinstance(error, TimeoutError):
                outcome.faults.append(f"{number}: {method} {path[:80]}: no answer in 60 s")
            continue
        outcome.slowest_seconds = max(outcome.slowest_seconds, time.monotonic() - started)
        outcome.num_requests += 1
        outcome.statuses[answer.status] += 1
        what = f"{number}: {method} {path[:80]!r} {body[:120]!r} -> {answer.status} {data[:200]!r}"
        if SECRET.encode() in data or b"root:x:" in data:
            outcome.faults.append(f"leak: {what}")
        if answer.status >= 500:
            try:
                error = json.loads(data)["error"]
                if error["code"] == "internal_error" or not error["message"]:
                    outcome.faults.append(what)
            except (ValueError, KeyError, TypeError):
                if not path.startswith("/readyz"):
                    outcome.faults.append(what)
        if not quiet and number % 500 == 499:
            print(f"{number + 1} requests, {len(outcome.faults)} faults", flush=True)
    connection.close()
    return outcome


def _sendable(path: str) -> str:
    """Return a path that the client library agrees to send; the rest is as hostile as it was."""
    return "".join(char if "!" <= char <= "~" else quote(char, errors="replace") for char in path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Start a server over an empty store and attack it; exit status 1 where a fault was found."""
    from tests.e2e.test_server import start

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--store", help="a store with videos to copy")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}")
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "outside.mp4").write_text(SECRET)
        (folder / "root").mkdir()
        words = ("--store", options.store or str(folder / "store"), "--root", str(folder / "root"))
        server = start(folder, *words)
        server.wait("/readyz", lambda status, _: status == 200, 120)
        host, _, port = server.url.removeprefix("http://").partition(":")
        outcome = attack(host, int(port), options.requests, options.seed, quiet=False)
        alive = server.process.poll() is None and server.call("/healthz")[0] == 200
        server.process.terminate()
        server.process.wait(60)
    for fault in outcome.faults:
        print(fault)
    print(f"{outcome.num_requests} answered, {dict(sorted(outcome.statuses.items()))}")
    print(f"{len(outcome.faults)} faults, alive: {alive}, slowest {outcome.slowest_seconds:.1f} s")
    if options.json:
        row = {"task": "robustness", "subject": "server requests", "unit": "requests", "spread": 0}
        rows = [
            {**row, "metric": metric, "value": value, "n": outcome.num_requests}
            for metric, value in (
                ("answered", outcome.num_requests),
                ("faults", len(outcome.faults)),
                ("deaths", int(not alive)),
            )
        ]
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(bool(outcome.faults) or not alive)


if __name__ == "__main__":
    sys.exit(main())
