"""Read conversations of text and one clip, as Qwen3-VL-Embedding and -Reranker were trained to.

A conversation ends where an assistant would begin to speak; the last hidden state there is what an
embedder returns and a reranker judges by. Frames are resized and cut, and their times written, as
the families of Qwen3-VL do for answers; the network is transformers' own, whole.

Source: arXiv 2601.04720 and QwenLM/Qwen3-VL-Embedding (Apache-2.0): 64 frames at one a second,
10 x 768 tokens a clip, right padding for embeddings and left padding for reranking.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from longvid.errors import ModelError
from longvid.lazy_import import F, no_grad, torch
from longvid.models import checkpoint_files
from longvid.models.families import family_of
from longvid.models.families.hf_family import Adapter
from longvid.models.families.qwen_pixels import AnySize, any_size, to_patches
from longvid.models.from_pretrained import load
from longvid.models.tokenizer import Span, TextTokenizer, load_tokenizer, outside

#: End of every conversation: the last of its tokens is the one that is read.
CLOSING = Span("<|im_end|>\n<|im_start|>assistant\n")

_FAMILIES = ("qwen3_vl", "qwen3_vl_moe")
_MOST_FRAMES = 64
# Tokens: of a step of two frames, and of a whole clip.
_FEWEST_OF_STEP, _MOST_OF_STEP, _MOST_OF_CLIP = 128, 768, 10 * 768
_SLACK_SECONDS = 1e-3  # times of 30 000/1001 frames a second fall a little short of a second


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames as a model of the family reads them.

    Args:
        text: What stands in the conversation: the time and the placeholders of each step.
        patches: (steps * h * w, C), normalised.
        grid: (steps, h, w) in patches.
    """

    text: Span
    patches: torch.Tensor
    grid: tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """Token ids, and the clip whose placeholders they hold."""

    ids: tuple[int, ...]
    clip: Clip | None = None


def reads_clips(folder: Path) -> bool:
    """Tell whether a checkpoint is of the architecture that this reads."""
    return checkpoint_files.read_config(folder).get("model_type") in _FAMILIES


def sentence(instruction: str) -> str:
    """Return an instruction as it was written in training: stripped, with a mark at its end.

    >>> sentence(" Find the clip")
    'Find the clip.'
    """
    stripped = instruction.strip()
    ends = stripped and unicodedata.category(stripped[-1]).startswith("P")
    return stripped if ends else stripped + "."


def opening(system: str) -> tuple[Span, Span, Span]:
    """Return the start of a conversation, up to what its user says."""
    return (Span("<|im_start|>system\n"), outside(system), Span("<|im_end|>\n<|im_start|>user\n"))


def sampled_frames(seconds: torch.Tensor) -> list[int]:
    """Choose frames at most one a second, then at most 64, spread evenly.

    Args:
        seconds: (T,) float64, increasing.
    """
    chosen: list[int] = []
    for place, time in enumerate(seconds.tolist()):
        if not chosen or time >= float(seconds[chosen[-1]]) + 1 - _SLACK_SECONDS:
            chosen.append(place)
    if len(chosen) <= _MOST_FRAMES:
        return chosen
    last = len(chosen) - 1
    return [chosen[place * last // (_MOST_FRAMES - 1)] for place in range(_MOST_FRAMES)]


def clip_format(folder: Path, num_frames: int = 2) -> AnySize:
    """Say how large the frames of a clip are, and how they are normalised; loads no weights.

    Args:
        folder: The checkpoint.
        num_frames: Of the clip; more frames are smaller ones.

    Raises:
        ModelError: The checkpoint is of another architecture, or states no numbers for pixels.
    """
    vision = _family(folder).stated(folder).vision_config
    step = int(vision.patch_size) * int(vision.spatial_merge_size)
    shared = 2 * _MOST_OF_CLIP / (num_frames + num_frames % 2)
    most = max(min(_MOST_OF_STEP, shared), 1.05 * _FEWEST_OF_STEP)
    return dataclasses.replace(
        any_size(folder, step, int(most * step * step)), fewest_pixels=_FEWEST_OF_STEP * step * step
    )


def _family(folder: Path) -> Adapter:
    family = family_of(folder)
    if not isinstance(family, Adapter) or family.name not in _FAMILIES:
        raise ModelError(
            f"{folder} is of architecture {family.name!r}; a checkpoint such as Qwen3-VL-Embedding "
            f"or Qwen3-VL-Reranker is needed, of architecture {' or '.join(_FAMILIES)}."
        )
    return family


class ClipReader:
    """A network of the family, whole or its text side, that reads conversations in batches.

    Args:
        folder: The checkpoint.
        dtype, device: Of the weights.
        drop: "head" leaves out what turns states into words, "vision" the tower too, "" nothing.
        padding: Side on which shorter conversations are filled; both give the same states up to
            rounding.

    Raises:
        ModelError: The checkpoint is of another architecture, incomplete, or too large.
    """

    def __init__(
        self,
        folder: Path,
        dtype: torch.dtype,
        device: str,
        *,
        drop: Literal["", "head", "vision"] = "",
        padding: Literal["left", "right"] = "right",
    ) -> None:
        import transformers

        family = _family(folder)
        model_class = getattr(transformers, family.architecture)
        parts = {"": (), "head": ("lm_head",), "vision": ("lm_head", *family.parts_of_vision)}
        checkpoint_files.require_token(folder, family.placeholder)
        self.module: Any = load(folder, model_class, drop=parts[drop], dtype=dtype, device=device)
        self.own_tokenizer: Any = load_tokenizer(folder)
        self.tokenizer = TextTokenizer(self.own_tokenizer)
        self.video_id = family.placeholder_id(folder)
        self.width = int(self.module.config.text_config.hidden_size)
        self._placeholder, self._prompt = family.placeholder, family.prompt
        self._folder, self._dtype, self._device = folder, dtype, device
        self._padding = padding
        vision = self.module.config.vision_config
        self._patch, self._merge = int(vision.patch_size), int(vision.spatial_merge_size)
        self._joined = int(vision.temporal_patch_size)

    def clip(self, frames: torch.Tensor, seconds: torch.Tensor) -> Clip:
        """Prepare a clip, of at most one frame a second and 64 in all.

        Args:
            frames: (T, 3, H, W) uint8 on the CPU, in time order.
            seconds: (T,) float64, when each is shown, counted from the start of the clip.
        """
        chosen = sampled_frames(seconds)
        chosen += chosen[-1:] * (-len(chosen) % self._joined)
        wanted = clip_format(self._folder, len(chosen))
        pixels = wanted.normalize(wanted.resize(frames[chosen]), self._device, self._dtype)
        times = seconds[chosen].clamp_min(0).reshape(-1, self._joined)
        means = ((times[:, 0] + times[:, -1]) / 2).tolist()
        rows, columns = (side // self._patch for side in pixels.shape[-2:])
        marks = self._placeholder * (rows * columns // self._merge**2)
        text = "".join(
            self._prompt.frame_prefix.format(seconds=f"{mean:.1f}")
            + marks
            + self._prompt.frame_suffix
            for mean in means
        )
        patches = to_patches(pixels, self._patch, self._merge, self._joined)
        return Clip(Span(text), patches, (len(means), rows, columns))

    def converse(self, spans: Sequence[Span], clip: Clip | None = None) -> Conversation:
        """Tokenize a conversation; the text of a clip is one of its spans."""
        return Conversation(self.tokenizer.ids(spans), clip)

    @no_grad
    def last_states(self, conversations: Sequence[Conversation]) -> torch.Tensor:
        """Return the final hidden state of each conversation's last token, (B, D).

        They are read in one pass, in the dtype and on the device of the weights.
        """
        longest = max(len(one.ids) for one in conversations)
        pad = self.own_tokenizer.pad_token_id or 0
        ids = torch.stack([self._padded(one.ids, longest, pad) for one in conversations])
        mask = torch.stack([self._padded((1,) * len(one.ids), longest, 0) for one in conversations])
        clips = [one.clip for one in conversations if one.clip is not None]
        inputs: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": mask,
            "mm_token_type_ids": 2 * (ids == self.video_id).int(),  # 2 is a video
        }
        if clips:
            inputs["pixel_values_videos"] = torch.cat([clip.patches for clip in clips])
            inputs["video_grid_thw"] = torch.tensor([clip.grid for clip in clips])
        on_device = {name: value.to(self._device) for name, value in inputs.items()}
        states = self.module.model(**on_device, use_cache=False).last_hidden_state  # (B, L, D)
        last = (mask * torch.arange(longest)).argmax(dim=1)
        found: torch.Tensor = states[torch.arange(len(states)), last]
        return found

    def _padded(self, values: Sequence[int], longest: int, fill: int) -> torch.Tensor:
        lacking = longest - len(values)
        sides = (lacking, 0) if self._padding == "left" else (0, lacking)
        return F.pad(torch.tensor(values), sides, value=fill)
