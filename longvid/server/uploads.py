"""OpenAI's file endpoints: whole files, and uploads in parts that go on after a break."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse

from longvid.server import openapi_fields as fields
from longvid.server.api_errors import ApiError
from longvid.server.auth import key_of, require_role
from longvid.server.requests import json_body, multipart_file
from longvid.server.state import state_of

router = APIRouter(prefix="/v1")


@router.post("/files", openapi_extra=fields.FILE)
async def create_file(request: Request) -> JSONResponse:
    """Take in a whole file."""
    state = state_of(request)
    key = require_role(request, "user")
    state.take_upload(key)
    async with multipart_file(request) as (filename, purpose, chunks):
        file = await state.files.write(key.name, filename, purpose, chunks)
    return JSONResponse(file.public())


@router.get("/files")
async def list_files(request: Request) -> JSONResponse:
    """List the files of the key."""
    files = state_of(request).files.of_key(key_of(request).name)
    data = [file.public() for file in files]
    return JSONResponse({"object": "list", "data": data, "has_more": False})


@router.get("/files/{file_id}")
async def retrieve_file(request: Request, file_id: str) -> JSONResponse:
    """Describe a file."""
    return JSONResponse(state_of(request).files.get(file_id, key_of(request).name).public())


@router.get("/files/{file_id}/content")
async def file_content(request: Request, file_id: str) -> FileResponse:
    """Return a file's bytes."""
    state = state_of(request)
    file = state.files.get(file_id, key_of(request).name)
    return FileResponse(state.files.path(file), filename=file.filename)


@router.delete("/files/{file_id}")
async def delete_file(request: Request, file_id: str) -> JSONResponse:
    """Delete a file; a video indexed from it stays in its store."""
    state = state_of(request)
    file = state.files.get(file_id, require_role(request, "user").name)
    state.files.delete(file)
    return JSONResponse({"id": file_id, "object": "file", "deleted": True})


@router.post("/uploads", openapi_extra=fields.UPLOAD)
async def create_upload(request: Request) -> JSONResponse:
    """Begin an upload in parts."""
    state = state_of(request)
    key = require_role(request, "user")
    state.take_upload(key)
    body = await json_body(request, state.settings.limits.body_bytes, fields.UPLOAD)
    filename, num_bytes = body.get("filename"), body.get("bytes")
    if not isinstance(filename, str) or not isinstance(num_bytes, int):
        raise ApiError(400, "invalid_value", "An upload needs a filename and its bytes.", "bytes")
    purpose = str(body.get("purpose", "user_data"))
    return JSONResponse(state.uploads.create(key.name, filename, num_bytes, purpose))


@router.get("/uploads/{upload_id}")
async def retrieve_upload(request: Request, upload_id: str) -> JSONResponse:
    """Say which parts have arrived, so that an upload can go on after a break."""
    return JSONResponse(state_of(request).uploads.get(upload_id, key_of(request).name))


@router.post("/uploads/{upload_id}/parts", openapi_extra=fields.PART)
async def add_part(request: Request, upload_id: str) -> JSONResponse:
    """Take in one part."""
    state = state_of(request)
    key = require_role(request, "user")
    async with multipart_file(request, field="data") as (_, _, chunks):
        part = await state.uploads.add_part(upload_id, key.name, chunks)
    return JSONResponse(part)


@router.post("/uploads/{upload_id}/complete", openapi_extra=fields.COMPLETE)
async def complete_upload(request: Request, upload_id: str) -> JSONResponse:
    """Join the parts."""
    state = state_of(request)
    key = require_role(request, "user")
    body = await json_body(request, state.settings.limits.body_bytes, fields.COMPLETE)
    part_ids, md5 = body.get("part_ids"), body.get("md5")
    if not isinstance(part_ids, list) or not all(isinstance(one, str) for one in part_ids):
        raise ApiError(400, "invalid_value", "part_ids must be a list of part ids.", "part_ids")
    checked = md5 if isinstance(md5, str) else None
    return JSONResponse(await state.uploads.complete(upload_id, key.name, part_ids, checked))


@router.post("/uploads/{upload_id}/cancel")
async def cancel_upload(request: Request, upload_id: str) -> JSONResponse:
    """Give an upload up."""
    return JSONResponse(
        state_of(request).uploads.cancel(upload_id, require_role(request, "user").name)
    )
