"""LongVU from the towers' features to the language model's input, in the released order.

Time first, then two resolutions, then the question, then space:

    select_frames -> aggregate -> (low, high) grids -> crop, newlines, positions
        -> question-guided resolution or STC -> spliced at the placeholder -> padded batch

The readable twin of what the encoder and the language model do in two halves, with a store in
between: the authors' arrays prove this composition, and tests compare the two. Nothing else uses
it. The steps are functions of the neighbouring modules. The aggregator, the projector and the
embedding table are given: this module knows the order and the budgets, and no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from einops import rearrange

from longvid.errors import ConfigError, OpError
from longvid.lazy_import import torch
from longvid.methods.longvu_config import LongVUConfig
from longvid.methods.stc import fit_to_budget
from longvid.methods.temporal_reduction import select_frames, text_length
from longvid.systems.longvu.padded_grid import (
    crop_to_content,
    resize_grid,
    resolution,
    with_newlines,
)
from tests.reference.longvu_positions import frame_positions

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ReferenceConfig(LongVUConfig):
    """Settings of LongVU, with those that no released checkpoint uses.

    Args:
        frame_pos: Add the position of the frame to its tokens.
        cosine_of_sine: Odd components of that position are the cosine of the sine, as released;
            otherwise the cosine of the angle.
        padding_side: Where shorter samples of a batch are padded, "right" or "left".
    """

    frame_pos: bool = False
    cosine_of_sine: bool = True
    padding_side: str = "right"


# The id that stands for the video in a tokenised prompt.
IMAGE_TOKEN_ID = -200


@dataclass(frozen=True, slots=True)
class VisualBlock:
    """The features of one video, or of one still image.

    Args:
        towers: For each tower (T, P_k, C_k) float; the last one decides which frames survive.
        height: Height of the frames before padding, pixels.
        width: Width of the frames before padding, pixels.
    """

    towers: tuple[Tensor, ...]
    height: int
    width: int

    def __post_init__(self) -> None:
        counts = {tower.shape[0] for tower in self.towers}
        if len(counts) != 1 or any(tower.dim() != 3 for tower in self.towers):
            raise OpError(
                "A video's towers must be (T, P, C) with the same T, got "
                f"{[tuple(tower.shape) for tower in self.towers]}."
            )


@dataclass(frozen=True, slots=True)
class PreparedInputs:
    """What the language model is given.

    Args:
        embeds: (B, L, D), text and visual tokens; zeros where a sample is padded.
        attention_mask: (B, L) bool, false for padding.
        frames: For each sample, the indices of the surviving frames, (k,) int64.
        grids: For each sample, rows and columns of the high-resolution grid after cropping.
        num_visual_tokens: For each sample, visual tokens shown (before the final truncation).
    """

    embeds: Tensor
    attention_mask: Tensor
    frames: tuple[Tensor, ...]
    grids: tuple[tuple[int, int], ...]
    num_visual_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LongVU:
    """The released forward path up to the language model.

    Args:
        config: Every number and choice.
        aggregate: Fuses towers (F, P_k, C_k), with the width and height of the picture, into
            (F, query_num, C): `SpatialVisionAggregator.aggregate`.
        project: Maps (F, n, C) to (F, n, D): `SpatialVisionAggregator.project`.
        newline: (D,), the token that ends a row of a grid.
        embed: Maps token ids (L,) to (L, D): the language model's embedding.
    """

    config: ReferenceConfig
    aggregate: Callable[[Sequence[Tensor], int, int], Tensor]
    project: Callable[[Tensor], Tensor]
    newline: Tensor
    embed: Callable[[Tensor], Tensor]

    def _size_as_read(self, block: VisualBlock, still: bool) -> tuple[int, int]:
        """Return what the unpadding takes for (width, height)."""
        if still or self.config.orientation == "wh":
            return block.width, block.height
        return block.height, block.width

    def _tokens(self, grid: Tensor, frames: Tensor) -> Tensor:
        """Flatten grids (F, h, w, D) of the named frames with newlines and positions."""
        tokens = with_newlines(grid, self.newline)
        if self.config.frame_pos:
            position = frame_positions(
                frames, tokens.shape[2], cosine_of_sine=self.config.cosine_of_sine
            )
            tokens = tokens + position.to(tokens.dtype)
        return tokens

    def visual_tokens(
        self, block: VisualBlock, frames: Tensor, shown_at: str, *, still: bool = False
    ) -> tuple[Tensor | None, Tensor, tuple[int, int]]:
        """Aggregate the surviving frames and lay out their tokens at one or two resolutions.

        Args:
            block: The video.
            frames: (F,) int64, the frames that survive.
            shown_at: "high", "mixed" or "over".
            still: Whether the block is a still image.

        Returns:
            low (F, l, D), or None where resolutions are not mixed; high (F, h, D); and the rows
            and columns of the high-resolution grid.

        Raises:
            ConfigError: The video is over the budget of the low resolution, and the configuration
                is one that the released code fails on.
        """
        config = self.config
        read = self._size_as_read(block, still)
        fused = self.aggregate([tower[frames] for tower in block.towers], *read)
        positions = torch.zeros_like(frames) if still else frames
        # The low-resolution picture is cropped by a size scaled with it, rounded down.
        scale = config.high_side / config.lowres_side
        low_read = (max(1, int(read[0] / scale)), max(1, int(read[1] / scale)))

        def laid_out(grid: Tensor, side: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
            square = rearrange(self.project(grid), "f (h w) d -> f h w d", h=side)
            cropped = crop_to_content(square, *size)
            return self._tokens(cropped, positions), cropped

        if shown_at == "over" and config.low_when_over:
            tokens, cropped = laid_out(
                resize_grid(fused, config.lowres_side), config.lowres_side, low_read
            )
            return None, tokens, (cropped.shape[1], cropped.shape[2])
        if shown_at == "over" and config.query_side != config.high_side:
            raise ConfigError(
                f"{len(frames)} frames exceed the context even at low resolution, where the "
                f"released code cannot resize {config.query_num} queries to "
                f"{config.image_token_len} tokens; set query_num to image_token_len, or "
                "low_when_over."
            )
        low = None
        if config.highres and shown_at == "mixed":
            low, _ = laid_out(resize_grid(fused, config.lowres_side), config.lowres_side, low_read)
        if config.query_side != config.high_side:
            fused = resize_grid(fused, config.high_side)
        high, cropped = laid_out(fused, config.high_side, read)
        return low, high, (cropped.shape[1], cropped.shape[2])

    def _video_tokens(
        self, low: Tensor | None, high: Tensor, text_tokens: int, question: Tensor
    ) -> Tensor:
        config = self.config
        # Where the grids have equally many tokens there is nothing to choose by the question.
        mixed = low is not None and config.image_token_len > config.lowres_side**2
        return fit_to_budget(
            high if low is None else low,
            high if mixed else None,
            question,
            config.max_length - config.answer_length - text_tokens,
            score_resolution=config.score_resolution,
            chunk=config.chunk,
            threshold=config.drop_threshold,
        )

    def prepare_inputs(
        self,
        input_ids: Tensor,
        blocks: Sequence[VisualBlock],
        *,
        attention_mask: Tensor | None = None,
        still: bool = False,
    ) -> PreparedInputs:
        """Turn prompts and videos into the input of the language model.

        The first sample alone decides the resolution of all, as in the original.

        Args:
            input_ids: (B, L) int64, one IMAGE_TOKEN_ID in every row.
            blocks: One video per row, or one still image per row.
            attention_mask: (B, L) bool, false for padding; all true if not given.
            still: Whether the blocks are still images: these are not reduced to a budget, and with
                `highres` they are shown at low resolution, as released.

        Returns:
            The embedded batch, truncated to the context, and what was kept.

        Raises:
            OpError: A row has no placeholder or several, or rows and blocks differ in number.
            ConfigError: See `visual_tokens`.
            BudgetError: The text leaves no room for a visual token.

        Source: LongVU, `cambrian_arch.py` prepare_inputs_labels_for_multimodal.
        """
        if len(input_ids) != len(blocks) or not len(blocks):
            raise OpError(
                f"Each prompt needs one video, got {len(input_ids)} prompts and {len(blocks)} "
                "videos."
            )
        config = self.config
        lengths = [text_length(row, config.pad_token_id) for row in input_ids]
        kept = [
            torch.arange(len(block.towers[-1]))
            if still
            else select_frames(block.towers[-1], length, config)
            for block, length in zip(blocks, lengths, strict=True)
        ]
        shown_at = "mixed" if still else resolution(len(kept[0]), lengths[0], config)
        samples, grids, num_visual = [], [], []
        for i, (block, frames) in enumerate(zip(blocks, kept, strict=True)):
            ids = input_ids[i]
            if attention_mask is not None:
                ids = ids[attention_mask[i].bool() | (ids == IMAGE_TOKEN_ID)]
            low, high, grid = self.visual_tokens(block, frames, shown_at, still=still)
            before, after = self._embedded_text(ids)
            if still:
                visual = (high if low is None else low).flatten(0, 1)
            else:
                visual = self._video_tokens(low, high, len(before) + len(after), after)
            samples.append(torch.cat([before, visual, after])[: config.max_length])
            grids.append(grid)
            num_visual.append(len(visual))
        embeds, mask = self._padded(samples)
        return PreparedInputs(embeds, mask, tuple(kept), tuple(grids), tuple(num_visual))

    def _embedded_text(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Embed the text before and after the placeholder."""
        places = torch.nonzero(ids == IMAGE_TOKEN_ID).flatten().tolist()
        if len(places) != 1:
            raise OpError(
                f"A prompt must hold one placeholder ({IMAGE_TOKEN_ID}) for its video, "
                f"got {len(places)}."
            )
        return self.embed(ids[: places[0]]), self.embed(ids[places[0] + 1 :])

    def _padded(self, samples: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        longest = max(len(sample) for sample in samples)
        embeds = samples[0].new_zeros(len(samples), longest, samples[0].shape[1])
        mask = torch.zeros(len(samples), longest, dtype=torch.bool, device=embeds.device)
        for i, sample in enumerate(samples):
            start = longest - len(sample) if self.config.padding_side == "left" else 0
            embeds[i, start : start + len(sample)] = sample
            mask[i, start : start + len(sample)] = True
        return embeds, mask
