"""What LongVU needs: sizes are read off the heads of the files that hold its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from longvid.encode.embedder import pixel_format_of, width_of
from longvid.llm.model_memory import add_up, require_system
from longvid.models import checkpoint_files
from longvid.models.families import family_of
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.weight_count import (
    PROMPT_WORDS,
    VIDEO_HEIGHT,
    VIDEO_WIDTH,
    count_model,
    count_stored,
    held_bytes,
    matching,
)
from longvid.systems.longvu import checkpoint
from longvid.systems.longvu.encoder import two_grids
from longvid.types.needs import EncoderMemory, LanguageModelMemory

if TYPE_CHECKING:
    from longvid.methods.longvu_config import LongVUConfig
    from longvid.systems.longvu.encoder import LongVUEncoder
    from longvid.systems.longvu.language_model import LongVULanguageModel

SYSTEM = "LongVU"


def encoder_memory(part: LongVUEncoder, device: str, segment_frames: int) -> EncoderMemory:
    """Add up what both towers and the aggregator need; a store keeps two grids of each frame.

    Raises:
        ModelError: A folder is missing or incomplete, or is of a checkpoint for still images.
    """
    folder, siglip, dino = map(checkpoint_files.locate, (part.model, part.siglip, part.dino))
    item_bytes = resolve_dtype(part.dtype, device).itemsize
    whole, text_side = count_model(siglip)
    connector = matching(count_stored(folder), checkpoint.CONNECTOR)
    stored, _ = _grids(part.settings())
    towers = (
        (checkpoint_files.read_config(siglip)["vision_config"], pixel_format_of(siglip).height),
        (checkpoint_files.read_config(dino), part.dino_side),
    )
    batch = min(part.batch_frames, segment_frames)
    largest = max(batch * _tower_bytes(table, side, item_bytes) for table, side in towers)
    width = checkpoint.stored_width(folder)
    patches = sum(side**2 for side in checkpoint.tower_sides(folder))
    # Frames wait in their own size, padded to a square.
    waiting = segment_frames * 3 * max(VIDEO_HEIGHT, VIDEO_WIDTH) ** 2
    aggregated = segment_frames * held_bytes(patches, width, 0, item_bytes)
    return EncoderMemory(
        system=SYSTEM,
        weight_bytes=(count_model(dino)[0] + connector + whole) * item_bytes,
        text_bytes=text_side * item_bytes,
        activation_bytes=largest + aggregated + waiting,
        item_bytes=item_bytes,
        grid=(1, stored),
        token_width=width,
        embedding_width=width_of(siglip),
    )


def language_model_memory(
    part: LongVULanguageModel, encoder: EncoderMemory, device: str, rope_factor: float
) -> LanguageModelMemory:
    """Add up what the projector and the language model need for a video fitted to the context.

    Raises:
        ConfigError: The encoder is of another system.
        ModelError: The folder is missing or incomplete.
    """
    require_system(part, encoder, SYSTEM)
    folder = checkpoint_files.locate(part.model)
    family: Any = family_of(folder)
    text = family.config(folder).text_config
    settings = checkpoint.read_settings(folder)
    _, high = _grids(settings)
    room = settings.max_length - settings.answer_length - PROMPT_WORDS
    low = settings.lowres_side * (settings.lowres_side + 1)
    item_bytes = resolve_dtype(part.dtype, device).itemsize
    projected = 3 * (high + low) * text.hidden_size * item_bytes
    weights = count_stored(folder)
    return add_up(
        part,
        device,
        text=text,
        context=int(text.max_position_embeddings * rope_factor),
        language=sum(weights.values()) - matching(weights, family.beside),
        between=matching(weights, checkpoint.PROJECTOR),
        shown=lambda frames, tokens, budget: min(frames * high, room),
        question_bytes=lambda frames: min(frames, part.max_frames or frames) * projected,
        remedy="name another checkpoint",
    )


def _grids(settings: LongVUConfig) -> tuple[int, int]:
    """Return the tokens stored of a frame, and those shown of it at most."""
    # As the encoder reads them; see `LongVUConfig.orientation`.
    seen = (VIDEO_WIDTH, VIDEO_HEIGHT)
    seen = seen if settings.orientation == "wh" else seen[::-1]
    stored, (rows, columns) = two_grids(torch.zeros(1, settings.query_num, 1), seen, settings)
    return len(stored), rows * (columns + 1)  # each row ends in a newline


def _tower_bytes(table: dict[str, Any], side: int, item_bytes: int) -> int:
    width, patch = int(table["hidden_size"]), int(table["patch_size"])
    mlp = int(table.get("intermediate_size") or table.get("mlp_ratio", 4) * width)
    return held_bytes((side // patch) ** 2, width, mlp, item_bytes) + 2 * 3 * side**2 * 4
