"""The jobs of a store: listed, cancelled, tried again, and told as they change."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from longvid.server import openapi_fields as fields
from longvid.server.api_errors import ApiError
from longvid.server.auth import key_of, require_role
from longvid.server.jobs import Job
from longvid.server.state import ServerState, state_of
from longvid.server.streams import EventStream, keep_alive

router = APIRouter(prefix="/api")


@router.get("/jobs", openapi_extra=fields.query(store="string"))
async def jobs(request: Request) -> JSONResponse:
    """List the jobs of a store, newest first."""
    state = state_of(request)
    view = state.store_of(request, request.query_params.get("store", ""))
    rows = state.jobs.table.rows(view.name)
    return JSONResponse({"jobs": [job.public() for job in reversed(rows)]})


@router.get("/jobs/{job_id}")
async def job(request: Request, job_id: str) -> JSONResponse:
    """Describe one job."""
    return JSONResponse(_job(request, job_id).public())


@router.delete("/jobs/{job_id}")
async def cancel_job(request: Request, job_id: str) -> JSONResponse:
    """Stop a job."""
    require_role(request, "user")
    return JSONResponse(state_of(request).jobs.cancel(_job(request, job_id).id).public())


@router.post("/jobs/{job_id}/retry")
async def retry_job(request: Request, job_id: str) -> JSONResponse:
    """Queue a job that failed once more."""
    require_role(request, "user")
    return JSONResponse(state_of(request).jobs.retry(_job(request, job_id).id).public())


@router.get("/jobs/{job_id}/events")
async def job_events(request: Request, job_id: str) -> Response:
    """Tell of one job as it changes, first as it is now; the stream ends when the job is over."""
    return _events(request, _job(request, job_id))


@router.get("/events")
async def events(request: Request) -> Response:
    """Tell of every job as it changes.

    The first events are the state of all that are not over; a client that comes back with
    Last-Event-ID gets what it has missed.
    """
    return _events(request, None)


def _events(request: Request, only: Job | None) -> Response:
    state = state_of(request)
    key = key_of(request)
    clients = state.event_clients
    if clients.get(key.name, 0) >= state.settings.limits.num_event_clients:
        raise ApiError(429, "queue_full", "This key has too many open event streams.", None, 30)
    clients[key.name] = clients.get(key.name, 0) + 1

    async def lines() -> AsyncIterator[str]:
        async for number, job in news(state, only, request.headers.get("last-event-id", "")):
            if key.may_use(job.store):
                data = json.dumps(job.public())
                yield f"id: {number}\nevent: job\ndata: {data}\n\n"

    def left() -> None:
        clients[key.name] -= 1

    seconds = state.settings.limits.keep_alive_seconds
    return EventStream(keep_alive(lines(), seconds, raw=True), left)


async def news(
    state: ServerState, only: Job | None, last_id: str
) -> AsyncIterator[tuple[str, Job]]:
    """Yield jobs with the numbers of their events: what was missed or is now, then what comes.

    Args:
        state: Of the server.
        only: The job that is meant, until it is over; None for all, without an end.
        last_id: Number of the last event that the client has, "" for none.
    """
    runner = state.jobs
    with runner.watch() as queue:
        now = runner.last_number
        missed = runner.since(last_id)
        if only is not None:
            present = [runner.table.get(only.id) or only]
        elif missed is not None:
            for number, job in missed:
                yield number, job
            present = []
        else:  # new here, or the server was started meanwhile
            rows = runner.table.rows()
            present = [job for job in rows if last_id or not job.is_over]
        for job in present:
            yield now, job
        while only is None or not (runner.table.get(only.id) or only).is_over or not queue.empty():
            number, job = await queue.get()
            if only is None or job.id == only.id:
                yield number, job


def _job(request: Request, job_id: str) -> Job:
    found = state_of(request).jobs.table.get(job_id)
    if found is None or not key_of(request).may_use(found.store):
        raise ApiError(404, "job_not_found", "There is no such job.")
    return found
