"""Tiny checkpoints that several modules of tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity import family_checkpoints
from tests.parity import published_checkpoints as tiny
from tests.parity.family_case import Case


@pytest.fixture(scope="module")
def llama_vid_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_embedder(tmp_path_factory.mktemp("embedder") / "clip")


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP that embeds for any family."""
    folder = tmp_path_factory.mktemp("clip")
    family_checkpoints.write_embedder(folder)
    return folder


@pytest.fixture(scope="module")
def folder(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the family that the module's `case` names."""
    folder = tmp_path_factory.mktemp(case.name)
    case.save(folder)
    return folder
