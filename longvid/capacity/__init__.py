"""Add up what a configuration needs before anything of it is loaded.

    parts.py         what is known of a system: the numbers that the sums are made of
    huggingface.py   a checkpoint of transformers: config.json is enough
    published.py     LLaMA-VID and LongVU: the heads of their weight files, which say the sizes

Activations are estimates, a little generous; keys, values and the store are exact for parts whose
output does not depend on what a video shows, and an upper bound for the others. This module does
not know how a model is run.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from longvid.capacity.parts import PROMPT_WORDS, VIDEO_HEIGHT, VIDEO_WIDTH, Parts, held_bytes
from longvid.config import Config, torch_device
from longvid.errors import ConfigError
from longvid.llm.kv_cache import elements_per_token
from longvid.models.free_memory import free_bytes
from longvid.models.from_pretrained import resolve_dtype
from longvid.registry import name_of
from longvid.sample import plan_segments
from longvid.store.quantization import bytes_per_row
from longvid.types import Video

__all__ = ["Needs", "device_bytes", "needs_of"]

#: By the name of the encoder, which is the half that systems differ in most.
_SYSTEMS = {
    "huggingface": "longvid.capacity.huggingface:parts_of",
    "llama_vid": "longvid.capacity.published:llama_vid_parts",
    "longvu": "longvid.capacity.published:longvu_parts",
}

_POSITION_BYTES, _SIZE_BYTES = 8, 4
_PER_FRAME_BYTES = 8 + 1 + 4  # pts_seconds, slow, number of tokens
_FPS = 30.0


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that a configuration needs for a video of some length.

    Args:
        index_weights: Vision towers, projector and embedder.
        index_activations: One batch of frames in them.
        ask_weights: Language model and the embedder's text side.
        ask_activations: One span of a prompt, and what is made of stored tokens before it.
        ask_cache: Keys and values of the longest prompt.
        ask_tokens: Stored tokens that a question reads, in this machine's memory on any device.
        store: Of the video.
        frames, segments, tokens: Of the video, as stored at most.
        prompt_tokens: Of the longest prompt.
        context: Of the language model.
        remedy: What makes a prompt shorter.
    """

    index_weights: int
    index_activations: int
    ask_weights: int
    ask_activations: int
    ask_cache: int
    ask_tokens: int
    store: int
    frames: int
    segments: int
    tokens: int
    prompt_tokens: int
    context: int
    remedy: str

    @property
    def index(self) -> int:
        """Bytes on the device while indexing."""
        return self.index_weights + self.index_activations

    @property
    def ask(self) -> int:
        """Bytes on the device while a question is answered."""
        return self.ask_weights + self.ask_activations + self.ask_cache


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a store keeps of a video: counts, of the fullest segment too, and bytes."""

    frames: int
    segments: int
    tokens: int
    most_frames: int
    most_tokens: int
    num_bytes: int


def needs_of(config: Config, hours: float) -> Needs:
    """Add up what a configuration needs.

    Args:
        config: Of its checkpoints config.json must be on this machine, and of the published
            systems the weights too.
        hours: Length of the video.

    Raises:
        ConfigError: `hours` is not positive, or its encoder is none of longvid's own.
        ModelError: A checkpoint has no folder, no config.json, or is incomplete.
    """
    if not (hours > 0 and math.isfinite(hours)):
        raise ConfigError(f"--hours must be above 0, got {hours}.")
    device = torch_device(config.run.device)
    encoder: Any = config.encoder  # of one system, known by its name below
    llm: Any = config.llm
    index_bytes = resolve_dtype(encoder.dtype, device).itemsize
    ask_bytes = resolve_dtype(llm.dtype, device).itemsize
    parts = _parts_of(config, index_bytes, ask_bytes)
    stored = _stored(config, hours, parts)
    read = stored.segments
    if config.ask.num_segments:
        read = min(read, config.ask.num_segments * (1 + 2 * config.ask.neighbours))
    read_frames = min(stored.frames, read * stored.most_frames)
    read_tokens = min(stored.tokens, read * stored.most_tokens)
    visual = parts.shown(read_frames, read_tokens)
    prompt = visual + PROMPT_WORDS
    weight_bytes = llm.bits / 8 or ask_bytes
    return Needs(
        index_weights=(parts.towers + parts.embedder) * index_bytes,
        index_activations=parts.index_activations,
        ask_weights=round(parts.language * weight_bytes)
        + parts.between * ask_bytes
        + parts.embedder_text * index_bytes,
        ask_activations=_reading_bytes(config, parts, prompt, ask_bytes)
        + parts.question_bytes(read_frames),
        ask_cache=(prompt + (llm.max_new_tokens or 128))
        * elements_per_token(parts.text)
        * ask_bytes,
        ask_tokens=read_tokens * parts.token_width * _read_bytes(config, index_bytes),
        store=stored.num_bytes,
        frames=stored.frames,
        segments=stored.segments,
        tokens=stored.tokens,
        prompt_tokens=prompt,
        context=parts.context,
        remedy=parts.remedy,
    )


def device_bytes(device: str) -> tuple[str, int | None]:
    """Return a device's name and the bytes that can be had on it now, None if nobody can tell."""
    on_gpu = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if on_gpu else "this machine's memory"
    return name, free_bytes(device)


def _parts_of(config: Config, index_bytes: int, ask_bytes: int) -> Parts:
    name = name_of("encoder", config.encoder)
    if name not in _SYSTEMS:
        raise ConfigError(
            f"What the encoder {name!r} needs cannot be added up; known are {', '.join(_SYSTEMS)}."
        )
    module, _, function = _SYSTEMS[name].partition(":")
    parts_of: Callable[[Config, int, int], Parts]
    parts_of = getattr(importlib.import_module(module), function)
    return parts_of(config, index_bytes, ask_bytes)


def _reading_bytes(config: Config, parts: Parts, prompt: int, item_bytes: int) -> int:
    text = parts.text
    llm: Any = config.llm
    span = min(prompt, llm.prefill_tokens)
    layer = held_bytes(span, text.hidden_size, text.intermediate_size, item_bytes)
    return int(layer + 4 * text.vocab_size)


def _read_bytes(config: Config, index_bytes: int) -> int:
    """Return the bytes of a value read from the store; few bits become what they were made of."""
    kinds = {"int8": index_bytes, "int4": index_bytes, "float32": 4}
    return kinds.get(config.store.tokens, 2)


def _stored(config: Config, hours: float, parts: Parts) -> _Stored:
    """Say what a store keeps of a video."""
    num_frames = round(3600 * hours * _FPS)
    video = Video("", "0" * 32, 0.0, 3600 * hours, _FPS, num_frames, VIDEO_HEIGHT, VIDEO_WIDTH)
    sampling = dataclasses.replace(config.sample, max_frames=2**31)
    plans = plan_segments(video, sampling)
    times: dict[tuple[bool, ...], int] = {}
    for plan in plans:
        times[plan.slow] = times.get(plan.slow, 0) + 1
    left = {slow: parts.tokens_left(slow) for slow in times}
    tokens = sum(count * left[slow] for slow, count in times.items())
    frames = sum(count * len(slow) for slow, count in times.items())
    data = bytes_per_row(parts.token_width, config.store.tokens)
    embedding_bytes = bytes_per_row(parts.embedding_width, config.store.embeddings)
    vectors = len(plans) * config.store.vectors_per_segment
    indexed_bytes = bytes_per_row(parts.embedding_width, "float32")
    return _Stored(
        frames=frames,
        segments=len(plans),
        tokens=tokens,
        most_frames=max(map(len, times)),
        most_tokens=max(left.values()),
        num_bytes=tokens * (data + _POSITION_BYTES + _SIZE_BYTES)
        + frames * (embedding_bytes + _PER_FRAME_BYTES)
        + vectors * (embedding_bytes + indexed_bytes),  # in the chunk and in the search index
    )
