"""Tiny checkpoints that several tests of published systems share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity import published_checkpoints as tiny


@pytest.fixture(scope="module")
def llama_vid_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_embedder(tmp_path_factory.mktemp("embedder") / "clip")
