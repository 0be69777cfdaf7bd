"""BLIP-2 with OPT: of each frame 32 queries, before everything else in the prompt.

The checkpoints were trained on single pictures; frames are shown side by side, as InstructBLIP's
video model shows its own. A checkpoint whose language model has an encoder (Flan-T5) is refused.

Source: `Blip2ForConditionalGeneration` of transformers and its processor, which puts the visual
tokens before the token with which a text begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.errors import ModelError
from longvid.lazy_import import later, torch
from longvid.models.families.llava import LlavaDecoder
from longvid.models.families.protocol import Decoder, Prompt
from longvid.models.families.queried import QueriedAdapter, QueriedTower

if TYPE_CHECKING:
    from longvid.models import resamplers
else:
    resamplers = later("longvid.models.resamplers")


def blip_patches(module: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Run a tower of BLIP's kind, (T, 3, H, W) to (T, 1, 1 + P, C), class token first."""
    tokens: torch.Tensor = module.vision_model(pixel_values=pixels).last_hidden_state
    return tokens[:, None]


class InnerDecoder(LlavaDecoder):
    """The language model inside a model of BLIP's kind, which is one of its own."""

    def __init__(self, module: Any) -> None:
        self.module = module.language_model
        text = self.module.config
        self.token_width = int(text.hidden_size)
        self.context = int(text.max_position_embeddings)
        self._embeddings = self.module.get_input_embeddings()


@dataclass(frozen=True, slots=True)
class BlipAdapter(QueriedAdapter):
    """A family of BLIP's kind."""

    def load_decoder(self, folder: Path, dtype: torch.dtype, device: str) -> Decoder:
        """Load the language model, after its kind is checked."""
        config = self.config(folder)
        if not config.use_decoder_only_language_model:
            raise ModelError(
                f"The language model of {folder} ({config.text_config.model_type}) reads its "
                "prompt with an encoder; a checkpoint whose language model only decodes is "
                "needed, such as one with OPT or Vicuna."
            )
        return QueriedAdapter.load_decoder(self, folder, dtype, device)


def _tower(module: Any, grid: str) -> QueriedTower:
    read = None if module.qformer is None else lambda tokens: resamplers.blip2(module, tokens)
    return QueriedTower(module, lambda pixels: blip_patches(module, pixels), read)


BLIP2 = BlipAdapter(
    name="blip-2",
    architecture="Blip2ForConditionalGeneration",
    placeholder="<image>",
    placeholder_field="image_token_id",
    parts_of_text=("language_model",),
    # The queries themselves are one small parameter, which the class wants to be there.
    parts_of_vision=("vision_model", "qformer", "language_projection"),
    tower=_tower,
    decoder=InnerDecoder,
    content_type="image",
    queries=("qformer", "language_projection"),
    num_queries=lambda config: int(config.num_query_tokens),
    class_tokens=1,
    prompt=Prompt("{video}Question: {question}{choices} Answer:", before_start=True),
)
