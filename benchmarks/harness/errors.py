"""What a benchmark refuses, in one sentence each."""

from __future__ import annotations

from longvid.errors import LongvidError


class AnnotationError(LongvidError):
    """The annotations or the videos are not what the task needs."""


class RunError(LongvidError):
    """A run cannot be resumed, found, or compared with another."""


class JudgeError(LongvidError):
    """A judge cannot be used at all; one failed call is a row of judgements instead."""
