"""Storyboards: sheets of a video's stored pictures, and the WebVTT file that says which is when.

One request brings a hundred pictures, so that a page shows any moment without asking again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from longvid.decode.clips import join_sheet
from longvid.server import openapi_fields as fields
from longvid.server.api_errors import ApiError
from longvid.server.media import IMMUTABLE, cached_file, vtt_clock
from longvid.server.state import state_of
from longvid.store import Store, stored_picture_times, stored_pictures

router = APIRouter(prefix="/api/videos")
_COLUMNS, _ROWS = 10, 10
_CELL = (160, 90)
_A_SHEET = _COLUMNS * _ROWS


@router.get("/{video_id}/storyboard.vtt", openapi_extra=fields.query(store="string"))
async def storyboard(request: Request, video_id: str) -> Response:
    """Say where in which sheet the picture of each moment is, as players read it."""
    view = state_of(request).store_of(request, request.query_params.get("store", ""))
    stored = await view.video(video_id)
    name = stored.video.video_id
    times = await asyncio.to_thread(stored_picture_times, view.open(), name)
    text = storyboard_text(times, stored.video.end_seconds, f"?store={quote(view.name)}")
    return Response(text, media_type="text/vtt")


def storyboard_text(times: Sequence[float], end_seconds: float, query: str) -> str:
    """Return a WebVTT file; each picture is shown until the next.

    Args:
        times: Of the pictures, seconds.
        end_seconds: Of the video.
        query: Appended to the address of each sheet.

    >>> print(storyboard_text([0.0, 8.0], 12.0, "").split("\\n\\n")[2].strip())
    00:00:08.000 --> 00:00:12.000
    storyboard/0.webp#xywh=160,0,160,90
    """
    width, height = _CELL
    blocks = ["WEBVTT"]
    ends = [*times[1:], max(end_seconds, times[-1] + 0.001)] if times else []
    for number, (start, end) in enumerate(zip(times, ends, strict=True)):
        sheet, place = divmod(number, _A_SHEET)
        left, top = place % _COLUMNS * width, place // _COLUMNS * height
        blocks.append(
            f"{vtt_clock(start)} --> {vtt_clock(end)}\n"
            f"storyboard/{sheet}.webp{query}#xywh={left},{top},{width},{height}"
        )
    return "\n\n".join(blocks) + "\n"


@router.get("/{video_id}/storyboard/{number}.webp", openapi_extra=fields.query(store="string"))
async def sheet(request: Request, video_id: str, number: str) -> FileResponse:
    """Return one sheet: ten rows of ten pictures, 160 by 90 pixels each."""
    state = state_of(request)
    view = state.store_of(request, request.query_params.get("store", ""))
    name = (await view.video(video_id)).video.video_id
    store = view.open()
    times = await asyncio.to_thread(stored_picture_times, store, name)
    first = int(number) * _A_SHEET if number.isdecimal() and len(number) < 6 else -1
    wanted = times[first : first + _A_SHEET] if 0 <= first < len(times) else []
    if not wanted:
        raise ApiError(404, "picture_not_found", "The storyboard has no such sheet.")
    # Indexed again with other pictures, the sheet is another one.
    digest = hashlib.blake2b(repr(wanted).encode(), digest_size=8).hexdigest()
    target = await cached_file(
        state, f"{name}-{digest}.webp", lambda target: _write(store, name, wanted, target)
    )
    return FileResponse(target, media_type="image/webp", headers=IMMUTABLE)


def _write(store: Store, video_id: str, times: Sequence[float], target: Path) -> None:
    pictures = stored_pictures(store, video_id, times)
    join_sheet([picture.jpeg for picture in pictures], _COLUMNS, _CELL, target)
