"""longvid answers questions about long videos, with the time spans that support the answer.

    import longvid

    longvid.index(["videos/"], store="store")
    answer = longvid.ask("what color is the sign?", store="store")
    print(answer.text, answer.evidence)

Importing this package is cheap: torch and the rest load at the first call that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from longvid.errors import (
    BudgetError,
    ClusterError,
    ConfigError,
    FailureRateError,
    LawError,
    LongvidError,
    ModelError,
    OpError,
    QuestionError,
    StoreError,
    UnknownWordsError,
    VideoError,
)

if TYPE_CHECKING:
    from longvid.api import ask, index, search
    from longvid.config import Config, load_config
    from longvid.indexing.report import IndexReport, Progress
    from longvid.qa.video_qa import VideoQA
    from longvid.store import Store
    from longvid.types import Answer, Evidence, Failure, Question

__version__ = "0.1.0"

_HOMES = {
    "Answer": "longvid.types",
    "Config": "longvid.config",
    "Evidence": "longvid.types",
    "Failure": "longvid.types",
    "IndexReport": "longvid.indexing.report",
    "Progress": "longvid.indexing.report",
    "Question": "longvid.types",
    "Store": "longvid.store",
    "VideoQA": "longvid.qa.video_qa",
    "ask": "longvid.api",
    "index": "longvid.api",
    "load_config": "longvid.config",
    "search": "longvid.api",
}

__all__ = [
    "Answer",
    "BudgetError",
    "ClusterError",
    "Config",
    "ConfigError",
    "Evidence",
    "Failure",
    "FailureRateError",
    "IndexReport",
    "LawError",
    "LongvidError",
    "ModelError",
    "OpError",
    "Progress",
    "Question",
    "QuestionError",
    "Store",
    "StoreError",
    "UnknownWordsError",
    "VideoError",
    "VideoQA",
    "ask",
    "index",
    "load_config",
    "search",
]

if not TYPE_CHECKING:  # a checker that saw it would take every misspelled name for a good one

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'longvid' has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
