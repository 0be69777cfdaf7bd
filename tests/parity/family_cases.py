"""Tiny random checkpoints of every family, and the inputs that the model's own side would make.

What a processor writes as text is written by the processor's own code; what it does with pixels is
done by slow readable twins, because the library's needs a package that has no place in the tests.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
    SiglipVisionConfig,
)
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from tests.parity.family_case import Case
from tests.parity.family_checkpoints import (
    IDS,
    MARKS,
    NUM_BYTE_IDS,
    NUM_FRAMES,
    NUM_PATCHES,
    PATCH,
    SIDE,
    decoder,
    tower,
)
from tests.parity.shuffled_cases import (
    INTERNVL,
    SMOLVLM,
)


def _llava() -> Any:
    return LlavaConfig(
        vision_config=CLIPVisionConfig(**tower()).to_dict(),
        text_config=LlamaConfig(**decoder()).to_dict(),
        image_token_index=IDS["<image>"],
        image_seq_length=NUM_PATCHES,
    )


def _next() -> Any:
    return LlavaNextConfig(
        vision_config=CLIPVisionConfig(**tower()).to_dict(),
        text_config=LlamaConfig(**decoder()).to_dict(),
        image_token_index=IDS["<image>"],
        image_grid_pinpoints=[[SIDE, 2 * SIDE], [2 * SIDE, SIDE]],
    )


def _next_video() -> Any:
    return LlavaNextVideoConfig(
        vision_config=CLIPVisionConfig(**tower()).to_dict(),
        text_config=LlamaConfig(**decoder()).to_dict(),
        image_token_index=IDS["<image>"],
        video_token_index=IDS["<video>"],
    )


def _onevision() -> Any:
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(vision_use_head=False, **tower()).to_dict(),
        text_config=Qwen2Config(tie_word_embeddings=True, **decoder()).to_dict(),
        image_token_index=IDS["<image>"],
        video_token_index=IDS["<video>"],
        tie_word_embeddings=True,
    )


def _one_tile(pixels: torch.Tensor, ids: torch.Tensor) -> dict[str, Any]:
    # Every picture as one tile: what the model's own code makes of it when no tiles are cut.
    return {"pixel_values": pixels, "image_sizes": torch.tensor([[SIDE, SIDE]] * NUM_FRAMES)}


LLAVA = Case(
    "llava",
    _llava,
    LlavaForConditionalGeneration,
    "<image>",
    "USER: {video}\n{question}{choices} ASSISTANT:",
    lambda pixels, ids: {"pixel_values": pixels},
    lambda: "<image>" * (NUM_FRAMES * NUM_PATCHES),
)
ONEVISION = Case(
    "llava_onevision",
    _onevision,
    LlavaOnevisionForConditionalGeneration,
    "<video>",
    "<|im_start|>user {video}\n{question}{choices}<|im_end|><|im_start|>assistant\n",
    lambda pixels, ids: {"pixel_values_videos": pixels[None]},
    lambda: "<video>" * (NUM_FRAMES * (-(-SIDE // PATCH // 2)) ** 2 + 1),
    grid="model",
)
NEXT_VIDEO = Case(
    "llava_next_video",
    _next_video,
    LlavaNextVideoForConditionalGeneration,
    "<video>",
    "USER: {video}\n{question}{choices} ASSISTANT:",
    lambda pixels, ids: {"pixel_values_videos": pixels[None]},
    lambda: "<video>" * (NUM_FRAMES * (SIDE // PATCH // 2) ** 2),
    grid="model",
)


# Qwen-VL: frames that are not square, an odd number of them, and windows that do not fit.
_STEP = 2 * PATCH
QWEN_SIZE = (3 * _STEP, 5 * _STEP)
_QWEN_IDS = {mark: MARKS.index(mark) for mark in MARKS}
_QWEN_TOKENS = {
    "image_token_id": _QWEN_IDS["<|image_pad|>"],
    "video_token_id": _QWEN_IDS["<|video_pad|>"],
    "vision_start_token_id": _QWEN_IDS["<|vision_start|>"],
    "vision_end_token_id": _QWEN_IDS["<|vision_end|>"],
}
QWEN_PIXELS = {"size": {"shortest_edge": 4 * _STEP**2, "longest_edge": 40 * _STEP**2}}
QWEN_GRID = torch.tensor([[2, 6, 10]])  # two steps of two frames, in patches


def qwen_decoder(**kwargs: Any) -> dict[str, Any]:
    return decoder(vocab_size=NUM_BYTE_IDS, hidden_size=64, **{"initializer_range": 0.1, **kwargs})


def qwen_tower(**kwargs: Any) -> dict[str, Any]:
    return {
        "depth": 4,
        "hidden_size": 32,
        "num_heads": 4,
        "intermediate_size": 48,
        "out_hidden_size": 64,
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "initializer_range": 0.2,
        **kwargs,
    }


def qwen_ids() -> dict[str, int]:
    """Return the ids of the marks around a video."""
    return dict(_QWEN_TOKENS)


def _qwen2_5() -> Any:
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    return Qwen2_5_VLConfig(
        vision_config=qwen_tower(
            window_size=4 * PATCH, fullatt_block_indexes=[1, 3], tokens_per_second=2
        ),
        text_config=qwen_decoder(rope_parameters=rope),
        **_QWEN_TOKENS,
    )


def _qwen3_parts(**kwargs: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 1e4}
    return {
        "vision_config": qwen_tower(deepstack_visual_indexes=[0, 2], num_position_embeddings=36),
        "text_config": qwen_decoder(rope_parameters=rope, head_dim=16, **kwargs),
        **_QWEN_TOKENS,
    }


def _qwen3() -> Any:
    return Qwen3VLConfig(**_qwen3_parts(num_hidden_layers=3))


def _qwen3_moe() -> Any:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    return Qwen3VLMoeConfig(**_qwen3_parts(num_hidden_layers=3, decoder_sparse_step=1, **experts))


def qwen_own(pixels: torch.Tensor, ids: torch.Tensor) -> dict[str, Any]:
    return {
        "pixel_values_videos": cut_slowly(pixels),
        "video_grid_thw": QWEN_GRID,
        "mm_token_type_ids": 2 * (ids == _QWEN_IDS["<|video_pad|>"]).int(),
    }


def cut_slowly(pixels: torch.Tensor, num_frames: int = 2) -> torch.Tensor:
    """Cut frames into patches, one at a time, in the order that Qwen-VL's merger reads them."""
    pixels = torch.cat([pixels, pixels[-1:]])  # a frame that lacks others is repeated
    patches = []
    for first in range(0, len(pixels) // num_frames * num_frames, num_frames):
        for top in range(0, pixels.shape[2], _STEP):
            for left in range(0, pixels.shape[3], _STEP):
                for row in (top, top + PATCH):
                    for column in (left, left + PATCH):
                        cut = pixels[
                            first : first + num_frames,
                            :,
                            row : row + PATCH,
                            column : column + PATCH,
                        ]
                        patches.append(cut.transpose(0, 1).flatten())
    return torch.stack(patches)


def _qwen_marks() -> SimpleNamespace:
    return SimpleNamespace(
        video_token="<|video_pad|>",
        vision_start_token="<|vision_start|>",
        vision_end_token="<|vision_end|>",
        video_processor=SimpleNamespace(merge_size=2, temporal_patch_size=2),
        _calculate_timestamps=lambda *args: Qwen3VLProcessor._calculate_timestamps(None, *args),
    )


def _qwen2_5_video() -> str:
    inputs = {"video_grid_thw": QWEN_GRID}
    return Qwen2_5_VLProcessor.replace_video_token(_qwen_marks(), inputs, 0)


def _qwen3_video() -> str:
    times = SimpleNamespace(fps=1.0, frames_indices=list(range(NUM_FRAMES)))
    inputs = {"video_grid_thw": QWEN_GRID, "video_metadata": [times]}
    return Qwen3VLProcessor.replace_video_token(_qwen_marks(), inputs, 0)


QWEN2_5 = Case(
    "qwen2_5_vl",
    _qwen2_5,
    Qwen2_5_VLForConditionalGeneration,
    "<|video_pad|>",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "<|vision_start|>{video}<|vision_end|>{question}{choices}<|im_end|>\n<|im_start|>assistant\n",
    # One frame a second, two frames a step.
    lambda pixels, ids: {**qwen_own(pixels, ids), "second_per_grid_ts": [2.0]},
    _qwen2_5_video,
    size=QWEN_SIZE,
    bytewise=True,
    around="<|vision_start|>{video}<|vision_end|>",
    preprocessor=QWEN_PIXELS,
)
QWEN3 = Case(
    "qwen3_vl",
    _qwen3,
    Qwen3VLForConditionalGeneration,
    "<|video_pad|>",
    "<|im_start|>user\n{video}{question}{choices}<|im_end|>\n<|im_start|>assistant\n",
    qwen_own,
    _qwen3_video,
    size=QWEN_SIZE,
    bytewise=True,
    preprocessor=QWEN_PIXELS,
)
QWEN3_MOE = Case(
    **{
        **vars(QWEN3),
        "name": "qwen3_vl_moe",
        "build": _qwen3_moe,
        "model_class": Qwen3VLMoeForConditionalGeneration,
    }
)


NEXT = Case(
    "llava_next",
    _next,
    LlavaNextForConditionalGeneration,
    "<image>",
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions. USER: {video}\n"
    "{question}{choices} ASSISTANT:",
    _one_tile,
    lambda: "<image>" * (NUM_FRAMES * (NUM_PATCHES + 1)),
)

ALL = (LLAVA, ONEVISION, NEXT, NEXT_VIDEO, QWEN2_5, QWEN3, QWEN3_MOE, INTERNVL, SMOLVLM)
