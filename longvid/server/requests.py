"""Bodies of requests, read under limits: JSON objects and files in forms."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from longvid.server.api_errors import ApiError
from longvid.server.openai_parts import refuse_unknown
from longvid.server.openapi_fields import names_of
from longvid.server.state import state_of

_CHUNK_BYTES = 1 << 20
#: Boundaries and fields of a form around its file.
_FORM_BYTES = 1 << 16


async def json_body(
    request: Request, most_bytes: int, declared: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the JSON object of a request.

    Args:
        request: The request.
        most_bytes: Larger bodies are refused while they arrive.
        declared: The body as `openapi_fields` has it, whose fields alone are taken; None for one
            that its own reader checks.

    Raises:
        ApiError: It is too large, not a JSON object, or has a field that nothing would read.
    """
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > most_bytes:
            raise ApiError(413, "body_too_large", f"A body may have {most_bytes} bytes.")
    try:
        body = json.loads(received, parse_constant=_no_constant)
        json.dumps(body, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", f"The body is not valid JSON: {error}.") from error
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_json", "The body must be a JSON object.")
    if declared is not None:
        refuse_unknown(body, names_of(declared))
    return body


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON value")


@asynccontextmanager
async def multipart_file(
    request: Request, field: str = "file"
) -> AsyncIterator[tuple[str, str, AsyncIterator[bytes]]]:
    """Give the file of a form: its name, the form's purpose, and its bytes.

    Args:
        request: The request.
        field: Name of the form's file field.

    Raises:
        ApiError: There is none, or it is too large.
    """
    limits = state_of(request).settings.limits
    most = (limits.part_bytes if field == "data" else limits.file_bytes) + _FORM_BYTES
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise ApiError(413, "file_too_large", f"More than {most} bytes were announced.")
    _count_bytes(request, most)
    try:
        async with request.form(max_files=1, max_fields=16) as form:
            file = form.get(field)
            if not isinstance(file, UploadFile):
                raise ApiError(400, "invalid_value", f"The form needs a file named {field}.", field)
            purpose = form.get("purpose")
            name = file.filename or ""
            yield name, purpose if isinstance(purpose, str) else "user_data", _chunks(file)
    except HTTPException as error:
        raise ApiError(400, "invalid_form", str(error.detail)) from error


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(_CHUNK_BYTES):
        yield chunk


def _count_bytes(request: Request, most: int) -> None:
    """Refuse a body while it arrives, whatever its header said of its length."""
    receive = request._receive
    total = 0

    async def counting() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > most:
            raise ApiError(413, "file_too_large", f"More than {most} bytes were sent.")
        return message

    request._receive = counting


def query_number(request: Request, name: str, default: float | None = None) -> float:
    """Return a finite number of the query string.

    Raises:
        ApiError: It is missing or none.
    """
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    try:
        number = float(text or "")
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e12:
        raise ApiError(400, "invalid_value", f"{name} must be a number.", name)
    return number
