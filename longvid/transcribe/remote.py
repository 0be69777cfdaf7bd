"""Recognise speech on a server: `/v1/audio/transcriptions`, as OpenAI, vLLM and others offer it."""

from __future__ import annotations

import http.client
import io
import json
import os
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from longvid.errors import ConfigError, ModelError
from longvid.protocols import RUN_ONLY
from longvid.transcribe.recogniser import SAMPLE_RATE, SpeechReader
from longvid.transcribe.utterances import Utterance
from longvid.types import CheckpointRef

_ATTEMPTS = 3
_MAX_ANSWER_BYTES = 4_000_000
_AGAIN = (408, 409, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class RemoteSpeech:
    """Speech by a server that speaks OpenAI's protocol.

    Args:
        url: Of the API, up to and with /v1.
        model: As the server names it.
        language: ISO 639-1 code; "" lets the model tell. It chooses the sound track too.
        key_variable: Environment variable that holds the key, if the server wants one.
        timeout_seconds: For one span of speech.
    """

    source: ClassVar[Literal["speech"]] = "speech"

    url: str = "http://127.0.0.1:8000/v1"
    model: str = "whisper-1"
    language: str = ""
    key_variable: str = field(default="OPENAI_API_KEY", metadata=RUN_ONLY)
    timeout_seconds: float = field(default=120.0, metadata=RUN_ONLY)

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"remote needs a url of http or https, got {self.url!r}.")

    @property
    def sample_rate(self) -> int:
        return SAMPLE_RATE

    def identity(self) -> str:
        """Name the model as its server does; nobody can tell whether the server changes it."""
        return f"{self.url} {self.model}"

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return ()

    def setup(self, device: str = "cpu") -> SpeechReader:
        """Load the voice detector, which runs here: silence is not sent.

        Raises:
            ConfigError: silero-vad or onnxruntime is not installed.
        """
        return SpeechReader(_Client(self), self.language)


class _Client:
    def __init__(self, part: RemoteSpeech) -> None:
        self._part = part

    def __call__(self, samples: npt.NDArray[np.float32], /) -> Sequence[Utterance]:
        answer = self._post(_wave_file(samples))
        seconds = len(samples) / SAMPLE_RATE
        language = str(answer.get("language") or "")
        try:
            words = tuple(
                (float(word["start"]), float(word["end"]), str(word["word"]))
                for word in answer.get("words") or ()
            )
            segments = answer.get("segments") or ()
            if not segments:
                text = str(answer["text"])
                start, end = (words[0][0], words[-1][1]) if words else (0.0, seconds)
                return [Utterance(start, end, text, words, language=_code(language))]
            return [_utterance(segment, words, language) for segment in segments]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"The server {self._part.url} answered with no transcription that can be read "
                f"({type(error).__name__}: {error}); it must answer as verbose_json of OpenAI."
            ) from error

    def _post(self, sound: bytes) -> dict[str, Any]:
        part = self._part
        fields = {"model": part.model, "response_format": "verbose_json", "temperature": "0"}
        if part.language:
            fields["language"] = part.language
        pairs = [*fields.items()]
        pairs += [("timestamp_granularities[]", kind) for kind in ("word", "segment")]
        boundary = secrets.token_hex(16)
        body = _form(pairs, sound, boundary)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        key = os.environ.get(part.key_variable) if part.key_variable else None
        if key:
            headers["Authorization"] = f"Bearer {key}"
        url = part.url.rstrip("/") + "/audio/transcriptions"
        request = urllib.request.Request(url, body, headers, method="POST")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with urllib.request.urlopen(request, timeout=part.timeout_seconds) as response:
                    answer = json.loads(response.read(_MAX_ANSWER_BYTES))
                if isinstance(answer, dict):
                    return answer
                reason = "it is no JSON object"
            except urllib.error.HTTPError as error:
                reason = f"status {error.code}"
                if error.code not in _AGAIN:
                    break
            except (OSError, ValueError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
            if attempt < _ATTEMPTS:
                time.sleep(0.2 * attempt)
        raise ModelError(
            f"The server {part.url} gave no transcription: {reason}; check text source remote's "
            "url, model and key_variable."
        )


def _utterance(
    segment: dict[str, Any], words: Sequence[tuple[float, float, str]], language: str
) -> Utterance:
    start, end = float(segment["start"]), float(segment["end"])
    probability = segment.get("avg_logprob")
    inside = tuple(word for word in words if start <= (word[0] + word[1]) / 2 < end)
    return Utterance(
        start,
        end,
        str(segment["text"]),
        inside,
        None if probability is None else float(probability),
        float(segment.get("no_speech_prob") or 0.0),
        _code(language),
    )


def _code(language: str) -> str:
    """Return a code; OpenAI's servers write "english", whose first letters often are the code."""
    return language if len(language) in (2, 3) else {"english": "en"}.get(language.lower(), "")


def _wave_file(samples: npt.NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _form(fields: Sequence[tuple[str, str]], sound: bytes, boundary: str) -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="speech.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    return b"".join([*parts, head.encode(), sound, f"\r\n--{boundary}--\r\n".encode()])
