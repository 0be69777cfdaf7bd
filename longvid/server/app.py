"""The application: routes, middleware, start and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from longvid import __version__
from longvid.errors import LongvidError
from longvid.server import chat, job_routes, library, media, storyboards, uploads
from longvid.server.api_errors import ApiError, api_error_of
from longvid.server.auth import AuthMiddleware, require_role
from longvid.server.openapi_fields import ERRORS
from longvid.server.settings import ServerSettings
from longvid.server.slow_bodies import SlowBodies
from longvid.server.state import ServerState

_LEAST_FREE_BYTES = 1 << 30


def create_app(settings: ServerSettings) -> FastAPI:
    """Return the ASGI application of a server.

    Args:
        settings: What it serves, and to whom.

    Raises:
        ConfigError: The key file cannot be used.
    """
    state = ServerState(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.jobs.start()
        for worker in state.workers.values():
            await worker.start()
        yield
        state.draining = True
        deadline = time.monotonic() + settings.limits.shutdown_seconds
        while any(w.num_waiting for w in state.workers.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        await state.jobs.close()
        for worker in state.workers.values():
            await worker.close()
        state.close()

    app = FastAPI(
        title="longvid",
        version=__version__,
        description="Answers questions about long videos, with the time spans that support them.",
        lifespan=lifespan,
        docs_url=None,
        responses=ERRORS,
        redoc_url=None,
    )
    app.state.longvid = state
    for routes in (chat, uploads, library, job_routes, media, storyboards):
        app.include_router(routes.router)
    _add_operations(app, state)
    _add_page(app)
    _add_errors(app)

    @app.middleware("http")
    async def count(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        route = request.scope.get("route")
        path = getattr(route, "path", "other")
        state.metrics.requests.labels(path, str(response.status_code)).inc()
        return response

    limits = settings.limits
    app.add_middleware(
        SlowBodies, least_bytes=limits.slow_body_bytes, seconds=limits.slow_body_seconds
    )
    app.add_middleware(AuthMiddleware, keys=state.keys, settings=settings)
    return app


def _add_operations(app: FastAPI, state: ServerState) -> None:
    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        """Say that the process lives."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Say whether questions can be answered, and if not, why."""
        reasons = []
        for name, worker in state.workers.items():
            if not worker.is_ready:
                reasons.append(f"{name}: {worker.problem or 'the models are being loaded'}")
        if shutil.disk_usage(state.settings.data_dir).free < _LEAST_FREE_BYTES:
            reasons.append("less than 1 GiB of disk is free")
        if not state.jobs.is_alive:
            reasons.append("no jobs are run")
        if state.draining:
            reasons.append("the server is being stopped")
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics(request: Request) -> PlainTextResponse:
        """Return what was counted, for Prometheus."""
        require_role(request, "admin")
        counts: dict[str, int] = {}
        for job in state.jobs.table.rows():
            counts[job.state] = counts.get(job.state, 0) + 1
        for name in ("queued", "running", "done", "failed", "cancelled"):
            state.metrics.jobs.labels(name).set(counts.get(name, 0))
        state.metrics.queue_depth.set(sum(one.num_waiting for one in state.workers.values()))
        return PlainTextResponse(state.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI) -> None:
    folder = Path(str(resources.files("longvid.server") / "static"))
    app.mount("/assets", StaticFiles(directory=folder), name="assets")

    @app.get("/", include_in_schema=False)
    @app.get("/watch/{video_id}", include_in_schema=False)
    async def page() -> FileResponse:
        """Return the page."""
        return FileResponse(folder / "index.html", headers={"Cache-Control": "no-cache"})


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def of_api(request: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(LongvidError)
    async def of_longvid(request: Request, error: LongvidError) -> JSONResponse:
        return api_error_of(error).response()

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        return ApiError(error.status_code, code, str(error.detail)).response()

    @app.exception_handler(RequestValidationError)
    async def of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        return ApiError(400, "invalid_value", "The request is not of the right form.").response()

    @app.exception_handler(Exception)
    async def of_anything(request: Request, error: Exception) -> JSONResponse:
        # What nobody expected is logged by the server; a client learns no more than that.
        return ApiError(500, "internal_error", "The server failed on this request.").response()
