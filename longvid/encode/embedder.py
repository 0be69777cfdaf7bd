"""SigLIP, SigLIP 2 and CLIP: frames and texts in one space, so that a question can find a moment.

This module knows pixels that are already normalised, and text. It does not know segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from longvid.encode.video_embedder import VideoEmbedder, embedding_width
from longvid.errors import ModelError
from longvid.lazy_import import F, no_grad, torch
from longvid.models import checkpoint_files
from longvid.models.checkpoint_errors import checkpoint_errors
from longvid.models.clip_reader import clip_format, reads_clips
from longvid.models.config_json import stated_config
from longvid.models.from_pretrained import load
from longvid.models.preprocessing import PixelFormat
from longvid.models.tokenizer import TextTokenizer, load_tokenizer, require_known_words
from longvid.models.transformers_logging import quiet
from longvid.types import FrameBatch, Segment

Embedder = TypeVar("Embedder", bound="DualEncoder | VideoEmbedder")

#: Architectures with two towers: the class in transformers, and what only its vision side needs.
_MODEL_TYPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "siglip": ("SiglipModel", ("vision_model",)),
    "clip": ("CLIPModel", ("vision_model", "visual_projection")),
}


def pixel_format_of(folder: Path) -> PixelFormat:
    """Return how an embedder wants frames, without loading its weights.

    Raises:
        ModelError: The checkpoint is not an embedder.
    """
    if reads_clips(folder):
        return clip_format(folder)
    config = _checked_config(folder)
    side = config.get("vision_config", {}).get("image_size")
    return PixelFormat.read(folder, side)


class DualEncoder:
    """A dual encoder, or only its text tower.

    Args:
        folder: A SigLIP, SigLIP 2 (of fixed resolution) or CLIP checkpoint.
        dtype, device: Of the weights.
        text_only: Leave the vision tower on disk.
    """

    def __init__(
        self, folder: Path, dtype: torch.dtype, device: str, *, text_only: bool = False
    ) -> None:
        import transformers

        model_type = str(_checked_config(folder)["model_type"])
        model_class, vision_side = _MODEL_TYPES[model_type]
        self.module: Any = load(
            folder,
            getattr(transformers, model_class),
            drop=vision_side if text_only else (),
            dtype=dtype,
            device=device,
        )
        self.device = device
        config = self.module.config
        self.width = _width(config)
        self._tokenizer = load_tokenizer(folder)
        self._text_tokenizer = TextTokenizer(self._tokenizer)
        self._num_positions = int(config.text_config.max_position_embeddings)
        # SigLIP was trained without a mask over its padding, and its towers end in the shared
        # space; CLIP looks only at the end token and projects.
        self._masked = self._projects = model_type == "clip"

    @no_grad
    def embed_frames(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed normalised pixels (T, 3, H, W) as (T, E) float32 of unit norm, on the CPU."""
        pooled = self.module.get_image_features(pixel_values=pixels).pooler_output
        return F.normalize(pooled.float(), dim=-1).cpu()

    @no_grad
    def embed_pooled(self, pooled: torch.Tensor) -> torch.Tensor:
        """Embed what the vision tower's own pooling gave, (T, C), as `embed_frames` would."""
        if self._projects:
            pooled = self.module.visual_projection(pooled)
        return F.normalize(pooled.float(), dim=-1).cpu()

    def require_known_words(self, text: str) -> None:
        control_ids = self._text_tokenizer.control_ids
        require_known_words(text, "The search model", self._tokenizer, control_ids)

    @no_grad
    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Embed texts as (B, E) float32 of unit norm, on the CPU.

        Every text is padded to all positions of the tower: SigLIP reads the last one. A text
        longer than the tower is cut, as in training.
        """
        ids = [self._text_tokenizer.framed_ids(text, self._num_positions) for text in texts]
        pad = self._tokenizer.pad_token_id or 0
        padded = [[*row, *[pad] * (self._num_positions - len(row))] for row in ids]
        inputs = {"input_ids": torch.tensor(padded, device=self.device)}
        if self._masked:
            mask = [[place < len(row) for place in range(self._num_positions)] for row in ids]
            inputs["attention_mask"] = torch.tensor(mask, device=self.device).long()
        pooled = self.module.get_text_features(**inputs).pooler_output
        return F.normalize(pooled.float(), dim=-1).cpu()


def width_of(folder: Path, width: int = 0) -> int:
    """Return the width of an embedder's embeddings, without loading its weights.

    Args:
        folder: The checkpoint.
        width: How many channels are kept of an embedder trained for it; 0 keeps all.

    Raises:
        ModelError: It is no embedder, or its embeddings cannot be cut to that width.
    """
    if reads_clips(folder):
        return embedding_width(folder, width)
    config = _checked_config(folder)
    if width:
        raise ModelError(
            f"encoder.embedder_width is {width}, and the embedder {folder} is of architecture "
            f"{config['model_type']!r}, whose embeddings are used whole; leave it 0."
        )
    return _width(stated_config(folder, _whole_config))


def _whole_config(folder: Path) -> Any:
    import transformers

    with quiet(), checkpoint_errors(folder, "The configuration"):
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)


def _width(config: Any) -> int:
    # CLIP projects both sides into a shared space; SigLIP's towers end in it.
    clip = config.model_type == "clip"
    return int(config.projection_dim if clip else config.vision_config.hidden_size)


def _checked_config(folder: Path) -> dict[str, Any]:
    config = checkpoint_files.read_config(folder)
    model_type = config.get("model_type")
    if model_type not in _MODEL_TYPES:
        raise ModelError(
            f"The embedder {folder} is of architecture {model_type!r}; one that places pictures "
            f"and text in one space is needed: {', '.join(_MODEL_TYPES)} (SigLIP 2 checkpoints of "
            "fixed resolution are of architecture 'siglip'), or Qwen3-VL-Embedding as "
            "encoder.embedder."
        )
    return config


class TextWorker(Generic[Embedder]):
    """An encoder of which only the embedder is loaded: it embeds questions.

    Args:
        embedder: Its text tower is enough.
        space: Name of the token space of the whole encoder.
        note: What a person must know of the weights, or "".
    """

    def __init__(self, embedder: Embedder, space: str, note: str) -> None:
        self.space = space
        self.note = note
        self.embedding_width = embedder.width
        self._embedder = embedder

    def __call__(self, batch: FrameBatch) -> Segment:
        """Refuse: there is no tower that makes tokens.

        Raises:
            ModelError: Always.
        """
        raise ModelError(
            f"Segment {batch.segment_index} cannot be encoded: this encoder was set up for text "
            "only; call setup() instead of setup_embedder()."
        )

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        return self._embedder.embed_text(texts)

    def require_known_words(self, text: str) -> None:
        self._embedder.require_known_words(text)
