"""Encode frames with the vision tower of a Hugging Face video language model and an embedder.

The tower and projector of the model make the tokens that its decoder will be shown; a dual encoder
(SigLIP, SigLIP 2, CLIP) makes one embedding a frame, by which a question finds moments, or
Qwen3-VL-Embedding one a segment. No language model is loaded here but that embedder, and no vision
tower where only a question is embedded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longvid.encode.embedder import DualEncoder, TextWorker, pixel_format_of, width_of
from longvid.encode.shared_tower import SharedTower, see_alike
from longvid.encode.video_embedder import VideoEmbedder
from longvid.errors import ConfigError, ModelError, require_at_least, require_one_of
from longvid.lazy_import import F, torch
from longvid.methods.tome_tower import MergeSchedule, merge_inside
from longvid.models import checkpoint_files
from longvid.models.checkpoint_ref import hub_checkpoint
from longvid.models.clip_reader import reads_clips
from longvid.models.families import family_of, space_of
from longvid.models.families.protocol import PROJECTED, TOWER, Tower
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.preprocessing import PixelFormat
from longvid.models.sentence_folder import network_folder
from longvid.protocols import ADDED_LATER, RUN_ONLY
from longvid.types import CheckpointRef, EncoderMemory, FrameBatch, FrameSize, Segment, Tokens

# The weights are in a store's fingerprint by `identity`, so that a checkpoint may be moved.
_NAMED_BY_IDENTITY = RUN_ONLY


@dataclass(frozen=True, slots=True)
class HuggingFaceEncoder:
    """Which checkpoints encode, and how frames are fitted to them.

    Frames are decoded once, at the larger of the two sizes that the model and the embedder want;
    the other one resizes them (antialiased, by the kernel that its checkpoint names).

    Args:
        model: Checkpoint of the video language model: "mini", a folder or a hub name.
        embedder: Checkpoint of the embedder, or a folder of sentence-transformers around one
            (its `0_CLIPModel`). "" takes the one that comes with `model`, which
            exists where `model` is a folder of `vlm/` and `embedder/`, as mini is.
        dtype: "auto", "float32", "bfloat16" or "float16"; see `models.loading.resolve_dtype`.
        batch_frames: Frames in one forward pass. A pass never spans two segments, so a segment
            is encoded alike, bit for bit, in whatever company it arrives; another number changes
            no more than the rounding.
        fit: How a picture is fitted to a square: "auto" as the checkpoint's preprocessor does,
            "squash", "pad" (with the mean colour) or "crop".
        grid: "full" keeps a token a patch, for compressors; "model" pools as the model itself
            does with a video.
        keep: "projected" keeps tokens as the language model reads them; "tower" as the vision
            tower gives them, which for most models is a third as wide, and the language model's
            side projects what it is shown. Compressors then pool what the projector has not
            seen, as LLaVA-NeXT-Video and LLaMA-VID do and LLaVA-OneVision (which pools
            projected tokens) does not; uncompressed tokens give the same logits either way. For
            the LLaVA families, whose projectors take tokens one by one.
        share_tower: Run one vision tower for both where their weights are equal, as in mini and
            in models trained on a frozen CLIP. The result is the same.
        most_pixels: Of a frame, for towers that take pictures of any size (Qwen-VL); 0 takes the
            checkpoint's own number. Under `fit = "auto"` such a tower sees each video in its own
            aspect; any other fit gives all videos one square grid, as compressors want that pool
            by rows and columns.
        merge_r: Tokens merged in every layer of SigLIP and CLIP towers (ToMe), which makes them
            faster and a little less exact; every patch is given its merged token, so grids keep
            their size. 0 merges none.
        merge_inflect: From -1, all merging in the first layers, to 1, all in the last.
        merge_proportional: Weigh a merged token in attention by the patches it stands for.
        resize: "swscale" resizes and converts to RGB in one pass while decoding; "pillow" decodes
            frames in their own size and resizes them as Pillow does, to the last bit, as the
            authors of published systems did. It is slower, and differs by 1 of 255 on average.
        embedder_width: Channels kept of an embedding, for Qwen3-VL-Embedding, which was trained for
            it (64 and more); 0 keeps all.
        document_instruction: What Qwen3-VL-Embedding reads before a segment; "" takes the published
            one.
        query_instruction: What it reads before a question; "" takes that of searching for a clip.
    """

    model: str = field(default=checkpoint_files.MINI, metadata=_NAMED_BY_IDENTITY)
    embedder: str = field(default="", metadata=_NAMED_BY_IDENTITY)
    dtype: str = "auto"
    batch_frames: int = field(default=16, metadata=RUN_ONLY)
    fit: str = "auto"
    grid: str = "full"
    keep: str = PROJECTED
    share_tower: bool = field(default=True, metadata=RUN_ONLY)
    most_pixels: int = 0
    merge_r: int = 0
    merge_inflect: float = 0.0
    merge_proportional: bool = True
    resize: str = field(default="swscale", metadata=ADDED_LATER)
    embedder_width: int = field(default=0, metadata=ADDED_LATER)
    document_instruction: str = field(default="", metadata=ADDED_LATER)
    query_instruction: str = field(default="", metadata=RUN_ONLY)

    def __post_init__(self) -> None:
        require_one_of("encoder.fit", self.fit, ("auto", "squash", "pad", "crop"))
        require_one_of("encoder.resize", self.resize, ("swscale", "pillow"))
        if self.resize == "pillow" and self.fit == "pad":
            raise ConfigError("encoder.resize = 'pillow' needs encoder.fit = squash, crop or auto.")
        require_one_of("encoder.grid", self.grid, ("full", "model"))
        require_one_of("encoder.keep", self.keep, (PROJECTED, TOWER))
        require_at_least("encoder.batch_frames", self.batch_frames, 1)
        if self.most_pixels < 0:
            raise ConfigError(f"encoder.most_pixels must not be negative, got {self.most_pixels}.")
        if self.embedder_width < 0:
            raise ConfigError(
                f"encoder.embedder_width must not be negative, got {self.embedder_width}."
            )
        MergeSchedule(self.merge_r, self.merge_inflect, self.merge_proportional)

    def frame_size(self) -> FrameSize:
        vision = self._vision_format()
        if self.resize == "pillow":
            if not isinstance(vision, PixelFormat):
                raise ConfigError(
                    "encoder.resize = 'pillow' needs a tower of one size; this one takes any."
                )
            return FrameSize(fit="native")
        embedder = pixel_format_of(self._embedder_folder())
        larger = max(vision, embedder, key=lambda wanted: wanted.height * wanted.width)
        mean = [round(255 * value) for value in vision.mean]
        fit = vision.fit if self.fit == "auto" else self.fit
        if self.fit == "auto" and fit == "squash":
            fit = embedder.fit if embedder.fit == "native" else fit  # squashed for the tower alone
        return FrameSize(
            height=larger.height, width=larger.width, fit=fit, fill=(mean[0], mean[1], mean[2])
        )

    def identity(self) -> str:
        model = checkpoint_files.identity(self._model_folder())
        return f"{model}+{checkpoint_files.identity(self._embedder_folder())}"

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return (
            hub_checkpoint("encoder", "encoder.model", self.model),
            hub_checkpoint(
                "embedder",
                "encoder.embedder",
                self.embedder or self.model,
                checkpoint_files.EMBEDDER,
            ),
        )

    def memory(self, device: str, segment_frames: int) -> EncoderMemory:
        from longvid.encode.encoder_memory import encoder_memory

        return encoder_memory(self, self._model_folder(), self._embedder_folder(), device)

    def setup(self, device: str = "cpu") -> Worker:
        folder = self._model_folder()
        dtype = resolve_dtype(self.dtype, device)
        embedder = self._embedder(dtype, device)
        tower = family_of(folder).load_tower(folder, self.grid, dtype, device, self.keep)
        return Worker(self, tower, embedder, device, dtype)

    def setup_embedder(self, device: str = "cpu") -> TextWorker[DualEncoder | VideoEmbedder]:
        dtype = resolve_dtype(self.dtype, device)
        embedder = self._embedder(dtype, device, text_only=True)
        return TextWorker(embedder, self.space(), self.note())

    def _embedder(
        self, dtype: torch.dtype, device: str, *, text_only: bool = False
    ) -> DualEncoder | VideoEmbedder:
        folder = self._embedder_folder()
        if reads_clips(folder):
            return VideoEmbedder(
                folder,
                dtype,
                device,
                text_only=text_only,
                width=self.embedder_width,
                document_instruction=self.document_instruction,
                query_instruction=self.query_instruction,
            )
        self._require_no_instruction(folder)
        return DualEncoder(folder, dtype, device, text_only=text_only)

    def _require_no_instruction(self, folder: Path) -> None:
        if self.document_instruction or self.query_instruction:
            raise ConfigError(
                f"encoder.document_instruction and encoder.query_instruction are for embedders "
                f"such as Qwen3-VL-Embedding; {folder} reads none, so leave them empty."
            )

    def space(self) -> str:
        """Name the token space, without loading weights.

        Raises:
            ModelError: The family cannot keep what `keep` asks for, or the tokenizer has no token
                that stands for a video.
        """
        folder = self._model_folder()
        checkpoint_files.require_token(folder, family_of(folder).placeholder)
        return space_of(folder, self.keep, self.grid)

    def embedding_width(self) -> int:
        return width_of(self._embedder_folder(), self.embedder_width)

    def note(self) -> str:
        return checkpoint_files.note(self._model_folder()) or checkpoint_files.note(
            self._embedder_folder()
        )

    def _model_folder(self) -> Path:
        return checkpoint_files.part_of(checkpoint_files.locate(self.model), checkpoint_files.VLM)

    def _embedder_folder(self) -> Path:
        name = self.embedder or self.model
        folder = checkpoint_files.part_of(checkpoint_files.locate(name), checkpoint_files.EMBEDDER)
        folder = network_folder(folder)
        if not self.embedder and folder == self._model_folder():
            raise ModelError(
                f"No embedder comes with {self.model}; set encoder.embedder to a SigLIP, SigLIP "
                "2, CLIP or Qwen3-VL-Embedding checkpoint, such as google/siglip2-base-patch16-224."
            )
        return folder

    def _vision_format(self) -> PixelFormat:
        folder = self._model_folder()
        return family_of(folder).pixel_format(folder, self.most_pixels)


class Worker(TextWorker[DualEncoder | VideoEmbedder]):
    """Encodes segments."""

    def __init__(
        self,
        part: HuggingFaceEncoder,
        tower: Tower,
        embedder: DualEncoder | VideoEmbedder,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        from longvid.models.onednn_linear import pack_linears

        super().__init__(embedder, part.space(), part.note())
        self._tower = tower
        self._vision_format = part._vision_format()
        self._by_pillow = part.resize == "pillow"
        self._fit = self._vision_format.fit if part.fit == "auto" else part.fit
        self._embedder_format = pixel_format_of(part._embedder_folder())
        joined = tower.frames_per_step
        self._batch_frames = max(joined, part.batch_frames - part.batch_frames % joined)
        self._device = device
        self._dtype = dtype
        self._shared: SharedTower | None = None
        of_frames: list[Any] = []
        if isinstance(embedder, DualEncoder):
            of_frames.append(embedder.module.vision_model)
            if part.share_tower and see_alike(self._vision_format, self._embedder_format):
                self._shared = SharedTower.of(tower.module, embedder.module)
        for module in (tower.module, *of_frames):
            pack_linears(module)
        if part.merge_r:
            schedule = MergeSchedule(part.merge_r, part.merge_inflect, part.merge_proportional)
            model = getattr(tower.module, "model", tower.module)
            towers = [getattr(model, "vision_tower", model), *of_frames]
            for one in {id(one): one for one in towers}.values():
                merge_inside(one, schedule)

    def __call__(self, batch: FrameBatch) -> Segment:
        grids: list[torch.Tensor] = []
        embeddings: list[torch.Tensor] = []
        for first in range(0, len(batch), self._batch_frames):
            frames = batch.data[first : first + self._batch_frames]
            grids.append(self._tower(self._pixels(frames, self._vision_format)).cpu())
            if not isinstance(self._embedder, VideoEmbedder):
                embeddings.append(self._of_frames(self._embedder, frames))
        tokens = torch.cat(grids)  # (steps, h, w, D)
        if isinstance(self._embedder, VideoEmbedder):
            of_clip = self._embedder.embed_clip(batch.data, batch.pts_seconds - batch.start_seconds)
            of_steps = of_clip.repeat(len(tokens), 1)  # its frames are found together
        else:
            of_steps = self._mean_direction(torch.cat(embeddings))
        return Segment(
            video_id=batch.video_id,
            segment_index=batch.segment_index,
            start_seconds=batch.start_seconds,
            end_seconds=batch.end_seconds,
            pts_seconds=self._tower.step_seconds(self._by_step(batch.pts_seconds)),
            slow=self._by_step(batch.slow).any(dim=1),
            frame_embeddings=of_steps,
            tokens=Tokens.from_grid(tokens),
            space=self.space,
            grid=(tokens.shape[1], tokens.shape[2]),
        )

    def _of_frames(self, embedder: DualEncoder, frames: torch.Tensor) -> torch.Tensor:
        if self._shared is not None:
            return embedder.embed_pooled(self._shared.take_pooled())
        return embedder.embed_frames(self._pixels(frames, self._embedder_format))

    def _by_step(self, of_frames: torch.Tensor) -> torch.Tensor:
        """Group what frames have, (T, ...), by the steps that the tower joins them into.

        Returns:
            (steps, frames_per_step, ...); a last step that lacks frames repeats the last one.
        """
        joined = self._tower.frames_per_step
        lacking = -len(of_frames) % joined
        filled = torch.cat([of_frames, of_frames[-1:].expand(lacking, *of_frames.shape[1:])])
        return filled.reshape(-1, joined, *of_frames.shape[1:])

    def _mean_direction(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Give a step the mean direction of its frames' embeddings, (T, E) to (steps, E)."""
        if self._tower.frames_per_step == 1:
            return embeddings
        return F.normalize(self._by_step(embeddings).mean(dim=1), dim=-1)

    def _pixels(self, frames: torch.Tensor, wanted: PixelFormat) -> torch.Tensor:
        if self._by_pillow:
            resized = wanted.resize_with_pillow(frames, self._fit)
        else:
            resized = wanted.resize(frames)
        return wanted.normalize(resized, self._device, self._dtype)
