"""What several rooms' tests share: the real clips, a store made of some of them, and no network."""

from __future__ import annotations

import functools
import gc
import importlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

# A machine that runs the GPU tests alone need not have it.
if importlib.util.find_spec("hypothesis"):
    importlib.import_module("tests.hypothesis_profile")

DATA = Path(__file__).parent / "data"


@pytest.hookimpl(optionalhook=True)  # tests run without xdist too
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a module's tests in one process, and all that start Ray: its agents share a port."""
    # Not xdist's own groups (--dist loadgroup): with pytest 9.2 they reach no test.
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return "ray" if starts_ray(config.rootpath / module) else module

    return ByModule(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what starts Ray: one process runs all of it, which takes the longest."""
    items.sort(key=lambda item: not starts_ray(item.path))


def pytest_collection_finish() -> None:
    """Keep what imports have made out of garbage collection: it lives for ever."""
    gc.freeze()


@functools.cache
def starts_ray(module: Path) -> bool:
    return "pytest.mark.ray" in module.read_text()


def require(feature: str, reason: str) -> None:
    """Skip a test that needs `feature`, or fail it where LONGVID_REQUIRE says it must run."""
    required = os.environ.get("LONGVID_REQUIRE", "").split(",")
    if feature in required:
        pytest.fail(f"LONGVID_REQUIRE={feature}, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips that are shipped with the tests."""
    return DATA


@pytest.fixture(scope="session")
def few_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four short clips of different make, one of them under two names."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("bottles_40s.mp4", "sign_book_640x480.mkv", "stream_title_vfr_vp8.webm"):
        shutil.copy(DATA / name, folder / name)
    shutil.copy(DATA / "sign_book_640x480.mkv", folder / "same_again.mkv")
    return folder


@pytest.fixture(scope="session")
def small_store(few_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the few clips, made once by the local runner; do not write into it."""
    import longvid

    store = tmp_path_factory.mktemp("small") / "store"
    report = longvid.index([few_clips], store=store, config="mini")
    assert not report.failures
    return store


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Start an S3 server on loopback, and set the environment that leads there.

    One for all tests: fsspec keeps connections by what they were opened with, and would go on
    asking a server that has stopped.
    """
    for module in ("moto", "s3fs", "flask"):
        if importlib.util.find_spec(module) is None:
            require("s3", f"{module} is not installed")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    yield settings["AWS_ENDPOINT_URL"]
    server.stop()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's cache."""
    before = os.environ.get("LONGVID_HOME")
    os.environ["LONGVID_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    if before is None:
        del os.environ["LONGVID_HOME"]
    else:
        os.environ["LONGVID_HOME"] = before
