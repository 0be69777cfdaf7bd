"""What every family has in common: one class of transformers, of which each side loads its half."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from longvid.models.families.protocol import Decoder, Prompt, Tower
from longvid.models.loading import load
from longvid.models.pixels import PixelFormat
from longvid.models.quiet import quiet

__all__ = ["Adapter", "fixed_square"]


def fixed_square(folder: Path, config: Any, most_pixels: int) -> PixelFormat:
    """Return the format of a tower that takes squares of one size, whatever `most_pixels` is."""
    return PixelFormat.read(folder, int(config.vision_config.image_size))


@dataclass(frozen=True, slots=True)
class Adapter:
    """A family, by what sets it apart.

    Args:
        name: `model_type` in config.json.
        architecture: The class of transformers.
        placeholder: Text token that stands for the frames of a video.
        placeholder_field: Field of the configuration that holds its id.
        parts_of_text: Submodules that only the decoder needs.
        parts_of_vision: Submodules that only the tower needs.
        tower: Makes the tower of a module and a grid, "full" or "model".
        decoder: Makes the decoder of a module.
        prompt: The published prompt.
        content_type: What a chat template calls a video.
        rewrites: What a chat template writes around a video, and what it is turned into.
        pixels: Reads the format of frames from a folder, its configuration and a most number of
            pixels.
        layers_fed: Says how many vectors of the language model's width a token holds.
    """

    name: str
    architecture: str
    placeholder: str
    placeholder_field: str
    parts_of_text: tuple[str, ...]
    parts_of_vision: tuple[str, ...]
    tower: Callable[[Any, str], Tower]
    decoder: Callable[[Any], Decoder]
    prompt: Prompt
    content_type: str = "video"
    rewrites: tuple[tuple[str, str], ...] = ()
    pixels: Callable[[Path, Any, int], PixelFormat] = fixed_square
    layers_fed: Callable[[Any], int] = lambda config: 1

    def config(self, folder: Path) -> Any:
        """Return the transformers configuration of a checkpoint."""
        import transformers

        with quiet():
            return getattr(transformers, self.architecture).config_class.from_pretrained(folder)

    def pixel_format(self, folder: Path, most_pixels: int = 0) -> PixelFormat:
        """Say how the vision tower wants frames, without loading weights."""
        return self.pixels(folder, self.config(folder), most_pixels)

    def token_width(self, folder: Path) -> int:
        """Return D, without loading weights."""
        config = self.config(folder)
        return int(config.text_config.hidden_size) * self.layers_fed(config)

    def load_tower(self, folder: Path, grid: str, dtype: torch.dtype, device: str) -> Tower:
        """Load the vision tower and the projector, and no language model."""
        return self.tower(self._load(folder, self.parts_of_text, dtype, device), grid)

    def load_decoder(self, folder: Path, dtype: torch.dtype, device: str) -> Decoder:
        """Load the language model and its embeddings, and no vision tower."""
        return self.decoder(self._load(folder, self.parts_of_vision, dtype, device))

    def placeholder_id(self, folder: Path) -> int:
        """Return the id of the text token that stands for the video in a prompt."""
        return int(getattr(self.config(folder), self.placeholder_field))

    def _load(self, folder: Path, drop: tuple[str, ...], dtype: torch.dtype, device: str) -> Any:
        import transformers

        model_class = getattr(transformers, self.architecture)
        return load(folder, model_class, drop=drop, dtype=dtype, device=device)
