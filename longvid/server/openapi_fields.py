"""What `/openapi.json` says of requests: their bodies, query strings and errors.

The routes read requests by hand, so that each field gets its own sentence; here are their fields
for people and for programs that generate clients.
"""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_SPAN = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_TAGS = {"type": "object", "additionalProperties": _TEXT}
_BYTES = {"type": "string", "format": "binary"}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _body(schema: dict[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    if media_type == "application/json":  # other fields of a form are not looked at
        schema = {**schema, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def names_of(body: dict[str, Any]) -> list[str]:
    """Return the fields of a JSON body that is declared here."""
    schema = body["requestBody"]["content"]["application/json"]["schema"]
    return list(schema["properties"])


def query(**fields: str) -> dict[str, Any]:
    """Declare fields of a query string.

    Args:
        fields: Name -> JSON type; "!" after it makes the field required.
    """
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": kind.endswith("!"),
                "schema": {"type": kind.rstrip("!")},
            }
            for name, kind in fields.items()
        ]
    }


_URL = {"oneOf": [_TEXT, _object(("url",), url=_TEXT)]}
_PARTS = {
    "type": "array",
    "items": {
        "oneOf": [
            _object(("type", "text"), type={"const": "text"}, text=_TEXT),
            _object(("type", "video_url"), type={"const": "video_url"}, video_url=_URL),
            _object(("type", "image_url"), type={"const": "image_url"}, image_url=_URL),
            _object(
                ("type", "video"),
                type={"const": "video"},
                video={"oneOf": [_TEXT, _TEXTS]},
                fps={"type": "number"},
            ),
            _object(
                ("type", "file"), type={"const": "file"}, file=_object(("file_id",), file_id=_TEXT)
            ),
        ]
    },
}
_MESSAGE = _object(
    ("role",),
    role={"enum": ["system", "developer", "user", "assistant"]},
    content={"oneOf": [_TEXT, _PARTS, {"type": "null"}]},
)
_MESSAGES = {"type": "array", "items": _MESSAGE, "minItems": 1}
_EXTENSION = {
    **_object(
        budget={"type": "integer", "minimum": 1},
        videos=_TEXTS,
        store=_TEXT,
        citations={"enum": ["none", "inline"]},
        time_range=_SPAN,
        choices=_TEXTS,
        fps={"type": "number"},
    ),
    "additionalProperties": False,
}
_HISTORY = {"type": "array", "items": {**_TEXTS, "minItems": 2, "maxItems": 2}}

CHAT = _body(
    _object(
        ("messages",),
        model=_TEXT,
        messages=_MESSAGES,
        stream={"type": "boolean"},
        stream_options=_object(include_usage={"type": "boolean"}),
        max_tokens={"type": "integer", "minimum": 1},
        max_completion_tokens={"type": "integer", "minimum": 1},
        temperature={"type": "number"},
        top_p={"type": "number"},
        seed={"type": "integer"},
        n={"const": 1},
        user=_TEXT,
        metadata={"type": "object"},
        store={"type": "boolean"},
        longvid=_EXTENSION,
    )
)
DECISIONS = _body(
    _object(
        ("questions",),
        model=_TEXT,
        input={"oneOf": [_TEXT, _PARTS, _MESSAGES]},
        questions={
            "type": "array",
            "minItems": 1,
            "items": _object(
                ("type", "question"),
                type={"enum": ["predicate", "choice", "score"]},
                question=_TEXT,
                choices=_TEXTS,
                levels={"type": "integer", "minimum": 2, "maximum": 10},
            ),
        },
        longvid=_EXTENSION,
        user=_TEXT,
        metadata={"type": "object"},
    )
)
ASK = _body(
    _object(
        ("question",),
        question=_TEXT,
        store=_TEXT,
        videos=_TEXTS,
        choices=_TEXTS,
        budget={"type": "integer", "minimum": 1},
        history=_HISTORY,
        time_range=_SPAN,
        tags=_TAGS,
        stream={"type": "boolean"},
    )
)
SEARCH = _body(
    _object(
        ("text",),
        text=_TEXT,
        store=_TEXT,
        video=_TEXT,
        top_k={"type": "integer", "minimum": 1, "maximum": 1000},
        time_range=_SPAN,
        tags=_TAGS,
    )
)
TAGS = _body(_object(("tags",), tags=_TAGS, store=_TEXT))
VIDEO = _body(_object(file_id=_TEXT, path=_TEXT, url=_TEXT, store=_TEXT))
SESSION = _body(_object(("key",), key=_TEXT))
FILE = _body(_object(("file",), file=_BYTES, purpose=_TEXT), "multipart/form-data")
PART = _body(_object(("data",), data=_BYTES), "multipart/form-data")
UPLOAD = _body(
    _object(
        ("filename", "bytes"),
        filename=_TEXT,
        bytes={"type": "integer", "minimum": 1},
        mime_type=_TEXT,
        purpose=_TEXT,
    )
)
COMPLETE = _body(_object(("part_ids",), part_ids=_TEXTS, md5=_TEXT))

#: Every error has this form.
ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "What was wrong, in one sentence.",
        "content": {
            "application/json": {
                "schema": _object(
                    ("error",),
                    error=_object(
                        ("message", "type", "param", "code"),
                        message=_TEXT,
                        type=_TEXT,
                        param={"type": ["string", "null"]},
                        code=_TEXT,
                    ),
                )
            }
        },
    }
}
