"""The first object of a store: which configuration made it, and how its segments are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from longvid.config import Config, StoreOptions
from longvid.errors import ConfigError, StoreError
from longvid.store.fields import text, whole
from longvid.store.layout import FORMAT, HEADER, HEADER_SEAL, dump_json
from longvid.store.objects import DamagedObjectError, Objects
from longvid.store.seal import parse_json, seal, sealed_json

_MOST_NAMED = 3  # so many settings that differ are told in one sentence


@dataclass(frozen=True, slots=True)
class Header:
    """The content of store.json: what every object of the store has in common."""

    fingerprint: str
    space: str
    embedding_width: int
    options: StoreOptions = field(default_factory=StoreOptions)
    config: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Serialise, equal headers to equal bytes."""
        return dump_json({"format": FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, data: bytes, uri: str) -> Header:
        """Read store.json.

        Raises:
            StoreError: It is not a store's, or of a newer format.
        """
        try:
            document = parse_json(data)
            made_by = whole(document.pop("format"), "format", most=1 << 62)
            if made_by > FORMAT:
                raise StoreError(
                    f"The store {uri} has format {made_by} and this longvid reads up to {FORMAT}; "
                    "upgrade longvid to use it."
                )
            options = StoreOptions(**document.pop("options"))
            config = document.pop("config")
            if not isinstance(config, dict):
                raise ValueError("its configuration is no JSON object")
            return cls(
                fingerprint=text(document.pop("fingerprint"), "fingerprint"),
                space=text(document.pop("space"), "space"),
                embedding_width=whole(document.pop("embedding_width"), "embedding_width", least=1),
                options=options,
                config=config,
            )
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise _damaged(uri, str(error)) from error

    def require_same(self, wanted: Header, uri: str) -> None:
        """Refuse a configuration that makes other segments.

        Raises:
            StoreError: The sentence says what differs.
        """
        remedy = "index into another folder, or use the store's own configuration."
        if self.fingerprint != wanted.fingerprint:
            difference = _difference(self, wanted)
            raise StoreError(f"The store {uri} was made with other {difference}; {remedy}")
        for name in ("space", "embedding_width", "options"):
            there, given = getattr(self, name), getattr(wanted, name)
            if name == "options":  # which pictures are kept may change from run to run
                there = dataclasses.replace(there, pictures=given.pictures)
            if there != given:
                raise StoreError(
                    f"The store {uri} has {name} {there!r} and this configuration has "
                    f"{given!r}; {remedy}"
                )


def read_header(objects: Objects) -> Header | None:
    """Read store.json, compared with its seal if it has one; None if there is none.

    Raises:
        StoreError: It is damaged, or of a newer format.
    """
    data = objects.read(HEADER)
    if data is None:
        return None
    header = Header.from_json(data, objects.uri)
    if read_header_seal(objects) not in (None, seal(data)):
        raise _damaged(objects.uri, f"it does not fit its checksum in {HEADER_SEAL}")
    return header


def read_header_seal(objects: Objects) -> str | None:
    """Return the seal of store.json; None if there is none, or it is damaged itself."""
    try:
        data = objects.read(HEADER_SEAL)
        return None if data is None else str(parse_json(data, must_be_sealed=True)[HEADER])
    except (DamagedObjectError, ValueError, KeyError):
        return None


def write_header(objects: Objects, header: Header) -> None:
    """Write store.json; another process may have done so, then its header stands.

    Raises:
        StoreError: The store cannot be written.
    """
    objects.write(HEADER, header.to_json(), exclusive=True)


def make_header(objects: Objects, wanted: Header) -> Header:
    """Write and seal the header of a new store, or require that of the store there to be the same.

    Raises:
        StoreError: The store there has another configuration, or cannot be written.
    """
    if objects.size(HEADER) is None:
        # Another process may have made the store between the two looks.
        if objects.holds_anything() and objects.size(HEADER) is None:
            raise StoreError(
                f"{objects.uri} holds files but no {HEADER}, so it is no longvid store; "
                "choose a new or empty folder for the store."
            )
        write_header(objects, wanted)
    header = require_header(objects)
    header.require_same(wanted, objects.uri)
    seal_header(objects)
    return header


def require_header(objects: Objects) -> Header:
    """Return the header of a store.

    Raises:
        StoreError: There is none, it is of a newer format, or it cannot be read.
    """
    header = read_header(objects)
    if header is None:
        raise StoreError(
            f"There is no store at {objects.uri}; make one with: longvid index PATH --store "
            f"{objects.uri}"
        )
    return header


def seal_header(objects: Objects) -> None:
    """Seal the header that stands, if it has no whole seal.

    Raises:
        StoreError: The store cannot be written.
    """
    data = objects.read(HEADER)
    if data is not None and read_header_seal(objects) is None:
        objects.write(HEADER_SEAL, sealed_json({HEADER: seal(data)}))


def _damaged(uri: str, why: str) -> DamagedObjectError:
    return DamagedObjectError(
        f"{HEADER} of the store {uri} is damaged ({why}); restore it from a copy, or index into "
        "another folder."
    )


def _difference(made: Header, wanted: Header) -> str:
    """Say what one configuration has otherwise than another, of what decides the segments."""
    try:
        there, given = (
            dict(_leaves(Config.from_dict({**header.config, "run": {}}).index_tables()))
            for header in (made, wanted)
        )
    except ConfigError:  # of another version of longvid, or of a part that is not installed
        prints = f"{made.fingerprint} there and {wanted.fingerprint} in this configuration"
        return f"settings, which cannot be read here (their fingerprint is {prints})"
    names = [name for name in {**there, **given} if there.get(name) != given.get(name)]
    if not names:
        return "weights (a model may have changed under its name)"
    shown = [
        f"{name} is {there.get(name, 'not set')!r} there and {given.get(name, 'not set')!r} here"
        for name in names[:_MOST_NAMED]
    ]
    more = len(names) - len(shown)
    return f"settings ({', '.join(shown)}{f', and {more} more' if more else ''})"


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{name}.{number}")
    else:
        yield name, value
