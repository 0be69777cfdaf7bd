"""Judges as `--judge` names them, each a function from a question to raw text."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.harness.errors import JudgeError
from benchmarks.harness.json_lines import read_lines
from benchmarks.judging.client import CallFailed, ChatClient
from benchmarks.judging.verdict import messages


def pair_hash(question: str, answer: str, prediction: str) -> str:
    """Name what is judged: a verdict holds for these three texts, whatever row they stand in."""
    text = "\0".join((question, answer, prediction))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Judge(Protocol):
    """Says what it thinks of an answer."""

    @property
    def id(self) -> str:
        """Name of the judge, stored with every verdict."""

    def reply(self, question: str, answer: str, prediction: str) -> str:
        """Return raw text.

        Raises:
            CallFailed: There is none.
            JudgeError: There will never be one.
        """


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How a judge is called.

    Args:
        timeout_seconds, retries: Of one call.
        concurrency: Calls at a time.
        key_variable: Name of the environment variable that holds the key.
    """

    timeout_seconds: float = 60.0
    retries: int = 4
    concurrency: int = 8
    key_variable: str = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class OpenAIJudge:
    """A chat model behind an OpenAI-compatible endpoint, at temperature 0."""

    client: ChatClient

    @property
    def id(self) -> str:
        return self.client.model

    def reply(self, question: str, answer: str, prediction: str) -> str:
        return self.client.complete(messages(question, answer, prediction))


class RecordedJudge:
    """Says again what a judge said in another run: a judgements.jsonl is a recording.

    Raises:
        JudgeError: It holds nothing, or the words of several judges.
    """

    def __init__(self, path: Path) -> None:
        self._raw: dict[str, str] = {}
        names = set()
        for _, row in read_lines(path):
            if row is not None and "pair" in row and row.get("status") != "failed":
                self._raw[row["pair"]] = row["raw"]
                names.add(row["judge"])
        if len(names) != 1:
            raise JudgeError(
                f"{path} must hold the verdicts of one judge, it has {len(names)}: "
                f"{', '.join(sorted(names)) or 'none'}; give a file with the lines of one."
            )
        self.id = names.pop()

    def reply(self, question: str, answer: str, prediction: str) -> str:
        """Look the three texts up."""
        raw = self._raw.get(pair_hash(question, answer, prediction))
        if raw is None:
            raise CallFailed("The recording has no verdict on this answer.")
        return raw


def judge_named(name: str, options: JudgeOptions) -> Judge:
    """Make the judge that `--judge` names.

    Args:
        name: "openai:MODEL@BASE_URL" or "recorded:FILE".
        options: For the first.

    Raises:
        JudgeError: The name is of neither form.
    """
    kind, _, rest = name.partition(":")
    if kind == "recorded" and rest:
        return RecordedJudge(Path(rest))
    model, _, url = rest.rpartition("@")
    if kind == "openai" and model and url:
        key = os.environ.get(options.key_variable, "")
        return OpenAIJudge(ChatClient(url, model, key, options.timeout_seconds, options.retries))
    raise JudgeError(
        f"--judge takes openai:MODEL@BASE_URL or recorded:FILE, got {name!r}; for example "
        "openai:gpt-3.5-turbo-0125@https://api.openai.com/v1."
    )


def judges_named(names: Sequence[str], options: JudgeOptions) -> list[Judge]:
    """Make several judges, all of different names.

    Raises:
        JudgeError: Two have the same name, so that their verdicts could not be told apart.
    """
    judges = [judge_named(name, options) for name in names]
    ids = [judge.id for judge in judges]
    if len(set(ids)) != len(ids):
        raise JudgeError(f"Two judges have the same name: {', '.join(ids)}; name each once.")
    return judges
