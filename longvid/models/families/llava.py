"""LLaVA-1.5: every frame is an image, its patches follow each other without a mark.

Source: `LlavaForConditionalGeneration` of transformers; both sides run that class's own forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import no_grad, torch
from longvid.models.families.hf_family import UNPROJECTED, Adapter
from longvid.models.families.protocol import FramePiece, Piece, Prompt, Spliced

#: Submodules that the language model's side leaves out.
LLAVA_PROJECTOR = "model.multi_modal_projector"
LLAVA_PARTS_OF_VISION = ("model.vision_tower", LLAVA_PROJECTOR)


class StillTower:
    """What towers share that see one picture at a time."""

    frames_per_step = 1

    def __init__(self, module: Any) -> None:
        self.module = module
        projector = getattr(module.model, "multi_modal_projector", None)
        projected_width = int(module.config.text_config.hidden_size)
        self.token_width: int = getattr(projector, UNPROJECTED, projected_width)

    @property
    def _patch(self) -> int:
        return int(self.module.config.vision_config.patch_size)

    def step_seconds(self, pts_seconds: torch.Tensor) -> torch.Tensor:
        """Say when steps are shown: each is a frame, (T, 1) to (T,)."""
        return pts_seconds[:, 0]

    def _grid_of(self, patches: torch.Tensor, pixels: torch.Tensor) -> tuple[int, int]:
        """Return rows and columns of the patches (T, P, C) that a tower makes of pixels."""
        height, width = (side // self._patch for side in pixels.shape[-2:])
        if patches.shape[1] != height * width:
            raise ModelError(
                f"The tower gives {patches.shape[1]} tokens for a grid of {height}x{width}; its "
                "vision_feature_select_strategy keeps a class token, which has no place on a grid."
            )
        return height, width


class LlavaTower(StillTower):
    """The vision tower of a LLaVA, with its projector or without."""

    @no_grad
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        frames = self.module.get_image_features(pixel_values=pixels).pooler_output
        tokens: torch.Tensor = torch.stack(tuple(frames))  # (T, P, D)
        height, width = self._grid_of(tokens, pixels)
        return tokens.reshape(len(tokens), height, width, self.token_width)


class LlavaDecoder:
    """The language model of a LLaVA, with one rotary axis: a token's position is its index."""

    def __init__(self, module: Any) -> None:
        self.module = module
        text = module.config.text_config
        self.token_width = int(text.hidden_size)
        self.context = int(text.max_position_embeddings)
        self._embeddings = module.get_input_embeddings()

    #: Whether the closing vector follows every frame, or the last one only.
    closes_frames = False
    divisible = True

    def inputs(self, spliced: Spliced) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if spliced.kind is not None:
            given["mm_token_type_ids"] = spliced.kind
        if spliced.by_layer is not None:
            given["per_layer_inputs"] = spliced.by_layer.permute(1, 2, 0, 3)
        return given

    def end_of_video(self) -> torch.Tensor | None:
        """Return the vector that closes a video, (D,); LLaVA-1.5 has none."""
        return None

    def num_newlines(self, pieces: Sequence[Piece]) -> int:
        return 0 if self.end_of_video() is None else len(self._closed(pieces))

    def _closed(self, pieces: Sequence[Piece]) -> frozenset[int]:
        frames = [index for index, piece in enumerate(pieces) if isinstance(piece, FramePiece)]
        return frozenset(frames if self.closes_frames else frames[-1:])

    @no_grad
    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        device = self._embeddings.weight.device
        embedded: torch.Tensor = self._embeddings(
            torch.tensor(ids, dtype=torch.long, device=device)
        )
        return embedded

    @no_grad
    def splice(self, pieces: Sequence[Piece], *, newline: bool) -> Spliced:
        """Put text and frames in one sequence, in the given order.

        The text is embedded in one call and the frames cross to the device in one copy, however
        many pieces there are.
        """
        weight = self._embeddings.weight
        end = self.end_of_video() if newline else None
        closed = self._closed(pieces)
        ids: list[int] = []
        visual: list[torch.Tensor] = []
        is_text: list[torch.Tensor] = []
        for index, piece in enumerate(pieces):
            if isinstance(piece, FramePiece):
                visual.append(piece.tokens)
                is_text.append(torch.zeros(len(piece.tokens), dtype=torch.bool))
                if end is not None and index in closed:
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

    @no_grad
    def logits(
        self, spliced: Spliced, cache: Any = None, *, keep: int = 1, start: int = 0
    ) -> torch.Tensor:
        mask = spliced.attention_mask
        output = self.module(
            inputs_embeds=spliced.inputs_embeds,
            attention_mask=torch.cat([mask.new_ones(1, start), mask], dim=1),
            position_ids=spliced.position_ids + start,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=keep,
            **self.inputs(spliced),
        )
        logits: torch.Tensor = output.logits.float()
        return logits


class NewlineDecoder(LlavaDecoder):
    """A decoder whose model learned a vector that closes a video, or a frame."""

    def end_of_video(self) -> torch.Tensor | None:
        """Return that vector, (D,)."""
        newline: torch.Tensor = self.module.model.image_newline
        return newline


LLAVA = Adapter(
    name="llava",
    architecture="LlavaForConditionalGeneration",
    placeholder="<image>",
    placeholder_field="image_token_id",
    parts_of_vision=LLAVA_PARTS_OF_VISION,
    tower=lambda module, grid: LlavaTower(module),
    decoder=LlavaDecoder,
    content_type="image",
    projector=LLAVA_PROJECTOR,
    prompt=Prompt("USER: {video}\n{question}{choices} ASSISTANT:"),
)
