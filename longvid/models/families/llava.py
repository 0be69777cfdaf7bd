"""LLaVA-1.5: every frame is an image, its patches follow each other without a mark.

Source: `LlavaForConditionalGeneration` of transformers; both sides run that class's own forward.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from longvid.errors import ModelError
from longvid.models.families.protocol import Decoder, FramePiece, Piece, Prompt, Spliced, Tower
from longvid.models.loading import load
from longvid.models.quiet import quiet

__all__ = ["LLAVA", "LLAVA_PARTS_OF_TEXT", "LLAVA_PARTS_OF_VISION", "Llava", "LlavaDecoder"]

#: Submodules that the other side needs and this side leaves out.
LLAVA_PARTS_OF_TEXT = ("model.language_model", "lm_head")
LLAVA_PARTS_OF_VISION = ("model.vision_tower", "model.multi_modal_projector")


class LlavaTower:
    """The vision tower and projector of a LLaVA."""

    def __init__(self, module: Any) -> None:
        self.module = module
        config = module.config
        self.token_width = int(config.text_config.hidden_size)
        self._patch = int(config.vision_config.patch_size)

    @torch.no_grad()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn normalised pixels (T, 3, H, W) into tokens on their grid, (T, h, w, D)."""
        height, width = (side // self._patch for side in pixels.shape[-2:])
        frames = self.module.get_image_features(pixel_values=pixels).pooler_output
        tokens: torch.Tensor = torch.stack(tuple(frames))  # (T, P, D)
        if tokens.shape[1] != height * width:
            raise ModelError(
                f"The tower gives {tokens.shape[1]} tokens for a grid of {height}x{width}; its "
                "vision_feature_select_strategy keeps a class token, which has no place on a grid."
            )
        return tokens.reshape(len(tokens), height, width, self.token_width)


class _FirstTokenClock:
    """Notes when the first token is known; never stops a generation."""

    def __init__(self) -> None:
        self.first_token: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        if self.first_token is None:
            int(input_ids[0, -1])  # a GPU runs ahead; wait until the token is there
            self.first_token = time.perf_counter()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class LlavaDecoder:
    """The language model of a LLaVA, with one rotary axis: a token's position is its index."""

    def __init__(self, module: Any) -> None:
        self.module = module
        text = module.config.text_config
        self.token_width = int(text.hidden_size)
        self.context = int(text.max_position_embeddings)
        self._embeddings = module.get_input_embeddings()
        self._generation = _greedy(module.generation_config)

    def end_of_video(self) -> torch.Tensor | None:
        """Return the vector that closes a video, (D,); LLaVA-1.5 has none."""
        return None

    @torch.no_grad()
    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Return the input embeddings of text tokens, (L, D)."""
        device = self._embeddings.weight.device
        embedded: torch.Tensor = self._embeddings(
            torch.tensor(ids, dtype=torch.long, device=device)
        )
        return embedded

    @torch.no_grad()
    def splice(self, pieces: Sequence[Piece], *, newline: bool) -> Spliced:
        """Put text and frames in one sequence, in the given order.

        The text is embedded in one call and the frames cross to the device in one copy, however
        many pieces there are.
        """
        weight = self._embeddings.weight
        end = self.end_of_video() if newline else None
        last_frame = max((i for i, p in enumerate(pieces) if isinstance(p, FramePiece)), default=-1)
        ids: list[int] = []
        visual: list[torch.Tensor] = []
        is_text: list[torch.Tensor] = []
        for index, piece in enumerate(pieces):
            if isinstance(piece, FramePiece):
                visual.append(piece.tokens)
                is_text.append(torch.zeros(len(piece.tokens), dtype=torch.bool))
                if end is not None and index == last_frame:
                    visual.append(end.to(piece.tokens)[None])
                    is_text.append(torch.zeros(1, dtype=torch.bool))
            else:
                ids.extend(piece.ids)
                is_text.append(torch.ones(len(piece.ids), dtype=torch.bool))
        mask = torch.cat(is_text).to(weight.device)
        embeds = weight.new_empty(len(mask), self.token_width)  # (L, D)
        embeds[mask] = self.embed(ids)
        if visual:
            embeds[~mask] = torch.cat(visual).to(embeds)
        return Spliced(
            inputs_embeds=embeds[None],
            attention_mask=torch.ones(1, len(mask), dtype=torch.long, device=weight.device),
            position_ids=torch.arange(len(mask), device=weight.device)[None],
        )

    @torch.no_grad()
    def logits(
        self, spliced: Spliced, cache: Any = None, *, keep: int = 1, start: int = 0
    ) -> torch.Tensor:
        """Return the logits of the last `keep` positions, (1, keep, V) float32; 0 keeps all.

        Args:
            spliced: The sequence, or what follows the `start` positions that `cache` holds.
            cache: A transformers cache, which grows by the sequence; None for none.
            keep: How many positions.
            start: Position of the first token.
        """
        mask = spliced.attention_mask
        output = self.module(
            inputs_embeds=spliced.inputs_embeds,
            attention_mask=torch.cat([mask.new_ones(1, start), mask], dim=1),
            position_ids=spliced.position_ids + start,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=keep,
        )
        logits: torch.Tensor = output.logits.float()
        return logits

    @torch.no_grad()
    def generate(
        self, spliced: Spliced, max_new_tokens: int
    ) -> tuple[tuple[int, ...], dict[str, float]]:
        """Continue greedily with the model's own `generate`.

        Returns:
            The new ids, the end token included, and the seconds of "prefill" (until the first
            token is known) and "decode".
        """
        from transformers import StoppingCriteriaList

        clock = _FirstTokenClock()
        settings = copy.copy(self._generation)
        settings.max_new_tokens = max_new_tokens
        start = time.perf_counter()
        output = self.module.generate(
            inputs_embeds=spliced.inputs_embeds,
            attention_mask=spliced.attention_mask,
            generation_config=settings,
            stopping_criteria=StoppingCriteriaList([clock]),
        )
        end = time.perf_counter()
        first = clock.first_token if clock.first_token is not None else end
        return tuple(output[0].tolist()), {"prefill": first - start, "decode": end - first}


class Llava:
    """The family of LLaVA-1.5."""

    name = "llava"
    placeholder = "<image>"
    content_type = "image"
    prompt = Prompt("USER: {video}\n{question}{choices} ASSISTANT:")

    def config(self, folder: Path) -> Any:
        """Return the transformers configuration of a checkpoint."""
        from transformers import LlavaConfig

        with quiet():
            return LlavaConfig.from_pretrained(folder)

    def load_tower(self, folder: Path, grid: str, dtype: torch.dtype, device: str) -> Tower:
        """Load the vision tower and the projector; "full" and "model" are the same grid."""
        from transformers import LlavaForConditionalGeneration

        return LlavaTower(
            load(
                folder,
                LlavaForConditionalGeneration,
                drop=LLAVA_PARTS_OF_TEXT,
                dtype=dtype,
                device=device,
            )
        )

    def load_decoder(self, folder: Path, dtype: torch.dtype, device: str) -> Decoder:
        """Load the language model and its embeddings."""
        from transformers import LlavaForConditionalGeneration

        return LlavaDecoder(
            load(
                folder,
                LlavaForConditionalGeneration,
                drop=LLAVA_PARTS_OF_VISION,
                dtype=dtype,
                device=device,
            )
        )

    def placeholder_id(self, folder: Path) -> int:
        """Return the id of the text token that stands for the video in a prompt."""
        return int(self.config(folder).image_token_index)


LLAVA = Llava()


def _greedy(settings: Any) -> Any:
    """Copy a checkpoint's generation settings without those of sampling, which would warn."""
    greedy = copy.deepcopy(settings)
    greedy.do_sample = False
    for name in ("temperature", "top_p", "top_k", "min_p", "typical_p"):
        setattr(greedy, name, None)
    greedy.max_length = None
    if greedy.pad_token_id is None and greedy.eos_token_id is not None:
        ends = greedy.eos_token_id
        greedy.pad_token_id = ends[0] if isinstance(ends, list) else ends
    return greedy
