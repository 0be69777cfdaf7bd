"""What may be fetched: the protocols, and addresses behind names and redirects."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from longvid.fetch_guard import filesystem_options, is_public
from longvid.remote_files import file_state, remote_file

pytest.importorskip("aiohttp")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/a.mp4", "the protocol http is not fetched"),
        ("github://owner:repo@main/a.mp4", "the protocol github is not fetched"),
        ("ftp://host/a.mp4", "the protocol ftp is not fetched"),
        ("simplecache::https://host/a.mp4", "chained protocols"),
        ("zip://a.mp4::s3://bucket/b.zip", "chained protocols"),
        ("https://host/a.mp4", "only if LONGVID_ALLOW_HTTPS=1"),
        ("memory://a.mp4", "the protocol memory is not fetched"),
        ("HTTP://host/a.mp4", "the protocol http is not fetched"),
    ],
)
def test_other_protocols_are_refused_in_one_sentence(uri: str, reason: str) -> None:
    with pytest.raises(OSError, match=reason):
        remote_file(uri)


@pytest.mark.parametrize("uri", ["s3://bucket/a.mp4", "gs://bucket/a.mp4", "az://box/a.mp4"])
def test_buckets_are_where_the_settings_say(uri: str) -> None:
    assert filesystem_options(uri) == {}


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "224.0.0.1", "::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1"),
        *("64:ff9b::a9fe:a9fe", "2002:7f00:1::", "localhost", ""),
    ],
)
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server on loopback; it counts the requests that reach it."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.server.reached += 1  # type: ignore[attr-defined]  # set below
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.reached = 0  # type: ignore[attr-defined]  # of this test
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "films.example"])
def test_a_name_that_leads_to_a_private_address_is_refused(
    host: str, server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the name: what counts is the address that a connection is made to."""
    resolve = socket.getaddrinfo

    def to_loopback(name: str, *arguments: object, **named: object) -> object:
        target = "127.0.0.1" if name == "films.example" else name
        return resolve(target, *arguments, **named)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(socket, "getaddrinfo", to_loopback)
    monkeypatch.setenv("LONGVID_ALLOW_HTTPS", "1")
    with pytest.raises(OSError):
        file_state(f"https://{host}:{server.server_port}/a.mp4")
    assert server.reached == 0  # type: ignore[attr-defined]


def test_a_redirect_to_a_private_address_is_refused(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first server is let through as if it were public; where it redirects to is not."""
    import asyncio

    from longvid import fetch_guard

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.2:{server.server_port}/a.mp4")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    first = ThreadingHTTPServer(("127.0.0.1", 0), Redirect)
    thread = threading.Thread(target=first.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setattr(fetch_guard, "is_public", lambda address: address == "127.0.0.1")

    async def fetch() -> None:
        async with await fetch_guard.public_client() as client:
            await client.get(f"http://127.0.0.1:{first.server_port}/a.mp4")

    with pytest.raises(OSError, match=r"127\.0\.0\.2"):
        asyncio.run(fetch())
    assert server.reached == 0  # type: ignore[attr-defined]
    first.shutdown()
    first.server_close()
