"""Answers in the shapes of OpenAI's chat: completions, chunks of a stream, citations."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote


def citations(
    evidence: Sequence[Mapping[str, Any]], base_url: str, text: str, store: str = ""
) -> list[dict[str, Any]]:
    """Return the standard annotations of a message: one link a span, to its seconds.

    Args:
        evidence: Spans with video_id, filename, start_seconds, end_seconds.
        base_url: Address of the server.
        text: The answer; a span's marker [n] in it is what the annotation covers, else all of it.
        store: Of the videos; "" for the one that a page opens by itself.
    """
    found = []
    for number, span in enumerate(evidence, 1):
        start, end = span["start_seconds"], span["end_seconds"]
        marker = f"[{number}]"
        place = text.find(marker)
        covered = (place, place + len(marker)) if place >= 0 else (0, len(text))
        query = f"?store={quote(store)}" if store else ""
        url = f"{base_url}/watch/{quote(span['video_id'])}{query}#t={start:g},{end:g}"
        citation = {
            "url": url,
            "title": f"{span['filename']} {_clock(start)}-{_clock(end)}",
            "start_index": covered[0],
            "end_index": covered[1],
        }
        found.append({"type": "url_citation", "url_citation": citation})
    return found


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def completion(
    request_id: str,
    model: str,
    message: Mapping[str, Any],
    finish_reason: str,
    usage: Mapping[str, Any],
    **extra: Any,
) -> dict[str, Any]:
    """Return OpenAI's chat.completion object."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "finish_reason": finish_reason,
        "logprobs": None,
    }
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": dict(usage),
        **extra,
    }


def chunk(
    request_id: str,
    model: str,
    delta: Mapping[str, Any] | None,
    finish_reason: str | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Return OpenAI's chat.completion.chunk object; a delta of None makes one without choices."""
    choices = []
    if delta is not None:
        choices = [{"index": 0, "delta": dict(delta), "finish_reason": finish_reason}]
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
        **extra,
    }
