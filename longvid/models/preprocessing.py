"""Make decoded frames into what a vision tower was trained to see: sized and normalised.

The numbers are the checkpoint's own (`preprocessor_config.json`); no image or video processor of
another library is run, and no file is opened but that one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import F, torch

_LANCZOS, _BICUBIC = 1, 3

# Files and the key inside; the first found counts. A video has its own numbers in some families.
_SOURCES = (
    ("video_preprocessor_config.json", None),
    ("processor_config.json", "video_processor"),
    ("preprocessor_config.json", None),
    ("processor_config.json", "image_processor"),
)


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The size and normalisation of a vision tower's input.

    Args:
        height, width: Pixels.
        fit: "crop" if the checkpoint cuts the centre of a picture, else "squash".
        mean, std: Of each channel, after rescaling.
        rescale: Multiplies 0..255; 1/255 almost everywhere.
        kernel: How a frame of another size is resized, antialiased: "lanczos", "bicubic" or
            "bilinear".
    """

    height: int
    width: int
    fit: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float = 1 / 255
    kernel: str = "bicubic"

    @classmethod
    def read(cls, folder: Path, side: int | None = None) -> PixelFormat:
        """Read the format that a checkpoint states.

        Args:
            folder: The checkpoint.
            side: Height and width of a tower that takes no other size; None takes the
                preprocessor's own.

        Raises:
            ModelError: The checkpoint has no preprocessor_config.json, or it states no size.
        """
        table = processor_table(folder)
        crop = bool(table.get("do_center_crop")) and table.get("crop_size") is not None
        height, width = (
            (side, side)
            if side is not None
            else _height_and_width(table.get("crop_size" if crop else "size"), folder)
        )
        identity = not table.get("do_normalize", True)
        return cls(
            height=height,
            width=width,
            fit="crop" if crop else "squash",
            mean=(0.0, 0.0, 0.0) if identity else _channels(table, "image_mean", folder),
            std=(1.0, 1.0, 1.0) if identity else _channels(table, "image_std", folder),
            rescale=float(table.get("rescale_factor", 1 / 255))
            if table.get("do_rescale", True)
            else 1.0,
            kernel=_kernel(int(table.get("resample", _BICUBIC))),
        )

    def resize(self, frames: torch.Tensor) -> torch.Tensor:
        """Bring frames to this size, ignoring the aspect; frames of this size come back unchanged.

        The result is rounded to whole levels, as image libraries do, and is the same whatever
        device the tower runs on.

        Args:
            frames: (T, 3, H, W) uint8 on the CPU.

        Returns:
            (T, 3, height, width) uint8.
        """
        if frames.shape[-2:] == (self.height, self.width):
            return frames
        return F.interpolate(
            frames, size=(self.height, self.width), mode=self.kernel, antialias=True
        )

    def resize_with_pillow(self, frames: torch.Tensor, fit: str) -> torch.Tensor:
        """Bring RGB frames of any size to this one exactly as Pillow does.

        Args:
            frames: (T, 3, H, W) uint8 on the CPU.
            fit: "squash" ignores the aspect; "crop" scales the shortest edge and cuts the centre,
                as CLIP's image processor does.

        Returns:
            (T, 3, height, width) uint8.
        """
        from PIL import Image

        kernel = Image.Resampling[self.kernel.upper()]
        height, width = frames.shape[-2:]
        scaled = (self.height, self.width)
        if fit == "crop":
            short = min(height, width)
            side = min(self.height, self.width)
            scaled = int(side * height / short), int(side * width / short)
        top, left = (scaled[0] - self.height) // 2, (scaled[1] - self.width) // 2
        box = (left, top, left + self.width, top + self.height)
        resized = [
            Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
            .resize((scaled[1], scaled[0]), kernel)
            .crop(box)
            for frame in frames
        ]
        pixels = [
            torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8) for image in resized
        ]
        return torch.stack(pixels).view(-1, self.height, self.width, 3).permute(0, 3, 1, 2)

    def normalize(
        self, frames: torch.Tensor, device: str = "cpu", dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Return (frames * rescale - mean) / std, (T, 3, H, W).

        Args:
            frames: (T, 3, H, W) uint8.
            device, dtype: Of the result; float32 if no type is named.
        """
        mean = torch.tensor(self.mean, device=device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=device).view(1, 3, 1, 1)
        pixels = frames.to(device).to(torch.float32) * self.rescale
        return ((pixels - mean) / std).to(dtype or torch.float32)


def processor_table(folder: Path) -> dict[str, Any]:
    """Return the settings by which a checkpoint prepares the frames of a video.

    Raises:
        ModelError: The checkpoint has none, or they are not JSON.
    """
    for name, key in _SOURCES:
        path = folder / name
        if not path.is_file():
            continue
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{path} is not valid JSON ({error}); download it again.") from error
        found = table.get(key) if key else table
        if isinstance(found, dict):
            return found
    raise ModelError(
        f"{folder} has no preprocessor_config.json, so it is not known how its vision tower wants "
        "pixels; download the checkpoint again, with that file."
    )


def _height_and_width(size: Any, folder: Path) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping):
        if "height" in size and "width" in size:
            return int(size["height"]), int(size["width"])
        if "shortest_edge" in size:
            return int(size["shortest_edge"]), int(size["shortest_edge"])
    raise ModelError(
        f"The preprocessor of {folder} states no fixed size ({size!r}); towers of variable "
        "resolution are not supported, choose a checkpoint of a fixed one."
    )


def _kernel(resample: int) -> str:
    """Name the kernel of a preprocessor's number, which is Pillow's."""
    if resample == _LANCZOS and torch.__version__ >= "2.12":
        return "lanczos"  # older releases have none, and transformers takes bicubic there too
    return "bicubic" if resample in (_LANCZOS, _BICUBIC) else "bilinear"


def _channels(table: Mapping[str, Any], key: str, folder: Path) -> tuple[float, ...]:
    values = table.get(key)
    if not isinstance(values, list) or len(values) != 3:
        raise ModelError(
            f"The preprocessor of {folder} states {key} = {values!r}; three numbers are needed."
        )
    return tuple(float(value) for value in values)
