"""Tags: keys and values that a person gives a video, to search some videos alone.

A video has one value a key. They are one small sealed object beside the manifest, replaced as a
whole, and decide nothing of what is stored: the fingerprint and the digest leave them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from longvid.errors import StoreError, shown
from longvid.store.layout import tags_name
from longvid.store.objects import Objects
from longvid.store.seal import parse_json, sealed_json

Tags = Mapping[str, str]

#: Characters of a key, of a value, and keys of a video.
_MOST_CHARACTERS, _MOST_TAGS = 256, 64


def parsed_tags(given: Iterable[str]) -> dict[str, str]:
    """Return tags written as key=value; a value may be empty, and hold "=".

    Raises:
        StoreError: One has no key or no "=", or two give one key other values.

    >>> parsed_tags(["camera=2", "place=a=b"])
    {'camera': '2', 'place': 'a=b'}
    """
    found: dict[str, str] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key.strip():
            raise StoreError(f"A tag is written key=value, got {shown(one)}.")
        if found.setdefault(key.strip(), value.strip()) != value.strip():
            raise StoreError(f"The tag {shown(key.strip())} is given two values; name one.")
    return require_tags(found)


def require_tags(tags: object) -> dict[str, str]:
    """Return tags as a dict, checked, without spaces around keys and values: a command has none.

    Raises:
        StoreError: They are no mapping of text to text, too many or too long, or name a key twice.
    """
    if not isinstance(tags, Mapping):
        raise StoreError(f"Tags are keys with values, as {{'camera': '2'}}, got {shown(tags)}.")
    for key, value in tags.items():
        for text in (key, value):
            if not isinstance(text, str) or len(text) > _MOST_CHARACTERS or not _is_utf8(text):
                raise StoreError(
                    f"A tag's key and value are texts of at most {_MOST_CHARACTERS} characters, "
                    f"got {shown(key)}={shown(value)}."
                )
        if not key.strip() or "=" in key:
            raise StoreError(f"A tag's key is a text without '=', got {shown(key)}.")
    if len(tags) > _MOST_TAGS:
        raise StoreError(f"A video has at most {_MOST_TAGS} tags, got {len(tags)}.")
    kept = {key.strip(): value.strip() for key, value in tags.items()}
    if len(kept) < len(tags):
        raise StoreError(
            f"Two of the tags have one key but for spaces around it, got {shown(tags)}."
        )
    return kept


def tags_text(tags: Tags) -> str:
    """Return tags as a person writes them, in order of their keys.

    >>> tags_text({"place": "yard", "camera": "2"})
    'camera=2, place=yard'
    """
    return ", ".join(f"{key}={value}" for key, value in sorted(tags.items()))


def write_tags(objects: Objects, video_id: str, tags: Tags) -> bool:
    """Give a video these values, and take the keys from it whose value is empty.

    Returns whether anything changed.

    Args:
        objects: Of the store.
        video_id: Of the video, whose tags of before are replaced where they are damaged.
        tags: By key.

    Raises:
        StoreError: They are not as `require_tags` has them, or cannot be written.
    """
    given, name = require_tags(tags), tags_name(video_id)
    with objects.locked(name.rpartition("/")[0]):
        data = objects.read(name)
        before = {} if data is None else _parsed(data) or {}
        wanted = {**before, **given}
        kept = require_tags({key: value for key, value in wanted.items() if value})
        if kept == before and (data is None) == (not kept):
            return False
        if kept:
            objects.write(name, sealed_json({"tags": kept}))
        else:
            objects.remove([name])
    return True


def read_tags(
    objects: Objects, video_ids: Sequence[str], damaged: dict[str, str]
) -> dict[str, dict[str, str]]:
    """Read the tags of videos; those that are damaged are added to `damaged` with a sentence."""
    names = [tags_name(video_id) for video_id in video_ids]
    found: dict[str, dict[str, str]] = {}
    for video_id, name, data in zip(video_ids, names, objects.read_many(names), strict=True):
        tags = _parsed(data) if isinstance(data, bytes) else None
        found[video_id] = tags or {}
        if tags is None and data is not None:
            damaged[name] = (
                f"{name} of the store {objects.uri} is damaged, so a video has lost its tags; give "
                "them again with longvid tag."
            )
    return found


def tags_are_whole(objects: Objects, name: str) -> bool:
    """Tell whether an object of tags fits its seal."""
    data = objects.read(name)
    return data is None or _parsed(data) is not None


def _parsed(data: bytes) -> dict[str, str] | None:
    try:
        return require_tags(parse_json(data, must_be_sealed=True)["tags"])
    except (ValueError, KeyError, StoreError):
        return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
