"""Stores that the tests of the store share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longvid.store import Store, StoreOptions
from tests.unit.store.synthetic import WIDTH

MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Make or open a store in the test's folder."""

    def make(name: str = "store", fingerprint: str = "made-for-tests", **options: Any) -> Store:
        return Store.create(
            name if "://" in name else tmp_path / name,
            fingerprint=fingerprint,
            config={"preset": "none"},
            options=StoreOptions(**options),
            space="test-space",
            embedding_width=WIDTH,
        )

    return make


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    """An empty store."""
    return make_store()
