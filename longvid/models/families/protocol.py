"""What a family of video language models must do, and what travels between prompt and model.

A family has two sides that never meet in one process's memory unless it wants both: a tower
(frames to tokens in the language model's space) and a decoder (text and tokens to an answer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from longvid.lazy_import import torch
from longvid.models.preprocessing import PixelFormat

#: What an encoder keeps of a patch: what the projector makes of it, in the language model's width,
#: or what the vision tower gives, in its own.
PROJECTED, TOWER = "projected", "tower"


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a video and a question are laid out as text.

    Args:
        template: Text with the fields {video}, {question} and {choices}. The placeholder of the
            family ("<image>", "<video>") may stand for {video}.
        frame_prefix: Text before the tokens of each frame; "" for none. Its fields are {seconds}
            (when the frame is shown, one decimal), {whole_seconds} (the same, cut), {clock} (the
            same as MM:SS) and {index} (of the frame among those shown, from 1).
        newline: Whether the family's vector that closes a video, or each frame, is written.
        max_new_tokens: Longest answer.
        frame_suffix: Text after the tokens of each frame, with the same fields; "" for none.
        frame_separator: Text between two frames, after the one's suffix and before the other's
            prefix.
        video_prefix: Text before the first frame. Its fields are {num_frames}, in words, and
            {duration}, as H:MM:SS.
        note: A caveat for those who read the answers, "" for none.
        before_start: Whether the video stands before the token with which a text begins.
    """

    template: str
    frame_prefix: str = ""
    newline: bool = False
    max_new_tokens: int = 128
    frame_suffix: str = ""
    frame_separator: str = ""
    video_prefix: str = ""
    note: str = ""
    before_start: bool = False


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
        grid: (h, w) of the grid that the tokens were compressed from; (0, 0) if not known.
        origin_seconds: When the first frame of its video is shown.
    """

    tokens: torch.Tensor
    position: torch.Tensor
    pts_seconds: float
    grid: tuple[int, int] = (0, 0)
    origin_seconds: float = 0.0


Piece = TextPiece | FramePiece


@dataclass(frozen=True, slots=True, eq=False)
class Spliced:
    """Text and visual tokens in one sequence, as a language model takes it.

    Args:
        inputs_embeds: (1, L, D) in the model's dtype and on its device.
        attention_mask: (1, L) int64, all ones.
        position_ids: (1, L) int64, or (3, 1, L) for families with rotary axes of their own. The
            text that follows goes on from the last one.
        deepstack: (K, 1, L, D), what is added to the hidden states after each of the first K
            layers, zero where there is text; None for families without.
        kind: (1, L) int64, what each token is as transformers numbers it (0 text, 1 picture,
            2 video), for families in which visual tokens see later ones; None for others.
        by_layer: (K, 1, L, d), what each of the K layers reads beside its hidden states; None for
            families without.
    """

    inputs_embeds: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    deepstack: torch.Tensor | None = None
    kind: torch.Tensor | None = None
    by_layer: torch.Tensor | None = None

    def __len__(self) -> int:
        return int(self.inputs_embeds.shape[1])


class Tower(Protocol):
    """A vision tower, with its projector where projected tokens are kept.

    Attributes:
        module: The model, its language model left out.
        token_width: D, or the tower's own width.
        frames_per_step: How many consecutive frames the tower joins into one step of time, 1 for
            towers that see pictures. A last step that lacks frames is filled with its last one.
    """

    module: Any
    token_width: int
    frames_per_step: int

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn normalised pixels (T, 3, H, W) into tokens on their grid, (steps, h, w, D)."""

    def step_seconds(self, pts_seconds: torch.Tensor) -> torch.Tensor:
        """Say when steps are shown, as the model was trained to be told.

        Args:
            pts_seconds: (steps, frames_per_step) float64.

        Returns:
            (steps,) float64.
        """


class Projector(Protocol):
    """Turns what a tower gives into what the language model reads, each token by itself.

    Attributes:
        tower_width: Of what it is given.
    """

    tower_width: int

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Project tokens, (N, tower_width) to (N, D), in the projector's dtype, on the CPU."""


class Decoder(Protocol):
    """A language model that reads embeddings.

    Attributes:
        module: The model, its vision tower left out.
        token_width: D.
        context: Most tokens of a prompt and its answer.
        divisible: Whether a prompt may be read in parts: no token sees a later one.
    """

    module: Any
    token_width: int
    context: int
    divisible: bool

    def inputs(self, spliced: Spliced) -> dict[str, Any]:
        """Return what the module is given of a sequence besides embeddings and positions."""

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Return the input embeddings of text tokens in the token space, (L, D)."""

    def num_newlines(self, pieces: Sequence[Piece]) -> int:
        """Count the closing vectors that `splice` writes under `newline`."""

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


class Family(Protocol):
    """An architecture that is known."""

    @property
    def name(self) -> str:
        """Name the architecture, as `model_type` in config.json."""

    @property
    def placeholder(self) -> str:
        """Return the text token that stands for the frames of a video in a prompt."""

    @property
    def content_type(self) -> str:
        """Say what a chat template calls a video: "video", or "image" where it knows none."""

    @property
    def rewrites(self) -> tuple[tuple[str, str], ...]:
        """Return what a chat template writes around a video, and what it is turned into here."""

    @property
    def prompt(self) -> Prompt:
        """Return the published prompt."""

    def config(self, folder: Path) -> Any:
        """Return the transformers configuration of a checkpoint."""

    def stated(self, folder: Path) -> Any:
        """Return the configuration for single entries, without transformers where it can be."""

    def pixel_format(self, folder: Path, most_pixels: int = 0) -> PixelFormat:
        """Say how the vision tower wants frames, without loading weights.

        Args:
            folder: The checkpoint.
            most_pixels: Of a frame, for towers of variable resolution; 0 takes the checkpoint's
                own number.
        """

    def token_width(self, folder: Path) -> int:
        """Return D, without loading weights."""

    @property
    def projects_tokens(self) -> bool:
        """Tell whether the projector takes tokens one by one, so that it may run when asked."""

    def tower_width(self, folder: Path, grid: str) -> int:
        """Return the width of a token before the projector, without loading weights.

        Raises:
            ModelError: This family cannot keep tokens before its projector on this grid.
        """

    def load_tower(
        self, folder: Path, grid: str, dtype: torch.dtype, device: str, keep: str = PROJECTED
    ) -> Tower:
        """Load the vision tower, the projector if it is needed, and no language model.

        Args:
            folder: The checkpoint.
            grid: "full" keeps a token a patch; "model" pools as the model itself pools a video.
            dtype, device: Of the weights.
            keep: PROJECTED, or TOWER for tokens as they are before the projector.

        Raises:
            ModelError: This family cannot keep tokens before its projector on this grid.
        """

    def load_projector(self, folder: Path, dtype: torch.dtype, device: str) -> Projector:
        """Load the projector alone, for tokens that were kept before it.

        Raises:
            ModelError: This family keeps none.
        """

    def load_decoder(self, folder: Path, dtype: torch.dtype, device: str) -> Decoder:
        """Load the language model and its embeddings, and no vision tower."""

    def placeholder_id(self, folder: Path) -> int:
        """Return the id of the text token that stands for the video in a prompt."""
