"""Add up what a configuration needs before anything of it is loaded.

Every part says what it needs (its `memory` and `outline`), from config.json or the heads of its
weight files. Activations are estimates, a little generous; keys, values and the store are exact for
parts whose output does not depend on what a video shows, and an upper bound for the others.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from longvid.config import Config, torch_device
from longvid.errors import ConfigError
from longvid.models.free_memory import free_bytes
from longvid.models.weight_count import PROMPT_WORDS, VIDEO_HEIGHT, VIDEO_WIDTH
from longvid.protocols import LearnedCompressorPart
from longvid.sample import plan_segments
from longvid.store.quantization import bytes_per_row
from longvid.types import EncoderMemory, Segment, Tokens, Video

_POSITION_BYTES, _SIZE_BYTES = 8, 4
_PER_FRAME_BYTES = 8 + 1 + 4  # pts_seconds, slow, number of tokens
_FPS = 30.0
#: Of one video; eleven years.
_MOST_HOURS = 100_000


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
        ConfigError: `hours` is not positive or too many, or encoder and language model do not fit
            together.
        ModelError: A checkpoint has no folder, no config.json, or is incomplete.
    """
    if not 0 < hours <= _MOST_HOURS:
        raise ConfigError(f"--hours must be above 0 and at most {_MOST_HOURS:,}, got {hours}.")
    device = torch_device(config.run.device)
    encoder = config.encoder.memory(device, config.sample.segment_frames)
    for part in config.compressors:
        if isinstance(part, LearnedCompressorPart):
            encoder = part.memory(encoder, device)
    llm = config.llm.memory(encoder, device)
    stored = _stored(config, hours, encoder)
    read = stored.segments
    if config.ask.num_segments:
        read = min(read, config.ask.num_segments * (1 + 2 * config.ask.context_segments))
    read_frames = min(stored.frames, read * stored.most_frames)
    read_tokens = min(stored.tokens, read * stored.most_tokens)
    prompt = llm.shown(read_frames, read_tokens, config.ask.budget) + PROMPT_WORDS
    return Needs(
        index_weights=encoder.weight_bytes + config.reducer.weight_bytes(device),
        index_activations=encoder.activation_bytes,
        ask_weights=llm.weight_bytes + encoder.text_bytes,
        ask_activations=llm.activation_bytes(prompt, read_frames),
        ask_cache=(prompt + llm.max_new_tokens) * llm.cache_bytes,
        ask_tokens=read_tokens * encoder.token_width * _read_bytes(config, encoder.item_bytes),
        store=stored.num_bytes,
        frames=stored.frames,
        segments=stored.segments,
        tokens=stored.tokens,
        prompt_tokens=prompt,
        context=llm.context,
        remedy=llm.remedy,
    )


def device_bytes(device: str) -> tuple[str, int | None]:
    """Return a device's name and the bytes that can be had on it now, None if nobody can tell."""
    on_gpu = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if on_gpu else "this machine"
    return name, free_bytes(device)


def _read_bytes(config: Config, item_bytes: int) -> int:
    """Return the bytes of a value read from the store; few bits become what they were made of."""
    kinds = {"int8": item_bytes, "int4": item_bytes, "float32": 4}
    return kinds.get(config.store.tokens, 2)


def _stored(config: Config, hours: float, encoder: EncoderMemory) -> _Stored:
    """Say what a store keeps of a video."""
    num_frames = round(3600 * hours * _FPS)
    video = Video("", "0" * 32, 0.0, 3600 * hours, _FPS, num_frames, VIDEO_HEIGHT, VIDEO_WIDTH)
    sampling = dataclasses.replace(config.sample, max_frames=2**31)
    plans = plan_segments(video, sampling)
    times: dict[tuple[bool, ...], int] = {}
    for plan in plans:
        times[plan.slow] = times.get(plan.slow, 0) + 1
    left = {slow: _tokens_left(config, slow, encoder.grid) for slow in times}
    tokens = sum(count * left[slow] for slow, count in times.items())
    frames = sum(count * len(slow) for slow, count in times.items())
    data = bytes_per_row(encoder.token_width, config.store.tokens)
    embedding_bytes = bytes_per_row(encoder.embedding_width, config.store.embeddings)
    vectors = len(plans) * config.store.vectors_per_segment
    indexed_bytes = bytes_per_row(encoder.embedding_width, "float32")
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


def _tokens_left(config: Config, slow: tuple[bool, ...], grid: tuple[int, int]) -> int:
    """Count the tokens that the compressors leave of one segment of noise, which is the most."""
    generator = torch.Generator().manual_seed(0)
    num_frames = len(slow)
    data = torch.randn(num_frames, *grid, 8, generator=generator)
    segment = Segment(
        video_id="0" * 32,
        segment_index=0,
        start_seconds=0.0,
        end_seconds=float(num_frames),
        pts_seconds=torch.arange(num_frames, dtype=torch.float64),
        slow=torch.tensor(slow),
        frame_embeddings=torch.nn.functional.normalize(
            torch.randn(num_frames, 4, generator=generator), dim=1
        ),
        tokens=Tokens.from_grid(data),
        space="",
        grid=grid,
    )
    for part in config.compressors:
        worker = part.outline() if isinstance(part, LearnedCompressorPart) else part.setup("cpu")
        segment = worker(segment)
    return len(segment.tokens)
