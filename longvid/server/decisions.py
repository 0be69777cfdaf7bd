"""`/v1/decisions` on video: typed questions, answers with probabilities.

A predicate is a choice of yes and no, a score a choice of its levels: all are answered by the
likelihood of each option, as multiple choice is everywhere in longvid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longvid.server.api_errors import ApiError
from longvid.server.openai_parts import refuse_unknown
from longvid.server.openai_request import ChatRequest, parse_chat
from longvid.server.settings import Limits

_MOST_QUESTIONS = 32
_KNOWN = {"model", "input", "questions", "longvid", "user", "metadata"}


@dataclass(frozen=True, slots=True)
class Decision:
    """One typed question.

    Args:
        kind: "predicate", "choice" or "score".
        text: The question.
        options: What is chosen from.
        levels: For a score, the number of each option.
    """

    kind: str
    text: str
    options: tuple[str, ...]
    levels: tuple[float, ...] = ()

    def answered(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return the decision for an answer by likelihood.

        Args:
            answer: With choice, choice_scores and evidence.
        """
        shares = _softmax(answer["choice_scores"])
        chosen = answer["choice"]
        result: dict[str, Any] = {
            "type": self.kind,
            "question": self.text,
            "confidence": shares[chosen],
            "probabilities": dict(zip(self.options, shares, strict=True)),
            "evidence": answer["evidence"],
        }
        if self.kind == "predicate":
            return {**result, "value": self.options[chosen] == "yes"}
        if self.kind == "choice":
            return {**result, "value": self.options[chosen]}
        mean = sum(share * level for share, level in zip(shares, self.levels, strict=True))
        return {**result, "value": self.levels[chosen], "mean": mean}


def parse_decisions(body: Any, limits: Limits) -> tuple[ChatRequest, tuple[Decision, ...]]:
    """Read a request: videos and context from `input`, typed questions from `questions`.

    Raises:
        ApiError: 400 with the field that is wrong.
    """
    refuse_unknown(body, _KNOWN)
    questions = body.get("questions")
    if not isinstance(questions, list) or not 1 <= len(questions) <= _MOST_QUESTIONS:
        raise _bad(f"questions must be a list of 1 to {_MOST_QUESTIONS}.", "questions")
    content = body.get("input", "")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    # Messages are taken as they are, bare parts as one message of the user.
    if not any(isinstance(part, Mapping) and "role" in part for part in parts):
        parts = [{"role": "user", "content": [*parts, {"type": "text", "text": "decide"}]}]
    chat = {"model": body.get("model", ""), "messages": parts}
    if body.get("longvid"):
        chat["longvid"] = body["longvid"]
    return parse_chat(chat, limits), tuple(
        _decision(question, f"questions[{number}]", limits)
        for number, question in enumerate(questions)
    )


def _decision(question: Any, where: str, limits: Limits) -> Decision:
    if not isinstance(question, Mapping):
        raise _bad(f"{where} must be an object.", where)
    kind, text = question.get("type"), question.get("question", question.get("text"))
    if not isinstance(text, str) or not 0 < len(text.strip()) <= limits.question_chars:
        raise _bad(f"{where} needs a question.", where)
    if kind == "predicate":
        return Decision("predicate", text, ("yes", "no"))
    if kind == "choice":
        choices = _texts(question.get("choices"))
        if not 2 <= len(choices) <= limits.num_choices:
            raise _bad(f"{where}.choices must be 2 to {limits.num_choices} texts.", where)
        return Decision("choice", text, choices)
    if kind == "score":
        levels = question.get("levels", 5)
        if not isinstance(levels, int) or isinstance(levels, bool) or not 2 <= levels <= 10:
            raise _bad(f"{where}.levels must be 2 to 10.", where)
        numbers = tuple(float(level) for level in range(1, levels + 1))
        return Decision("score", text, tuple(f"{number:g}" for number in numbers), numbers)
    raise _bad(f"{where}.type is {str(kind)[:80]!r}; use predicate, choice or score.", where)


def _texts(value: Any) -> tuple[str, ...]:
    texts = isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value)
    return tuple(value) if texts else ()


def _softmax(scores: Any) -> list[float]:
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    return [weight / sum(weights) for weight in weights]


def _bad(sentence: str, param: str) -> ApiError:
    return ApiError(400, "invalid_value", sentence, param)
