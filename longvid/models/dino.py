"""DINOv2 and DINOv3 as extractors of patch features, for finding frames that show nothing new.

This module knows frames and features; it does not know which frames are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import no_grad, torch
from longvid.models import checkpoint_files
from longvid.models.from_pretrained import load as load_model
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.preprocessing import PixelFormat

#: Architectures, and their classes in transformers.
_MODEL_CLASSES = {
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
}


def load(
    name: str, device: str = "cpu", *, side: int = 0, dtype: str = "auto", batch_frames: int = 16
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Load a DINO checkpoint as a function of frames.

    Args:
        name: A folder or a hub name, such as "facebook/dinov2-giant".
        device: Where it runs.
        side: Pixels of a side of its input; 0 takes the checkpoint's own. LongVU uses 378.
        dtype: "auto", "float32", "bfloat16" or "float16".
        batch_frames: Frames in one forward pass.

    Returns:
        A function from frames (T, 3, H, W) uint8 to patch features (T, N, D) float32 on the CPU,
        after the last layer norm, without class and register tokens. Frames of another size are
        resized, ignoring the aspect.

    Raises:
        ModelError: The checkpoint is missing, incomplete, or of another architecture.

    Source: LongVU §3.2 and `mm_datautils.py`: last_hidden_state without the class token.
    """
    import transformers

    folder = checkpoint_files.locate(name)
    model_type = str(checkpoint_files.read_config(folder).get("model_type"))
    if model_type not in _MODEL_CLASSES:
        raise ModelError(
            f"{folder} is of architecture {model_type!r}; temporal reduction needs one of "
            f"{', '.join(_MODEL_CLASSES)}."
        )
    model_class = getattr(transformers, _MODEL_CLASSES[model_type])
    kind = resolve_dtype(dtype, device)
    model = load_model(folder, model_class, dtype=kind, device=device)
    return _Extractor(folder, model, side or None, kind, device, batch_frames)


class _Extractor:
    def __init__(
        self,
        folder: Path,
        model: Any,
        side: int | None,
        dtype: torch.dtype,
        device: str,
        batch_frames: int,
    ) -> None:
        self._model = model
        self._format = PixelFormat.read(folder, side)
        self._num_prefix = 1 + int(getattr(model.config, "num_register_tokens", 0))
        self._dtype = dtype
        self._device = device
        self._batch_frames = batch_frames

    @no_grad
    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Return patch features, (T, N, D) float32."""
        features = []
        for first in range(0, len(frames), self._batch_frames):
            batch = self._format.resize(frames[first : first + self._batch_frames])
            pixels = self._format.normalize(batch, self._device, self._dtype)
            hidden = self._model(pixel_values=pixels).last_hidden_state  # (B, 1 + R + N, D)
            features.append(hidden[:, self._num_prefix :].float().cpu())
        return torch.cat(features)
