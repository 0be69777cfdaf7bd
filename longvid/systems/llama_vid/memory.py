"""What LLaMA-VID needs: sizes are read off the heads of the files that hold its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from longvid.encode.embedder import width_of
from longvid.llm.model_memory import add_up, require_system
from longvid.methods.content_tokens import content_tokens
from longvid.models import checkpoint_files
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.weight_count import count_built, count_model, count_stored, held_bytes, matching
from longvid.systems.families import LLAMA_VID
from longvid.systems.llama_vid import checkpoint
from longvid.systems.llama_vid.eva_vit import EvaVisionTransformer
from longvid.systems.llama_vid.network import BLOCK_FRAMES
from longvid.types.needs import EncoderMemory, LanguageModelMemory

if TYPE_CHECKING:
    from longvid.systems.llama_vid.encoder import LlamaVidEncoder
    from longvid.systems.llama_vid.language_model import LlamaVidLanguageModel

SYSTEM = "LLaMA-VID"


def encoder_memory(part: LlamaVidEncoder, device: str) -> EncoderMemory:
    """Add up what the tower and the embedder need; a store keeps every patch and a class token.

    Raises:
        ModelError: A folder is missing or incomplete, or there is no vision tower.
    """
    embedder = checkpoint_files.part_of(
        checkpoint_files.locate(part.embedder), checkpoint_files.EMBEDDER
    )
    tower = checkpoint.tower_sizes(part.folder(), part.vision_tower)
    item_bytes = resolve_dtype(part.dtype, device).itemsize
    num_tokens = 1 + tower.grid_side**2
    whole, text_side = count_model(embedder)
    towers = sum(count_built(lambda: EvaVisionTransformer(tower)).values())
    per_frame = held_bytes(num_tokens, tower.width, tower.mlp_width, item_bytes)
    return EncoderMemory(
        system=SYSTEM,
        weight_bytes=(towers + whole) * item_bytes,
        text_bytes=text_side * item_bytes,
        activation_bytes=part.batch_frames * (per_frame + 2 * 3 * tower.image_size**2 * 4),
        item_bytes=item_bytes,
        grid=(1, num_tokens),
        token_width=tower.width,
        embedding_width=width_of(embedder),
    )


def language_model_memory(
    part: LlamaVidLanguageModel, encoder: EncoderMemory, device: str, rope_factor: float
) -> LanguageModelMemory:
    """Add up what the adapter and the language model need for frames of a content and a context
    token.

    Raises:
        ConfigError: The encoder is of another system.
        ModelError: The folder is missing or incomplete.
    """
    from longvid.systems.llama_vid.language_model import stated_context

    require_system(part, encoder, SYSTEM)
    folder = checkpoint_files.locate(part.model)
    adapter = checkpoint.adapter_sizes(folder)
    num_tokens = encoder.grid[1]
    content = content_tokens(torch.zeros(1, num_tokens - 1, 1), adapter.content)
    item_bytes = resolve_dtype(part.dtype, device).itemsize
    reader = adapter.qformer
    rows = adapter.num_queries + reader.max_positions
    reading = held_bytes(rows, reader.hidden, reader.feedforward, item_bytes)
    looking = held_bytes(num_tokens, adapter.vision_width, 0, item_bytes)
    text: Any = LLAMA_VID.config(folder).text_config
    trained = int(text.max_position_embeddings)
    weights = count_stored(folder)
    return add_up(
        part,
        device,
        text=text,
        context=int(trained * rope_factor) if part.rope else stated_context(folder, trained),
        language=sum(weights.values()) - matching(weights, LLAMA_VID.beside),
        between=matching(weights, checkpoint.ADAPTER),
        shown=lambda frames, tokens, budget: frames * (1 + content.shape[1]),
        question_bytes=lambda frames: min(frames, BLOCK_FRAMES) * (reading + looking),
        remedy="lower sample.fps, or name the checkpoint for long videos",
    )
