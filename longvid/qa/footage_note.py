"""What a language model's checkpoint says of footage that it cannot read, without loading it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from longvid.errors import ModelError
from longvid.lazy_import import torch
from longvid.llm.known_footage import KnownFootage
from longvid.protocols import LanguageModelPart
from longvid.store import Store
from longvid.types import Selection

#: Segments that a caveat is made of.
LOOKED_AT = 8
#: Seconds from a time within which its segment is looked for.
_MOMENT = 1e-3


def footage_note(store: Store, llm: LanguageModelPart, keys: Sequence[tuple[str, int]]) -> str:
    """Return the caveat about the first of some segments, "" where there is nothing to say.

    Args:
        store: Holds the segments.
        llm: The language model's part; a checkpoint that is not on this machine says nothing.
        keys: Video and index of each segment, the most important first.

    Raises:
        ModelError: What the checkpoint says is damaged.
        StoreError: The segments are.
    """
    for checkpoint in llm.checkpoints():
        try:
            folder = checkpoint.find()
        except ModelError:  # it is not on this machine, and a search needs none
            continue
        known = KnownFootage.read(folder)
        if known is not None:
            segments = store.load(list(dict.fromkeys(keys[:LOOKED_AT])))
            num_tokens = sum(len(segment.tokens) for segment in segments)
            return known.note(Selection(tuple(segments), (), num_tokens))
    return ""


def segments_at(store: Store, places: Iterable[tuple[str, float]]) -> list[tuple[str, int]]:
    """Return a segment that is shown at each of some times, none where nothing is indexed.

    Args:
        store: Holds the videos.
        places: Video and seconds of each.
    """
    anything = torch.zeros(store.embedding_width)  # the nearest to it is any segment of the span
    return [
        (hit.video_id, hit.segment_index)
        for video_id, seconds in places
        for hit in store.search(anything, 1, (video_id,), span=(seconds, seconds + _MOMENT))
    ]
