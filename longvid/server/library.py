"""The native API: videos, search, ask, relevance, failures."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from longvid.server import openapi_fields as fields
from longvid.server.answers import Asked, answer_events, whole_answer
from longvid.server.api_errors import ApiError, clean_sentence, without_folders
from longvid.server.auth import COOKIE, key_of, require_role
from longvid.server.openai_parts import VideoPart
from longvid.server.question_fields import (
    parse_budget,
    parse_choices,
    parse_history,
    parse_names,
    parse_range,
    parse_tags,
    whole_number,
)
from longvid.server.requests import json_body, query_number
from longvid.server.state import StoreView, state_of
from longvid.server.streams import EventStream, keep_alive
from longvid.server.videos import allowed_path, fetched_video, index_file, resolve_videos

router = APIRouter(prefix="/api")
_PAGE = 100
_MOST_POINTS = 2000


@router.post("/session", openapi_extra=fields.SESSION)
async def open_session(request: Request) -> Response:
    """Turn a key into a cookie, since a player cannot send a header."""
    state = state_of(request)
    body = await json_body(request, state.settings.limits.body_bytes, fields.SESSION)
    key = state.keys.of_secret(str(body.get("key", "")))
    if state.keys.open_to_all:
        return JSONResponse({"name": "local", "role": "admin"})
    if key is None:
        raise ApiError(401, "invalid_api_key", "This key is not known here.")
    response = JSONResponse({"name": key.name, "role": key.role})
    secure = request.url.scheme == "https"
    cookie = state.keys.open_session(key)
    response.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=secure)
    return response


@router.delete("/session")
async def close_session(request: Request) -> Response:
    """Forget the cookie."""
    state_of(request).keys.close_session(request.cookies.get(COOKIE, ""))
    response = JSONResponse({"closed": True})
    response.delete_cookie(COOKIE)
    return response


@router.get("/status")
async def status(request: Request) -> JSONResponse:
    """Say what is served and how it is doing."""
    state = state_of(request)
    key = key_of(request)
    stores = []
    for name, view in state.stores.items():
        if not key.may_use(name):
            continue
        worker = state.workers[name]
        videos = await view.videos()
        stores.append(
            {
                "name": name,
                "num_videos": len(videos),
                "duration_seconds": sum(one.video.duration_seconds for one in videos.values()),
                "ready": worker.is_ready,
                "problem": worker.problem,
                "note": worker.note,
            }
        )
    limits = dataclasses.asdict(state.settings.limits)
    return JSONResponse({"name": key.name, "role": key.role, "stores": stores, "limits": limits})


@router.get("/videos", openapi_extra=fields.query(query="string", cursor="integer", store="string"))
async def videos(request: Request) -> JSONResponse:
    """List the stored videos by name, a page at a time."""
    view = _view(request)
    query = request.query_params.get("query", "").casefold()
    described = [view.described(stored) for stored in (await view.videos()).values()]
    found = [one for one in described if query in one["filename"].casefold()]
    found.sort(key=lambda one: (one["filename"].casefold(), one["video_id"]))
    start = int(query_number(request, "cursor", 0))
    page = found[start : start + _PAGE]
    following = start + _PAGE if start + _PAGE < len(found) else None
    return JSONResponse({"videos": page, "total": len(found), "next_cursor": following})


@router.post("/videos", openapi_extra=fields.VIDEO)
async def add_video(request: Request) -> JSONResponse:
    """Queue an upload, a file of an allowed folder, or one of the network, for indexing."""
    state = state_of(request)
    key = require_role(request, "user")
    body = await json_body(request, state.settings.limits.body_bytes, fields.VIDEO)
    view = state.store_of(request, str(body.get("store", "")))
    if isinstance(body.get("file_id"), str):
        file = state.files.get(body["file_id"], key.name)
        job = index_file(state, view, key, str(state.files.path(file)), file.filename)
    elif isinstance(body.get("path"), str):
        path = allowed_path(state, body["path"])
        job = index_file(state, view, key, str(path), path.name)
    elif isinstance(body.get("url"), str):
        file = await fetched_video(state, key, body["url"])
        job = index_file(state, view, key, str(state.files.path(file)), file.filename)
    else:
        raise ApiError(400, "invalid_value", "Name a file_id, a path or a url.", "file_id")
    return JSONResponse(job.public(), 202)


@router.get("/videos/{video_id}", openapi_extra=fields.query(store="string"))
async def video(request: Request, video_id: str) -> JSONResponse:
    """Describe one video."""
    view = _view(request)
    return JSONResponse(view.described(await view.video(video_id)))


@router.delete("/videos/{video_id}", openapi_extra=fields.query(store="string"))
async def delete_video(request: Request, video_id: str) -> JSONResponse:
    """Queue a video for deletion: tokens, search vectors, pictures and text; an upload too."""
    state = state_of(request)
    key = require_role(request, "admin")
    view = _view(request)
    stored = await view.video(video_id)
    label = view.described(stored)["filename"]
    for path in stored.paths:
        file = state.files.of_path(path)
        if file is not None:
            state.files.delete(file)
    job = state.jobs.submit(key.name, view.name, "delete", stored.video.video_id, label)
    return JSONResponse(job.public(), 202)


@router.put("/videos/{video_id}/tags", openapi_extra=fields.TAGS)
async def tag_video(request: Request, video_id: str) -> JSONResponse:
    """Give a video values by key; an empty value takes its key away."""
    state = state_of(request)
    require_role(request, "user")
    body = await json_body(request, state.settings.limits.body_bytes, fields.TAGS)
    view = state.store_of(request, str(body.get("store", "")))
    stored, tags = await view.video(video_id), parse_tags(body.get("tags"))
    await asyncio.to_thread(view.tag, stored.video.video_id, tags)
    return JSONResponse(view.described(await view.video(video_id)))


@router.get(
    "/videos/{video_id}/relevance",
    openapi_extra=fields.query(question="string!", points="integer", store="string"),
)
async def relevance(request: Request, video_id: str) -> JSONResponse:
    """Score a question against every segment of a video: the curve over its time."""
    state = state_of(request)
    view = _view(request)
    stored = await view.video(video_id)
    question = request.query_params.get("question", "").strip()
    if not question or len(question) > state.settings.limits.question_chars:
        raise ApiError(400, "invalid_value", "Give a question.", "question")
    try:
        rows = await state.workers[view.name].call(
            "relevance", state.share_of(key_of(request)), text=question, video=stored.video.video_id
        )
    except ApiError as error:
        if error.code != "question_refused":
            raise
        # A search model that does not know the words draws no curve; the answer may still stand.
        return JSONResponse({"times": [], "scores": [], "note": error.message})
    points = int(query_number(request, "points", _MOST_POINTS))
    kept = _decimated(rows, max(1, min(points, _MOST_POINTS)))
    return JSONResponse(
        {"times": [(row[0] + row[1]) / 2 for row in kept], "scores": [row[2] for row in kept]}
    )


def _decimated(rows: list[list[float]], most: int) -> list[list[float]]:
    """Keep the best row of each stretch, so that no peak is lost.

    >>> _decimated([[0, 1, 0.1], [1, 2, 0.9], [2, 3, 0.2], [3, 4, 0.3]], 2)
    [[1, 2, 0.9], [3, 4, 0.3]]
    """
    if len(rows) <= most:
        return rows
    edges = [place * len(rows) // most for place in range(most + 1)]
    return [
        max(rows[start:end], key=lambda row: row[2]) for start, end in itertools.pairwise(edges)
    ]


@router.post("/search", openapi_extra=fields.SEARCH)
async def search(request: Request) -> JSONResponse:
    """Find the segments nearest to a text."""
    state = state_of(request)
    body = await json_body(request, state.settings.limits.body_bytes, fields.SEARCH)
    view = state.store_of(request, str(body.get("store", "")))
    text, top_k = body.get("text"), whole_number(body.get("top_k", 10), 1000, "top_k")
    if not isinstance(text, str) or not 0 < len(text) <= state.settings.limits.question_chars:
        raise ApiError(400, "invalid_value", "Give a text to search for.", "text")
    video_id = None
    if body.get("video") is not None:
        video_id = (await view.video(str(body["video"]))).video.video_id
    worker, key = state.workers[view.name], state.share_of(key_of(request))
    found = await worker.call(
        "search",
        key,
        text=text,
        video=video_id,
        top_k=top_k,
        tags=parse_tags(body.get("tags", {})),
        time_range=parse_range(body.get("time_range")),
    )
    spans = [
        {**{n: v for n, v in span.items() if n != "path"}, "filename": view.label(span["path"])}
        for span in found["results"]
    ]
    return JSONResponse({"results": spans, "note": without_folders(found["note"])})


@router.post("/ask", openapi_extra=fields.ASK)
async def ask(request: Request) -> Response:
    """Answer a question: events evidence, text and done, or the whole as JSON."""
    state = state_of(request)
    key = key_of(request)
    body = await json_body(request, state.settings.limits.body_bytes, fields.ASK)
    view = state.store_of(request, str(body.get("store", "")))
    asked = await _asked(request, view, body)
    if not body.get("stream"):
        answer, budget = await whole_answer(state, view, key, asked)
        return JSONResponse({"answer": answer, "budget": budget})

    async def events() -> AsyncIterator[str]:
        try:
            async for event in answer_events(state, view, key, asked):
                yield _event(event["event"], {k: v for k, v in event.items() if k != "event"})
        except ApiError as error:
            yield _event("error", error.body())

    seconds = state.settings.limits.keep_alive_seconds
    return EventStream(keep_alive(events(), seconds, raw=True))


async def _asked(request: Request, view: StoreView, body: dict[str, Any]) -> Asked:
    state = state_of(request)
    limits = state.settings.limits
    text = body.get("question")
    if not isinstance(text, str) or not text.strip() or len(text) > limits.question_chars:
        most = limits.question_chars
        raise ApiError(400, "invalid_value", f"Give a question of 1 to {most} characters.")
    parts = [VideoPart("stored", name) for name in parse_names(body.get("videos", []))]
    ids = await resolve_videos(state, view, key_of(request), parts)
    if tags := parse_tags(body.get("tags", {})):
        ids = await view.tagged(tags, ids)
    return Asked(
        text.strip(),
        choices=parse_choices(body.get("choices", []), limits),
        budget=parse_budget(body.get("budget"), limits),
        history=parse_history(body.get("history", []), limits),
        time_range=parse_range(body.get("time_range")),
        video_ids=ids,
    )


@router.get("/failures", openapi_extra=fields.query(store="string"))
async def failures(request: Request) -> JSONResponse:
    """List what could not be indexed, and why."""
    view = _view(request)
    if not await view.videos():
        return JSONResponse({"failures": []})
    found = await asyncio.to_thread(lambda: view.open().failures())
    rows = []
    for failure in found:
        row = dataclasses.asdict(failure)
        del row["stderr"]
        row["path"] = view.label(failure.path)
        row["error"] = clean_sentence(failure.error.replace(failure.path, row["path"]))
        rows.append(row)
    return JSONResponse({"failures": rows})


def _view(request: Request) -> StoreView:
    return state_of(request).store_of(request, request.query_params.get("store", ""))


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, default=str)}\n\n"
