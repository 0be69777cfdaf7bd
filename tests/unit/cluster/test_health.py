"""A cluster whose processes refuse connections is given up; one that answers again is not."""

from __future__ import annotations

import socket
from typing import Any

import pytest

pytest.importorskip("ray")

import ray

from longvid.cluster import health
from longvid.cluster.health import ClusterHealth
from longvid.errors import ClusterError


@pytest.fixture
def listening() -> Any:
    server = socket.create_server(("127.0.0.1", 0))
    yield server
    server.close()


@pytest.fixture
def watched(listening: Any, monkeypatch: pytest.MonkeyPatch) -> ClusterHealth:
    """The health of a made-up cluster, looked at without pauses."""
    monkeypatch.setattr(health, "_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(health, "_DOWN_SECONDS", 0.0)
    monkeypatch.setattr(health.atexit, "register", lambda function: None)
    monkeypatch.setattr(ray, "wait", lambda refs, **options: (refs, []))
    watched = ClusterHealth.__new__(ClusterHealth)
    watched.lost = False
    watched._addresses = {"raylet": listening.getsockname()}
    watched._down_since, watched._checked = {}, 0.0
    return watched


def test_results_of_a_living_cluster_are_given(watched: ClusterHealth) -> None:
    assert watched.wait(["result"]) == ["result"]
    assert not watched.lost


def test_a_dead_raylet_ends_the_wait(watched: ClusterHealth, listening: Any) -> None:
    listening.close()
    with pytest.raises(ClusterError, match=r"^The raylet of the Ray cluster at 127\.0\.0\.1:"):
        watched.wait(["result"])
    assert watched.lost


def test_a_process_that_comes_back_is_not_dead(
    watched: ClusterHealth, listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_DOWN_SECONDS", 3600.0)
    address = listening.getsockname()
    watched._addresses = {"raylet": ("127.0.0.1", 1)}
    assert watched.wait(["result"]) == ["result"]
    assert watched._down_since
    watched._addresses = {"raylet": address}
    assert watched.wait(["result"]) == ["result"]
    assert not watched._down_since
