"""The question put to a judge, and what its reply means.

The wording is the one of Video-ChatGPT, which nearly every published figure on these sets was made
with: a changed word is another measure. Source: Maaz et al. 2024, zero-shot question answering.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.harness.reply_text import after_thinking

_SYSTEM = (
    "You are an intelligent chatbot designed for evaluating the correctness of generative outputs "
    "for question-answer pairs. Your task is to compare the predicted answer with the correct "
    "answer and determine if they match meaningfully. Here's how you can accomplish the task:"
    "------"
    "##INSTRUCTIONS: "
    "- Focus on the meaningful match between the predicted answer and the correct answer.\n"
    "- Consider synonyms or paraphrases as valid matches.\n"
    "- Evaluate the correctness of the prediction compared to the answer."
)
_USER = (
    "Please evaluate the following video-based question-answer pair:\n\n"
    "Question: {question}\n"
    "Correct Answer: {answer}\n"
    "Predicted Answer: {prediction}\n\n"
    "Provide your evaluation only as a yes/no and score where the score is an integer value "
    "between 0 and 5, with 5 indicating the highest meaningful match. Please generate the "
    "response in the form of a Python dictionary string with keys 'pred' and 'score', where value "
    "of 'pred' is  a string of 'yes' or 'no' and value of 'score' is in INTEGER, not STRING."
    "DO NOT PROVIDE ANY OTHER OUTPUT TEXT OR EXPLANATION. Only provide the Python dictionary "
    "string. For example, your response should look like this: {{'pred': 'yes', 'score': 4.8}}."
)

PROMPT_HASH = hashlib.blake2b((_SYSTEM + _USER).encode(), digest_size=6).hexdigest()
"""Stored with every verdict, so that verdicts of two wordings are never averaged."""

_OBJECT = re.compile(r"\{.*?\}", re.DOTALL)
_LOOSE = re.compile(r"^\W*(yes|no)\b\W*(?:score\W*)?(\d+(?:\.\d+)?)?\W*$", re.IGNORECASE)


def messages(question: str, answer: str, prediction: str) -> list[dict[str, str]]:
    """Return the chat that asks for one verdict."""
    user = _USER.format(question=question, answer=answer, prediction=prediction)
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": user}]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said.

    Args:
        match: True for "yes", False for "no", None when it said neither.
        score: 0 to 5 as written, None when there was none.
    """

    match: bool | None
    score: float | None


def parse(text: str) -> Verdict | None:
    """Read a judge's reply: a Python dictionary, JSON, either inside other text, or "yes, 4".

    A draft inside `<think>` is no verdict, and of several dictionaries the last one counts. The
    original script also counts `{'predicted': 'yes'}` and scores outside 0 to 5, which are no
    verdict and no score here.

    >>> parse("```json\\n{\\"pred\\": \\"Yes\\", \\"score\\": 4}\\n```")
    Verdict(match=True, score=4.0)
    >>> parse("The answer seems right to me.") is None
    True

    Returns:
        None when no verdict can be found: never a "no".
    """
    text = after_thinking(text)
    for block in reversed(_OBJECT.findall(text)):
        table = _table(block)
        if table is not None and ("pred" in table or "score" in table):
            return Verdict(_match(table.get("pred")), _score(table.get("score")))
    loose = _LOOSE.match(text.strip())
    if loose:
        return Verdict(loose[1].lower() == "yes", _score(loose[2]))
    return None


def _table(block: str) -> Mapping[str, object] | None:
    try:
        value = json.loads(block)
    except ValueError:
        try:
            value = ast.literal_eval(block)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _match(value: object) -> bool | None:
    """Decide as the protocol does: "yes" anywhere in the word wins over "no" in it."""
    if isinstance(value, bool):
        return value
    text = value.lower() if isinstance(value, str) else ""
    return True if "yes" in text else False if "no" in text else None


def _score(value: object) -> float | None:
    try:
        score = float(value)  # type: ignore[arg-type]  # whatever it is, float() says
    except (TypeError, ValueError):
        return None
    return score if 0 <= score <= 5 else None
