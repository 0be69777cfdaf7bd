"""Who may ask: keys, browser sessions, roles, host and origin checks, and rates.

Everything but `/healthz`, `/readyz`, the page's own files and the login needs a key once a key file
is given. The check is a middleware around all routes, so that a new route is closed by default.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longvid.errors import ConfigError
from longvid.server.api_errors import ApiError
from longvid.server.settings import ServerSettings

ROLES = ("read", "user", "admin")
COOKIE = "longvid_session"
_SESSION_SECONDS = 12 * 3600.0
_SAFE = ("GET", "HEAD", "OPTIONS")
_OPEN = ("/healthz", "/readyz", "/", "/api/session", "/favicon.ico")
_OPEN_PREFIXES = ("/assets/", "/watch/")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; object-src 'none'; "
        "base-uri 'none'; frame-ancestors 'none'; img-src 'self' blob:; media-src 'self' blob:"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Key:
    """Somebody who may ask.

    Args:
        name: For logs and rates.
        role: "read" asks and watches; "user" also uploads and indexes; "admin" also deletes.
        stores: Names of stores; empty means all.
    """

    name: str
    role: str = "admin"
    stores: tuple[str, ...] = ()

    def may_use(self, store: str) -> bool:
        return not self.stores or store in self.stores


#: Everybody, where no key file is given: a loopback address only.
LOCAL = Key("local")


class Keys:
    """The keys of a key file, and the sessions opened with them.

    Args:
        path: TOML with `[[key]]` tables: name, sha256, role, stores. None lets everybody in.

    Raises:
        ConfigError: The file cannot be read, or a table of it is wrong.
    """

    def __init__(self, path: Path | None) -> None:
        self.open_to_all = path is None
        self._by_hash: dict[str, Key] = {} if path is None else _read_keys(path)
        self._sessions: dict[str, tuple[Key, float]] = {}

    def of_secret(self, secret: str) -> Key | None:
        """Return the key with this secret; every key is compared, whichever fits."""
        digest = hashlib.sha256(secret.encode()).hexdigest()
        found = None
        for known, key in self._by_hash.items():
            if hmac.compare_digest(known, digest):
                found = key
        return found

    def open_session(self, key: Key) -> str:
        """Return the cookie of a new session."""
        now = time.time()
        self._sessions = {c: kept for c, kept in self._sessions.items() if kept[1] > now}
        cookie = secrets.token_urlsafe(32)
        self._sessions[cookie] = (key, now + _SESSION_SECONDS)
        return cookie

    def of_session(self, cookie: str) -> Key | None:
        """Return the key that a session was opened with."""
        key, until = self._sessions.get(cookie, (None, 0.0))
        return key if until > time.time() else None

    def close_session(self, cookie: str) -> None:
        """Forget a session."""
        self._sessions.pop(cookie, None)


def _read_keys(path: Path) -> dict[str, Key]:
    try:
        tables = tomllib.loads(path.read_text()).get("key", [])
    except (OSError, ValueError) as error:
        raise ConfigError(f"The key file {path} cannot be read: {error}.") from error
    keys: dict[str, Key] = {}
    for table in tables if isinstance(tables, list) else []:
        name, digest = table.get("name"), table.get("sha256")
        role, stores = table.get("role", "user"), table.get("stores", [])
        if not isinstance(name, str) or not isinstance(digest, str) or len(digest) != 64:
            raise ConfigError(f"{path}: each [[key]] needs a name and the sha256 of its secret.")
        if role not in ROLES or not isinstance(stores, list):
            raise ConfigError(
                f"{path}: key {name!r} has role {role!r}; use {', '.join(ROLES)}, and a list of "
                "stores."
            )
        keys[digest.lower()] = Key(name, role, tuple(str(store) for store in stores))
    if not keys:
        raise ConfigError(f"The key file {path} names no [[key]].")
    return keys


class RateLimiter:
    """A token bucket for each name.

    Args:
        count, seconds: This many are allowed in that time, and at once.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._count = float(count)
        self._seconds = seconds
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, now: float | None = None) -> float:
        """Take one; returns 0.0, or after how many seconds there is one again."""
        now = time.monotonic() if now is None else now
        left, before = self._buckets.get(name, (self._count, now))
        left = min(self._count, left + (now - before) * self._count / self._seconds)
        if left < 1.0:
            self._buckets[name] = (left, now)
            return (1.0 - left) * self._seconds / self._count
        self._buckets[name] = (left - 1.0, now)
        return 0.0


class AuthMiddleware:
    """Lets a request through to the routes, with its key in `request.state.key`."""

    def __init__(self, app: ASGIApp, keys: Keys, settings: ServerSettings) -> None:
        self._app = app
        self._keys = keys
        self._header_bytes = settings.limits.header_bytes
        self._hosts = {"localhost", "127.0.0.1", "[::1]", settings.host, *settings.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req-{secrets.token_hex(8)}"

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                message = {**message, "headers": headers.raw}
            await send(message)

        connection = HTTPConnection(scope)
        try:
            self._check_head(scope)
            self._check_origin(connection, scope["method"])
            key = self._key(connection, scope["method"])
        except ApiError as error:
            await error.response()(scope, receive, with_headers)
            return
        scope.setdefault("state", {})
        scope["state"].update(key=key, request_id=request_id)
        await self._app(scope, receive, with_headers)

    def _check_head(self, scope: Scope) -> None:
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if size > self._header_bytes:
            raise ApiError(
                431,
                "headers_too_large",
                f"Headers may have {self._header_bytes} bytes, not {size}.",
            )

    def _check_origin(self, connection: HTTPConnection, method: str) -> None:
        """Refuse other host names (DNS rebinding) and other sites' pages (forged requests)."""
        host = connection.headers.get("host", "")
        name = host.rpartition(":")[0] if _has_port(host) else host
        if name not in self._hosts:
            raise ApiError(403, "host_not_allowed", "This host name is not served here.")
        if method in _SAFE:
            return
        site = connection.headers.get("sec-fetch-site")
        origin = connection.headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != host
        if foreign or (site is not None and site not in ("same-origin", "none")):
            raise ApiError(403, "origin_not_allowed", "Pages of other sites may not send this.")

    def _key(self, connection: HTTPConnection, method: str) -> Key | None:
        if self._keys.open_to_all:
            return LOCAL
        kind, _, secret = connection.headers.get("authorization", "").partition(" ")
        key = self._keys.of_secret(secret.strip()) if kind.lower() == "bearer" else None
        if key is None:
            cookie = connection.cookies.get(COOKIE)
            key = self._keys.of_session(cookie) if cookie else None
            if key is not None and method not in _SAFE and not _meant(connection.headers):
                raise ApiError(403, "origin_not_allowed", "Send the header X-Longvid: 1 with it.")
        path = connection.url.path
        if key is None and path not in _OPEN and not path.startswith(_OPEN_PREFIXES):
            raise ApiError(401, "invalid_api_key", "Give a valid key: Authorization: Bearer KEY.")
        return key


def _meant(headers: Headers) -> bool:
    return headers.get("sec-fetch-site") == "same-origin" or headers.get("x-longvid") == "1"


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


def key_of(request: Request) -> Key:
    """Return the key of a request, which the middleware has checked."""
    key: Key | None = request.state.key
    if key is None:
        raise ApiError(401, "invalid_api_key", "Give a valid key: Authorization: Bearer KEY.")
    return key


def require_role(request: Request, role: str) -> Key:
    """Return the key of a request whose role is at least this one.

    Raises:
        ApiError: 403.
    """
    key = key_of(request)
    if ROLES.index(key.role) < ROLES.index(role):
        raise ApiError(403, "role_not_allowed", f"This needs a key with the role {role}.")
    return key
