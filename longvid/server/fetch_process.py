"""The process that fetches one URL into one file; what came of it is one line of JSON.

    python -m longvid.server.fetch_process TARGET < request.json

Host names, sizes, redirects and deadlines are checked here; that an address is public is checked
where the connection is made, by `longvid.fetch_guard`.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longvid.fetch_guard import public_client
from longvid.server.lifeline import end_with_parent

_CHUNK_BYTES = 1 << 20
_REDIRECTS = (301, 302, 303, 307, 308)


class Refused(Exception):
    """A URL that is not fetched, and why.

    Args:
        status, code: Of the answer to the client.
        message: One sentence.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What is fetched, and within which limits.

    Args:
        url: http:// or https://.
        domains: Host names and patterns as `*.example.org`; None for any public one.
        most_bytes: Larger files are refused while they arrive.
        most_redirects: How many are followed.
        connect_seconds, idle_seconds, total_seconds: For a connection, between two pieces, in all.
    """

    url: str
    domains: tuple[str, ...] | None
    most_bytes: int
    most_redirects: int
    connect_seconds: float
    idle_seconds: float
    total_seconds: float


async def fetch(request: FetchRequest, target: str) -> dict[str, Any]:
    """Write the file behind a URL.

    Returns:
        num_bytes and media_type.

    Raises:
        Refused: It may not be fetched, or cannot be.
    """
    import aiohttp

    timeout = aiohttp.ClientTimeout(
        total=request.total_seconds,
        sock_connect=request.connect_seconds,
        sock_read=request.idle_seconds,
    )
    # No decompression: a small body must not become a large one.
    client = await public_client(
        timeout=timeout, auto_decompress=False, headers={"Accept-Encoding": "identity"}
    )
    async with client:
        try:
            return await _follow(client, request, target)
        except TimeoutError:
            raise Refused(504, "fetch_timeout", "The URL did not answer in time.") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Refused(502, "fetch_failed", _sentence(error)) from error


async def _follow(client: Any, request: FetchRequest, target: str) -> dict[str, Any]:
    url = _checked(request.url, request.domains)
    for _ in range(request.most_redirects + 1):
        async with client.get(url, allow_redirects=False) as response:
            if response.status not in _REDIRECTS:
                return await _save(response, request.most_bytes, target)
            place = response.headers.get("Location", "")
            url = _checked(str(url.join(_parsed(place))), request.domains)
    raise Refused(
        502, "fetch_failed", f"The URL redirects more than {request.most_redirects} times."
    )


def _parsed(text: str) -> Any:
    from yarl import URL

    try:
        return URL(text)
    except ValueError:
        raise Refused(400, "video_url_invalid", "This is not a valid URL.") from None


def _checked(text: str, domains: Sequence[str] | None) -> Any:
    """Return a URL as the client reads it, if its server may be asked."""
    url = _parsed(text)
    if url.scheme not in ("http", "https") or not url.host or url.user or url.password:
        raise Refused(
            400, "video_url_invalid", "A URL is http:// or https:// with a host and no user name."
        )
    host = url.host.lower().rstrip(".")
    if domains is not None and not any(fnmatch.fnmatchcase(host, name.lower()) for name in domains):
        raise Refused(403, "url_not_allowed", f"Nothing is fetched from {host[:80]} here.")
    return url


async def _save(response: Any, most_bytes: int, target: str) -> dict[str, Any]:
    if response.status != 200:
        raise Refused(502, "fetch_failed", f"The URL answered with status {response.status}.")
    too_large = Refused(413, "file_too_large", f"The file has more than {most_bytes} bytes.")
    if (response.content_length or 0) > most_bytes:
        raise too_large
    size = 0
    with open(target, "wb") as file:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            size += len(chunk)
            if size > most_bytes:
                raise too_large
            file.write(chunk)
    if not size:
        raise Refused(502, "fetch_failed", "The URL gave an empty file.")
    return {"num_bytes": size, "media_type": response.content_type or ""}


def _sentence(error: Exception) -> str:
    """Say why, without addresses of this network: a refusal is no map of it."""
    inner: BaseException | None = error
    while inner is not None:
        if "is no public address" in str(inner):
            return "The URL leads to an address that is not public."
        inner = inner.__cause__ or inner.__context__
    return "The URL could not be fetched."


async def fetch_as_data(wanted: dict[str, Any], target: str) -> dict[str, Any]:
    """Do as `fetch` for a request as plain data; a refusal is data too: status, code, message."""
    domains = wanted["domains"]
    request = FetchRequest(**{**wanted, "domains": None if domains is None else tuple(domains)})
    try:
        return await fetch(request, target)
    except Refused as error:
        return {"status": error.status, "code": error.code, "message": str(error)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch what standard input names."""
    [target] = sys.argv[1:] if arguments is None else arguments
    wanted = json.loads(sys.stdin.buffer.readline())
    end_with_parent()
    found = asyncio.run(fetch_as_data(wanted, target))
    print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
