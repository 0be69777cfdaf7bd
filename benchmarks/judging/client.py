"""Ask any OpenAI-compatible endpoint for one chat completion, with a deadline that holds."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
import tenacity

from benchmarks.harness.errors import JudgeError

_MOST_BYTES = 1 << 20
#: The endpoint takes no calls at all with this key, model or address.
_HOPELESS = {401, 403, 404, 405}
#: This call is wrong, as one whose answer is too long; others may be right.
_WRONG_CALL = {400, 413, 422}


class CallFailed(Exception):
    """One call did not give an answer.

    Args:
        sentence: Why.
        wait_seconds: How long the server asked to be left alone, 0 if it did not say.
        again: Whether another attempt may do better.
    """

    def __init__(self, sentence: str, wait_seconds: float = 0.0, *, again: bool = True) -> None:
        super().__init__(sentence)
        self.wait_seconds = wait_seconds
        self.again = again


@functools.lru_cache(maxsize=4)
def _client(timeout_seconds: float) -> httpx2.Client:
    """Return the connections that all calls share.

    No proxy of the environment comes between, as a judge is often served at home.
    """
    return httpx2.Client(timeout=timeout_seconds, trust_env=False)


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
        backoff = tenacity.wait_exponential(self.backoff_seconds, self.timeout_seconds)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.wait_seconds if isinstance(error, CallFailed) else 0.0
            return min(max(backoff(state), asked), self.timeout_seconds)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, CallFailed) and e.again),
            stop=tenacity.stop_after_attempt(1 + self.retries),
            wait=wait,
            reraise=True,
        )
        return retrying(self._call, messages)

    def _call(self, messages: Sequence[Mapping[str, str]]) -> str:
        body = {
            "model": self.model,
            "messages": list(messages),
            "temperature": 0,
            "max_tokens": self.max_tokens,
        }
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        status, wait_seconds, data = self._post(body, headers)
        told = data[:200].decode(errors="replace").strip()
        if status in _HOPELESS:
            raise JudgeError(
                f"The judge at {self.base_url} refuses model {self.model!r} with status {status}: "
                f"{told}"
            )
        if status != 200:
            raise CallFailed(
                f"The judge answered with status {status}: {told}",
                wait_seconds,
                again=status not in _WRONG_CALL,
            )
        try:
            text = json.loads(data)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise CallFailed("The judge's answer is no chat completion.") from error
        if not isinstance(text, str):
            raise CallFailed("The judge's answer holds no text.")
        return text

    def _post(self, body: object, headers: Mapping[str, str]) -> tuple[int, float, bytes]:
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        end = time.monotonic() + self.timeout_seconds
        late = f"The judge did not answer within {self.timeout_seconds:g} s."
        data = bytearray()
        try:
            client = _client(self.timeout_seconds)
            with client.stream("POST", url, json=body, headers=dict(headers)) as response:
                # The client's own timeout starts anew with every byte; a server that drips would
                # hold the call for ever.
                for chunk in response.iter_bytes():
                    data += chunk
                    if time.monotonic() > end:
                        raise CallFailed(late)
                    if len(data) > _MOST_BYTES:
                        raise CallFailed("The judge's answer is longer than 1 MiB.", again=False)
                wait = response.headers.get("Retry-After", "0")
                return response.status_code, float(wait) if wait.isdigit() else 0.0, bytes(data)
        except httpx2.TimeoutException as error:
            raise CallFailed(late) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise CallFailed(f"The judge cannot be reached: {error}.") from error
