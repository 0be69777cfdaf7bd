"""What a Hugging Face encoder needs, from config.json alone: its weights may be elsewhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from longvid.encode.embedder import width_of
from longvid.models.families.hf_family import Adapter, transformers_family
from longvid.models.families.protocol import TOWER
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.weight_count import count_built, count_model, held_bytes, within
from longvid.types.needs import EncoderMemory

if TYPE_CHECKING:
    from longvid.encode.huggingface import HuggingFaceEncoder


def encoder_memory(
    part: HuggingFaceEncoder, folder: Path, embedder: Path, device: str
) -> EncoderMemory:
    """Add up what a vision tower, its projector and an embedder need.

    Raises:
        ModelError: A checkpoint has no config.json, or is of a system with an encoder of its own.
    """
    family = transformers_family(folder)
    grid = _grid(part, family, folder)
    seen = count_built(lambda: family.build(folder))
    whole, text_side = count_model(embedder)
    tower_only = part.keep == TOWER
    towers = sum(seen.values()) - within(seen, family.parts_of_text)
    towers -= within(seen, family.between) if tower_only else 0
    item_bytes = resolve_dtype(part.dtype, device).itemsize
    stated = family.config(folder)
    vision = stated.vision_config
    patches = grid[0] * grid[1] * family.patches_joined(stated) ** 2
    mlp = getattr(vision, "intermediate_size", None) or 4 * vision.hidden_size
    size = part.frame_size()
    per_frame = held_bytes(patches, vision.hidden_size, mlp, item_bytes)
    pixels = 2 * 3 * size.height * size.width * 4
    return EncoderMemory(
        system="",
        weight_bytes=(towers + whole) * item_bytes,
        text_bytes=text_side * item_bytes,
        activation_bytes=part.batch_frames * (per_frame + pixels),
        item_bytes=item_bytes,
        grid=family.frame_grid(stated, grid, part.keep),
        token_width=family.tower_width(folder, part.grid)
        if tower_only
        else family.token_width(folder),
        embedding_width=width_of(embedder),
        projected=not tower_only,
    )


def _grid(part: HuggingFaceEncoder, family: Adapter, folder: Path) -> tuple[int, int]:
    """Return rows and columns of tokens that the encoder gives a frame."""
    wanted = family.pixel_format(folder, part.most_pixels)
    stated = family.config(folder)
    patch = stated.vision_config.patch_size
    side = (patch if isinstance(patch, int) else patch[0]) * family.patches_joined(stated)
    height, width = wanted.height // side, wanted.width // side
    if part.grid == "model" and family.name == "llava_onevision":
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    return height, width
