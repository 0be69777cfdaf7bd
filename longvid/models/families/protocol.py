"""What a family of video language models must do, and what travels between prompt and model.

A family has two sides that never meet in one process's memory unless it wants both: a tower
(frames to tokens in the language model's space) and a decoder (text and tokens to an answer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

__all__ = ["Decoder", "Family", "FramePiece", "Piece", "Prompt", "Spliced", "TextPiece", "Tower"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a video and a question are laid out as text.

    Args:
        template: Text with the fields {video}, {question} and {choices}. The placeholder of the
            family ("<image>", "<video>") may stand for {video}.
        frame_prefix: Text before the tokens of each frame, with the field {seconds}; "" for none.
        newline: Whether the family's end-of-video vector follows the last frame.
        max_new_tokens: Longest answer.
    """

    template: str
    frame_prefix: str = ""
    newline: bool = False
    max_new_tokens: int = 128


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Text tokens, by id."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FramePiece:
    """Visual tokens of one frame.

    Args:
        tokens: (n, D).
        position: (n, 2) float32, (row, column) in [0, 1].
        pts_seconds: When the frame is shown.
    """

    tokens: torch.Tensor
    position: torch.Tensor
    pts_seconds: float


Piece = TextPiece | FramePiece


@dataclass(frozen=True, slots=True, eq=False)
class Spliced:
    """Text and visual tokens in one sequence, as a language model takes it.

    Args:
        inputs_embeds: (1, L, D) in the model's dtype and on its device.
        attention_mask: (1, L) int64, all ones.
        position_ids: (1, L) int64, or (3, 1, L) for families with rotary axes of their own.
    """

    inputs_embeds: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor

    def __len__(self) -> int:
        return int(self.inputs_embeds.shape[1])


class Tower(Protocol):
    """A vision tower with its projector."""

    module: Any
    token_width: int

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn normalised pixels (T, 3, H, W) into tokens on their grid, (T, h, w, D)."""


class Decoder(Protocol):
    """A language model that reads embeddings."""

    module: Any
    token_width: int
    context: int

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Return the input embeddings of text tokens, (L, D)."""

    def splice(self, pieces: Sequence[Piece], *, newline: bool) -> Spliced:
        """Put text and frames in one sequence, in the given order."""

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

    def generate(
        self, spliced: Spliced, max_new_tokens: int
    ) -> tuple[tuple[int, ...], dict[str, float]]:
        """Continue greedily; return the new ids and the seconds of "prefill" and "decode"."""


class Family(Protocol):
    """An architecture that is known."""

    name: str
    placeholder: str
    content_type: str
    prompt: Prompt

    def config(self, folder: Path) -> Any:
        """Return the transformers configuration of a checkpoint."""

    def load_tower(self, folder: Path, grid: str, dtype: torch.dtype, device: str) -> Tower:
        """Load the vision tower and the projector, and no language model.

        Args:
            folder: The checkpoint.
            grid: "full" keeps a token a patch; "model" pools as the model itself pools a video.
            dtype, device: Of the weights.
        """

    def load_decoder(self, folder: Path, dtype: torch.dtype, device: str) -> Decoder:
        """Load the language model and its embeddings, and no vision tower."""

    def placeholder_id(self, folder: Path) -> int:
        """Return the id of the text token that stands for the video in a prompt."""
