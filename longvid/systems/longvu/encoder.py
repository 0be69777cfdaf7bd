"""Encode frames as LongVU does, up to where it asks for the question.

Two towers see every frame, padded to a square; the aggregator fuses them into one grid. Stored of
a frame is that grid in its two resolutions, padding cut away, before it is projected: which
resolution is shown depends on the question. Also stored, as the mark `slow` of a frame, is whether
it differs enough from its window to survive when a video is too long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from longvid.encode.embedder import DualEncoder, TextWorker, pixel_format_of, width_of
from longvid.errors import ConfigError
from longvid.lazy_import import no_grad, torch
from longvid.methods.longvu_config import LongVUConfig
from longvid.methods.temporal_reduction import select_frames
from longvid.models import checkpoint_files, dino
from longvid.models.checkpoint_ref import hub_checkpoint
from longvid.models.families import space_of
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.preprocessing import PixelFormat
from longvid.protocols import RUN_ONLY
from longvid.systems.longvu import checkpoint as published
from longvid.systems.longvu.padded_grid import crop_to_content, resize_grid
from longvid.types import CheckpointRef, EncoderMemory, FrameBatch, FrameSize, Segment, Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class LongVUEncoder:
    """Which checkpoints encode.

    Frames leave the decoder in their own size, because each tower has its own colour of padding.

    Args:
        model: LongVU's folder, or a hub name.
        siglip: The first tower, which is also the embedder that finds moments.
        dino: The second tower, which decides what frames resemble each other.
        dino_side: Pixels of a side of its input.
        faithful: Cut the padding as released, where height and width of a video are confused and
            columns of content go instead. The released weights were trained so.
        drop_alike: Drop frames that resemble their window already here, which saves store and
            time. Otherwise the question decides, as released: a video that fits the language
            model's context keeps all of its frames.
        window: Frames of a window; a segment should hold whole windows.
        dino_threshold: From which mean similarity frames are alike; 0 takes the checkpoint's.
        dtype: "auto", "float32", "bfloat16" or "float16".
        batch_frames: Frames in one forward pass.

    Source: LongVU sections 3.1 and 3.2; `mm_datautils.py` process_images.
    """

    model: str = field(default="Vision-CAIR/LongVU_Qwen2_7B", metadata=RUN_ONLY)
    siglip: str = field(default="google/siglip-so400m-patch14-384", metadata=RUN_ONLY)
    dino: str = field(default="facebook/dinov2-giant", metadata=RUN_ONLY)
    dino_side: int = 378
    faithful: bool = True
    drop_alike: bool = False
    window: int = 16
    dino_threshold: float = 0.0
    dtype: str = "auto"
    batch_frames: int = field(default=16, metadata=RUN_ONLY)

    def __post_init__(self) -> None:
        if min(self.batch_frames, self.window, self.dino_side) < 1:
            raise ConfigError(
                "encoder.batch_frames, window and dino_side must be at least 1, got "
                f"{self.batch_frames}, {self.window} and {self.dino_side}."
            )
        if self.dino_threshold < 0:
            raise ConfigError(
                f"encoder.dino_threshold must not be negative, got {self.dino_threshold}."
            )

    def frame_size(self) -> FrameSize:
        return FrameSize(fit="native")

    def identity(self) -> str:
        folders = (self.folder(), *map(checkpoint_files.locate, (self.siglip, self.dino)))
        return "+".join(checkpoint_files.identity(folder) for folder in folders)

    def space(self) -> str:
        """Name the token space, without loading weights.

        Raises:
            ModelError: The checkpoint is not one for videos.
        """
        self.settings()  # said before the towers are read
        return space_of(self.folder())

    def embedding_width(self) -> int:
        return width_of(checkpoint_files.locate(self.siglip))

    def note(self) -> str:
        return ""

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return (
            hub_checkpoint("encoder", "encoder.model", self.model),
            hub_checkpoint("siglip", "encoder.siglip", self.siglip),
            hub_checkpoint("dino", "encoder.dino", self.dino),
        )

    def memory(self, device: str, segment_frames: int) -> EncoderMemory:
        from longvid.systems.longvu.memory import encoder_memory

        return encoder_memory(self, device, segment_frames)

    def setup(self, device: str = "cpu") -> Worker:
        return Worker(self, device)

    def setup_embedder(self, device: str = "cpu") -> TextWorker[DualEncoder]:
        embedder = self.load_embedder(device, text_only=True)
        return TextWorker(embedder, self.space(), self.note())

    def folder(self) -> Path:
        return checkpoint_files.locate(self.model)

    def load_embedder(self, device: str, *, text_only: bool) -> DualEncoder:
        """Load SigLIP, or only its text tower."""
        dtype = resolve_dtype(self.dtype, device)
        return DualEncoder(checkpoint_files.locate(self.siglip), dtype, device, text_only=text_only)

    def settings(self) -> LongVUConfig:
        """Return the checkpoint's settings, with those of this part.

        Raises:
            ModelError: The checkpoint is not one for videos.
        """
        changes = {"dino_threshold": self.dino_threshold} if self.dino_threshold else {}
        return published.read_settings(
            self.folder(),
            window=self.window,
            orientation="hw" if self.faithful else "wh",
            **changes,
        )


class Worker(TextWorker[DualEncoder]):
    """Encodes segments."""

    def __init__(self, part: LongVUEncoder, device: str) -> None:
        super().__init__(part.load_embedder(device, text_only=False), part.space(), part.note())
        dtype = resolve_dtype(part.dtype, device)
        self._settings = part.settings()
        self._drop_alike = part.drop_alike
        self._sides = published.tower_sides(part.folder())
        self._aggregator = published.load_aggregator(part.folder(), dtype, device)
        self._device, self._dtype = device, dtype
        self._batch_frames = part.batch_frames
        siglip = checkpoint_files.locate(part.siglip)
        self._siglip_format = pixel_format_of(siglip)
        self._dino_format = PixelFormat.read(checkpoint_files.locate(part.dino), part.dino_side)
        #: From square frames (T, 3, S, S) uint8 to patches (T, P, C) float32, on the CPU.
        self.dino: Callable[[Tensor], Tensor] = dino.load(
            part.dino, device, side=part.dino_side, dtype=part.dtype, batch_frames=part.batch_frames
        )

    def siglip(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Turn square frames (T, 3, S, S) uint8 into patches (T, P, C) and embeddings (T, E).

        The patches are those after the last block, before the norm that follows it.
        """
        resized = self._siglip_format.resize(frames)
        pixels = self._siglip_format.normalize(resized, self._device, self._dtype)
        output = self._embedder.module.vision_model(pixels, output_hidden_states=True)
        return output.hidden_states[-1].float().cpu(), self._embedder.embed_pooled(
            output.pooler_output
        )

    @no_grad
    def __call__(self, batch: FrameBatch) -> Segment:
        height, width = batch.data.shape[2:]
        second = self._sees(self.dino, batch.data, self._dino_format, self._sides[1])
        alone = LongVUConfig(
            window=self._settings.window,
            dino_threshold=self._settings.dino_threshold,
            always_reduce=True,
            max_frames=0,
        )
        survivors = select_frames(second, 0, alone)
        if self._drop_alike:
            batch, second = batch.keep(survivors), second[survivors]
            survivors = torch.arange(len(batch))
        embeddings: list[Tensor] = []

        def first_tower(frames: Tensor) -> Tensor:
            patches, embedded = self.siglip(frames)
            embeddings.append(embedded)
            return patches

        first = self._sees(first_tower, batch.data, self._siglip_format, self._sides[0])
        # As released, height is taken for width; see `LongVUConfig.orientation`.
        read = (height, width) if self._settings.orientation == "hw" else (width, height)
        towers = [x.to(self._device, self._dtype) for x in (first, second)]
        fused = self._aggregator.aggregate(towers, *read).cpu()
        tokens, grid = two_grids(fused, read, self._settings)
        marks = torch.zeros(len(batch), dtype=torch.bool)
        marks[survivors] = True
        return Segment(
            video_id=batch.video_id,
            segment_index=batch.segment_index,
            start_seconds=batch.start_seconds,
            end_seconds=batch.end_seconds,
            pts_seconds=batch.pts_seconds,
            slow=marks,
            frame_embeddings=torch.cat(embeddings),
            tokens=tokens,
            space=self.space,
            grid=grid,
        )

    def _sees(
        self, tower: Callable[[Tensor], Tensor], frames: Tensor, wanted: PixelFormat, side: int
    ) -> Tensor:
        """Show padded frames to a tower and resize its grid, a batch at a time."""
        fill = [int(255 * mean) for mean in wanted.mean]
        return torch.cat(
            [
                resize_grid(tower(pad_to_square(part, fill)), side)
                for part in torch.split(frames, self._batch_frames)
            ]
        )


def pad_to_square(frames: Tensor, fill: Sequence[int]) -> Tensor:
    """Centre frames on a square of one colour, (T, 3, S, S) uint8, S = max(H, W).

    Args:
        frames: (T, 3, H, W) uint8.
        fill: RGB, 0 to 255.

    Source: LongVU, `mm_datautils.py` expand2square.
    """
    num_frames, _, height, width = frames.shape
    if height == width:
        return frames
    side = max(height, width)
    colour = torch.tensor(fill, dtype=torch.uint8).view(1, 3, 1, 1)
    padded = colour.expand(num_frames, 3, side, side).clone()
    top, left = (side - height) // 2, (side - width) // 2
    padded[:, :, top : top + height, left : left + width] = frames
    return padded


def two_grids(
    fused: Tensor, read: tuple[int, int], settings: LongVUConfig
) -> tuple[Tokens, tuple[int, int]]:
    """Cut the padding off the aggregator's grid, in both resolutions.

    Args:
        fused: (T, query_num, C).
        read: Width and height of the picture, as the unpadding reads them.
        settings: Sides of the grids; without `highres` there is no low resolution.

    Returns:
        Tokens, those of high resolution first in every frame, then those of low; and rows and
        columns of the high-resolution grid.

    Source: LongVU, `cambrian_arch.py` prepare_inputs_labels_for_multimodal.
    """
    high_side, low_side = settings.high_side, settings.lowres_side
    # The low-resolution picture is cropped by a size scaled with it, rounded down.
    scale = high_side / low_side
    low_read = (max(1, int(read[0] / scale)), max(1, int(read[1] / scale)))
    at_high = fused if settings.query_side == high_side else resize_grid(fused, high_side)
    grids = [_cropped(at_high, high_side, read, 1.0)]
    if settings.highres or settings.low_when_over:
        grids.append(_cropped(resize_grid(fused, low_side), low_side, low_read, scale**2))
    num_frames = len(fused)
    data = torch.cat([tokens for tokens, _, _, _ in grids], dim=1)  # (T, n, C)
    position = torch.cat([places for _, places, _, _ in grids])
    size = torch.cat([sizes for _, _, sizes, _ in grids])
    tokens = Tokens(
        data=data.flatten(0, 1),
        frame=torch.arange(num_frames, dtype=torch.int32).repeat_interleave(data.shape[1]),
        position=position.repeat(num_frames, 1),
        size=size.repeat(num_frames),
    )
    return tokens, grids[0][3]


def _cropped(
    x: Tensor, side: int, read: tuple[int, int], patches: float
) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """Return (T, n, C) tokens inside the content, their places, sizes, and the grid they fill."""
    whole = Tokens.from_grid(x[:1].reshape(1, side, side, -1))
    places = crop_to_content(whole.position.reshape(1, side, side, 2), *read)
    cropped = crop_to_content(x.reshape(len(x), side, side, -1), *read)
    rows, columns = cropped.shape[1], cropped.shape[2]
    size = torch.full((rows * columns,), patches)
    return cropped.flatten(1, 2), places.flatten(0, 2), size, (rows, columns)
