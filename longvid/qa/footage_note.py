"""What a language model's checkpoint says of footage that it cannot read, without loading it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from longvid.errors import ModelError
from longvid.lazy_import import torch
from longvid.llm.known_footage import KnownFootage
from longvid.protocols import LanguageModelPart
from longvid.store import Store
from longvid.store.objects import DamagedObjectError
from longvid.types import Segment, Selection

#: Segments that a caveat is made of.
LOOKED_AT = 8
#: Seconds from a time within which its segment is looked for.
_MOMENT = 1e-3


def footage_notes(
    store: Store, llm: LanguageModelPart, keys: Sequence[tuple[str, int]]
) -> list[str]:
    """Return the caveats about the first of some segments: the footage, and which are damaged.

    Args:
        store: Holds the segments.
        llm: The language model's part; a checkpoint that is not on this machine says nothing.
        keys: Video and index of each segment, the most important first.

    Raises:
        ModelError: What the checkpoint says is damaged.
        StoreError: A segment is not in the store.
    """
    for checkpoint in llm.checkpoints():
        try:
            folder = checkpoint.find()
        except ModelError:  # it is not on this machine, and a search needs none
            continue
        known = KnownFootage.read(folder)
        if known is not None:
            segments, notes = _readable(store, list(dict.fromkeys(keys[:LOOKED_AT])))
            num_tokens = sum(len(segment.tokens) for segment in segments)
            if segments:
                notes.append(known.note(Selection(tuple(segments), (), num_tokens)))
            return [note for note in notes if note]
    return []


def _readable(store: Store, keys: list[tuple[str, int]]) -> tuple[list[Segment], list[str]]:
    """Load segments; return those that are sound, and a sentence for each damaged object."""
    try:
        return store.load(keys), []
    except DamagedObjectError:
        segments: list[Segment] = []
        sentences: list[str] = []
        for key in keys:
            try:
                segments += store.load([key])
            except DamagedObjectError as error:
                sentences.append(str(error))
        return segments, list(dict.fromkeys(sentences))


def segments_at(store: Store, places: Iterable[tuple[str, float]]) -> list[tuple[str, int]]:
    """Return a segment that is shown at each of some times, none where nothing is indexed.

    Args:
        store: Holds the videos.
        places: Video and seconds of each.
    """
    anything = torch.zeros(store.embedding_width)  # the nearest to it is any segment of the span
    return [
        hit.key
        for video_id, seconds in places
        for hit in store.search(anything, 1, (video_id,), span=(seconds, seconds + _MOMENT))
    ]
