"""Qwen3-VL, dense and mixture of experts: time is text, and a token has several layers.

DeepStack adds features of inner layers of the vision tower to the hidden states after the first
layers of the language model. They are stored beside the token they belong to, one after the other
in the same vector, so that whatever merges or prunes tokens treats a token and its features alike;
the token space says the width. A token takes (1 + number of layers) times the room of another
family's.

Each step of two frames is a picture of its own, preceded by its mean time in seconds. What a chat
template writes around the whole video is left out: the model was trained with marks around each
step instead.

Source: `Qwen3VLForConditionalGeneration` of transformers (get_video_features, get_rope_index) and
its processor (replace_video_token); the tower runs that class's own forward.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from longvid.lazy_import import F, torch
from longvid.models.families.hf_family import Adapter
from longvid.models.families.protocol import FramePiece, Piece, Prompt, Spliced
from longvid.models.families.qwen2_5_vl import QWEN_CHAT
from longvid.models.families.qwen_pixels import qwen_pixels
from longvid.models.families.stepped import MeanTimeTower, SteppedDecoder


def _layers_fed(config: Any) -> int:
    return 1 + len(config.vision_config.deepstack_visual_indexes)


class _DeepTower(MeanTimeTower):
    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.token_width *= _layers_fed(module.config)

    def _tokens(self, output: Any) -> torch.Tensor:
        layers = [output.pooler_output[0], *(of_layer[0] for of_layer in output.deepstack_features)]
        return torch.cat(layers, dim=-1)


class _DeepDecoder(SteppedDecoder):
    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self._hidden_width = self.token_width
        self.token_width *= _layers_fed(module.config)

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Return the input embeddings of text tokens, (L, D); text has no features of layers."""
        return F.pad(super().embed(ids), (0, self.token_width - self._hidden_width))

    def splice(self, pieces: Sequence[Piece], *, newline: bool) -> Spliced:
        """Put text and frames in one sequence, the features of inner layers beside it."""
        spliced = super().splice(pieces, newline=newline)
        embeds, *layers = torch.split(spliced.inputs_embeds, self._hidden_width, dim=-1)
        visual = any(isinstance(piece, FramePiece) for piece in pieces)
        return dataclasses.replace(
            spliced,
            inputs_embeds=embeds.contiguous(),
            deepstack=torch.stack(layers) if layers and visual else None,  # (K, 1, L, D)
        )

    def logits(
        self, spliced: Spliced, cache: Any = None, *, keep: int = 1, start: int = 0
    ) -> torch.Tensor:
        with self._fed(spliced.deepstack):
            return super().logits(spliced, cache, keep=keep, start=start)

    @contextmanager
    def _fed(self, deepstack: torch.Tensor | None) -> Iterator[None]:
        """Give the language model the features of layers, which its wrapper takes from pixels."""
        if deepstack is None:
            yield
            return

        def feed(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            everywhere = torch.ones(deepstack.shape[1:3], dtype=torch.bool)
            features = [layer.flatten(0, 1) for layer in deepstack]
            fed = {"visual_pos_masks": everywhere, "deepstack_visual_embeds": features}
            return args, {**kwargs, **fed}

        language_model = self.module.model.language_model
        hook = language_model.register_forward_pre_hook(feed, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()


QWEN3_VL = Adapter(
    name="qwen3_vl",
    architecture="Qwen3VLForConditionalGeneration",
    placeholder="<|video_pad|>",
    parts_of_vision=("model.visual",),
    tower=lambda module, grid: _DeepTower(module),
    decoder=_DeepDecoder,
    pixels=qwen_pixels,
    layers_fed=_layers_fed,
    rewrites=(("<|vision_start|><|video_pad|><|vision_end|>", "<|video_pad|>"),),
    prompt=Prompt(
        QWEN_CHAT, frame_prefix="<{seconds} seconds><|vision_start|>", frame_suffix="<|vision_end|>"
    ),
)

QWEN3_VL_MOE = dataclasses.replace(
    QWEN3_VL, name="qwen3_vl_moe", architecture="Qwen3VLMoeForConditionalGeneration"
)

#: NVIDIA's Cosmos 3, its reader alone: Qwen3-VL's architecture.
COSMOS3_OMNI = dataclasses.replace(
    QWEN3_VL, name="cosmos3_omni", architecture="Cosmos3OmniForConditionalGeneration"
)
