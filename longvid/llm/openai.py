"""Answer with a model on a server: it is shown the selected pictures and the timed text.

Any server that speaks OpenAI's chat protocol will do: vLLM, SGLang, Ollama, llama.cpp,
`transformers serve`, OpenAI. The store's tokens stay where they are; they choose what is shown.
"""

from __future__ import annotations

import base64
import itertools
import os
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from longvid.errors import (
    ConfigError,
    LongvidError,
    ModelError,
    QuestionError,
    require_at_least,
    require_one_of,
)
from longvid.lazy_import import torch
from longvid.llm import prompt as prompts
from longvid.llm.chat_reply import Reply
from longvid.llm.chat_server import ChatServer, ServerFault
from longvid.llm.named_option import named_option, scored_option
from longvid.protocols import RUN_ONLY, AnswerListener, Generation
from longvid.types import (
    CheckpointRef,
    EncoderMemory,
    LanguageModelMemory,
    Picture,
    Question,
    Selection,
)

_MOST_LOGPROBS = 20  # what OpenAI allows


@dataclass(frozen=True, slots=True)
class OpenAILanguageModel:
    """Which server answers, and how it is asked.

    Args:
        url: Of the API, up to and with its version, such as http://127.0.0.1:8000/v1.
        model: As the server names it.
        key_variable: Environment variable that holds the key. A key is read from nowhere else.
        max_new_tokens: Longest open answer.
        max_pictures: Most pictures of a question, spread evenly over what was selected.
        system: What the model is told first; "" for nothing.
        choice_answer: "auto" compares the log-probabilities of the options' letters where the
            server offers them, "letter" takes the letter that the model writes.
        timeout_seconds: For one attempt at a question.
        retries: Further attempts after a fault that may pass: a reply that breaks off or is late,
            a server that is busy or limits rates, a connection that fails.
        num_parallel: Questions asked at the same time.
        input_price, output_price: Of a million tokens, in any currency; 0 counts no cost.
    """

    #: It is shown pictures, whatever the token space of the store.
    reads_pictures: ClassVar[bool] = True

    url: str = "http://127.0.0.1:8000/v1"
    model: str = ""
    key_variable: str = field(default="OPENAI_API_KEY", metadata=RUN_ONLY)
    max_new_tokens: int = 256
    max_pictures: int = 32
    system: str = ""
    choice_answer: str = "auto"
    timeout_seconds: float = field(default=120.0, metadata=RUN_ONLY)
    retries: int = field(default=3, metadata=RUN_ONLY)
    num_parallel: int = field(default=4, metadata=RUN_ONLY)
    input_price: float = field(default=0.0, metadata=RUN_ONLY)
    output_price: float = field(default=0.0, metadata=RUN_ONLY)

    def __post_init__(self) -> None:
        _require_address(self.url)
        require_one_of("llm.choice_answer", self.choice_answer, ("auto", "letter"))
        for name, least in (
            ("max_new_tokens", 1),
            ("max_pictures", 1),
            ("retries", 0),
            ("num_parallel", 1),
            ("input_price", 0),
            ("output_price", 0),
        ):
            require_at_least(f"llm.{name}", getattr(self, name), least)
        if not self.timeout_seconds > 0:
            raise ConfigError(f"llm.timeout_seconds must be above 0, got {self.timeout_seconds}.")

    def spaces(self) -> tuple[str, ...]:
        """Name no token space: pictures are shown, not tokens."""
        return ()

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return ()

    def memory(self, encoder: EncoderMemory, device: str) -> LanguageModelMemory:
        return LanguageModelMemory()  # nothing is needed here, and the context is the server's

    def setup(self, device: str = "cpu") -> Worker:
        """Return what asks; the server is not called yet.

        Raises:
            ConfigError: No model is named, or the key is none.
        """
        if not self.model:
            raise ConfigError(
                "llm.model is empty; name the model as the server does (GET /v1/models lists it)."
            )
        return Worker(self)


@dataclass(slots=True)
class Spent:
    """What was asked of a server so far.

    Args:
        num_questions: Answered.
        prompt_tokens, output_tokens: As the server counts them.
        cost: By the prices of the part.
    """

    num_questions: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


class Worker:
    """Asks a server."""

    space = ""
    note = ""

    def __init__(self, part: OpenAILanguageModel) -> None:
        self._part = part
        self._server = ChatServer(
            url=part.url,
            model=part.model,
            key=_key(part.key_variable),
            key_variable=part.key_variable,
            timeout_seconds=part.timeout_seconds,
            retries=part.retries,
        )
        self._lock = threading.Lock()
        self._answered_by = ""  # the model that the first reply named
        self._limit_field = "max_tokens"
        self._logprobs = part.choice_answer == "auto"
        self.spent = Spent()

    def embed_words(self, text: str) -> torch.Tensor:
        """Return no words, (0, 0): the server embeds them itself."""
        return torch.zeros(0, 0)

    def answer(self, question: Question, selection: Selection) -> Generation:
        """Answer an open question, or choose one of the options of a closed one.

        Raises:
            QuestionError: Nothing that was selected has a picture.
            ModelError: The server gave no answer; the sentence says why.
        """
        return self._ask(question, selection, None, 0)

    def answer_many(
        self, asked: Sequence[tuple[Question, Selection]], listener: AnswerListener | None = None
    ) -> list[Generation | LongvidError]:
        def one(index: int) -> Generation | LongvidError:
            try:
                return self._ask(*asked[index], listener, index)
            except LongvidError as error:
                return error

        with ThreadPoolExecutor(self._part.num_parallel) as threads:
            return list(threads.map(one, range(len(asked))))

    def _ask(
        self, question: Question, selection: Selection, listener: AnswerListener | None, index: int
    ) -> Generation:
        messages = self._messages(question, selection)

        def progress(text: str) -> bool:
            if listener is None:
                return True
            listener.text(index, text)
            return not listener.stopped(index)

        reply = self._complete(messages, bool(question.choices), progress)
        self._require_same_model(reply)
        part = self._part
        cost = reply.prompt_tokens * part.input_price + reply.output_tokens * part.output_price
        with self._lock:
            self.spent.num_questions += 1
            self.spent.prompt_tokens += reply.prompt_tokens
            self.spent.output_tokens += reply.output_tokens
            self.spent.cost += cost / 1e6
        generation = Generation(
            text=reply.text.strip(),
            prompt_tokens=reply.prompt_tokens,
            output_tokens=reply.output_tokens,
            seconds={
                "prefill": reply.first_seconds,
                "decode": reply.total_seconds - reply.first_seconds,
            },
        )
        if not question.choices or reply.stopped:
            return replace(generation, cut=self._cut(reply.finish_reason))
        choice, scores = self._chosen(question, reply)
        return replace(
            generation, text=question.choices[choice], choice=choice, choice_scores=scores
        )

    def _cut(self, finish_reason: str) -> str:
        if finish_reason == "length":
            return f"The answer was cut at llm.max_new_tokens ({self._part.max_new_tokens})."
        if finish_reason == "content_filter":
            return "The answer was cut by the server's content filter."
        return ""

    def _messages(self, question: Question, selection: Selection) -> list[dict[str, Any]]:
        """Lay out pictures, each after its clock, what is said after each, and the question."""
        shown = [*_with_words(selection, self._part.max_pictures)]
        if not shown:
            raise QuestionError(
                "A model on a server is shown pictures, and nothing that was selected has one; "
                "index the videos with store.pictures = frame (or segment)."
            )
        videos = list(dict.fromkeys(picture.video_id for picture, _ in shown))
        content: list[dict[str, Any]] = []
        for picture, words in shown:
            video = f"Video {videos.index(picture.video_id) + 1}, " if len(videos) > 1 else ""
            content.append({"type": "text", "text": f"{video}{_clock(picture.pts_seconds)}:"})
            data = base64.b64encode(picture.jpeg).decode()
            image = {"url": f"data:image/jpeg;base64,{data}"}
            content.append({"type": "image_url", "image_url": image})
            if words:
                content.append({"type": "text", "text": words})
        listing = prompts.list_choices(question.choices, lettered=True)
        content.append({"type": "text", "text": question.text.strip() + listing})
        system = [{"role": "system", "content": self._part.system}] if self._part.system else []
        earlier = [
            {"role": role, "content": text}
            for turn in question.history
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
        return [*system, *earlier, {"role": "user", "content": content}]

    def _complete(self, messages: list[dict[str, Any]], closed: bool, progress: Any) -> Reply:
        """Ask, and ask anew without a field that this server does not know."""
        while True:
            logprobs = closed and self._logprobs
            limit_field = self._limit_field
            settings: dict[str, Any] = {limit_field: self._part.max_new_tokens, "temperature": 0}
            if logprobs:
                settings |= {"logprobs": True, "top_logprobs": _MOST_LOGPROBS}
            try:
                return self._server.complete(messages, settings, progress)
            except ServerFault as fault:
                said = fault.said.lower()
                if fault.status not in (400, 413, 415, 422, 500, 501):
                    raise
                if "max_completion_tokens" in said and limit_field == "max_tokens":
                    self._limit_field = "max_completion_tokens"
                elif logprobs and "logprob" in said:
                    self._logprobs = False
                elif any(word in said for word in ("image", "picture", "multimodal", "vision")) or (
                    fault.status in (413, 415)
                ):
                    num_pictures = sum(
                        part["type"] == "image_url" for part in messages[-1]["content"]
                    )
                    raise ServerFault(
                        f"{fault} The model {self._part.model!r} may read no pictures, or fewer "
                        f"than these {num_pictures}; choose a vision model, or lower "
                        "llm.max_pictures.",
                        status=fault.status,
                        said=fault.said,
                    ) from fault
                else:
                    raise

    def _require_same_model(self, reply: Reply) -> None:
        """Refuse an answer of another model than the first one's.

        Raises:
            ModelError: The server has changed its model.
        """
        with self._lock:
            self._answered_by = self._answered_by or reply.model
            if reply.model and reply.model != self._answered_by:
                raise ModelError(
                    f"The server {self._part.url} answered as {reply.model!r}, after "
                    f"{self._answered_by!r} before; answers of two models are not mixed. Start "
                    "again, or name one of them in llm.model."
                )

    def _chosen(self, question: Question, reply: Reply) -> tuple[int, tuple[float, ...]]:
        """Return the option and, where letters have log-probabilities, one of each option.

        Raises:
            ModelError: The answer names no option.
        """
        letters = prompts.letters(len(question.choices))
        index = named_option(reply.text, question.choices)
        if index is None:
            said = self._server.masked(reply.text.strip())[:80]
            raise ModelError(
                f"The model {self._part.model!r} answered {said!r}, which "
                f"names none of {', '.join(letters)}; raise llm.max_new_tokens if it thinks "
                "before it answers."
            )
        return scored_option(reply.places if self._logprobs else (), index, letters)


def _require_address(url: str) -> None:
    """Refuse an address that leads nowhere, or that would store a key with the configuration.

    Raises:
        ConfigError: It does.
    """
    example = "llm.url must be an address such as http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        _ = parts.port  # read here: an impossible one is an error only when it is read
    except ValueError as error:
        raise ConfigError(f"{example}; this one cannot be read: {error}.") from error
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "llm.url holds a name or a password, or something after ? or #, which would be "
            "stored with the configuration; put the key into the environment (llm.key_variable)."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\0]", url):
        raise ConfigError(f"{example}, got {url!r}.")


def _key(variable: str) -> str:
    """Read the key; its text stands in no message.

    Raises:
        ConfigError: It holds characters that no header can carry, or that came with copying.
    """
    key = os.environ.get(variable, "") if variable else ""
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError(
            f"The environment variable {variable} holds a space, a line end or another character "
            "that no key has; set it to the key alone."
        )
    return key


def _with_words(selection: Selection, most: int) -> list[tuple[Picture, str]]:
    """Pair each picture with what is said from it until the next; thinned evenly to `most`."""
    pictures = selection.pictures
    if len(pictures) > most:
        places = [(2 * k + 1) * len(pictures) // (2 * most) for k in range(most)]
        pictures = tuple(pictures[place] for place in places)
    words: dict[str, list[tuple[float, str]]] = {}
    for segment, spoken in zip(selection.segments, selection.spoken, strict=False):
        for seconds, text in zip(segment.pts_seconds.tolist(), spoken, strict=True):
            if text:
                words.setdefault(segment.video_id, []).append((seconds, text))
    shown = []
    for video_id, group in itertools.groupby(pictures, lambda picture: picture.video_id):
        of_video = list(group)
        for place, picture in enumerate(of_video):
            first = picture.pts_seconds if place else -1.0
            last = of_video[place + 1].pts_seconds if place + 1 < len(of_video) else float("inf")
            said = [text for at, text in words.get(video_id, ()) if first <= at < last]
            shown.append((picture, "".join(said).strip()))
    return shown


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0.0, seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes:02d}:{rest:04.1f}"
