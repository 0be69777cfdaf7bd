"""longvid answers questions about long videos, with the time spans that support the answer.

    import longvid

    longvid.index(["videos/"], store="store")
    answer = longvid.ask("What colour is the car?", store="store")

Importing this package is cheap: torch and the rest load at the first call that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longvid.api import ask, index, search
    from longvid.config import Config, load_config
    from longvid.indexing.report import IndexReport
    from longvid.qa.video_qa import VideoQA
    from longvid.types import Answer, Evidence, Failure, Question

__version__ = "0.1.0"

_HOMES = {
    "Answer": "longvid.types",
    "Config": "longvid.config",
    "Evidence": "longvid.types",
    "Failure": "longvid.types",
    "IndexReport": "longvid.indexing.report",
    "Question": "longvid.types",
    "VideoQA": "longvid.qa.video_qa",
    "ask": "longvid.api",
    "index": "longvid.api",
    "load_config": "longvid.config",
    "search": "longvid.api",
}

__all__ = [
    "Answer",
    "Config",
    "Evidence",
    "Failure",
    "IndexReport",
    "Question",
    "VideoQA",
    "ask",
    "index",
    "load_config",
    "search",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'longvid' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
