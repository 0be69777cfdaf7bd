"""Ask any OpenAI-compatible endpoint for one chat completion, with a deadline that holds."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.harness.errors import JudgeError

__all__ = ["CallFailed", "ChatClient"]

_MOST_BYTES = 1 << 20
_HOPELESS = {400, 401, 403, 404, 405, 422}


class CallFailed(Exception):
    """One call did not give an answer.

    Args:
        sentence: Why.
        wait_seconds: How long the server asked to be left alone, 0 if it did not say.
    """

    def __init__(self, sentence: str, wait_seconds: float = 0.0) -> None:
        super().__init__(sentence)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, slots=True)
class ChatClient:
    """One model of one endpoint.

    Args:
        base_url: Up to and including the version, such as http://127.0.0.1:8000/v1.
        model: As the endpoint calls it.
        key: Sent as a bearer token, "" for none.
        timeout_seconds: For one call, from the first byte sent to the last received.
        retries: Further attempts after a failed one.
        backoff_seconds: Waited before the first retry, doubled before each further one.
        max_tokens: Longest reply.
    """

    base_url: str
    model: str
    key: str = ""
    timeout_seconds: float = 60.0
    retries: int = 4
    backoff_seconds: float = 1.0
    max_tokens: int = 64

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise JudgeError(
                f"A judge needs an address such as http://127.0.0.1:8000/v1, got {self.base_url!r}."
            )

    def complete(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the reply's text.

        Raises:
            CallFailed: No reply after all retries.
            JudgeError: The endpoint refuses such calls altogether (key, model, address).
        """
        wait = self.backoff_seconds
        for attempt in range(self.retries + 1):
            try:
                return self._call(messages)
            except CallFailed as error:
                if attempt == self.retries:
                    raise
                time.sleep(min(max(wait, error.wait_seconds), self.timeout_seconds))
                wait *= 2
        raise CallFailed("The judge was never called; retries must not be negative.")

    def _call(self, messages: Sequence[Mapping[str, str]]) -> str:
        body = {
            "model": self.model,
            "messages": list(messages),
            "temperature": 0,
            "max_tokens": self.max_tokens,
        }
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        status, wait, data = self._post(json.dumps(body).encode(), headers)
        if status in _HOPELESS:
            raise JudgeError(
                f"The judge at {self.base_url} refuses model {self.model!r} with status {status}: "
                f"{data[:200].decode(errors='replace').strip()}"
            )
        if status != 200:
            raise CallFailed(f"The judge answered with status {status}.", wait)
        try:
            text = json.loads(data)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise CallFailed("The judge's answer is no chat completion.") from error
        if not isinstance(text, str):
            raise CallFailed("The judge's answer holds no text.")
        return text

    def _post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, float, bytes]:
        parts = urlsplit(self.base_url)
        path = parts.path.rstrip("/") + "/chat/completions"
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout_seconds)
        late = threading.Event()
        watch: threading.Timer | None = None
        try:
            connection.connect()
            # The socket's own timeout starts anew with every byte; a server that drips would hold
            # the call for ever. So the socket is shut from outside when the call's time is up.
            watch = threading.Timer(self.timeout_seconds, _cut, (connection.sock, late))
            watch.daemon = True
            watch.start()
            connection.request("POST", path, body, dict(headers))
            response = connection.getresponse()
            data = response.read(_MOST_BYTES)
            if late.is_set():  # a cut connection looks like a short reply
                raise TimeoutError
            wait = response.headers.get("Retry-After", "0")
            return response.status, float(wait) if wait.isdigit() else 0.0, data
        except (OSError, http.client.HTTPException, ssl.SSLError, ValueError) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise CallFailed(
                    f"The judge did not answer within {self.timeout_seconds:g} s."
                ) from error
            raise CallFailed(f"The judge cannot be reached: {error}.") from error
        finally:
            if watch is not None:
                watch.cancel()
            connection.close()


def _cut(opened: socket.socket, late: threading.Event) -> None:
    late.set()
    # A socket that was closed in the meantime is what was wanted.
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
