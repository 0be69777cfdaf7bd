"""Add up what a configuration needs, from config.json alone: nothing is loaded.

Weights are counted on a model without storage. Activations are estimates, a little generous; keys,
values and the store are exact for parts whose output does not depend on what a video shows, and an
upper bound for the others. This module does not know how a model is run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from longvid.config import Config, torch_device
from longvid.errors import ConfigError
from longvid.models import checkpoints
from longvid.models.families import family_of
from longvid.models.loading import resolve_dtype
from longvid.models.quiet import quiet
from longvid.sample import plan_segments
from longvid.types import Segment, Tokens, Video

__all__ = ["Needs", "device_bytes", "needs_of"]

_PROMPT_WORDS = 256
_POSITION_BYTES, _SIZE_BYTES, _SCALE_BYTES = 8, 4, 4
_PER_FRAME_BYTES = 8 + 1 + 4  # pts_seconds, slow, number of tokens
_FPS = 30.0
#: What a transformer layer holds at once, in vectors of its width and of its MLP's width.
_WIDTHS_HELD, _MLP_WIDTHS_HELD = 6, 3


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that a configuration needs for a video of some length.

    Args:
        index_weights: Vision tower, projector and embedder.
        index_activations: One batch of frames in them.
        ask_weights: Language model and the embedder's text side.
        ask_activations: One span of a prompt.
        ask_cache: Keys and values of the longest prompt.
        store: Of the video.
        frames, segments, tokens: Of the video, as stored at most.
        prompt_tokens: Of the longest prompt.
        context: Of the language model.
    """

    index_weights: int
    index_activations: int
    ask_weights: int
    ask_activations: int
    ask_cache: int
    store: int
    frames: int
    segments: int
    tokens: int
    prompt_tokens: int
    context: int

    @property
    def index(self) -> int:
        """Bytes on the device while indexing."""
        return self.index_weights + self.index_activations

    @property
    def ask(self) -> int:
        """Bytes on the device while a question is answered."""
        return self.ask_weights + self.ask_activations + self.ask_cache


def needs_of(config: Config, hours: float) -> Needs:
    """Add up what a configuration needs.

    Args:
        config: Its checkpoints' config.json must be on this machine; their weights need not.
        hours: Length of the video.

    Raises:
        ConfigError: `hours` is not positive, or its parts are not those of Hugging Face
            checkpoints.
        ModelError: A checkpoint has no folder or no config.json.
    """
    if not (hours > 0 and math.isfinite(hours)):
        raise ConfigError(f"--hours must be above 0, got {hours}.")
    encoder, llm = config.encoder, config.llm
    if not hasattr(encoder, "embedder") or not hasattr(llm, "model"):
        raise ConfigError(
            "What this configuration needs cannot be added up: its encoder is none of Hugging "
            "Face checkpoints."
        )
    device = torch_device(config.run.device)
    vision_folder = checkpoints.part_of(checkpoints.locate(encoder.model), checkpoints.VLM)
    text_folder = checkpoints.part_of(checkpoints.locate(llm.model), checkpoints.VLM)
    embedder_folder = checkpoints.part_of(
        checkpoints.locate(encoder.embedder or encoder.model), checkpoints.EMBEDDER
    )
    index_bytes = resolve_dtype(encoder.dtype, device).itemsize
    ask_bytes = resolve_dtype(llm.dtype, device).itemsize
    towers = _count(vision_folder, language=False)
    language = _count(text_folder, language=True)
    embedder, embedder_text = _count_embedder(embedder_folder)
    grid = _grid(config, vision_folder)
    frames, segments, tokens, store = _stored(config, hours, grid, vision_folder, embedder_folder)
    text = _text_config(text_folder)
    prompt = min(config.ask.budget, tokens) + _PROMPT_WORDS
    weight_bytes = getattr(llm, "bits", 0) / 8 or ask_bytes
    return Needs(
        index_weights=(towers + embedder) * index_bytes,
        index_activations=_encoding_bytes(config, vision_folder, grid, index_bytes),
        ask_weights=round(language * weight_bytes) + embedder_text * index_bytes,
        ask_activations=_reading_bytes(llm, text, prompt, ask_bytes),
        ask_cache=(prompt + _new_tokens(llm)) * _cache_bytes(text) * ask_bytes,
        store=store,
        frames=frames,
        segments=segments,
        tokens=tokens,
        prompt_tokens=prompt,
        context=int(text.max_position_embeddings),
    )


def device_bytes(device: str) -> tuple[str, int]:
    """Return a device's name and the bytes of memory that can be had on it now."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return torch.cuda.get_device_name(device), int(free)
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return "this machine's memory", int(line.split()[1]) * 1024
    return "this machine's memory", 0


def _count(folder: Path, *, language: bool) -> int:
    """Count the weights of one side of a model: what the other side does not load."""
    import transformers

    family: Any = family_of(folder)
    if not hasattr(family, "architecture"):
        raise ConfigError(
            f"What a checkpoint of the family {family.name} needs cannot be added up without "
            "loading it; longvid doctor --config knows checkpoints in the Hugging Face format."
        )
    dropped = family.parts_of_vision if language else family.parts_of_text
    with quiet(), torch.device("meta"):
        model = getattr(transformers, family.architecture)._from_config(family.config(folder))
    return sum(
        weight.numel()
        for name, weight in model.named_parameters()
        if not name.startswith(tuple(f"{part}." for part in dropped))
    )


def _count_embedder(folder: Path) -> tuple[int, int]:
    """Count the weights of an embedder, and those of its text side."""
    import transformers

    auto_model: Any = transformers.AutoModel
    with quiet(), torch.device("meta"):
        model = auto_model.from_config(transformers.AutoConfig.from_pretrained(folder))
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    vision = sum(size for name, size in sizes.items() if name.startswith("vi"))
    return sum(sizes.values()), sum(sizes.values()) - vision


def _text_config(folder: Path) -> Any:
    return family_of(folder).config(folder).get_text_config(decoder=True)


def _cache_bytes(text: Any) -> int:
    """Return keys and values of one token, in elements."""
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * width)


def _new_tokens(llm: Any) -> int:
    return int(getattr(llm, "max_new_tokens", 0) or 128)


def _reading_bytes(llm: Any, text: Any, prompt: int, item_bytes: int) -> int:
    span = min(prompt, int(getattr(llm, "prefill_tokens", prompt)))
    held = _WIDTHS_HELD * text.hidden_size + _MLP_WIDTHS_HELD * text.intermediate_size
    return int(span * held * item_bytes + 4 * text.vocab_size)


def _encoding_bytes(config: Config, folder: Path, grid: tuple[int, int], item_bytes: int) -> int:
    whole = family_of(folder).config(folder)
    vision = whole.vision_config
    patches = grid[0] * grid[1] * _patches_joined(whole) ** 2
    mlp = getattr(vision, "intermediate_size", None) or 4 * vision.hidden_size
    size = config.encoder.frame_size()
    per_frame = patches * (_WIDTHS_HELD * vision.hidden_size + _MLP_WIDTHS_HELD * mlp) * item_bytes
    pixels = 2 * 3 * size.height * size.width * 4
    return int(config.encoder.batch_frames * (per_frame + pixels))


def _grid(config: Config, folder: Path) -> tuple[int, int]:
    """Return rows and columns of tokens that the encoder gives a frame."""
    family = family_of(folder)
    whole = family.config(folder)
    vision = whole.vision_config
    wanted = family.pixel_format(folder, getattr(config.encoder, "most_pixels", 0))
    patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
    side = patch * _patches_joined(whole)
    height, width = wanted.height // side, wanted.width // side
    if config.encoder.grid == "model" and family.name == "llava_onevision":
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    return height, width


def _patches_joined(whole: Any) -> int:
    """Return how many patches a side are joined in one token (Qwen-VL, InternVL, SmolVLM)."""
    ratio = getattr(whole, "downsample_ratio", None)
    joined = getattr(whole.vision_config, "spatial_merge_size", None) or getattr(
        whole, "scale_factor", None
    )
    return int(joined or (round(1 / ratio) if ratio else 1))


def _stored(
    config: Config, hours: float, grid: tuple[int, int], folder: Path, embedder: Path
) -> tuple[int, int, int, int]:
    """Return frames, segments, tokens and bytes that a store keeps of a video."""
    video = Video("", "0" * 32, 0.0, 3600 * hours, _FPS, round(3600 * hours * _FPS), 720, 1280)
    sampling = dataclasses.replace(config.sample, max_frames=2**31)
    plans = plan_segments(video, sampling)
    counts: dict[tuple[bool, ...], int] = {}
    for plan in plans:
        counts[plan.slow] = counts.get(plan.slow, 0) + 1
    tokens = sum(times * _tokens_left(config, slow, grid) for slow, times in counts.items())
    frames = sum(len(plan.slow) for plan in plans)
    from longvid.encode.embedder import width_of

    width, embedding = family_of(folder).token_width(folder), width_of(embedder)
    data = width * {"int8": 1, "float32": 4}.get(config.store.tokens, 2)
    data += _SCALE_BYTES if config.store.tokens == "int8" else 0
    vectors = len(plans) * config.store.vectors_per_segment * embedding * 4
    return (
        frames,
        len(plans),
        tokens,
        tokens * (data + _POSITION_BYTES + _SIZE_BYTES)
        + frames * (4 * embedding + _PER_FRAME_BYTES)
        + 2 * vectors,  # in the chunk and in the search index
    )


def _tokens_left(config: Config, slow: Sequence[bool], grid: tuple[int, int]) -> int:
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
        segment = part.setup("cpu")(segment)
    return len(segment.tokens)
