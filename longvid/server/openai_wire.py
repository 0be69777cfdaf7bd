"""OpenAI's chat requests as questions.

Strict: a field that is not understood is refused with its name. Videos are named by parts of the
messages; the question is the text of the last user message.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longvid.server.api_errors import ApiError
from longvid.server.settings import Limits

__all__ = [
    "ChatRequest",
    "VideoPart",
    "clock_range",
    "parse_chat",
]

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
_EXTENSION = {"budget", "videos", "store", "citations", "time_range", "choices"}
_DATA_URL = re.compile(r"data:(video/[\w.+-]+);base64,", re.ASCII)


@dataclass(frozen=True, slots=True)
class VideoPart:
    """A video named in a message.

    Args:
        kind: "stored" (longvid://ID), "file" (an upload), "url" (http, https, file) or "data".
        value: The id, the file id, or the URL.
        data: The bytes of a "data" part.
        media_type: Of a "data" part.
    """

    kind: str
    value: str
    data: bytes = b""
    media_type: str = ""


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

    Args:
        body: The parsed JSON.
        limits: Sizes.

    Raises:
        ApiError: 400 with the field that is wrong.
    """
    if not isinstance(body, Mapping):
        raise _bad("The body must be a JSON object.", "", "invalid_body")
    for name, sentence in _REFUSED.items():
        if body.get(name):
            raise _bad(sentence, name, "not_supported")
    for name in body:
        if name not in _KNOWN and name not in _REFUSED:
            known = ", ".join(sorted(_KNOWN))
            raise _bad(
                f"Unknown field {name[:80]!r}; known are {known}.", name, "unknown_parameter"
            )
    if body.get("n", 1) != 1:
        raise _bad("Only one answer can be asked for (n = 1).", "n", "not_supported")
    messages = body.get("messages")
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise _bad("messages must be a list with at least one message.", "messages")
    if len(messages) > limits.num_messages:
        raise _bad(f"At most {limits.num_messages} messages.", "messages")
    turns, videos = _turns(messages, limits)
    if not turns or turns[-1][0] != "user" or not turns[-1][1].strip():
        raise _bad("The last message must be of the user and hold text.", "messages")
    question = turns[-1][1].strip()
    if len(question) > limits.question_chars:
        raise _bad(
            f"The question has {len(question)} characters, at most {limits.question_chars}.",
            "messages",
            "context_length_exceeded",
        )
    extension = body.get("longvid") or {}
    if not isinstance(extension, Mapping):
        raise _bad("longvid must be an object.", "longvid")
    for name in extension:
        if name not in _EXTENSION:
            known = ", ".join(sorted(_EXTENSION))
            raise _bad(
                f"Unknown field longvid.{name}; known are {known}.",
                f"longvid.{name}",
                "unknown_parameter",
            )
    named = [VideoPart("stored", str(name)) for name in extension.get("videos", [])]
    return ChatRequest(
        model=_text(body.get("model", ""), "model"),
        question=question,
        history=_history(turns[:-1], limits),
        videos=tuple(dict.fromkeys([*videos, *named])),
        stream=body.get("stream") is True,
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        budget=_whole(extension.get("budget"), "longvid.budget", 1, limits.budget_tokens),
        choices=_choices(extension.get("choices", []), limits),
        store=_text(extension.get("store", ""), "longvid.store"),
        citations=_one_of(extension.get("citations", "none"), ("none", "inline")),
        time_range=clock_range(extension.get("time_range")),
        max_tokens=_whole(
            body.get("max_completion_tokens", body.get("max_tokens")), "max_tokens", 1, 1_000_000
        ),
    )


def _turns(
    messages: Sequence[Any], limits: Limits
) -> tuple[list[tuple[str, str]], list[VideoPart]]:
    turns: list[tuple[str, str]] = []
    videos: list[VideoPart] = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, Mapping):
            raise _bad(f"{where} must be an object.", where)
        role = message.get("role")
        if role not in ("system", "developer", "user", "assistant"):
            raise _bad(f"{where}.role is {role!r}; use system, user or assistant.", where)
        content = message.get("content")
        if content is None or isinstance(content, str):
            turns.append((role, content or ""))
            continue
        if not isinstance(content, Sequence):
            raise _bad(f"{where}.content must be text or a list of parts.", where)
        texts = []
        for place, part in enumerate(content):
            found = _part(part, f"{where}.content[{place}]", limits)
            if isinstance(found, VideoPart):
                videos.append(found)
            else:
                texts.append(found)
        turns.append((role, "\n".join(texts)))
    return [turn for turn in turns if turn[0] in ("user", "assistant")], videos


def _part(part: Any, where: str, limits: Limits) -> VideoPart | str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("text", "input_text"):
        return _text(part.get("text", ""), where)
    if kind in ("video_url", "video"):
        value = part.get(kind)
        if isinstance(value, Mapping):
            for name in ("fps", "max_frames", "num_frames"):
                if name in value:
                    raise _bad(
                        "The store decides how videos are sampled; index with another "
                        "--set sample.fps to change it.",
                        f"{where}.{name}",
                        "sampling_differs",
                    )
            value = value.get("url")
        return _video(value, where, limits)
    if kind in ("file", "input_file"):
        inner = part.get("file", part)
        file_id = inner.get("file_id") if isinstance(inner, Mapping) else None
        if not isinstance(file_id, str):
            raise _bad("A file part needs the file_id of an upload.", where, "file_not_found")
        return VideoPart("file", file_id)
    if kind in ("image_url", "input_image", "input_audio"):
        raise _bad(
            f"Parts of type {kind} are not read; send a video_url or a file.",
            where,
            "not_supported",
        )
    raise _bad(
        f"Unknown part type {str(kind)[:80]!r}; known are text, video_url and file.",
        where,
        "unknown_parameter",
    )


def _video(url: Any, where: str, limits: Limits) -> VideoPart:
    if not isinstance(url, str) or not url:
        raise _bad("A video part needs a url.", where, "video_url_invalid")
    if url.startswith("longvid://"):
        return VideoPart("stored", url.removeprefix("longvid://"))
    matched = _DATA_URL.match(url)
    if matched:
        encoded = url[matched.end() :]
        if len(encoded) * 3 // 4 > limits.data_url_bytes:
            raise ApiError(
                413,
                "body_too_large",
                f"A video inside a request may have {limits.data_url_bytes} bytes; upload it with "
                "/v1/files.",
                where,
            )
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _bad("The data URL is not valid base64.", where, "video_url_invalid") from error
        if not data:
            raise _bad("The data URL is empty.", where, "video_url_invalid")
        return VideoPart("data", "", data, matched.group(1))
    if url.startswith(("http://", "https://", "file://")):
        return VideoPart("url", url)
    raise _bad(
        "A video url begins with longvid://, data:video/…;base64, https:// or file://.",
        where,
        "video_url_invalid",
    )


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
    total = 0
    kept: list[tuple[str, str]] = []
    for pair in reversed(pairs):
        total += len(pair[0]) + len(pair[1])
        if total > limits.history_chars:
            break
        kept.append(pair)
    return tuple(reversed(kept))


def _choices(value: Any, limits: Limits) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _bad("choices must be a list of texts.", "longvid.choices")
    if len(value) > limits.num_choices:
        raise _bad(f"At most {limits.num_choices} choices.", "longvid.choices")
    return tuple(_text(choice, "longvid.choices") for choice in value)


def clock_range(value: Any) -> tuple[float, float] | None:
    """Read a time range [start, end] in seconds.

    Raises:
        ApiError: It is none.
    """
    if value is None:
        return None
    numbers = isinstance(value, Sequence) and all(
        isinstance(item, (int, float)) and not isinstance(item, bool) for item in value
    )
    if not numbers or len(value) != 2 or not 0 <= value[0] < value[1] < 1e9:
        raise _bad("time_range must be [start, end] in seconds.", "longvid.time_range")
    return float(value[0]), float(value[1])


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _bad(f"{where} must be text.", where)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _bad(f"{where} is not valid Unicode.", where) from error
    return value


def _whole(value: Any, where: str, least: int, most: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        code = "budget_too_large" if where.endswith("budget") else "invalid_value"
        raise _bad(f"{where} must be a whole number from {least} to {most}.", where, code)
    return value


def _one_of(value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise _bad(f"citations must be {' or '.join(known)}.", "longvid.citations")
    return str(value)


def _bad(sentence: str, param: str, code: str = "invalid_value") -> ApiError:
    return ApiError(400, code, sentence, param or None)
