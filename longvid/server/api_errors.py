"""longvid's errors as HTTP answers in OpenAI's form: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import JSONResponse

from longvid.errors import (
    BudgetError,
    ConfigError,
    LongvidError,
    ModelError,
    QuestionError,
    StoreError,
)

_MOST_CHARS = 300
#: Absolute paths and addresses in memory: neither is a client's business.
_PATH = re.compile(r"(?<![\w:/.])/(?:[\w.@+-]+/)+([\w.@+-]*)")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,}\b")
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
#: Error class -> (status, code), the first that fits.
_STATUS: tuple[tuple[type[LongvidError], int, str], ...] = (
    (BudgetError, 400, "budget_too_large"),
    (QuestionError, 400, "question_refused"),
    (ModelError, 503, "model_unavailable"),
    (StoreError, 503, "store_unavailable"),
    (ConfigError, 400, "invalid_setting"),
)


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        code: A slug that programs can compare.
        message: One sentence for a person.
        param: The field that is wrong, or None.
        retry_after: Seconds after which trying again makes sense, or None.
        extra: More fields of the error object.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        retry_after: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = clean_sentence(message)
        self.param = param
        self.retry_after = retry_after
        self.extra = extra

    def body(self) -> dict[str, Any]:
        default = "invalid_request_error" if self.status < 500 else "server_error"
        kind = _TYPES.get(self.status, default)
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": {**error, **self.extra}}

    def response(self) -> JSONResponse:
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)


def api_error_of(error: LongvidError) -> ApiError:
    """Map an error of longvid."""
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            return ApiError(status, code, str(error))
    return ApiError(500, "internal_error", str(error))


def without_folders(text: str) -> str:
    """Return a text in which a path of this machine is the name at its end."""
    return _PATH.sub(r"\1", text)


def clean_sentence(text: str) -> str:
    """Return an error's first line without folders of this machine, at most 300 characters.

    >>> clean_sentence("/data/in/a.mp4 is broken at 0x7f3a11223344")
    'a.mp4 is broken at (address)'
    """
    lines = text.strip().splitlines() or ["The request failed."]
    sentence = _ADDRESS.sub("(address)", without_folders(lines[0]))
    return sentence if len(sentence) <= _MOST_CHARS else sentence[: _MOST_CHARS - 1] + "…"
