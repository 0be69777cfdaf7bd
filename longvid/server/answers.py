"""Ask a store's models on behalf of a request: evidence first, then text, then the whole answer.

This is the one place where the OpenAI endpoint, the native API and the page get their answers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from longvid.server.api_errors import ApiError, without_folders
from longvid.server.auth import Key
from longvid.server.state import ServerState, StoreView


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a client.

    Args:
        text: The question.
        video_ids: Of stored videos; none asks the whole store.
        choices: For multiple choice.
        budget: Visual tokens, None for the store's own.
        history: Earlier turns, (question, answer) each.
        time_range: Seconds that the question is about, None for all.
        max_tokens: Most tokens of the answer, None for the model's own.
    """

    text: str
    video_ids: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    budget: int | None = None
    history: tuple[tuple[str, str], ...] = ()
    time_range: tuple[float, float] | None = None
    max_tokens: int | None = None


async def answer_events(
    state: ServerState, view: StoreView, key: Key, asked: Asked
) -> AsyncIterator[dict[str, Any]]:
    """Yield what becomes of a question: "evidence", "text" with all text so far, then "done".

    Args:
        state: Of the server.
        view: The store that is asked.
        key: Who asks.
        asked: The question.

    Raises:
        ApiError: What went wrong.
    """
    state.take_question(key)
    metrics = state.metrics
    videos = await view.videos()
    started = time.monotonic()
    seen_text = False
    try:
        share = state.share_of(key)
        async for event in state.workers[view.name].stream("ask", share, **_request(asked)):
            if event["event"] == "evidence":
                metrics.evidence_seconds.observe(time.monotonic() - started)
                event["evidence"] = _shown(view, event["evidence"], videos)
            elif event["event"] == "text" and not seen_text:
                seen_text = True
                metrics.first_text_seconds.observe(time.monotonic() - started)
            elif event["event"] == "done":
                metrics.questions.labels("answered").inc()
                metrics.answer_seconds.observe(time.monotonic() - started)
                metrics.visual_tokens.inc(event["answer"]["visual_tokens"])
                event["answer"]["evidence"] = _shown(view, event["answer"]["evidence"], videos)
                event["answer"]["note"] = without_folders(event["answer"]["note"])
                event["answer"]["finish_reason"] = "length" if event["is_cut"] else "stop"
            yield event
    except ApiError as error:
        metrics.questions.labels(error.code).inc()
        raise


async def whole_answer(
    state: ServerState, view: StoreView, key: Key, asked: Asked
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an answer and what was shown for it, when both are complete.

    The answer says as "finish_reason" why it ends.

    Raises:
        ApiError: What went wrong.
    """
    budget: dict[str, Any] = {}
    async for event in answer_events(state, view, key, asked):
        if event["event"] == "evidence":
            budget = event["budget"]
        elif event["event"] == "done":
            return event["answer"], budget
    raise ApiError(503, "model_unavailable", "The models gave no answer; try again.", None, 5)


def _request(asked: Asked) -> dict[str, Any]:
    return {
        "text": asked.text,
        "video_ids": list(asked.video_ids),
        "choices": list(asked.choices),
        "budget": asked.budget,
        "history": [list(turn) for turn in asked.history],
        "time_range": asked.time_range,
        "max_tokens": asked.max_tokens,
    }


def _shown(
    view: StoreView, evidence: Sequence[dict[str, Any]], videos: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return evidence as clients see it: a name and a thumbnail in place of a path."""
    found = []
    for number, span in enumerate(evidence, 1):
        video_id = span["video_id"]
        middle = (span["start_seconds"] + span["end_seconds"]) / 2
        stored = videos.get(video_id)
        path = stored.paths[0] if stored is not None and stored.paths else span["path"]
        shown = {name: value for name, value in span.items() if name != "path"}
        found.append(
            {
                **shown,
                "marker": number,
                "filename": view.label(path),
                "thumbnail_url": (
                    f"/api/videos/{video_id}/thumbnail.jpg?t={middle:.3f}"
                    f"&start={span['start_seconds']:.3f}&end={span['end_seconds']:.3f}"
                    f"&store={quote(view.name)}"
                ),
            }
        )
    return found
