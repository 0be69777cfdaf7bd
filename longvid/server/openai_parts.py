"""Parts of OpenAI's messages: text, videos, files, and images as the frames of a clip."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longvid.server.api_errors import ApiError
from longvid.server.settings import Limits

_VIDEO_DATA = re.compile(r"data:(video/[\w.+-]+);base64,", re.ASCII)
_IMAGE_DATA = re.compile(r"data:(image/[\w.+-]+);base64,", re.ASCII)
#: vLLM's list of frames: one data URL, JPEG files with commas between them.
_FRAMES_DATA = "data:video/jpeg;base64,"
_SAMPLING = ("fps", "max_frames", "num_frames")
_MOST_FPS = 60.0


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image of a message.

    Args:
        url: Where it is fetched from, "" for one that was sent.
        data: The bytes of one that was sent.
    """

    url: str
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class VideoPart:
    """A video named in a message.

    Args:
        kind: "stored" (longvid://ID), "file" (an upload), "url" (http, https, file), "data" or
            "images" (a clip whose frames they are).
        value: The id, the file id, or the URL.
        data: The bytes of a "data" part.
        media_type: Of a "data" part.
        images: Of an "images" part.
        fps: How many of the images are a second.
    """

    kind: str
    value: str = ""
    data: bytes = b""
    media_type: str = ""
    images: tuple[ImagePart, ...] = ()
    fps: float = 1.0


def parse_part(part: Any, where: str, limits: Limits) -> VideoPart | ImagePart | str:
    """Read one part.

    Raises:
        ApiError: 400 or 413 with the field that is wrong.
    """
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("text", "input_text"):
        return require_text(part.get("text", ""), where)
    if kind in ("image_url", "input_image"):
        value = part.get("image_url")
        return _image(value.get("url") if isinstance(value, Mapping) else value, where, limits)
    if kind in ("video_url", "video"):
        value = part.get(kind)
        if isinstance(value, Sequence) and not isinstance(value, str):
            images = tuple(
                _image(url, f"{where}.{kind}[{place}]", limits) for place, url in enumerate(value)
            )
            return VideoPart("images", images=images, fps=parse_fps(part.get("fps", 1.0), where))
        inner = value if isinstance(value, Mapping) else {}
        for name in _SAMPLING:
            if name in inner or name in part:
                raise wrong(
                    "The store decides how videos are sampled; index with another "
                    "--set sample.fps to change it.",
                    f"{where}.{name}",
                    "sampling_differs",
                )
        return _video(inner.get("url") if isinstance(value, Mapping) else value, where, limits)
    if kind in ("file", "input_file"):
        inner = part.get("file", part)
        file_id = inner.get("file_id") if isinstance(inner, Mapping) else None
        if not isinstance(file_id, str):
            raise wrong("A file part needs the file_id of an upload.", where, "file_not_found")
        return VideoPart("file", file_id)
    if kind == "input_audio":
        raise wrong("Sound alone is not read; send a video.", where, "not_supported")
    raise wrong(
        f"Unknown part type {str(kind)[:80]!r}; known are text, video_url, image_url and file.",
        where,
        "unknown_parameter",
    )


def parse_fps(value: Any, where: str) -> float:
    """Read how many images of a list are a second.

    Raises:
        ApiError: It is no such number.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0.01 <= value <= _MOST_FPS:
        raise wrong(f"fps must be a number from 0.01 to {_MOST_FPS:g}.", f"{where}.fps")
    return float(value)


def _video(url: Any, where: str, limits: Limits) -> VideoPart:
    if not isinstance(url, str) or not url:
        raise wrong("A video part needs a url.", where, "video_url_invalid")
    if url.startswith("longvid://"):
        return VideoPart("stored", url.removeprefix("longvid://"))
    if url.startswith(_FRAMES_DATA):
        encoded = url.removeprefix(_FRAMES_DATA).split(",")
        images = (_decoded(one, where, limits.image_bytes, "An image") for one in encoded)
        return VideoPart("images", images=tuple(ImagePart("", data) for data in images))
    matched = _VIDEO_DATA.match(url)
    if matched:
        data = _decoded(url[matched.end() :], where, limits.data_url_bytes, "A video")
        return VideoPart("data", data=data, media_type=matched.group(1))
    if url.startswith(("http://", "https://", "file://")):
        return VideoPart("url", url)
    raise wrong(
        "A video url begins with longvid://, data:video/…;base64, https:// or file://.",
        where,
        "video_url_invalid",
    )


def _image(url: Any, where: str, limits: Limits) -> ImagePart:
    if not isinstance(url, str) or not url:
        raise wrong("An image part needs a url.", where, "image_url_invalid")
    matched = _IMAGE_DATA.match(url)
    if matched:
        return ImagePart("", _decoded(url[matched.end() :], where, limits.image_bytes, "An image"))
    if url.startswith(("http://", "https://")):
        return ImagePart(url)
    raise wrong(
        "An image url begins with data:image/…;base64, or https://.", where, "image_url_invalid"
    )


def _decoded(encoded: str, where: str, most_bytes: int, what: str) -> bytes:
    if len(encoded.rstrip("=")) * 3 // 4 > most_bytes:
        raise ApiError(
            413,
            "body_too_large",
            f"{what} inside a request may have {most_bytes} bytes; upload videos with /v1/files.",
            where,
        )
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong("The data URL is not valid base64.", where, "video_url_invalid") from error
    if not data:
        raise wrong("The data URL is empty.", where, "video_url_invalid")
    return data


def require_text(value: Any, where: str) -> str:
    """Return a text that can be encoded.

    Raises:
        ApiError: It is none.
    """
    if not isinstance(value, str):
        raise wrong(f"{where} must be text.", where)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise wrong(f"{where} is not valid Unicode.", where) from error
    return value


def wrong(sentence: str, param: str, code: str = "invalid_value") -> ApiError:
    """Make the error for a field that is wrong."""
    return ApiError(400, code, sentence, param or None)


def refuse_unknown(given: Iterable[str], known: Collection[str], where: str = "") -> None:
    """Refuse a field that nothing would read.

    Args:
        given: Names of the fields.
        known: Those that are read.
        where: What stands before a field's name.

    Raises:
        ApiError: 400 with the field.
    """
    for name in given:
        if name not in known:
            field = f"{where}{name[:80]}"
            sentence = f"Unknown field {field!r}; known are {', '.join(sorted(known))}."
            raise wrong(sentence, field, "unknown_parameter")
