"""What a player needs: the video itself, clips, thumbnails, a storyboard, captions."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from longvid.decode.clips import cut_clip, inspect_file, remux
from longvid.errors import StoreError, VideoError
from longvid.inputs import holds_video
from longvid.server import openapi_fields as fields
from longvid.server.api_errors import ApiError
from longvid.server.requests import query_number
from longvid.server.state import ServerState, StoreView, state_of
from longvid.store import StoredVideo, stored_picture_times, stored_pictures, stored_subtitles

router = APIRouter(prefix="/api/videos")
IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
_MEDIA_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}


@router.get("/{video_id}/playback", openapi_extra=fields.query(store="string"))
async def playback(request: Request, video_id: str) -> JSONResponse:
    """Say how a browser can play a video: as it is, repackaged, or as clips around the evidence."""
    stored = await _stored(request, video_id)
    path = await asyncio.to_thread(_source, stored)
    if path is None:
        return JSONResponse({"mode": "missing", "url": None})
    mode = await asyncio.to_thread(_mode, str(path))
    if stored.video.clock_jumps:
        mode = "proxy"  # whose clips are cut on the clock of the evidence, which goes on
    base = f"/api/videos/{stored.video.video_id}"
    urls = {"direct": f"{base}/content", "remux": f"{base}/remux.mp4", "proxy": None}
    return JSONResponse({"mode": mode, "url": urls[mode]})


def _mode(path: str) -> str:
    try:
        return inspect_file(path).playable
    except VideoError as error:
        raise ApiError(422, error.kind, str(error)) from error


@router.get(
    "/{video_id}/thumbnail.jpg",
    openapi_extra=fields.query(t="number", start="number", end="number", store="string"),
)
async def thumbnail(request: Request, video_id: str) -> Response:
    """Return the stored picture nearest to a time; with start and end, one of that span or none."""
    view = _view(request)
    stored = await view.video(video_id)
    seconds = query_number(request, "t", 0.0)
    try:
        [picture] = await asyncio.to_thread(
            stored_pictures, view.open(), stored.video.video_id, [seconds]
        )
    except StoreError as error:
        raise ApiError(404, "picture_not_found", str(error)) from error
    start = query_number(request, "start", -1.0)
    end = query_number(request, "end", 1e12 - 1)
    if not start <= picture.pts_seconds <= end:
        return Response(status_code=204)  # no error: between pictures there is nothing to show
    headers = {**IMMUTABLE, "X-Pts-Seconds": f"{picture.pts_seconds:.6f}"}
    return Response(picture.jpeg, media_type="image/jpeg", headers=headers)


@router.get("/{video_id}/pictures", openapi_extra=fields.query(store="string"))
async def pictures(request: Request, video_id: str) -> JSONResponse:
    """List the times of the stored pictures."""
    view = _view(request)
    stored = await view.video(video_id)
    times = await asyncio.to_thread(stored_picture_times, view.open(), stored.video.video_id)
    return JSONResponse({"times": times})


@router.get("/{video_id}/captions.vtt", openapi_extra=fields.query(store="string"))
async def captions(request: Request, video_id: str) -> Response:
    """Return the timed text of a video as WebVTT."""
    view = _view(request)
    stored = await view.video(video_id)
    lines = await asyncio.to_thread(stored_subtitles, view.open(), stored.video.video_id)
    text = "WEBVTT\n\n" + "".join(
        f"{vtt_clock(line.start_seconds)} --> {vtt_clock(line.end_seconds)}\n"
        f"{_vtt_text(line.text)}\n\n"
        for line in lines
    )
    return Response(text, media_type="text/vtt")


def vtt_clock(seconds: float) -> str:
    """Write seconds as WebVTT does.

    >>> vtt_clock(3723.5)
    '01:02:03.500'
    """
    milliseconds = max(0, round(seconds * 1000))
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{rest:03d}"


def _vtt_text(text: str) -> str:
    """Escape a line, so that it is text and no markup, in one block."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "\n".join(line for line in escaped.splitlines() if line.strip())


@router.get("/{video_id}/content", openapi_extra=fields.query(store="string"))
async def content(request: Request, video_id: str) -> Response:
    """Return the video file, in ranges where a player asks for them."""
    path = await _needed(await _stored(request, video_id))
    media_type = _MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
    return FileResponse(path, media_type=media_type, content_disposition_type="inline")


@router.get("/{video_id}/remux.mp4", openapi_extra=fields.query(store="string"))
async def remuxed(request: Request, video_id: str) -> Response:
    """Return the video in an MP4 container, its pictures untouched."""
    state = state_of(request)
    stored = await _stored(request, video_id)
    path = await _needed(stored)
    clock_start = stored.video.clock_start_seconds
    target = await cached_file(
        state, f"{stored.video.video_id}.mp4", lambda target: remux(str(path), target, clock_start)
    )
    return FileResponse(target, media_type="video/mp4", content_disposition_type="inline")


@router.get(
    "/{video_id}/clip.mp4",
    openapi_extra=fields.query(start="number!", end="number!", store="string"),
)
async def clip(request: Request, video_id: str) -> Response:
    """Return a span as H.264, exact to the frame."""
    state = state_of(request)
    stored = await _stored(request, video_id)
    path = await _needed(stored)
    start, end = query_number(request, "start"), query_number(request, "end")
    most = state.settings.limits.clip_seconds
    if not 0 <= start < end or end - start > most:
        raise ApiError(400, "invalid_value", f"A clip has 0 to {most:g} seconds.", "end")
    name = f"{stored.video.video_id}-{start:.3f}-{end:.3f}.mp4"
    clock_start = stored.video.clock_start_seconds
    target = await cached_file(
        state, name, lambda target: cut_clip(str(path), start, end, target, clock_start)
    )
    return FileResponse(target, media_type="video/mp4", content_disposition_type="inline")


async def cached_file(state: ServerState, name: str, make: Any) -> Path:
    """Return a file of the cache, made if it is not there; the oldest give way.

    Args:
        state: Of the server.
        name: Of the file; another content has another name.
        make: Writes it.

    Raises:
        ApiError: It cannot be made.
    """
    folder = state.settings.data_dir / "clips"
    folder.mkdir(exist_ok=True)
    target = folder / name
    async with state.clip_lock:
        if not target.exists():
            try:
                await asyncio.to_thread(make, target)
            except VideoError as error:
                raise ApiError(422, error.kind, str(error)) from error
            shrink(folder, state.settings.limits.cache_bytes, keep=target)
    os.utime(target)
    return target


def shrink(folder: Path, most_bytes: int, keep: Path) -> None:
    """Remove the oldest files of a folder but one, until the rest take no more than so much."""
    files = sorted(folder.glob("[!.]*"), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in files)
    for path in files:
        if total <= most_bytes:
            return
        if path != keep:
            total -= path.stat().st_size
            path.unlink()


async def _stored(request: Request, video_id: str) -> StoredVideo:
    return await _view(request).video(video_id)


def _view(request: Request) -> StoreView:
    return state_of(request).store_of(request, request.query_params.get("store", ""))


def _source(stored: StoredVideo) -> Path | None:
    """Return the first of a video's files that is as it was indexed, None where there is no file.

    Raises:
        ApiError: There are only others.
    """
    files = [name for name in stored.paths if Path(name).is_file()]
    for name in files:
        if holds_video(name, stored.video.video_id):
            return Path(name)
    if files:
        message = "The video file has changed since it was indexed; index it again."
        raise ApiError(409, "source_changed", message)
    return None


async def _needed(stored: StoredVideo) -> Path:
    path = await asyncio.to_thread(_source, stored)
    if path is None:
        raise ApiError(404, "source_missing", "The video file is no longer at its place.")
    return path
