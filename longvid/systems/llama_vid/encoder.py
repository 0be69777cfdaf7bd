"""Encode frames as LLaMA-VID does, up to where it asks for the question.

What is stored of a frame are the tower's own tokens, class token first: the context token needs
the question, and the content token is made beside it by the language model part of this system.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from longvid.encode.embedder import DualEncoder, TextWorker, pixel_format_of, width_of
from longvid.errors import require_at_least, require_one_of
from longvid.lazy_import import later, no_grad, torch
from longvid.models import checkpoint_files
from longvid.models.checkpoint_ref import hub_checkpoint
from longvid.models.families import space_of
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.preprocessing import PixelFormat
from longvid.protocols import ADDED_LATER, RUN_ONLY
from longvid.types import CheckpointRef, EncoderMemory, FrameBatch, FrameSize, Segment, Tokens

if TYPE_CHECKING:
    from longvid.systems.llama_vid import checkpoint as published
else:
    published = later("longvid.systems.llama_vid.checkpoint")


@dataclass(frozen=True, slots=True)
class LlamaVidEncoder:
    """Which checkpoint's tower encodes, and which embedder finds moments.

    Args:
        model: LLaMA-VID's folder, or a hub name.
        vision_tower: The file eva_vit_g.pth; "" looks where config.json says and in the folder.
        embedder: A SigLIP, SigLIP 2 or CLIP checkpoint.
        dtype: "auto", "float32", "bfloat16" or "float16".
        batch_frames: Frames in one forward pass.
        resize: "swscale" resizes while decoding; "pillow" as the authors' image processor does, to
            the last bit, which is slower.

    Source: LLaMA-VID, `eva_vit.py`; `clip-patch14-224`.
    """

    model: str = field(default="YanweiLi/llama-vid-7b-full-224-video-fps-1", metadata=RUN_ONLY)
    vision_tower: str = field(default="", metadata=RUN_ONLY)
    embedder: str = field(default="google/siglip2-base-patch16-224", metadata=RUN_ONLY)
    dtype: str = "auto"
    batch_frames: int = field(default=16, metadata=RUN_ONLY)
    resize: str = field(default="swscale", metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        require_one_of("encoder.resize", self.resize, ("swscale", "pillow"))
        require_at_least("encoder.batch_frames", self.batch_frames, 1)

    def frame_size(self) -> FrameSize:
        if self.resize == "pillow":
            return FrameSize(fit="native")
        vision = self.pixel_format()
        embedder = pixel_format_of(self._embedder_folder())
        side = max(vision.height, embedder.height, embedder.width)
        return FrameSize(height=side, width=side, fit="crop")

    def identity(self) -> str:
        folder = self.folder()
        tower = published.tower_file(
            folder, checkpoint_files.read_config(folder), self.vision_tower
        )
        parts = [
            checkpoint_files.identity(folder),
            checkpoint_files.file_identity([tower]) if tower is not None else "",
            checkpoint_files.identity(self._embedder_folder()),
        ]
        return "+".join(part for part in parts if part)

    def space(self) -> str:
        return space_of(self.folder())

    def embedding_width(self) -> int:
        return width_of(self._embedder_folder())

    def note(self) -> str:
        return ""

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return (
            hub_checkpoint("encoder", "encoder.model", self.model),
            published.tower_checkpoint(self.model, self.vision_tower),
            hub_checkpoint(
                "embedder", "encoder.embedder", self.embedder, checkpoint_files.EMBEDDER
            ),
        )

    def memory(self, device: str, segment_frames: int) -> EncoderMemory:
        from longvid.systems.llama_vid.memory import encoder_memory

        return encoder_memory(self, device)

    def setup(self, device: str = "cpu") -> Worker:
        return Worker(self, device)

    def setup_embedder(self, device: str = "cpu") -> TextWorker[DualEncoder]:
        embedder = self.load_embedder(device, text_only=True)
        return TextWorker(embedder, self.space(), self.note())

    def folder(self) -> Path:
        return checkpoint_files.locate(self.model)

    def pixel_format(self) -> PixelFormat:
        return published.pixel_format(checkpoint_files.read_config(self.folder()), self.folder())

    def load_embedder(self, device: str, *, text_only: bool) -> DualEncoder:
        dtype = resolve_dtype(self.dtype, device)
        return DualEncoder(self._embedder_folder(), dtype, device, text_only=text_only)

    def _embedder_folder(self) -> Path:
        return checkpoint_files.part_of(
            checkpoint_files.locate(self.embedder), checkpoint_files.EMBEDDER
        )


class Worker(TextWorker[DualEncoder]):
    """Encodes segments."""

    def __init__(self, part: LlamaVidEncoder, device: str) -> None:
        super().__init__(part.load_embedder(device, text_only=False), part.space(), part.note())
        self._dtype = resolve_dtype(part.dtype, device)
        self._device = device
        self._batch_frames = part.batch_frames
        self._resize = part.resize
        self._format = part.pixel_format()
        self._embedder_format = pixel_format_of(part._embedder_folder())
        #: From pixels (T, 3, H, W) to tokens (T, 1 + P, C), class token first.
        self.tower = published.load_tower(part.folder(), part.vision_tower, self._dtype, device)

    @no_grad
    def __call__(self, batch: FrameBatch) -> Segment:
        features: list[torch.Tensor] = []
        embeddings: list[torch.Tensor] = []
        for first in range(0, len(batch), self._batch_frames):
            frames = batch.data[first : first + self._batch_frames]
            features.append(self.tower(self._pixels(frames, self._format)).cpu())
            pixels = self._pixels(frames, self._embedder_format)
            embeddings.append(self._embedder.embed_frames(pixels))
        tokens, grid = tower_tokens(torch.cat(features))
        return Segment(
            video_id=batch.video_id,
            segment_index=batch.segment_index,
            start_seconds=batch.start_seconds,
            end_seconds=batch.end_seconds,
            pts_seconds=batch.pts_seconds,
            slow=batch.slow,
            frame_embeddings=torch.cat(embeddings),
            tokens=tokens,
            space=self.space,
            grid=grid,
        )

    def _pixels(self, frames: torch.Tensor, wanted: PixelFormat) -> torch.Tensor:
        by_pillow = self._resize == "pillow"
        resized = wanted.resize_with_pillow(frames, "crop") if by_pillow else wanted.resize(frames)
        return wanted.normalize(resized, self._device, self._dtype)


def tower_tokens(features: torch.Tensor) -> tuple[Tokens, tuple[int, int]]:
    """Lay out a tower's tokens; the class token stands for no patch, so its size is 0.

    Args:
        features: (T, 1 + P, C), class token first, P a square number.

    Returns:
        The tokens, and rows and columns of the grid.
    """
    num_frames, num_tokens, _ = features.shape
    side = round((num_tokens - 1) ** 0.5)
    patches = Tokens.from_grid(features[:, 1:].reshape(num_frames, side, side, -1))
    position = patches.position.view(num_frames, num_tokens - 1, 2)
    size = torch.ones(num_frames, num_tokens)
    size[:, 0] = 0
    middle = position.new_full((num_frames, 1, 2), 0.5)
    tokens = Tokens(
        data=features.flatten(0, 1),
        frame=torch.arange(num_frames, dtype=torch.int32).repeat_interleave(num_tokens),
        position=torch.cat([middle, position], dim=1).flatten(0, 1),
        size=size.flatten(),
    )
    return tokens, (side, side)
