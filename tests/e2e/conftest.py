"""A server, and stores of made-up videos, that several modules share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.store.conftest import make_store, store

if TYPE_CHECKING:
    from tests.e2e.test_server import Server

__all__ = ["make_store", "served", "store"]


@pytest.fixture(scope="session")
def served(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over a copy of the small store, its models loaded; add and remove no video."""
    pytest.importorskip("fastapi", reason="install longvid[server]")
    from tests.e2e.test_server import start

    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(small_store, folder / "store")
    server = start(folder, "--store", str(folder / "store"))
    server.wait("/readyz", lambda status, _: status == 200)
    yield server
    server.process.terminate()
    server.process.wait(30)
