"""Every error longvid raises on purpose, in one tree.

A message says what was wrong, what was given, what is allowed and what to do next. Errors of
other libraries are mapped here by the one room that calls the library (`raise ... from`).

    LongvidError
    ├── ConfigError        a configuration, preset, part name or setting is wrong
    │   └── LawError       a part from outside breaks a law of its kind
    ├── FailureRateError   so many videos fail that going on makes no sense
    ├── ClusterError       a Ray cluster cannot be reached, or broke down during a run
    ├── VideoError         one video cannot be used; carries kind, stage and path
    ├── ModelError         a checkpoint is missing, incomplete, or does not fit the request
    ├── StoreError         a store cannot be opened, was made otherwise, or cannot be written
    ├── BudgetError        a token budget cannot be met
    ├── QuestionError      a question cannot be asked of this store or model
    └── OpError            wrong dtype, shape or device given to a tensor operation
"""

from __future__ import annotations

from collections.abc import Collection


class LongvidError(Exception):
    """The root: catch this to catch whatever longvid itself reports."""


class ConfigError(LongvidError):
    """A configuration, preset, part name or setting is wrong."""


class LawError(ConfigError):
    """A part breaks a law of its kind; `longvid.testing` checks them all."""


class FailureRateError(LongvidError):
    """So many videos fail that the cause must lie elsewhere: the run was stopped."""


class ClusterError(LongvidError):
    """A Ray cluster cannot be reached, or broke down during a run."""


class VideoError(LongvidError):
    """One video cannot be used.

    Args:
        message: One sentence for a person.
        kind: One of `longvid.types.FAILURE_KINDS`, so that failures can be counted and retried.
        path: The video as the user named it.
        stage: Where on the path it stopped ("probe", "decode", ...).
    """

    def __init__(self, message: str, *, kind: str, path: str, stage: str = "decode") -> None:
        super().__init__(message)
        self.kind = kind
        self.path = path
        self.stage = stage

    def __reduce__(self) -> tuple[object, tuple[str, str, str, str]]:
        # Exceptions with keyword arguments do not survive a trip between processes by themselves.
        return _rebuild_video_error, (str(self), self.kind, self.path, self.stage)


def _rebuild_video_error(message: str, kind: str, path: str, stage: str) -> VideoError:
    return VideoError(message, kind=kind, path=path, stage=stage)


class ModelError(LongvidError):
    """A checkpoint is missing, incomplete, or does not fit what is asked of it."""


class StoreError(LongvidError):
    """A store cannot be opened, was made by another configuration, or cannot be written."""


class BudgetError(LongvidError):
    """A token budget cannot be met."""


class QuestionError(LongvidError):
    """A question cannot be asked of this store or this model."""


class UnknownWordsError(QuestionError):
    """A model with a closed vocabulary does not know some words of a question."""


class OpError(LongvidError):
    """A tensor operation was given a wrong dtype, shape or device."""


def shown(value: object) -> str:
    """Show a value in an error, cut short."""
    try:
        text = repr(value)
    except ValueError:  # Python's limit on the digits of an integer
        return "an integer of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def require_one_of(setting: str, value: object, known: Collection[object]) -> None:
    """Refuse a value that a setting does not know.

    Raises:
        ConfigError: It names the setting, the value and what is known.
    """
    if value not in known:
        *others, last = [str(one) or "''" for one in known]
        raise ConfigError(f"{setting} is {shown(value)}; use {', '.join(others)} or {last}.")


def require_at_least(setting: str, value: float, least: float) -> None:
    """Refuse a number of a setting that is too small, or none.

    Raises:
        ConfigError: It names the setting, the least and the number.
    """
    if not value >= least:
        raise ConfigError(f"{setting} must be at least {least}, got {shown(value)}.")


def counted(number: int, noun: str) -> str:
    """Write a number of things.

    >>> counted(0, "video"), counted(1, "video"), counted(2, "box")
    ('0 videos', '1 video', '2 boxes')
    """
    ending = "" if number == 1 else "es" if noun.endswith("x") else "s"
    return f"{number} {noun}{ending}"
