"""What MG-LLaVA needs: sizes are read off configurations and the heads of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from longvid.llm.model_memory import add_up, require_system
from longvid.models.families.protocol import PROJECTED
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.weight_count import (
    VIDEO_HEIGHT,
    VIDEO_WIDTH,
    count_built,
    count_model,
    held_bytes,
)
from longvid.systems.mg_llava import convnext
from longvid.systems.mg_llava.checkpoint import Connector, connector_sizes
from longvid.systems.mg_llava.object_tokens import BoxProjector
from longvid.types.needs import EncoderMemory, LanguageModelMemory

if TYPE_CHECKING:
    from longvid.systems.mg_llava.encoder import ConvGateEncoder
    from longvid.systems.mg_llava.language_model import MgLlavaLanguageModel

SYSTEM = "MG-LLaVA"


def encoder_memory(part: ConvGateEncoder, device: str) -> EncoderMemory:
    """Add up what both towers and the fusion need.

    A detector is not counted, nor are its tokens: they depend on what a video shows.

    Raises:
        ModelError: A checkpoint is missing or incomplete.
    """
    item_bytes = resolve_dtype(part.dtype, device).itemsize
    folder = part.clip_folder()
    whole, text_side = count_model(folder)
    sizes = part.sizes()
    connector = sum(count_built(lambda: Connector(sizes)).values())
    side = part.grid_side()
    # The widest pair of maps of the high-resolution tower is its first: four channels of each in
    # its feed-forward, at a quarter of the pixels' side.
    first = convnext.convnext_config(part.convnext).hidden_sizes[0]
    cells = (convnext.STRIDE // 4 * side) ** 2
    pixels = 2 * 3 * 4 * ((convnext.STRIDE * side) ** 2 + VIDEO_HEIGHT * VIDEO_WIDTH)
    per_frame = held_bytes(cells, first, 4 * first, item_bytes) + pixels
    return EncoderMemory(
        system=SYSTEM,
        weight_bytes=(whole + connector + convnext.count_convnext(part.convnext)) * item_bytes,
        text_bytes=text_side * item_bytes,
        activation_bytes=part.batch_frames * per_frame,
        item_bytes=item_bytes,
        grid=(side, side),
        token_width=part.token_width(),
        embedding_width=part.embedding_width(),
        projected=part.keep == PROJECTED,
    )


def language_model_memory(
    part: MgLlavaLanguageModel, encoder: EncoderMemory, device: str
) -> LanguageModelMemory:
    """Add up what the language model needs, and the projector where fused tokens were kept.

    Raises:
        ConfigError: The encoder is of another system.
        ModelError: A checkpoint is missing or incomplete.
    """
    import transformers

    require_system(part, encoder, SYSTEM)
    family = part.family()
    text: Any = family.config(part.folder()).text_config
    text_class: Any = getattr(transformers, family.text_class)
    sizes = connector_sizes(part.file())
    between = sum(count_built(lambda: BoxProjector(sizes.fused_width, sizes.llm_width)).values())
    return add_up(
        part,
        device,
        text=text,
        context=part.context or int(text.max_position_embeddings * part.stretch()),
        language=sum(count_built(lambda: text_class(text)).values()),
        between=0 if encoder.projected else between,
        shown=lambda frames, tokens, budget: min(tokens, budget),
        question_bytes=lambda frames: 0,
        remedy="lower sample.num_frames",
    )
