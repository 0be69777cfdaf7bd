"""What a server is told: its stores, keys, folders, and every limit with one default."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from pathlib import Path

from longvid.errors import ConfigError

_MIB = 1 << 20
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of the server; each is one field.

    Args:
        header_bytes: Longest head of a request, names and values of its headers.
        body_bytes: Largest JSON body.
        slow_body_seconds, slow_body_bytes: A body that brings fewer bytes in that time is given up.
        data_url_bytes: Largest video inside a request, decoded from base64.
        num_images, image_bytes, image_pixels: Pictures sent as the frames of a clip: how many in a
            request, and the largest of them, encoded and decoded.
        fetch_bytes, fetch_request_bytes: Largest file that is fetched, and all of one request.
        fetch_seconds, fetch_connect_seconds, fetch_idle_seconds: Time to fetch a file, to connect,
            and between two pieces.
        fetch_redirects: How many are followed.
        fetch_reuse_seconds: A URL is fetched again after this.
        video_seconds, video_pixels, video_fps, video_streams: The longest video that is indexed,
            its largest frame, its most frames a second, the most streams of its file.
        probe_seconds: Time to find that out.
        name_chars: Longest file name that is kept of a client's.
        file_bytes: Largest upload.
        part_bytes, num_parts: Largest part of a resumable upload, and the most parts.
        upload_seconds: After this, an unfinished upload is deleted.
        free_disk_share: Share of the disk that uploads leave free.
        question_chars, history_chars: Longest question, and longest conversation.
        num_messages: Most messages of a conversation.
        num_choices: Most choices of a question.
        budget_tokens: Largest visual token budget that a request may ask for.
        num_waiting, num_waiting_per_key: Questions in the queue, over all and of one key of a key
            file.
        answer_seconds: Wall time of one answer.
        keep_alive_seconds: Silence of a stream after which a comment line is sent.
        clip_seconds: Longest clip.
        num_event_clients: Open event streams of one key.
        num_jobs_per_key: Jobs of one key that may wait or run.
        questions_per_minute, uploads_per_hour: Rate of one key.
        shutdown_seconds: Time that answers have to finish when the server is stopped.
        inline_index_seconds: A video named in a question is indexed first where its estimate is
            below this; otherwise the answer is 409 with the job.
        cache_bytes: Clips and remuxed copies kept.
    """

    header_bytes: int = 16_384
    body_bytes: int = 32 * _MIB
    slow_body_seconds: float = 30.0
    slow_body_bytes: int = 30_000
    data_url_bytes: int = 24 * _MIB
    num_images: int = 512
    image_bytes: int = 20 * _MIB
    image_pixels: int = 33_554_432
    fetch_bytes: int = 2 * _GIB
    fetch_request_bytes: int = 4 * _GIB
    fetch_seconds: float = 600.0
    fetch_connect_seconds: float = 5.0
    fetch_idle_seconds: float = 15.0
    fetch_redirects: int = 5
    fetch_reuse_seconds: float = 3600.0
    video_seconds: float = 86_400.0
    video_pixels: int = 33_554_432
    video_fps: float = 1000.0
    video_streams: int = 64
    probe_seconds: float = 20.0
    name_chars: int = 255
    file_bytes: int = 64 * _GIB
    part_bytes: int = 64 * _MIB
    num_parts: int = 1000
    upload_seconds: float = 86_400.0
    free_disk_share: float = 0.05
    question_chars: int = 8_000
    history_chars: int = 64_000
    num_messages: int = 256
    num_choices: int = 255
    budget_tokens: int = 8_192
    num_waiting: int = 64
    num_waiting_per_key: int = 8
    answer_seconds: float = 120.0
    keep_alive_seconds: float = 10.0
    clip_seconds: float = 120.0
    num_event_clients: int = 32
    num_jobs_per_key: int = 64
    questions_per_minute: int = 600
    uploads_per_hour: int = 1000
    shutdown_seconds: float = 20.0
    inline_index_seconds: float = 60.0
    cache_bytes: int = 5 * _GIB


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a server serves, and to whom.

    Args:
        stores: Name -> folder or URI of a store; the first is the default one.
        data_dir: Uploads, the job table and cached clips.
        host, port: Where it listens.
        config: Preset or TOML file for stores that do not exist yet.
        api_key_file: TOML with `[[key]]` tables (name, sha256, stores, role); None lets everybody
            in, which is allowed on a loopback address only.
        allowed_hosts: Names under which browsers may reach it, beside loopback names and `host`.
        roots: Folders whose files may be indexed by path; none means no paths.
        allowed_domains: Hosts, or patterns as `*.example.org`, from which videos and pictures are
            fetched; none means that nothing is.
        any_public_url: Fetch from every host with a public address.
        base_url: Address for links in answers; "" takes the request's own.
        limits: Sizes, rates and deadlines.

    Raises:
        ConfigError: No store is named, or the server would be open to a network without keys.
    """

    stores: dict[str, str]
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    config: str = "mini"
    api_key_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    roots: tuple[Path, ...] = ()
    allowed_domains: tuple[str, ...] = ()
    any_public_url: bool = False
    base_url: str = ""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.stores:
            raise ConfigError("A server needs a store; name one with --store.")
        if self.api_key_file is None and not is_loopback(self.host):
            raise ConfigError(
                f"A server on {self.host} can be reached from other machines and has no keys; give "
                "--api-key-file, or listen on 127.0.0.1."
            )

    @property
    def default_store(self) -> str:
        """Name of the store that a request without one means."""
        return next(iter(self.stores))


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)
