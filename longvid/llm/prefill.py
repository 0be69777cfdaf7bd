"""Read a prompt into a cache, piece by piece, and leave out what the prompt before had in front.

A prompt is cut at fixed places: where its video ends, and every so many tokens before and after.
Each span is one forward pass, so a prompt of 64K tokens needs the memory of a span and its cache.
Spans at the front that equal those read last are not read again; because the cuts depend on the
prompt alone, an answer is the same, bit for bit, whether they were read again or not.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longvid.lazy_import import torch
from longvid.llm.kv_cache import elements_per_token, new_cache, require_room, truncate
from longvid.models.families.protocol import Decoder, Piece, Spliced, TextPiece


@dataclass(frozen=True, slots=True, eq=False)
class ReadPrompt:
    """A prompt that a language model has read.

    Args:
        cache: Holds its keys and values; the reader's own, valid until the next prompt is read.
        num_tokens: L.
        num_reused: Tokens in front that did not have to be read again.
        next_position: Position of the first token of the answer.
        num_axes: Rotary axes of a position: 0 for plain positions, 3 for (t, h, w).
        logits: (1, V) float32, after the last token.
        ids: Ids of its text tokens, in order.
        seconds: From the first pass to the known logits.
    """

    cache: Any
    num_tokens: int
    num_reused: int
    next_position: int
    num_axes: int
    logits: torch.Tensor
    ids: tuple[int, ...]
    seconds: float


class PromptReader:
    """Reads prompts one after the other, with one cache.

    Args:
        decoder: A family's language model.
        span_tokens: Most tokens in one forward pass.
        keep: Whether the cache outlives its prompt, for the next that begins alike.
    """

    def __init__(self, decoder: Decoder, span_tokens: int, *, keep: bool) -> None:
        self._decoder = decoder
        self._config = decoder.module.config.get_text_config(decoder=True)
        self._limit = divisible_below(decoder)
        self._span_tokens = span_tokens
        self._keep = keep
        self._cache: Any = None
        self._spans: list[Spliced] = []

    def read(self, pieces: Sequence[Piece], *, newline: bool, num_new: int) -> ReadPrompt:
        """Read a prompt whose last piece is the text after the video.

        Args:
            pieces: Text and frames in order.
            newline: Whether the family's end-of-video vector follows the last frame.
            num_new: Tokens that will follow, for which room is taken.

        Raises:
            MemoryError: The machine has no room for the prompt's keys and values.
            torch.OutOfMemoryError: The GPU has none.
        """
        started = time.perf_counter()
        spliced = self._decoder.splice(pieces, newline=newline)
        length = len(spliced)
        tail = len(pieces[-1].ids) if isinstance(pieces[-1], TextPiece) else 0
        whole = length + num_new > self._limit
        places = [0, length] if whole else cuts(length, length - tail, self._span_tokens)
        spans = [span(spliced, a, b) for a, b in itertools.pairwise(places)]
        reused = self._reuse(spans)
        if self._cache is None:
            self._cache = self._new_cache(length + num_new, whole=whole)
        logits = torch.empty(0)
        for index in range(reused, len(spans)):
            logits = self._decoder.logits(spans[index], self._cache, keep=1, start=places[index])
        after = logits[0].float()  # (1, V)
        float(after[0, 0])  # a GPU runs ahead; wait until the prompt is read
        prompt = ReadPrompt(
            cache=self._cache,
            num_tokens=length,
            num_reused=places[reused],
            next_position=int(spliced.position_ids[..., -1].max()) + 1,
            num_axes=spliced.position_ids.shape[0] if spliced.position_ids.ndim == 3 else 0,
            logits=after,
            ids=tuple(i for piece in pieces if isinstance(piece, TextPiece) for i in piece.ids),
            seconds=time.perf_counter() - started,
        )
        if self._keep and not whole:
            self._spans = spans
        else:
            self._cache = None
        return prompt

    def forget(self) -> None:
        """Give the cache's memory back."""
        self._cache, self._spans = None, []

    def _reuse(self, spans: Sequence[Spliced]) -> int:
        """Count the spans in front that the cache holds, and cut it behind them."""
        held, self._spans = self._spans, []  # a pass that fails leaves nothing to be reused
        if not held:
            self._cache = None
            return 0
        reused = 0
        # The last span is always read: its logits begin the answer.
        while reused < min(len(held), len(spans) - 1) and _same(held[reused], spans[reused]):
            reused += 1
        truncate(self._cache, sum(len(one) for one in held[:reused]))
        return reused

    def _new_cache(self, room: int, *, whole: bool) -> Any:
        weight = next(self._decoder.module.parameters())
        require_room(room * elements_per_token(self._config), weight)
        if not whole:
            return new_cache(self._config, room)
        from transformers import DynamicCache

        return DynamicCache(config=self._config)


def divisible_below(decoder: Decoder) -> float:
    """Return up to which length a prompt may be read in parts, infinity for most models.

    It may where what a token leaves in the cache depends on nothing after it. Sliding windows
    forget, and visual tokens may see later ones, so 0; dynamic rotary scaling changes with the
    length read at once, beyond the trained length.
    """
    if not decoder.divisible:
        return 0
    module = decoder.module
    config = module.config.get_text_config(decoder=True)
    kinds = getattr(config, "layer_types", None) or ()
    if any(kind != "full_attention" for kind in kinds):
        return 0
    return min(
        (
            part.original_max_seq_len
            for part in module.modules()
            if getattr(part, "rope_type", "default") in ("dynamic", "longrope")
        ),
        default=math.inf,
    )


def cuts(length: int, video_end: int, span_tokens: int) -> list[int]:
    """Return where a prompt is cut, its both ends included.

    >>> cuts(10, 7, 4)
    [0, 4, 7, 10]

    Args:
        length: L.
        video_end: Where the text after the video begins.
        span_tokens: Most tokens between two cuts.
    """
    places = [*range(0, video_end, span_tokens), *range(video_end, length, span_tokens), length]
    return list(dict.fromkeys(places))


def span(spliced: Spliced, first: int, last: int) -> Spliced:
    """Return the tokens [first, last) of a sequence, positions counted from `first`.

    In every field of vectors the tokens are the axis before the last, in every other the last.
    """
    cut = {}
    for field in dataclasses.fields(spliced):
        value = getattr(spliced, field.name)
        if isinstance(value, torch.Tensor):
            vectors = value.is_floating_point()
            cut[field.name] = value[..., first:last, :] if vectors else value[..., first:last]
    cut["position_ids"] = cut["position_ids"] - first
    return dataclasses.replace(spliced, **cut)


def _same(left: Spliced, right: Spliced) -> bool:
    for field in dataclasses.fields(left):
        mine, other = getattr(left, field.name), getattr(right, field.name)
        if isinstance(mine, torch.Tensor) != isinstance(other, torch.Tensor):
            return False
        if isinstance(mine, torch.Tensor):
            if mine.shape != other.shape or not torch.equal(mine, other):
                return False
        elif mine is not other:
            return False
    return True
