"""The names of the objects of a store.

    store.json                                    format, fingerprint, config, space, width
    store.seal                                    checksum of store.json
    videos/{video_id}/segments-*.safetensors      tokens and embeddings, one object a chunk
    videos/{video_id}/paths/{hash}.json           one name of the video each
    videos/{video_id}/subtitles.json              its subtitles, if it has any
    videos/{video_id}/tags.json                   keys and values that people gave it
    videos/{video_id}/annotations/…               further objects: see annotations.py
    videos/{video_id}/seal-{hash}.json            checksums of the manifest and chunk pieces
    videos/{video_id}/manifest.json               written last: the video is in the store
    failures/*.parquet                            what could not be done
    runs/*.json                                   what each run did, in numbers
    catalog.parquet                               cache: one row a video
    vectors/*.faiss, *.parquet                    cache: search index and what its rows mean;
                                                  videos-* those of whole videos
    text/lines.parquet, words.parquet             cache: the words of all timed text

Everything but the caches and tags is immutable, so writers never wait for each other. Every object
is compared with a checksum when it is read. It is kept in the object itself (first line of JSON
documents, footer of Parquet tables), in its name (paths), or in the object named above.
"""

from __future__ import annotations

import hashlib
import json
import re

from longvid.errors import StoreError

#: Raised by one whenever an older longvid could misread what a newer one wrote.
FORMAT = 1

HEADER = "store.json"
HEADER_SEAL = "store.seal"
CATALOG = "catalog.parquet"
VIDEOS = "videos"
MANIFEST = "manifest.json"  # in the folder of a video
VECTORS = "vectors"
TEXT_LINES = "text/lines.parquet"
TEXT_WORDS = "text/words.parquet"
FAILURES = "failures"
RUNS = "runs"
TAGS_FILE = "tags.json"

_ESCAPED = "escaped:"
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]+")


def dump_json(document: object) -> bytes:
    """Serialise with sorted keys, so that equal documents are equal bytes."""
    text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    return text.encode(errors="surrogatepass")  # a file name need not be UTF-8


def checksum(data: bytes) -> str:
    """Return the BLAKE2b-128 of some bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def to_column(text: str) -> str:
    """Return a text that Parquet can hold: file names need not be UTF-8, its strings must."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _ESCAPED + json.dumps(text)
    return text


def from_column(text: str) -> str:
    """Undo `to_column`."""
    if not text.startswith(_ESCAPED):
        return text
    try:
        return str(json.loads(text.removeprefix(_ESCAPED)))
    except RecursionError as error:
        raise ValueError("a text is nested too deeply") from error


def check_video_id(video_id: str) -> str:
    """Return the id if it can name a folder.

    Raises:
        StoreError: It could point outside of the store.
    """
    if not is_video_id(video_id):
        raise StoreError(
            f"{video_id!r} cannot be a video id; use letters, digits, '-' and '_' only."
        )
    return video_id


def is_video_id(name: str) -> bool:
    """Tell whether a folder of this name can hold a video."""
    return _VIDEO_ID.fullmatch(name) is not None


def subtitles_name(video_id: str) -> str:
    """Name the object with what is said in a video."""
    check_video_id(video_id)
    return f"{VIDEOS}/{video_id}/subtitles.json"


def tags_name(video_id: str) -> str:
    """Name the object with the tags of a video."""
    return f"{VIDEOS}/{check_video_id(video_id)}/{TAGS_FILE}"


def manifest_name(video_id: str) -> str:
    """Name the object that says a video is complete."""
    return f"{VIDEOS}/{check_video_id(video_id)}/{MANIFEST}"


def chunk_name(video_id: str, first_segment_index: int, content: str) -> str:
    """Name a chunk by its place and its content.

    The content is part of the name because two writers with other chunk plans, or an encoder
    that does not repeat itself to the last bit, must never replace an object that a manifest
    already vouches for.
    """
    name = f"segments-{first_segment_index:06d}-{content[:16]}.safetensors"
    return f"{VIDEOS}/{check_video_id(video_id)}/{name}"


def path_name(video_id: str, path: str) -> str:
    """Name the object that holds one name of a video."""
    digest = hashlib.blake2b(path.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return f"{VIDEOS}/{check_video_id(video_id)}/paths/{digest}.json"
