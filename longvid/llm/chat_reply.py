"""What a chat server's reply holds, put together from its events."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longvid.errors import shown

_MOST_PLACES = 1 << 12
_MOST_TOKENS = 1 << 40


class ContentError(ValueError):
    """A message's content cannot be taken."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered.

    Args:
        text: The message.
        model: The model that the server says it is.
        places: For each token of the message, its text and the log-probabilities by token text
            that the server lists at its place, its own among them; empty where not offered.
        finish_reason: Why it ends, as the server says: "stop", "length", "content_filter".
        prompt_tokens, output_tokens: As the server counts them; 0 where it does not.
        first_seconds: Until the first text.
        total_seconds: Until the end.
        stopped: Whether nobody waited for the rest.
    """

    text: str
    model: str
    places: tuple[tuple[str, dict[str, float]], ...]
    finish_reason: str
    prompt_tokens: int
    output_tokens: int
    first_seconds: float
    total_seconds: float
    stopped: bool = False


@dataclass(slots=True)
class Stream:
    """What has arrived of a reply."""

    started: float
    text: list[str] = field(default_factory=list)
    model: str = ""
    places: list[tuple[str, dict[str, float]]] = field(default_factory=list)
    usage: Mapping[str, Any] = field(default_factory=dict)
    finish_reason: str = ""
    refusal: str = ""
    thought: bool = False
    has_choice: bool = False
    first_seconds: float = 0.0
    finished: bool = False

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event in, or a whole reply.

        Raises:
            ContentError: The content is no text, or of two models; the sentence says what it is.
            ArithmeticError, AttributeError, KeyError, TypeError, ValueError: It is no chat
                completion.
        """
        named = str(event.get("model") or self.model)
        if self.model and named != self.model:
            raise ContentError(f"its model is {shown(self.model)} and then {shown(named)}")
        self.model = named
        usage = event.get("usage")
        self.usage = usage if isinstance(usage, dict) else self.usage
        for choice in (event.get("choices") or ())[:1]:
            self.has_choice = True
            message = choice.get("delta") or choice.get("message") or {}
            thinks = bool(message.get("reasoning_content") or message.get("reasoning"))
            self.thought = self.thought or thinks
            self.refusal += _text(message.get("refusal"))
            piece = _text(message.get("content"))
            if choice.get("logprobs") and (piece or not thinks) and len(self.places) < _MOST_PLACES:
                self.places += _places(choice["logprobs"])
            if piece:
                self.first_seconds = self.first_seconds or time.perf_counter() - self.started
                self.text.append(piece)
            self.finish_reason = str(choice.get("finish_reason") or self.finish_reason)
            self.finished = self.finished or bool(self.finish_reason)

    def whole_text(self) -> str:
        """Return the pieces as one text.

        A character outside the first 65,536 may be cut into the halves of a surrogate pair, which
        two pieces bring; a half that stays alone is replaced.
        """
        text = "".join(self.text)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def reply(self, *, stopped: bool = False) -> Reply:
        """Return what has arrived as a reply."""
        return Reply(
            text=self.whole_text(),
            model=self.model,
            places=tuple(self.places),
            finish_reason=self.finish_reason,
            prompt_tokens=_count(self.usage.get("prompt_tokens")),
            output_tokens=_count(self.usage.get("completion_tokens")),
            first_seconds=self.first_seconds,
            total_seconds=time.perf_counter() - self.started,
            stopped=stopped,
        )

    def why_empty(self) -> str:
        """Say why a reply that has ended has no text."""
        if self.refusal:
            return f"it refuses, with the words: {self.refusal.strip()}"
        if self.finish_reason == "content_filter":
            return "the server's content filter held it back"
        if not self.has_choice:
            return "the reply has no choices"
        if self.thought:
            return "it only thought (its reasoning came); raise llm.max_new_tokens"
        if self.finish_reason == "length":
            return "llm.max_new_tokens was used up before any text came; raise it"
        return "the content of the reply is empty"


def _text(content: object) -> str:
    """Return content as text: it may be absent, or come in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise ContentError(f"its content is of type {type(content).__name__}, not text")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        text = part.get("text") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(text, str):
            raise ContentError(f"its content has a part of type {shown(kind)} that is no text")
        texts.append(text)
    return "".join(texts)


def _places(given: Mapping[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Return tokens with the log-probabilities at their places, in the shapes of chat servers."""
    places = []
    for place in given.get("content") or ():
        listed: dict[str, float] = {}
        for entry in [*(place.get("top_logprobs") or ()), place]:
            value = float(entry["logprob"])
            if math.isfinite(value):
                listed[str(entry["token"])] = value
        places.append((str(place["token"]), listed))
    return places


def _count(value: object) -> int:
    """Return a number of tokens, 0 where a server sends none that can be."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if 0 <= value <= _MOST_TOKENS and value == int(value) else 0
