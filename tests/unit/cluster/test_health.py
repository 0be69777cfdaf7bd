"""A cluster whose processes give no answer is given up; one that answers again is not."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("ray")

import ray

from longvid.cluster import health, session
from longvid.cluster.health import ClusterHealth
from longvid.errors import ClusterError


class Greeting(socketserver.BaseRequestHandler):
    """Answers the first bytes of a connection, as a gRPC server does, then hangs up."""

    def handle(self) -> None:
        self.request.recv(1000)
        self.request.sendall(b"\0")


@pytest.fixture
def answering() -> Iterator[tuple[str, int]]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        host, port = server.server_address[:2]
        yield str(host), port
        server.shutdown()
        thread.join()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A process that is stopped: the kernel still accepts connections to it."""
    monkeypatch.setattr(health, "_ANSWER_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


@pytest.fixture
def watched(answering: Any, monkeypatch: pytest.MonkeyPatch) -> ClusterHealth:
    """The health of a made-up cluster, looked at without pauses."""
    monkeypatch.setattr(health, "_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(health, "_DOWN_SECONDS", 0.0)
    monkeypatch.setattr(ray, "wait", lambda refs, **options: (refs, []))
    watched = ClusterHealth.__new__(ClusterHealth)
    watched.lost = False
    watched._addresses = {"raylet": answering}
    watched._down_since, watched._checked = {}, 0.0
    return watched


def test_results_of_a_living_cluster_are_given(watched: ClusterHealth) -> None:
    assert watched.wait(["result"]) == ["result"]
    assert not watched.lost


@pytest.mark.parametrize("process", ["raylet", "head (GCS)"])
def test_a_dead_process_ends_the_wait(watched: ClusterHealth, process: str) -> None:
    watched._addresses[process] = ("127.0.0.1", 1)
    with pytest.raises(ClusterError) as caught:
        watched.wait(["result"])
    assert str(caught.value).startswith(
        f"The {process} of the Ray cluster at 127.0.0.1:1 has ended"
    )
    assert watched.lost


def test_a_stopped_process_ends_the_wait(watched: ClusterHealth, silent: tuple[str, int]) -> None:
    watched._addresses["raylet"] = silent
    with pytest.raises(ClusterError, match=r"^The raylet of the Ray cluster at 127\.0\.0\.1:"):
        watched.wait(["result"])


def test_a_dead_process_is_noticed_within_a_minute() -> None:
    looks = health._CHECK_SECONDS + health._DOWN_SECONDS + 3 * health._ANSWER_SECONDS
    assert looks + health._EXIT_SECONDS < 60


def test_a_process_that_comes_back_is_not_dead(
    watched: ClusterHealth, answering: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_DOWN_SECONDS", 3600.0)
    watched._addresses = {"raylet": ("127.0.0.1", 1)}
    assert watched.wait(["result"]) == ["result"]
    assert watched._down_since
    watched._addresses = {"raylet": answering}
    assert watched.wait(["result"]) == ["result"]
    assert not watched._down_since


def test_a_process_ends_although_its_cluster_does_not_let_go(
    answering: tuple[str, int],
    silent: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Exited(Exception):
        """Stands for the end of the process."""

    def leave(status: int) -> None:
        raise Exited(status)

    monkeypatch.setattr(health, "_EXIT_SECONDS", 0.0)
    monkeypatch.setattr(os, "_exit", leave)
    leaving = threading.Event()
    leaving.set()
    with pytest.raises(Exited, match="1"):
        health._end_in_time((answering, silent), leaving)
    assert f"cluster at 127.0.0.1:{silent[1]} gives no answer" in capsys.readouterr().err


def test_a_server_that_hangs_up_is_alive() -> None:
    """One that wants TLS closes the connection of whoever greets it without."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        hanging_up = threading.Thread(target=lambda: server.accept()[0].close())
        hanging_up.start()
        health.ask(*server.getsockname())
        hanging_up.join()


def test_a_cluster_that_does_not_answer_is_one_sentence(
    silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "{}:{}".format(*silent))
    monkeypatch.setattr(session, "canonicalize_bootstrap_address", lambda address: address)
    with pytest.raises(ClusterError, match=r"^The Ray cluster cannot be reached \(127.*timed out"):
        session.connect()


def test_a_start_that_takes_too_long_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object, **__: object) -> None:
        raise Exception("The current node timed out during startup.\nLast log lines: …")

    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(ClusterError) as caught:
        session.connect()
    assert "(The current node timed out during startup.)" in str(caught.value)
    assert "\n" not in str(caught.value)
