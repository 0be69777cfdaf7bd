"""What may be fetched: a short list of protocols, and no address inside a private network.

A list of videos may come from anybody. Where a bucket is, is for the user's own settings to say (an
endpoint in the environment), so that s3, gs and az are allowed; https names its server itself, so
it has to be asked for, and its servers must have public addresses, whatever their names resolve to
and wherever they redirect.

    LONGVID_ALLOW_HTTPS=1            fetch https:// URIs
    LONGVID_ALLOW_PRIVATE_HOSTS=1    from private, loopback and link-local addresses too
"""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any

_PROTOCOLS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def filesystem_options(uri: str) -> dict[str, Any]:
    """Return the options with which fsspec may open a URI.

    Raises:
        OSError: It may not.
    """
    protocol = uri.partition("://")[0].lower()
    if "::" in uri:
        raise OSError(f"chained protocols are not fetched; name the file itself, got {uri}")
    if protocol in _PROTOCOLS:
        return {}
    if protocol != "https":
        raise OSError(
            f"the protocol {protocol} is not fetched; allowed are a local path, "
            f"{', '.join(_PROTOCOLS)}, and https if LONGVID_ALLOW_HTTPS=1 is set"
        )
    if not _is_set("LONGVID_ALLOW_HTTPS"):
        raise OSError("https is fetched only if LONGVID_ALLOW_HTTPS=1 is set")
    return {"get_client": public_client}


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet.

    >>> is_public("93.184.215.14"), is_public("169.254.169.254"), is_public("::ffff:10.0.0.1")
    (True, False, False)
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast


def _is_set(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


async def public_client(**options: Any) -> Any:
    """Make an HTTP client (aiohttp's) that connects to public addresses only.

    The address is looked at when a socket is made for it: after a name was resolved, and for every
    redirect. With LONGVID_ALLOW_PRIVATE_HOSTS it is not.

    Args:
        options: Of aiohttp.ClientSession.
    """
    import aiohttp

    if _is_set("LONGVID_ALLOW_PRIVATE_HOSTS"):
        return aiohttp.ClientSession(**options)
    connector = aiohttp.TCPConnector(socket_factory=_public_socket)
    return aiohttp.ClientSession(**{**options, "connector": connector})


def _public_socket(info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise OSError(
            f"{address[0]} is no public address; set LONGVID_ALLOW_PRIVATE_HOSTS=1 to fetch from it"
        )
    return socket.socket(family, kind, protocol)
