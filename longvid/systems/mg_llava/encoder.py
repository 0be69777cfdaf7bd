"""Encode frames as MG-LLaVA does: CLIP at low resolution, ConvNeXt at high, joined by a gate.

A detector may look at the slow frames too; each of its boxes then becomes a token of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from longvid.encode.embedder import DualEncoder, TextWorker, pixel_format_of, width_of
from longvid.errors import ConfigError, ModelError, require_at_least, require_one_of
from longvid.lazy_import import later, no_grad, torch
from longvid.models import checkpoint_files
from longvid.models.checkpoint_ref import hub_checkpoint
from longvid.models.families.protocol import PROJECTED, TOWER
from longvid.models.from_pretrained import resolve_dtype
from longvid.protocols import RUN_ONLY
from longvid.types import CheckpointRef, EncoderMemory, FrameBatch, FrameSize, Segment, Tokens

if TYPE_CHECKING:
    from torch import Tensor

    from longvid.models import detectors
    from longvid.systems.mg_llava import checkpoint as published
    from longvid.systems.mg_llava import conv_gate, convnext, object_boxes, square_frames
else:
    _HERE = "longvid.systems.mg_llava"
    detectors, published = later("longvid.models.detectors"), later(f"{_HERE}.checkpoint")
    conv_gate, convnext = later(f"{_HERE}.conv_gate"), later(f"{_HERE}.convnext")
    object_boxes = later(f"{_HERE}.object_boxes")
    square_frames = later(f"{_HERE}.square_frames")


@dataclass(frozen=True, slots=True)
class ConvGateEncoder:
    """Which towers encode, how they are joined, and whether objects get tokens.

    As published for videos, 8 frames are seen: `sample.grid = "spread"`, `sample.num_frames = 8`.

    Args:
        model: MG-LLaVA's .pth file, its folder, or a hub name; "" joins the towers untrained, which
            under gate_sum gives CLIP's tokens bit for bit.
        clip: The low-resolution tower, which is also the embedder that finds moments.
        convnext: The high-resolution tower: a folder of transformers or of open_clip.
        keep: "projected" keeps tokens as the language model reads them; "tower" the fused ones.
        variant: Of the untrained fusion: gate_sum, gate_concat, concat or raw_concat. A trained
            one's is read off its file.
        pad: Make frames square with CLIP's mean colour; otherwise their centre is cut.
        detector: Checkpoint of an open-vocabulary detector (OWLv2, Grounding DINO) that looks at
            the slow frames; "" for no object tokens.
        things: What it looks for, separated by commas.
        dtype: "auto", "float32", "bfloat16" or "float16".
        batch_frames: Frames in one forward pass.

    Source: MG-LLaVA, section 3; `fuse_model.py`, `openclip_encoder.py`.
    """

    model: str = field(default="PhoenixZ/MG-LLaVA", metadata=RUN_ONLY)
    clip: str = field(default="openai/clip-vit-large-patch14-336", metadata=RUN_ONLY)
    convnext: str = field(
        default="laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup", metadata=RUN_ONLY
    )
    keep: str = PROJECTED
    variant: str = "gate_sum"
    pad: bool = False
    detector: str = field(default="", metadata=RUN_ONLY)
    things: str = ""
    dtype: str = "auto"
    batch_frames: int = field(default=8, metadata=RUN_ONLY)

    def __post_init__(self) -> None:
        require_one_of("encoder.keep", self.keep, (PROJECTED, TOWER))
        if not self.model and self.keep == PROJECTED:
            raise ConfigError(
                "encoder.model is empty, so there is no projector; name MG-LLaVA's file, or set "
                "encoder.keep = 'tower'."
            )
        if self.detector and self.keep == TOWER:
            raise ConfigError(
                "Object tokens are made by the projector of boxes; encoder.detector needs "
                "encoder.keep = 'projected'."
            )
        if bool(self.detector) != bool(self._phrases()):
            raise ConfigError(
                'encoder.detector and encoder.things go together, such as things = "dog, red car".'
            )
        require_at_least("encoder.batch_frames", self.batch_frames, 1)

    def _phrases(self) -> list[str]:
        return [one for one in (" ".join(part.split()) for part in self.things.split(",")) if one]

    def frame_size(self) -> FrameSize:
        return FrameSize(fit="native")

    def identity(self) -> str:
        parts = [
            checkpoint_files.file_identity([self._file()]) if self.model else "",
            checkpoint_files.identity(self.clip_folder()),
            convnext.convnext_identity(self.convnext),
        ]
        if self.detector:
            parts.append(checkpoint_files.identity(checkpoint_files.locate(self.detector)))
        return "+".join(part for part in parts if part)

    def space(self) -> str:
        if self.model:
            return published.token_space(self._file(), self.keep)
        weights = checkpoint_files.identity(self.clip_folder())
        kind = f"{self.sizes().variant}-{self.keep}-{self.token_width()}"
        return f"mg_llava/{kind}@{weights}"

    def embedding_width(self) -> int:
        return width_of(self.clip_folder())

    def note(self) -> str:
        return ""

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        refs = [
            hub_checkpoint("embedder", "encoder.clip", self.clip),
            hub_checkpoint(
                "convnext",
                "encoder.convnext",
                self.convnext,
                find=lambda: checkpoint_files.locate(self.convnext),
            ),
        ]
        if self.model:
            file = hub_checkpoint("encoder", "encoder.model", self.model, find=self._file)
            refs.insert(0, file)
        if self.detector:
            refs.append(hub_checkpoint("detector", "encoder.detector", self.detector))
        return tuple(refs)

    def memory(self, device: str, segment_frames: int) -> EncoderMemory:
        from longvid.systems.mg_llava.memory import encoder_memory

        return encoder_memory(self, device)

    def setup(self, device: str = "cpu") -> Worker:
        return Worker(self, device)

    def setup_embedder(self, device: str = "cpu") -> TextWorker[DualEncoder]:
        dtype = resolve_dtype(self.dtype, device)
        embedder = DualEncoder(self.clip_folder(), dtype, device, text_only=True)
        return TextWorker(embedder, self.space(), self.note())

    def clip_folder(self) -> Path:
        """Return the folder of the low-resolution tower.

        Raises:
            ModelError: It is missing, or no CLIP.
        """
        folder = checkpoint_files.locate(self.clip)
        family = checkpoint_files.read_config(folder).get("model_type")
        if family != "clip":
            raise ModelError(
                f"{folder} is of architecture {family!r}; MG-LLaVA's low-resolution tower is a "
                "CLIP, such as openai/clip-vit-large-patch14-336."
            )
        return folder

    def sizes(self) -> published.ConnectorSizes:
        """Return the sizes of the fusion, trained or not.

        Raises:
            ModelError: A checkpoint does not fit the others.
        """
        folder = self.clip_folder()
        low_width = int(_vision(folder).hidden_size)
        if self.model:
            return published.connector_sizes(self._file(), low_width)
        if self.variant not in get_args(conv_gate.Variant):
            known = ", ".join(get_args(conv_gate.Variant))
            raise ConfigError(f"encoder.variant is {self.variant!r}; use one of {known}.")
        widths = convnext.convnext_config(self.convnext).hidden_sizes
        variant: Any = self.variant
        return published.ConnectorSizes(low_width, widths[-1], variant, 1, sum(widths))

    def token_width(self) -> int:
        sizes = self.sizes()
        return sizes.llm_width if self.keep == PROJECTED else sizes.fused_width

    def grid_side(self) -> int:
        """Return the rows of the fused grid."""
        vision = _vision(self.clip_folder())
        return int(vision.image_size) // int(vision.patch_size)

    def _file(self) -> Path:
        return published.connector_file(self.model)


class Worker(TextWorker[DualEncoder]):
    """Encodes segments."""

    def __init__(self, part: ConvGateEncoder, device: str) -> None:
        dtype = resolve_dtype(part.dtype, device)
        folder = part.clip_folder()
        super().__init__(DualEncoder(folder, dtype, device), part.space(), part.note())
        self._device, self._dtype, self._pad = device, dtype, part.pad
        self._batch_frames = part.batch_frames
        self._low_side = pixel_format_of(folder).height
        self._grid_side = part.grid_side()
        self._high_side = convnext.STRIDE * self._grid_side
        self._high = convnext.load_convnext(part.convnext, dtype, device)
        sizes = part.sizes()
        self._projects = part.keep == PROJECTED
        if part.model:
            self._connector = published.load_connector(part._file(), sizes.low_width, dtype, device)
        else:
            self._connector = published.Connector(sizes).to(device=device, dtype=dtype)
        self._phrases = part._phrases()
        self._detect = detectors.load_detector(part.detector, device) if part.detector else None

    @no_grad
    def __call__(self, batch: FrameBatch) -> Segment:
        embeddings: list[Tensor] = []
        grids: list[Tensor] = []
        objects: list[Tokens] = []
        for first in range(0, len(batch), self._batch_frames):
            frames = batch.data[first : first + self._batch_frames]
            low, embedded = self._low(frames)
            stages = self._high(self._pixels(frames, self._high_side))
            tokens = self._connector.fuse_module(low, stages[-1].to(low.dtype))
            grids.append((self._connector.projector(tokens) if self._projects else tokens).cpu())
            embeddings.append(embedded)
            for place in range(len(frames)) if self._detect is not None else ():
                if bool(batch.slow[first + place]):
                    maps = tuple(stage[place] for stage in stages)
                    objects.append(self._objects(first + place, frames[place], maps))
        grid = torch.cat(grids)
        side = self._grid_side
        patches = Tokens.from_grid(grid.reshape(len(grid), side, side, -1))
        return Segment(
            video_id=batch.video_id,
            segment_index=batch.segment_index,
            start_seconds=batch.start_seconds,
            end_seconds=batch.end_seconds,
            pts_seconds=batch.pts_seconds,
            slow=batch.slow,
            frame_embeddings=torch.cat(embeddings),
            tokens=Tokens.join([patches, *objects]),
            space=self.space,
            grid=(side, side),
        )

    def _pixels(self, frames: Tensor, side: int) -> Tensor:
        pixels = square_frames.square_pixels(frames, side, pad=self._pad)
        return pixels.to(self._device, self._dtype)

    def _low(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return CLIP's tokens of the layer before the last, (T, N, D), and embeddings (T, E)."""
        pixels = self._pixels(frames, self._low_side)
        output = self._embedder.module.vision_model(pixels, output_hidden_states=True)
        return output.hidden_states[-2][:, 1:], self._embedder.embed_pooled(output.pooler_output)

    def _objects(self, frame: int, picture: Tensor, stages: tuple[Tensor, ...]) -> Tokens:
        """Return a token for each box of one frame; one zero box where there is none.

        Args:
            frame: Its index in the segment.
            picture: (3, H, W) uint8.
            stages: Maps of the high-resolution tower.
        """
        assert self._detect is not None
        height, width = picture.shape[1:]
        found = self._detect(picture.permute(1, 2, 0).contiguous().numpy(), self._phrases)
        scale = torch.tensor([width, height, width, height])
        corners = torch.tensor([one.xyxy for one in found]).reshape(-1, 4) * scale
        boxes = object_boxes.prepare_boxes(
            object_boxes.FrameBoxes(
                corners.int(),  # as the original truncates them
                torch.tensor([one.score for one in found]),
                torch.tensor([self._phrases.index(one.label) for one in found], dtype=torch.int64),
            ),
            width,
            height,
            pad=self._pad,
            side=self._high_side,
        ).corners
        cells = boxes / convnext.STRIDE
        area = (cells[:, 2:] - cells[:, :2]).prod(dim=1)
        middle = (boxes[:, :2] + boxes[:, 2:]) / (2 * self._high_side)
        tokens = self._connector.object_tokens(stages, boxes, self._high_side)
        return Tokens(
            data=tokens.to(self._dtype).cpu(),
            frame=torch.full((len(boxes),), frame, dtype=torch.int32),
            position=middle.flip(1).clamp(0, 1).contiguous(),
            size=area.clamp(min=1e-3),  # a box without area still has its token
        )


def _vision(folder: Path) -> Any:
    from transformers import CLIPConfig

    from longvid.models.checkpoint_errors import checkpoint_errors

    with checkpoint_errors(folder, "The configuration"):
        return CLIPConfig.from_pretrained(folder).vision_config
