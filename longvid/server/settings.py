"""What a server is told: its stores, keys, folders, and every limit with one default."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from pathlib import Path

from longvid.errors import ConfigError

__all__ = ["Limits", "ServerSettings", "is_loopback"]

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of the server; each is one field.

    Args:
        body_bytes: Largest JSON body.
        data_url_bytes: Largest video inside a request, decoded from base64.
        file_bytes: Largest upload.
        part_bytes, num_parts: Largest part of a resumable upload, and the most parts.
        upload_seconds: After this, an unfinished upload is deleted.
        free_disk_share: Share of the disk that uploads leave free.
        question_chars, history_chars: Longest question, and longest conversation.
        num_messages: Most messages of a conversation.
        num_choices: Most choices of a question.
        budget_tokens: Largest visual token budget that a request may ask for.
        num_waiting, num_waiting_per_key: Questions in the queue, over all and of one key.
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

    body_bytes: int = 32 * MIB
    data_url_bytes: int = 24 * MIB
    file_bytes: int = 64 * GIB
    part_bytes: int = 64 * MIB
    num_parts: int = 1000
    upload_seconds: float = 86_400.0
    free_disk_share: float = 0.05
    question_chars: int = 8_000
    history_chars: int = 64_000
    num_messages: int = 256
    num_choices: int = 255
    budget_tokens: int = 8_192
    num_waiting: int = 64
    num_waiting_per_key: int = 64
    answer_seconds: float = 120.0
    keep_alive_seconds: float = 10.0
    clip_seconds: float = 120.0
    num_event_clients: int = 32
    num_jobs_per_key: int = 64
    questions_per_minute: int = 600
    uploads_per_hour: int = 1000
    shutdown_seconds: float = 20.0
    inline_index_seconds: float = 60.0
    cache_bytes: int = 5 * GIB


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
