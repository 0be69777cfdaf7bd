"""What LLaMA-VID and LongVU need: sizes are read off the heads of the files that hold weights.

Their stores keep whole frames, and a question is shown little of what it reads; the sums follow
that path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from longvid.capacity.parts import (
    PROMPT_WORDS,
    VIDEO_HEIGHT,
    VIDEO_WIDTH,
    Parts,
    count_model,
    held_bytes,
)
from longvid.config import Config
from longvid.encode.embedder import pixel_format_of, width_of
from longvid.errors import ConfigError
from longvid.methods.content_tokens import content_tokens
from longvid.models import checkpoint_files
from longvid.models.families import family_of
from longvid.models.weights import COMPUTED, read_tensors
from longvid.registry import name_of
from longvid.systems.llama_vid import checkpoint
from longvid.systems.llama_vid.eva_vit import EvaVisionTransformer
from longvid.systems.llama_vid.language_model import stated_context
from longvid.systems.llama_vid.network import BLOCK_FRAMES
from longvid.systems.longvu import checkpoint as longvu_checkpoint
from longvid.systems.longvu.encoder import two_grids

__all__ = ["llama_vid_parts", "longvu_parts"]


def llama_vid_parts(config: Config, index_bytes: int, ask_bytes: int) -> Parts:
    """Say what is known of LLaMA-VID.

    Raises:
        ModelError: A folder is missing or incomplete, or there is no vision tower.
    """
    encoder: Any = config.encoder
    llm: Any = config.llm
    _require_same(config)
    folder = checkpoint_files.locate(encoder.model)
    embedder = checkpoint_files.part_of(
        checkpoint_files.locate(encoder.embedder), checkpoint_files.EMBEDDER
    )
    tower = checkpoint.tower_sizes(folder, encoder.vision_tower)
    adapter = checkpoint.adapter_sizes(folder)
    num_patches = tower.grid_side**2
    shown = 1 + content_tokens(torch.zeros(1, num_patches, 1), adapter.content).shape[1]
    whole, text_side = count_model(embedder)
    text = family_of(folder).config(folder).text_config
    per_frame = held_bytes(1 + num_patches, tower.width, tower.mlp_width, index_bytes)
    pixels = 2 * 3 * tower.image_size**2 * 4
    reader = adapter.qformer
    rows = adapter.num_queries + reader.max_positions
    reading = held_bytes(rows, reader.hidden, reader.feedforward, ask_bytes)
    looking = held_bytes(1 + num_patches, adapter.vision_width, 0, ask_bytes)
    weights = _weights(folder)
    return Parts(
        towers=_count(lambda: EvaVisionTransformer(tower)),
        embedder=whole,
        embedder_text=text_side,
        index_activations=encoder.batch_frames * (per_frame + pixels),
        language=_language(folder, weights),
        between=_named(weights, checkpoint.ADAPTER),
        text=text,
        context=int(text.max_position_embeddings * llm.rope_factor)
        if llm.rope
        else stated_context(folder, int(text.max_position_embeddings)),
        token_width=tower.width,
        embedding_width=width_of(embedder),
        tokens_left=lambda slow: len(slow) * (1 + num_patches),
        shown=lambda frames, tokens: frames * shown,
        question_bytes=lambda frames: min(frames, BLOCK_FRAMES) * (reading + looking),
        remedy="lower sample.fps, or name the checkpoint for long videos",
    )


def longvu_parts(config: Config, index_bytes: int, ask_bytes: int) -> Parts:
    """Say what is known of LongVU.

    Raises:
        ModelError: A folder is missing or incomplete, or is of a checkpoint for still images.
    """
    encoder: Any = config.encoder
    llm: Any = config.llm
    _require_same(config)
    folder, siglip, dino = map(
        checkpoint_files.locate, (encoder.model, encoder.siglip, encoder.dino)
    )
    settings = encoder.settings()
    weights = _weights(folder)
    # As the encoder reads them; see `LongVUConfig.orientation`.
    seen = (VIDEO_WIDTH, VIDEO_HEIGHT)
    seen = seen if settings.orientation == "wh" else seen[::-1]
    stored, (rows, columns) = two_grids(torch.zeros(1, settings.query_num, 1), seen, settings)
    high = rows * (columns + 1)  # each row ends in a newline
    whole, text_side = count_model(siglip)
    text = family_of(folder).config(folder).text_config
    room = settings.max_length - settings.answer_length
    projected = 3 * (high + settings.lowres_side * (settings.lowres_side + 1)) * text.hidden_size
    return Parts(
        towers=count_model(dino)[0] + _named(weights, longvu_checkpoint.CONNECTOR),
        embedder=whole,
        embedder_text=text_side,
        index_activations=_longvu_activations(config, index_bytes),
        language=_language(folder, weights),
        between=_named(weights, longvu_checkpoint.PROJECTOR),
        text=text,
        context=int(text.max_position_embeddings * (llm.rope_factor if llm.rope else 1)),
        token_width=longvu_checkpoint.stored_width(folder),
        embedding_width=width_of(siglip),
        tokens_left=lambda slow: len(slow) * len(stored),
        shown=lambda frames, tokens: min(frames * high, room - PROMPT_WORDS),
        question_bytes=lambda frames: min(frames, llm.max_frames or frames) * projected * ask_bytes,
        remedy="name another checkpoint",
    )


def _longvu_activations(config: Config, item_bytes: int) -> int:
    """Estimate what a segment takes in both towers, one after the other, and in the aggregator."""
    encoder: Any = config.encoder
    siglip, dino = checkpoint_files.locate(encoder.siglip), checkpoint_files.locate(encoder.dino)
    towers = (
        (checkpoint_files.read_config(siglip)["vision_config"], pixel_format_of(siglip).height),
        (checkpoint_files.read_config(dino), encoder.dino_side),
    )
    batch = min(encoder.batch_frames, config.sample.segment_frames)
    largest = 0
    for table, side in towers:
        width, patch = int(table["hidden_size"]), int(table["patch_size"])
        mlp = int(table.get("intermediate_size") or table.get("mlp_ratio", 4) * width)
        num_tokens = (side // patch) ** 2
        pixels = 2 * 3 * side**2 * 4
        largest = max(largest, batch * (held_bytes(num_tokens, width, mlp, item_bytes) + pixels))
    folder = checkpoint_files.locate(encoder.model)
    inner = longvu_checkpoint.stored_width(folder)
    patches = sum(side**2 for side in longvu_checkpoint.tower_sides(folder))
    # Frames wait in their own size, padded to a square.
    frames = config.sample.segment_frames * 3 * max(VIDEO_HEIGHT, VIDEO_WIDTH) ** 2
    aggregated = config.sample.segment_frames * held_bytes(patches, inner, 0, item_bytes)
    return largest + aggregated + frames


def _require_same(config: Config) -> None:
    """Refuse a language model of another system than the encoder's."""
    encoder, llm = name_of("encoder", config.encoder), name_of("llm", config.llm)
    if encoder != llm:
        raise ConfigError(
            f"encoder.name is {encoder!r} and llm.name is {llm!r}; a published system has both of "
            f"one name, as --config {encoder} sets them."
        )


def _weights(folder: Path) -> dict[str, int]:
    """Count the weights of a checkpoint by name, from the heads of its files."""
    stored = read_tensors(folder, lambda name: COMPUTED.search(name) is None, data=False)
    return {name: tensor.numel() for name, tensor in stored.items()}


def _named(weights: dict[str, int], pattern: str) -> int:
    return sum(size for name, size in weights.items() if re.match(pattern, name))


def _language(folder: Path, weights: dict[str, int]) -> int:
    """Count the language model's weights among those of a published folder."""
    family: Any = family_of(folder)
    return sum(weights.values()) - _named(weights, family.beside)


def _count(build: Callable[[], nn.Module]) -> int:
    """Count the weights of a network without giving it storage."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in build().parameters())
