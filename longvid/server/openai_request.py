"""OpenAI's chat requests as questions.

Strict: a field that is not understood is refused with its name. Videos are named by parts of the
messages; the question is the text of the last user message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longvid.server.openai_parts import (
    ImagePart,
    VideoPart,
    parse_fps,
    parse_part,
    refuse_unknown,
    require_text,
    wrong,
)
from longvid.server.question_fields import (
    latest_turns,
    parse_budget,
    parse_choices,
    parse_names,
    parse_range,
    whole_number,
)
from longvid.server.settings import Limits

_KNOWN = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "user",
    "metadata",
    "n",
    "longvid",
    "store",
}
_REFUSED = {
    "tools": "Tools are not supported.",
    "functions": "Functions are not supported.",
    "stop": "Stop texts are not supported; an answer ends by itself, or at max_tokens.",
    "presence_penalty": "Penalties are those of the model's own settings.",
    "frequency_penalty": "Penalties are those of the model's own settings.",
    "logprobs": "Log-probabilities are not supported; use /v1/decisions.",
    "audio": "Sound answers are not supported.",
    "response_format": "Response formats are not supported by this back end.",
    "mm_processor_kwargs": "The store decides how videos are sampled.",
    "media_io_kwargs": "The store decides how videos are sampled.",
    "chat_template": "The store's model decides the template.",
    "chat_template_kwargs": "The store's model decides the template.",
}
_EXTENSION = {"budget", "videos", "store", "citations", "time_range", "choices", "fps"}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request that was understood.

    Args:
        model: The name asked for.
        question: Text of the last user message.
        history: Earlier turns, (question, answer) each.
        videos: In order, each once.
        stream, include_usage: How the answer is sent.
        budget: Visual tokens, None for the store's own.
        choices: For multiple choice.
        store: Name of a store, "" for the default.
        citations: "inline" puts [1] markers into the text, "none" does not.
        time_range: Seconds that the question is about, None for all.
        max_tokens: Most tokens of an open answer, None for the model's own.
    """

    model: str
    question: str
    history: tuple[tuple[str, str], ...] = ()
    videos: tuple[VideoPart, ...] = ()
    stream: bool = False
    include_usage: bool = False
    budget: int | None = None
    choices: tuple[str, ...] = ()
    store: str = ""
    citations: str = "none"
    time_range: tuple[float, float] | None = None
    max_tokens: int | None = None


def parse_chat(body: Any, limits: Limits) -> ChatRequest:
    """Read a chat request.

    Raises:
        ApiError: 400 with the field that is wrong.
    """
    if not isinstance(body, Mapping):
        raise wrong("The body must be a JSON object.", "", "invalid_body")
    for name, sentence in _REFUSED.items():
        if body.get(name):
            raise wrong(sentence, name, "not_supported")
    # What is refused when it is set may be there unset.
    refuse_unknown([name for name in body if name not in _REFUSED], _KNOWN)
    if body.get("n", 1) != 1:
        raise wrong("Only one answer can be asked for (n = 1).", "n", "not_supported")
    messages = body.get("messages")
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise wrong("messages must be a list with at least one message.", "messages")
    if len(messages) > limits.num_messages:
        raise wrong(f"At most {limits.num_messages} messages.", "messages")
    extension = _extension(body.get("longvid"))
    turns, videos = _turns(messages, limits, parse_fps(extension.get("fps", 1.0), "longvid"))
    if not turns or turns[-1][0] != "user" or not turns[-1][1].strip():
        raise wrong("The last message must be of the user and hold text.", "messages")
    question = turns[-1][1].strip()
    if len(question) > limits.question_chars:
        raise wrong(
            f"The question has {len(question)} characters, at most {limits.question_chars}.",
            "messages",
            "context_length_exceeded",
        )
    named = [
        VideoPart("stored", name) for name in parse_names(extension.get("videos", []), "longvid.")
    ]
    options = body.get("stream_options") or {}
    if not isinstance(options, Mapping):
        raise wrong("stream_options must be an object.", "stream_options")
    most = body.get("max_completion_tokens")
    return ChatRequest(
        model=require_text(body.get("model", ""), "model"),
        question=question,
        history=_history(turns[:-1], limits),
        videos=tuple(dict.fromkeys([*videos, *named])),
        stream=body.get("stream") is True,
        include_usage=bool(options.get("include_usage")),
        budget=parse_budget(extension.get("budget"), limits, "longvid."),
        choices=parse_choices(extension.get("choices", []), limits, "longvid."),
        store=require_text(extension.get("store", ""), "longvid.store"),
        citations=_one_of(extension.get("citations", "none"), ("none", "inline")),
        time_range=parse_range(extension.get("time_range"), "longvid."),
        max_tokens=whole_number(
            body.get("max_tokens") if most is None else most, 1_000_000, "max_tokens"
        ),
    )


def _extension(value: Any) -> Mapping[str, Any]:
    extension = value or {}
    if not isinstance(extension, Mapping):
        raise wrong("longvid must be an object.", "longvid")
    refuse_unknown(extension, _EXTENSION, "longvid.")
    return extension


def _turns(
    messages: Sequence[Any], limits: Limits, fps: float
) -> tuple[list[tuple[str, str]], list[VideoPart]]:
    turns: list[tuple[str, str]] = []
    videos: list[VideoPart] = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, Mapping):
            raise wrong(f"{where} must be an object.", where)
        role = message.get("role")
        if role not in ("system", "developer", "user", "assistant"):
            raise wrong(f"{where}.role is {role!r}; use system, user or assistant.", where)
        content = message.get("content")
        if content is None or isinstance(content, str):
            turns.append((role, content or ""))
            continue
        if not isinstance(content, Sequence):
            raise wrong(f"{where}.content must be text or a list of parts.", where)
        texts, images = [], []
        for place, part in enumerate(content):
            found = parse_part(part, f"{where}.content[{place}]", limits)
            if isinstance(found, VideoPart):
                videos.append(found)
            elif isinstance(found, ImagePart):
                images.append(found)
            else:
                texts.append(found)
        if images:  # those of one message are the frames of one clip
            videos.append(VideoPart("images", images=tuple(images), fps=fps))
        turns.append((role, "\n".join(texts)))
    if sum(len(video.images) for video in videos) > limits.num_images:
        raise wrong(
            f"A request may hold {limits.num_images} images.", "messages", "too_many_images"
        )
    return [turn for turn in turns if turn[0] in ("user", "assistant")], videos


def _history(turns: Sequence[tuple[str, str]], limits: Limits) -> tuple[tuple[str, str], ...]:
    """Pair earlier questions with their answers, the latest ones that fit."""
    pairs: list[tuple[str, str]] = []
    asked = ""
    for role, text in turns:
        if role == "user":
            asked = text.strip()
        elif asked:
            pairs.append((asked, text.strip()))
            asked = ""
    return latest_turns(pairs, limits)


def _one_of(value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise wrong(f"citations must be {' or '.join(known)}.", "longvid.citations")
    return str(value)
