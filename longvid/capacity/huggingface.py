"""What a checkpoint of transformers needs, from config.json alone: its weights may be elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from longvid.capacity.parts import Parts, count_model, held_bytes
from longvid.config import Config
from longvid.encode.embedder import width_of
from longvid.errors import ConfigError
from longvid.models import checkpoint_files
from longvid.models.families import family_of
from longvid.models.families.protocol import TOWER
from longvid.models.transformers_logging import quiet
from longvid.types import Segment, Tokens

__all__ = ["parts_of"]


def parts_of(config: Config, index_bytes: int, ask_bytes: int) -> Parts:
    """Say what is known of a Hugging Face encoder and language model.

    Raises:
        ConfigError: The language model is one of a published system.
        ModelError: A checkpoint has no folder or no config.json.
    """
    encoder: Any = config.encoder
    llm: Any = config.llm
    vision = checkpoint_files.part_of(checkpoint_files.locate(encoder.model), checkpoint_files.VLM)
    language = checkpoint_files.part_of(checkpoint_files.locate(llm.model), checkpoint_files.VLM)
    embedder = checkpoint_files.part_of(
        checkpoint_files.locate(encoder.embedder or encoder.model), checkpoint_files.EMBEDDER
    )
    family: Any = family_of(vision)
    if not hasattr(family, "architecture"):
        raise ConfigError(
            f"{vision} is a checkpoint of {family.name}, which has an encoder of its own; use "
            f"--config {family.encoder}."
        )
    seen, read = _weights(vision), _weights(language)
    projector = 0
    if encoder.keep == TOWER:
        projector = _within(seen, (family.projector,))
    whole, text_side = count_model(embedder)
    grid = _grid(config, vision)
    text = family_of(language).config(language).get_text_config(decoder=True)
    rope = getattr(llm, "rope_factor", 1.0) if getattr(llm, "rope", "") else 1.0
    return Parts(
        towers=sum(seen.values()) - _within(seen, family.parts_of_text) - projector,
        embedder=whole,
        embedder_text=text_side,
        index_activations=_encoding_bytes(config, vision, grid, index_bytes),
        language=sum(read.values()) - _within(read, _parts_of_vision(language)),
        between=projector,
        text=text,
        context=int(text.max_position_embeddings * rope),
        token_width=family.tower_width(vision, encoder.grid)
        if encoder.keep == TOWER
        else family.token_width(vision),
        embedding_width=width_of(embedder),
        tokens_left=lambda slow: _tokens_left(config, slow, grid),
        shown=lambda frames, tokens: min(config.ask.budget, tokens),
        question_bytes=lambda frames: 0,
        remedy="lower ask.budget",
    )


def _parts_of_vision(folder: Path) -> tuple[str, ...]:
    family: Any = family_of(folder)
    parts: tuple[str, ...] = family.parts_of_vision
    return parts


def _weights(folder: Path) -> dict[str, int]:
    """Count the weights of a model by name, on a model without storage."""
    import transformers

    family: Any = family_of(folder)
    with quiet(), torch.device("meta"):
        model = getattr(transformers, family.architecture)._from_config(family.config(folder))
    return {name: weight.numel() for name, weight in model.named_parameters()}


def _within(weights: dict[str, int], parts: Sequence[str]) -> int:
    """Count those of some submodules."""
    inside = tuple(f"{part}." for part in parts)
    return sum(size for name, size in weights.items() if name.startswith(inside))


def _encoding_bytes(config: Config, folder: Path, grid: tuple[int, int], item_bytes: int) -> int:
    whole = family_of(folder).config(folder)
    vision = whole.vision_config
    patches = grid[0] * grid[1] * _patches_joined(whole) ** 2
    mlp = getattr(vision, "intermediate_size", None) or 4 * vision.hidden_size
    encoder: Any = config.encoder
    size = encoder.frame_size()
    per_frame = held_bytes(patches, vision.hidden_size, mlp, item_bytes)
    pixels = 2 * 3 * size.height * size.width * 4
    return int(encoder.batch_frames * (per_frame + pixels))


def _grid(config: Config, folder: Path) -> tuple[int, int]:
    """Return rows and columns of tokens that the encoder gives a frame."""
    family = family_of(folder)
    encoder: Any = config.encoder
    whole = family.config(folder)
    vision = whole.vision_config
    wanted = family.pixel_format(folder, getattr(encoder, "most_pixels", 0))
    patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
    side = patch * _patches_joined(whole)
    height, width = wanted.height // side, wanted.width // side
    if encoder.grid == "model" and family.name == "llava_onevision":
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    return height, width


def _patches_joined(whole: Any) -> int:
    """Return how many patches a side are joined in one token (Qwen-VL, InternVL, SmolVLM)."""
    ratio = getattr(whole, "downsample_ratio", None)
    joined = getattr(whole.vision_config, "spatial_merge_size", None) or getattr(
        whole, "scale_factor", None
    )
    return int(joined or (round(1 / ratio) if ratio else 1))


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
