"""OpenAI's endpoints over stored video: models, chat completions, decisions."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from longvid.server import openai_reply as reply
from longvid.server import openapi_fields as fields
from longvid.server.answers import Asked, answer_events, whole_answer
from longvid.server.api_errors import ApiError
from longvid.server.auth import Key, key_of
from longvid.server.decisions import Decision, parse_decisions
from longvid.server.openai_request import ChatRequest, parse_chat
from longvid.server.requests import json_body
from longvid.server.state import ServerState, StoreView, state_of
from longvid.server.streams import EventStream, keep_alive
from longvid.server.videos import resolve_videos

router = APIRouter(prefix="/v1")


@router.get("/models")
async def models(request: Request) -> JSONResponse:
    """List the stores as models: the name of a store is the name of a model."""
    state = state_of(request)
    key = key_of(request)
    cards = [_card(state, name) for name in state.stores if key.may_use(name)]
    return JSONResponse({"object": "list", "data": cards})


@router.get("/models/{name}")
async def model(request: Request, name: str) -> JSONResponse:
    """Describe one."""
    state = state_of(request)
    if name not in state.stores or not key_of(request).may_use(name):
        raise ApiError(404, "model_not_found", f"There is no model {name[:80]!r} here.", "model")
    return JSONResponse(_card(state, name))


def _card(state: ServerState, name: str) -> dict[str, Any]:
    worker = state.workers[name]
    return {
        "id": name,
        "object": "model",
        "created": int(state.started),
        "owned_by": "longvid",
        "capabilities": {"video": True, "evidence": True, "choices": True},
        "limits": {"budget_tokens": state.settings.limits.budget_tokens},
        "ready": worker.is_ready,
        "note": worker.note or worker.problem,
    }


@router.post("/chat/completions", openapi_extra=fields.CHAT)
async def chat_completions(request: Request) -> Response:
    """Answer a chat about stored videos, whole or as a stream."""
    state = state_of(request)
    key = key_of(request)
    asked = parse_chat(await json_body(request, state.settings.limits.body_bytes), _limits(state))
    view = _view(state, request, asked)
    request_id = secrets.token_hex(12)
    if asked.stream:
        events = _chat_events(state, view, key, asked, request_id, _base_url(state, request))
        return EventStream(keep_alive(events, state.settings.limits.keep_alive_seconds))
    video_ids = await resolve_videos(state, view, key, asked.videos)
    answer, budget = await whole_answer(state, view, key, _question(asked, video_ids))
    evidence = answer["evidence"]
    text = _whole_text(answer, asked.citations)
    message = {
        "content": text,
        "annotations": reply.citations(
            evidence, _base_url(state, request), text, _named(state, view)
        ),
        "evidence": evidence,
    }
    extra = {"longvid": _explained(answer, budget, view)}
    why, usage = answer["finish_reason"], _usage(answer)
    return JSONResponse(reply.completion(request_id, view.name, message, why, usage, **extra))


async def _chat_events(
    state: ServerState,
    view: StoreView,
    key: Key,
    asked: ChatRequest,
    request_id: str,
    base_url: str,
) -> AsyncIterator[str]:
    """Yield the lines of a streamed answer: evidence in the first chunk, then text."""
    name = view.name

    def line(delta: Mapping[str, Any] | None, finish: str | None = None, **extra: Any) -> str:
        return json.dumps(reply.chunk(request_id, name, delta, finish, **extra), default=str)

    sent = ""
    try:
        video_ids = await resolve_videos(state, view, key, asked.videos)
        async for event in answer_events(state, view, key, _question(asked, video_ids)):
            if event["event"] == "evidence":
                first = {"role": "assistant", "content": "", "evidence": event["evidence"]}
                yield line(first, longvid={"budget": event["budget"], "store": name})
            elif event["event"] == "text":
                yield line({"content": event["text"][len(sent) :]})
                sent = event["text"]
            elif event["event"] == "done":
                answer = event["answer"]
                text = _whole_text(answer, asked.citations)
                if text[len(sent) :]:
                    yield line({"content": text[len(sent) :]})
                notes = reply.citations(answer["evidence"], base_url, text, _named(state, view))
                explained = _explained(answer, {}, view)
                yield line({"annotations": notes}, answer["finish_reason"], longvid=explained)
                if asked.include_usage:
                    yield line(None, usage=_usage(answer))
    except ApiError as error:
        yield json.dumps(error.body())
        return
    yield "[DONE]"


@router.post("/decisions", openapi_extra=fields.DECISIONS)
async def decisions(request: Request) -> JSONResponse:
    """Answer typed questions about a video: predicates, choices and scores, with probabilities."""
    state = state_of(request)
    key = key_of(request)
    body = await json_body(request, state.settings.limits.body_bytes)
    asked, questions = parse_decisions(body, _limits(state))
    view = _view(state, request, asked)
    video_ids = await resolve_videos(state, view, key, asked.videos)

    async def decide(question: Decision) -> dict[str, Any]:
        closed = Asked(question.text, video_ids, question.options, asked.budget)
        answer, _ = await whole_answer(state, view, key, closed)
        return question.answered(answer)

    answers = await asyncio.gather(*(decide(question) for question in questions))
    return JSONResponse({"object": "decisions", "model": view.name, "answers": answers})


def _limits(state: ServerState) -> Any:
    return state.settings.limits


def _view(state: ServerState, request: Request, asked: ChatRequest) -> StoreView:
    key = key_of(request)
    known = [name for name in state.stores if key.may_use(name)]
    if asked.model and asked.model not in known:
        sentence = f"There is no model {asked.model[:80]!r} here; known are {', '.join(known)}."
        raise ApiError(404, "model_not_found", sentence, "model")
    return state.store_of(request, asked.store or asked.model)


def _question(asked: ChatRequest, video_ids: tuple[str, ...]) -> Asked:
    return Asked(
        asked.question,
        video_ids,
        asked.choices,
        asked.budget,
        asked.history,
        asked.time_range,
        asked.max_tokens,
    )


def _with_markers(text: str, evidence: list[dict[str, Any]], citations: str) -> str:
    """Append [1] and so on where they are asked for: times come from the selection alone."""
    if citations != "inline" or not evidence:
        return text
    markers = "".join(f"[{span['marker']}]" for span in evidence)
    return f"{text} {markers}"


def _whole_text(answer: Mapping[str, Any], citations: str) -> str:
    """Return what a chat shows: the answer, markers where asked for, and the model's caveat.

    A client that knows nothing of longvid shows the text alone, so the caveat belongs to it.
    """
    text = _with_markers(answer["text"], answer["evidence"], citations)
    return f"{text}\n\n({answer['note']})" if answer["note"] else text


def _usage(answer: Mapping[str, Any]) -> dict[str, Any]:
    visual = answer["visual_tokens"]
    return {
        "prompt_tokens": answer["prompt_tokens"],
        "completion_tokens": answer["output_tokens"],
        "total_tokens": answer["prompt_tokens"] + answer["output_tokens"],
        "prompt_tokens_details": {"multimodal_tokens": {"video": visual}, "video_tokens": visual},
    }


def _explained(
    answer: Mapping[str, Any], budget: Mapping[str, Any], view: StoreView
) -> dict[str, Any]:
    return {
        "store": view.name,
        "budget": budget or None,
        "visual_tokens": answer["visual_tokens"],
        "seconds": answer["seconds"],
        "choice": answer["choice"],
        "choice_scores": answer["choice_scores"],
        "note": answer["note"],
        "tracks": answer["tracks"],
    }


def _named(state: ServerState, view: StoreView) -> str:
    """Return a store's name where a link must say it."""
    return "" if view.name == state.settings.default_store else view.name


def _base_url(state: ServerState, request: Request) -> str:
    return state.settings.base_url or str(request.base_url).rstrip("/")
