"""The one fetch of the server: which URLs it refuses, whatever their spelling."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("aiohttp", reason="install longvid[server]")

from longvid.server.fetch_process import FetchRequest, Refused, fetch


def request(url: str, domains: tuple[str, ...] | None = None) -> FetchRequest:
    return FetchRequest(url, domains, 1000, 2, 2.0, 2.0, 5.0)


def refusal(url: str, target: Path, domains: tuple[str, ...] | None = None) -> Refused:
    with pytest.raises(Refused) as refused:
        asyncio.run(fetch(request(url, domains), str(target)))
    return refused.value


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """A socket on every address of this machine; nobody may connect to it."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        server.settimeout(0.0)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


_PRIVATE = st.one_of(
    *(
        st.ip_addresses(v=4, network=network)
        for network in (
            *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
            *("169.254.0.0/16", "100.64.0.0/10", "224.0.0.0/4", "0.0.0.0/8", "240.0.0.0/4"),
        )
    )
)


def _spellings(address: ipaddress.IPv4Address) -> list[str]:
    number, octets = int(address), str(address).split(".")
    return [
        str(address),
        str(number),
        hex(number),
        ".".join(f"{int(octet):#o}" for octet in octets).replace("0o", "0"),
        ".".join(hex(int(octet)) for octet in octets),
        f"{octets[0]}.{number & 0xFFFFFF}",
        f"[::ffff:{address}]",
        f"[64:ff9b::{address}]",
        f"{address}.",
        f"user@{address}",
    ]


@settings(max_examples=60, deadline=None)
@given(_PRIVATE, st.integers(0, 9), st.sampled_from(("http", "https")))
def test_private_addresses_are_refused_in_every_spelling(
    listener: socket.socket,
    tmp_path_factory: pytest.TempPathFactory,
    address: ipaddress.IPv4Address,
    spelling: int,
    scheme: str,
) -> None:
    port = listener.getsockname()[1]
    host = _spellings(address)[spelling]
    refused = refusal(f"{scheme}://{host}:{port}/a.mp4", tmp_path_factory.getbasetemp() / "file")
    assert refused.status in (400, 502, 504)


@pytest.mark.parametrize("host", ["localhost", "localhost.", "LOCALHOST", "[::1]", "0"])
def test_names_of_this_machine_are_refused(
    host: str, listener: socket.socket, tmp_path: Path
) -> None:
    refusal(f"http://{host}:{listener.getsockname()[1]}/a.mp4", tmp_path / "file")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://films.example.org/a.mp4", True),
        ("https://FILMS.example.org./a.mp4", True),
        ("https://example.org/a.mp4", False),
        ("https://films.example.org.evil.net/a.mp4", False),
        ("https://evil.net/films.example.org", False),
        ("https://evil.net#films.example.org", False),
        ("https://evil.net\\@films.example.org/a", False),
    ],
)
def test_only_hosts_on_the_list_are_asked(
    url: str, allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> object:
        raise socket.gaierror("no names here")

    monkeypatch.setattr(socket, "getaddrinfo", none)
    refused = refusal(url, tmp_path / "file", ("*.example.org",))
    assert (refused.code == "fetch_failed") == allowed
    assert allowed or refused.code in ("url_not_allowed", "video_url_invalid")


@pytest.mark.parametrize("url", ["", "ftp://a/b", "file:///etc/passwd", "//a/b", "http://", "x y"])
def test_what_is_no_web_address_is_refused(url: str, tmp_path: Path) -> None:
    assert refusal(url, tmp_path / "file").code == "video_url_invalid"


def test_a_refusal_names_no_address(listener: socket.socket, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp4"
    assert str(refusal(url, tmp_path / "file")) == "The URL leads to an address that is not public."
