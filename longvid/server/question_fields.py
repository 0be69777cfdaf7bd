"""Fields of a question that OpenAI's endpoint and the native API share, read under limits.

A field that is not as it should be is an `ApiError` of status 400.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longvid.errors import StoreError
from longvid.server.openai_parts import require_text, wrong
from longvid.server.settings import Limits
from longvid.store.tags import require_tags


def parse_choices(value: Any, limits: Limits, where: str = "") -> tuple[str, ...]:
    """Read the options of a multiple choice.

    Args:
        value: The parsed JSON.
        limits: Of the server.
        where: What stands before the field's name, for errors; so everywhere here.
    """
    if not isinstance(value, list):
        raise wrong("choices must be a list of texts.", f"{where}choices")
    if len(value) > limits.num_choices:
        raise wrong(f"At most {limits.num_choices} choices.", f"{where}choices")
    return tuple(require_text(choice, f"{where}choices") for choice in value)


def parse_names(value: Any, where: str = "") -> tuple[str, ...]:
    """Read the names of videos."""
    if not isinstance(value, list):
        raise wrong("videos must be a list of ids.", f"{where}videos")
    return tuple(require_text(name, f"{where}videos") for name in value)


def parse_tags(value: Any) -> dict[str, str]:
    """Read tags, values by key."""
    try:
        return require_tags(value)
    except StoreError as error:
        raise wrong(str(error), "tags") from error


def parse_budget(value: Any, limits: Limits, where: str = "") -> int | None:
    """Read a budget in visual tokens."""
    return whole_number(value, limits.budget_tokens, f"{where}budget", "budget_too_large")


def parse_range(value: Any, where: str = "") -> tuple[float, float] | None:
    """Read a time range [start, end] in seconds."""
    if value is None:
        return None
    numbers = isinstance(value, list) and all(
        isinstance(item, (int, float)) and not isinstance(item, bool) for item in value
    )
    if not numbers or len(value) != 2 or not 0 <= value[0] < value[1] < 1e9:
        raise wrong("time_range must be [start, end] in seconds.", f"{where}time_range")
    return float(value[0]), float(value[1])


def parse_history(value: Any, limits: Limits) -> tuple[tuple[str, str], ...]:
    """Read earlier turns, [question, answer] each."""
    if not isinstance(value, list):
        raise wrong("history must be a list of [question, answer].", "history")
    if len(value) > limits.num_messages:
        raise wrong(f"At most {limits.num_messages} turns.", "history")
    turns = []
    for turn in value:
        if not isinstance(turn, list) or len(turn) != 2:
            raise wrong("history must be a list of [question, answer].", "history")
        turns.append((require_text(turn[0], "history"), require_text(turn[1], "history")))
    return latest_turns(turns, limits)


def latest_turns(turns: Sequence[tuple[str, str]], limits: Limits) -> tuple[tuple[str, str], ...]:
    """Return the latest turns that fit into what a conversation may have."""
    total = 0
    kept: list[tuple[str, str]] = []
    for turn in reversed(turns):
        total += len(turn[0]) + len(turn[1])
        if total > limits.history_chars:
            break
        kept.append(turn)
    return tuple(reversed(kept))


def whole_number(
    value: Any, most: int, where: str, code: str = "invalid_value", least: int = 1
) -> int | None:
    """Read a whole number, None where there is none."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise wrong(f"{where} must be a whole number from {least} to {most}.", where, code)
    return value
