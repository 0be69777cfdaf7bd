"""One chat completion of an OpenAI-compatible server, streamed, with a deadline that holds.

This module speaks the protocol and names what goes wrong; it knows no video and no question.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from longvid.errors import ModelError
from longvid.llm.chat_reply import ContentError, Reply, Stream

_MOST_LINE_BYTES = 1 << 20
_MOST_REPLY_CHARACTERS = 1 << 20
_MOST_WAIT_SECONDS = 60.0
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)


class ServerFault(ModelError):
    """A call gave no answer; the sentence says why.

    Args:
        sentence: Why.
        again: Whether another attempt may go better.
        wait_seconds: How long the server asked to be left alone.
        status: Of the reply, 0 where there was none.
        said: What the server said itself.
    """

    def __init__(
        self,
        sentence: str,
        *,
        again: bool = False,
        wait_seconds: float = 0.0,
        status: int = 0,
        said: str = "",
    ) -> None:
        super().__init__(sentence)
        self.again = again
        self.wait_seconds = wait_seconds
        self.status = status
        self.said = said


@dataclass(frozen=True, slots=True)
class ChatServer:
    """One model of one server.

    Args:
        url: Of the API, up to and with its version.
        model: As the server names it.
        key: Sent as a bearer token; "" sends none.
        key_variable: Where the key came from, for sentences.
        timeout_seconds: For one call, from connecting to the end of the reply.
        retries: Further attempts after one that failed in passing.
        backoff_seconds: Before the first of them, doubled before each further one.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    key_variable: str = "OPENAI_API_KEY"
    timeout_seconds: float = 120.0
    retries: int = 3
    backoff_seconds: float = 0.5

    def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        settings: Mapping[str, Any],
        progress: Callable[[str], bool] = lambda text: True,
    ) -> Reply:
        """Return the reply to a conversation.

        Args:
            messages: As the protocol has them.
            settings: Further fields of the request.
            progress: Hears the text so far; false ends the reply there.

        Raises:
            ServerFault: No reply after all attempts, or the server refuses such calls.
        """
        body = {
            "model": self.model,
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            **settings,
        }
        data = json.dumps(body).encode()
        wait = self.backoff_seconds
        for attempt in range(self.retries + 1):
            try:
                return self._call(data, progress)
            except ServerFault as fault:
                if not fault.again or attempt == self.retries:
                    raise
                time.sleep(min(max(wait, fault.wait_seconds), _MOST_WAIT_SECONDS))
                wait *= 2
        raise ServerFault("The server was never asked; llm.retries must not be negative.")

    def _call(self, data: bytes, progress: Callable[[str], bool]) -> Reply:
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout_seconds)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        late = threading.Event()
        watch: threading.Timer | None = None
        stream = Stream(time.perf_counter())
        opened = contextlib.ExitStack()
        opened.callback(connection.close)
        try:
            connection.connect()
            # A socket's own timeout starts anew with every byte; a server that drips would hold
            # the call for ever. So the socket is shut from outside when the time is up.
            watch = threading.Timer(self.timeout_seconds, _shut, (connection.sock, late))
            watch.daemon = True
            watch.start()
            connection.request("POST", parts.path.rstrip("/") + "/chat/completions", data, headers)
            response = opened.enter_context(connection.getresponse())
            if response.status != 200:
                raise self._refused(response)
            if "json" in response.headers.get("Content-Type", ""):
                self._take(self._parsed(response.read(_MOST_REPLY_CHARACTERS)), stream)
                stream.finished = True
                reply = self._ended(stream)
                progress(reply.text)
                return reply
            for event in self._events(response, stream):
                before = len(stream.text)
                self._take(event, stream)
                if len(stream.text) > before and not progress(stream.whole_text()):
                    return stream.reply(stopped=True)
            if late.is_set():  # a connection that was shut looks like a reply that ended
                raise TimeoutError
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failed(error, late.is_set(), stream) from error
        finally:
            if watch is not None:
                watch.cancel()
            opened.close()
        if not stream.finished:
            raise ServerFault(
                f"The server {self.url} broke off in the middle of an answer, after "
                f"{len(stream.whole_text())} characters; ask again, or look at its log.",
                again=True,
            )
        return self._ended(stream)

    def _ended(self, stream: Stream) -> Reply:
        if not stream.whole_text().strip():
            raise ServerFault(
                f"The model {self.model!r} of the server {self.url} gave no answer: "
                f"{self._line(stream.why_empty())}."
            )
        return stream.reply()

    def _events(
        self, response: http.client.HTTPResponse, stream: Stream
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the events of a stream until its end mark or its end."""
        while line := response.readline(_MOST_LINE_BYTES):
            text = line.decode(errors="replace").strip()
            if not text.startswith("data:"):
                continue  # comments and names of events
            payload = text.removeprefix("data:").strip()
            if payload == "[DONE]":
                stream.finished = True
                return
            yield self._parsed(payload.encode())

    def _take(self, event: Mapping[str, Any], stream: Stream) -> None:
        """Take one event in, or a whole reply."""
        if event.get("error"):
            raise ServerFault(
                f"The server {self.url} reports an error in the middle of an answer: "
                f"{self._message(event)}.",
                again=True,
            )
        try:
            stream.take(event)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            why = (
                self.masked(str(error)) if isinstance(error, ContentError) else type(error).__name__
            )
            raise ServerFault(
                f"The server {self.url} answered with no chat completion that can be read "
                f"({why}); it must speak OpenAI's protocol."
            ) from error
        stream.model = self.masked(stream.model)
        if sum(map(len, stream.text)) > _MOST_REPLY_CHARACTERS:
            raise ServerFault(
                f"The server {self.url} answered with more than {_MOST_REPLY_CHARACTERS} "
                "characters; set llm.max_new_tokens."
            )

    def _refused(self, response: http.client.HTTPResponse) -> ServerFault:
        """Name a reply that is none."""
        status = response.status
        text = self._error_text(response.read(1 << 16))
        tail = f" It says: {text}" if text else ""
        if status in (401, 403):
            have = f"refuses the key in {self.key_variable}" if self.key else "wants a key"
            sentence = (
                f"The server {self.url} {have} (status {status}); set {self.key_variable} in the "
                f"environment.{tail}"
            )
        elif status == 404:
            sentence = (
                f"The server {self.url} knows no model {self.model!r}, or is no OpenAI-compatible "
                f"server; check llm.url and llm.model.{tail}"
            )
        elif status == 429:
            sentence = (
                f"The server {self.url} limits the rate of questions, or the account's quota is "
                f"used up (status 429); wait, or ask fewer at a time (llm.num_parallel).{tail}"
            )
        else:
            sentence = f"The server {self.url} refuses the question with status {status}.{tail}"
        again = status in _AGAIN
        wait = _wait_seconds(response.headers.get("Retry-After", ""))
        return ServerFault(sentence, again=again, wait_seconds=wait, status=status, said=text)

    def _failed(self, error: Exception, late: bool, stream: Stream) -> ServerFault:
        if late or isinstance(error, TimeoutError):
            got = f" {len(stream.whole_text())} characters came." if stream.text else ""
            return ServerFault(
                f"The server {self.url} did not answer within {self.timeout_seconds:g} s; raise "
                f"llm.timeout_seconds, or look at its log.{got}",
                again=True,
            )
        if isinstance(error, (ConnectionRefusedError, socket.gaierror)):
            return ServerFault(
                f"No server listens at {self.url} ({error}); start it, or check llm.url.",
                again=True,
            )
        return ServerFault(
            f"The connection to {self.url} failed: "
            f"{self.masked(str(error)) or type(error).__name__}.",
            again=True,
        )

    def masked(self, text: str) -> str:
        """Return what a server said without the key, which some repeat."""
        # What is shorter than this stands in place of a key ("x") and in many words.
        return text.replace(self.key, "…") if len(self.key) >= 4 else text

    def _parsed(self, data: bytes) -> Mapping[str, Any]:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError) as error:
            said = self.masked(data.decode(errors="replace"))[:60]
            raise ServerFault(
                f"The server {self.url} sent something that is not JSON ({said!r}).", again=True
            ) from error
        if not isinstance(event, dict):
            raise ServerFault(f"The server {self.url} sent {type(event).__name__}, not an object.")
        return event

    def _message(self, event: Mapping[str, Any]) -> str:
        error = event.get("error")
        text = error.get("message") if isinstance(error, dict) else error
        said = text or event.get("message") or event.get("detail") or ""
        return self._line(str(said))

    def _error_text(self, data: bytes) -> str:
        """Return what an error reply says, in one line."""
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return self._line(data.decode(errors="replace"))
        return self._message(event) if isinstance(event, dict) else ""

    def _line(self, text: str) -> str:
        return " ".join(self.masked(text).split())[:300]


def _shut(opened: socket.socket, late: threading.Event) -> None:
    late.set()
    # A socket that was closed in the meantime is what was wanted.
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


def _wait_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
