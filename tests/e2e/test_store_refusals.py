"""What the operating system refuses is one sentence, and nothing stored is lost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from longvid.store import Store
from tests.unit.store.conftest import MakeStore
from tests.unit.store.synthetic import add_video

A = "a" * 32


def in_a_child(code: str, *arguments: str) -> str:
    """Run code in another process and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_size_limit_of_the_system_loses_nothing(store: Store) -> None:
    """The kernel itself refuses to let a file grow: the nearest a test gets to a full disk."""
    add_video(store, A)
    before = store.digest()
    printed = in_a_child(
        """
        import resource, sys
        from longvid.errors import StoreError
        from longvid.store import Store
        from tests.unit.store.synthetic import make_segment
        store = Store.open(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            store.write_chunk("b" * 32, [make_segment("b" * 32, 0, num_tokens=5000)])
        except StoreError as error:
            print(error)
        """,
        store.uri,
    )
    assert printed.startswith("No space to write videos/bbbb")
    assert store.digest() == before
    assert store.verify() == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_reader_without_permission_to_write_can_ask(make_store: MakeStore) -> None:
    # Folders of pytest are closed to others; this one is open to them, for reading.
    public = tempfile.TemporaryDirectory(prefix="longvid-test-")
    store = make_store(f"file://{public.name}/store")
    add_video(store, A)
    for path in (Path(public.name), *Path(public.name).rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    printed = in_a_child(
        """
        import os, sys
        from longvid.errors import StoreError
        from longvid.store import Store
        from tests.unit.store.synthetic import WIDTH, make_segment
        import faiss
        os.setresuid(65534, 65534, 65534)
        store = Store.open(sys.argv[1])
        query = make_segment("a" * 32, 2).frame_embeddings[0]
        print(store.search(query, 1)[0].segment_index, len(store.load([("a" * 32, 2)])))
        try:
            store.write_chunk("b" * 32, [make_segment("b" * 32, 0)])
        except StoreError as error:
            print(error)
        """,
        store.uri,
    )
    found, refusal = printed.splitlines()
    assert found == "2 1"
    assert refusal.startswith("No permission to write videos/bbbb")
    assert not (Path(store.uri) / "catalog.parquet").exists()
    public.cleanup()
