"""What every family has in common: one class of transformers, of which each side loads its half."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import no_grad, torch
from longvid.models.checkpoint_errors import checkpoint_errors
from longvid.models.config_json import Stated, stated_config
from longvid.models.families import family_of
from longvid.models.families.protocol import PROJECTED, TOWER, Decoder, Prompt, Tower
from longvid.models.from_pretrained import load
from longvid.models.preprocessing import PixelFormat
from longvid.models.transformers_logging import quiet

#: Attribute of what stands in a projector's place: the width of a token.
UNPROJECTED = "unprojected_width"


def fixed_square(folder: Path, config: Any, most_pixels: int) -> PixelFormat:
    """Return the format of a tower that takes squares of one size, whatever `most_pixels` is."""
    return PixelFormat.read(folder, int(config.vision_config.image_size))


def unprojected(width: int) -> torch.nn.Module:
    """Make what stands in a projector's place, so that a class's own forward gives tower tokens.

    Args:
        width: Of a token, found under UNPROJECTED.
    """
    identity = torch.nn.Identity()
    setattr(identity, UNPROJECTED, width)
    return identity


def patches_joined(config: Any) -> int:
    """Return how many patches a side a token joins, as most configurations state it."""
    ratio = getattr(config, "downsample_ratio", None)
    joined = getattr(config.vision_config, "spatial_merge_size", None) or getattr(
        config, "scale_factor", None
    )
    return int(joined or (round(1 / ratio) if ratio else 1))


class TokenProjector:
    """A checkpoint's projector, without the model around it."""

    def __init__(self, module: Any, tower_width: int) -> None:
        self.module = module
        self.tower_width = tower_width

    @no_grad
    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        weight = next(self.module.parameters())
        projected: torch.Tensor = self.module(tokens.to(weight.device, weight.dtype))
        return projected.cpu()


@dataclass(frozen=True, slots=True)
class Adapter:
    """A family, by what sets it apart.

    Args:
        name: `model_type` in config.json.
        architecture: The class of transformers.
        placeholder: Text token that stands for the frames of a video.
        parts_of_vision: Submodules that only the tower needs.
        tower: Makes the tower of a module and a grid, "full" or "model".
        decoder: Makes the decoder of a module.
        prompt: The published prompt.
        placeholder_field: Field of the configuration that holds the placeholder's id.
        parts_of_text: Submodules that only the decoder needs.
        content_type: What a chat template calls a video.
        rewrites: What a chat template writes around a video, and what it is turned into.
        pixels: Reads the format of frames from a folder, its configuration and a most number of
            pixels.
        layers_fed: Says how many vectors of the language model's width a token holds.
        projector: Submodule that projects tokens one by one; "" where neighbours are joined first.
        pools_projected: Whether the "model" grid is pooled after the projector.
        patches_joined: Says how many patches a side a token of the full grid joins.
    """

    name: str
    architecture: str
    placeholder: str
    parts_of_vision: tuple[str, ...]
    tower: Callable[[Any, str], Tower]
    decoder: Callable[[Any], Decoder]
    prompt: Prompt
    placeholder_field: str = "video_token_id"
    parts_of_text: tuple[str, ...] = ("model.language_model", "lm_head")
    content_type: str = "video"
    rewrites: tuple[tuple[str, str], ...] = ()
    pixels: Callable[[Path, Any, int], PixelFormat] = fixed_square
    layers_fed: Callable[[Any], int] = lambda config: 1
    projector: str = ""
    pools_projected: bool = False
    patches_joined: Callable[[Any], int] = patches_joined

    @property
    def projects_tokens(self) -> bool:
        return bool(self.projector)

    def config(self, folder: Path) -> Any:
        import transformers

        with quiet(), checkpoint_errors(folder, "The configuration"):
            return getattr(transformers, self.architecture).config_class.from_pretrained(folder)

    def build(self, folder: Path) -> torch.nn.Module:
        """Build the whole network with random weights; on the device "meta" it takes no memory."""
        import transformers

        with quiet(), checkpoint_errors(folder, "The configuration"):
            model_class = getattr(transformers, self.architecture)
            network: torch.nn.Module = model_class._from_config(self.config(folder))
        return network

    def stated(self, folder: Path) -> Stated:
        """Return the configuration for single entries: transformers is asked for its defaults."""
        return stated_config(folder, self.config)

    def pixel_format(self, folder: Path, most_pixels: int = 0) -> PixelFormat:
        return self.pixels(folder, self.stated(folder), most_pixels)

    def token_width(self, folder: Path) -> int:
        config = self.stated(folder)
        return int(config.text_config.hidden_size) * self.layers_fed(config)

    @property
    def between(self) -> tuple[str, ...]:
        """Name the submodules between what the tower gives and what the language model reads."""
        return (self.projector,) if self.projector else ()

    def frame_grid(self, config: Any, patches: tuple[int, int], keep: str) -> tuple[int, int]:
        """Return rows and columns of the tokens of one frame, given those of its joined patches."""
        return patches

    def tower_width(self, folder: Path, grid: str) -> int:
        self._require_tower_tokens(folder, grid)
        config = self.stated(folder)
        layers = config.vision_feature_layer  # features of several layers stand side by side
        num_layers = 1 if isinstance(layers, int) else len(layers)
        return int(config.vision_config.hidden_size) * num_layers

    def load_tower(
        self, folder: Path, grid: str, dtype: torch.dtype, device: str, keep: str = PROJECTED
    ) -> Tower:
        if keep != TOWER:
            return self.tower(self._load(folder, self.parts_of_text, dtype, device), grid)
        width = self.tower_width(folder, grid)
        module = self._load(folder, (*self.parts_of_text, self.projector), dtype, device)
        parent, _, attribute = self.projector.rpartition(".")
        setattr(module.get_submodule(parent), attribute, unprojected(width))
        return self.tower(module, grid)

    def load_projector(self, folder: Path, dtype: torch.dtype, device: str) -> TokenProjector:
        width = self.tower_width(folder, "full")
        others = tuple(name for name in self.parts_of_vision if name != self.projector)
        module = self._load(folder, (*self.parts_of_text, *others), dtype, device)
        return TokenProjector(module.get_submodule(self.projector), width)

    def load_decoder(self, folder: Path, dtype: torch.dtype, device: str) -> Decoder:
        return self.decoder(self._load(folder, self.parts_of_vision, dtype, device))

    def placeholder_id(self, folder: Path) -> int:
        return int(getattr(self.config(folder), self.placeholder_field))

    def _require_tower_tokens(self, folder: Path, grid: str) -> None:
        if not self.projector:
            raise ModelError(
                f"{folder} is of the family {self.name}, which joins neighbouring patches or "
                "layers before it projects them, so its tokens cannot be kept before the "
                "projector; set encoder.keep = 'projected'."
            )
        if self.pools_projected and grid == "model":
            raise ModelError(
                f"{folder} is of the family {self.name}, which pools a video after its projector, "
                "so its own grid cannot be kept before it; set encoder.grid = 'full' and let "
                "compressors pool, or encoder.keep = 'projected'."
            )

    def _load(self, folder: Path, drop: tuple[str, ...], dtype: torch.dtype, device: str) -> Any:
        import transformers

        model_class = getattr(transformers, self.architecture)
        return load(folder, model_class, drop=drop, dtype=dtype, device=device)


def transformers_family(folder: Path) -> Adapter:
    """Return the family of a checkpoint that transformers knows as a whole.

    Raises:
        ModelError: It is of a published system, or of no known architecture.
    """
    family = family_of(folder)
    if not isinstance(family, Adapter):
        raise ModelError(
            f"{folder} is a checkpoint of {family.name}, which has an encoder and a language model "
            "of its own; use --config with its preset."
        )
    return family
