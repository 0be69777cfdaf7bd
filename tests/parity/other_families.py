"""Tiny random checkpoints of families whose frames are pooled, or whose tokens see later ones."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from transformers import (
    CLIPVisionConfig,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    LlamaConfig,
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    Molmo2Config,
    Molmo2ForConditionalGeneration,
    PerceptionLMConfig,
    PerceptionLMForConditionalGeneration,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
)
from transformers.models.gemma4.processing_gemma4 import Gemma4Processor
from transformers.models.minicpmv4_6.processing_minicpmv4_6 import MiniCPMV4_6Processor
from transformers.models.molmo2.processing_molmo2 import Molmo2Processor

from tests.parity.family_case import Case
from tests.parity.family_cases import QWEN2_5, QWEN_GRID, cut_slowly, qwen_decoder, qwen_tower
from tests.parity.family_checkpoints import MARKS, NUM_BYTE_IDS, NUM_FRAMES, PATCH, decoder, tower

_TIMES = [float(t) for t in range(NUM_FRAMES)]
_VIDEO_PAD = MARKS.index("<|video_pad|>")
_CHAT = "<|im_start|>user\n{video}{question}{choices}<|im_end|>\n<|im_start|>assistant\n"


def _exactly(height: int, width: int) -> dict[str, Any]:
    return {"do_center_crop": False, "size": {"height": height, "width": width}}


# Perception LM: a CLIP tower stands in for timm's, whose package the tests do not have.
_SQUARE = 6 * PATCH


def _perception() -> Any:
    vision = tower(image_size=_SQUARE)
    return PerceptionLMConfig(
        vision_config=CLIPVisionConfig(**vision, model_args={"embed_dim": 32}).to_dict(),
        text_config=LlamaConfig(**decoder(vocab_size=NUM_BYTE_IDS)).to_dict(),
        projector_pooling_ratio=2,
        image_token_id=MARKS.index("<|image|>"),
        video_token_id=MARKS.index("<|video|>"),
        tie_word_embeddings=False,
    )


PERCEPTION = Case(
    "perception_lm",
    _perception,
    PerceptionLMForConditionalGeneration,
    "<|video|>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{video}{question}{choices}"
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    lambda pixels, ids: {"pixel_values_videos": pixels[None]},
    lambda: "<|video|>" * (NUM_FRAMES * (_SQUARE // PATCH // 2) ** 2),
    grid="model",
    size=(_SQUARE, _SQUARE),
    bytewise=True,
    preprocessor=_exactly(_SQUARE, _SQUARE),
)

# MiniCPM-V 4.6: tokens of 4 x 4 patches.
_AREA_SIZE = (2 * 4 * PATCH, 3 * 4 * PATCH)


def _minicpm() -> Any:
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
    text = qwen_decoder(
        model_type="qwen3_5_text",
        rope_parameters={**rope, "partial_rotary_factor": 0.5},
        initializer_range=0.05,
        head_dim=16,
        num_hidden_layers=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        layer_types=["linear_attention", "full_attention"],
    )
    return MiniCPMV4_6Config(
        vision_config=tower(image_size=16 * PATCH),
        text_config=text,
        insert_layer_id=1,
        image_token_id=MARKS.index("<|image_pad|>"),
        video_token_id=_VIDEO_PAD,
    )


def _unfolded(pixels: torch.Tensor) -> torch.Tensor:
    """Cut frames as the model's own processor does, by unfolding."""
    cut = torch.nn.functional.unfold(pixels, PATCH, stride=PATCH)
    cut = cut.view(len(pixels), 3, PATCH, PATCH, -1).transpose(3, 4).flatten(3)
    return cut.permute(1, 2, 0, 3).flatten(2)[None]  # frames side by side


def _minicpm_own(pixels: torch.Tensor, ids: torch.Tensor) -> dict[str, Any]:
    sizes = [[side // PATCH for side in _AREA_SIZE]] * NUM_FRAMES
    return {
        "pixel_values_videos": _unfolded(pixels),
        "target_sizes_videos": torch.tensor(sizes, dtype=torch.int32),
    }


def _minicpm_video() -> str:
    marks = SimpleNamespace(
        video_token="<|video_pad|>",
        image_start_token="<image>",
        image_end_token="</image>",
        image_id_start_token="<image_id>",
        image_id_end_token="</image_id>",
        video_slice_mode=True,
    )
    inputs = {
        "target_sizes_videos": np.array([[s // PATCH for s in _AREA_SIZE]] * NUM_FRAMES),
        "num_frames_per_video": [NUM_FRAMES],
        "grids_videos": np.zeros((NUM_FRAMES, 2), dtype=np.int64),
    }
    text = MiniCPMV4_6Processor.replace_video_token(marks, inputs, 0, video_token_divisor=16)
    whole = MiniCPMV4_6Processor._prepend_local_ids(
        marks, ["<|video_pad|>"], [text], "<|video_pad|>"
    )
    return str(whole[0])


MINICPM = Case(
    "minicpmv4_6",
    _minicpm,
    MiniCPMV4_6ForConditionalGeneration,
    "<|video_pad|>",
    _CHAT.replace("{video}", "{video}\n"),
    _minicpm_own,
    _minicpm_video,
    size=_AREA_SIZE,
    bytewise=True,
    preprocessor={"scale_resolution": math.isqrt(_AREA_SIZE[0] * _AREA_SIZE[1]) + 1},
)

# Qwen2.5-Omni: Qwen2.5-VL's tower under a reader whose time is finer.
_OMNI_IDS = {
    "audio_token_index": 1,
    "image_token_index": MARKS.index("<|image_pad|>"),
    "video_token_index": MARKS.index("<|VIDEO|>"),
    "vision_start_token_id": MARKS.index("<|vision_bos|>"),
    "vision_end_token_id": MARKS.index("<|vision_eos|>"),
    "audio_start_token_id": 1,
    "audio_end_token_id": 1,
}


def _omni() -> Any:
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    audio = {
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "output_dim": 64,
    }
    return Qwen2_5OmniThinkerConfig(
        vision_config=qwen_tower(window_size=4 * PATCH, fullatt_block_indexes=[1, 3]),
        text_config=qwen_decoder(rope_parameters=rope),
        audio_config=audio,
        **_OMNI_IDS,
    )


OMNI = Case(
    "qwen2_5_omni",
    _omni,
    Qwen2_5OmniThinkerForConditionalGeneration,
    "<|VIDEO|>",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "<|vision_bos|>{video}<|vision_eos|>{question}{choices}<|im_end|>\n<|im_start|>assistant\n",
    lambda pixels, ids: {
        "pixel_values_videos": cut_slowly(pixels),
        "video_grid_thw": QWEN_GRID,
        "video_second_per_grid": torch.tensor([2.0]),
    },
    lambda: "<|VIDEO|>" * int(QWEN_GRID.prod() // 4),
    size=QWEN2_5.size,
    bytewise=True,
    around="<|vision_bos|>{video}<|vision_eos|>",
    preprocessor=QWEN2_5.preprocessor,
)

# Molmo2: 7 x 7 patches, which windows of 3 x 3 do not divide.
_MOLMO_SIDE = 7 * PATCH
_MOLMO_MARKS = ("<im_patch>", "<frame_start>", "<frame_end>")


def _molmo() -> Any:
    vision = tower(image_size=[_MOLMO_SIDE] * 2, head_dim=8, num_key_value_heads=4)
    adapter = {
        "vision_feature_layer": [2, 0],
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "intermediate_size": 48,
        "text_hidden_size": 40,
        "initializer_range": 0.2,
    }
    patch, start, end = (MARKS.index(mark) for mark in _MOLMO_MARKS)
    return Molmo2Config(
        vision_config=vision,
        adapter_config=adapter,
        text_config=decoder(
            vocab_size=NUM_BYTE_IDS, additional_vocab_size=0, head_dim=10, rope_parameters=None
        ),
        image_patch_id=patch,
        frame_start_token_id=start,
        frame_end_token_id=end,
    )


def _molmo_own(pixels: torch.Tensor, ids: torch.Tensor) -> dict[str, Any]:
    index = torch.full((9, 9), -1)
    index[1:8, 1:8] = torch.arange(49).view(7, 7)
    windows = [
        index[row : row + 3, column : column + 3].flatten()
        for row in (0, 3, 6)
        for column in (0, 3, 6)
    ]
    pooling = torch.stack(windows)
    of_frames = [torch.where(pooling >= 0, pooling + 49 * t, -1) for t in range(NUM_FRAMES)]
    marks = torch.tensor([MARKS.index(mark) for mark in _MOLMO_MARKS])
    return {
        "pixel_values_videos": rearrange(
            pixels, "t c (h p) (w q) -> t (h w) (p q c)", p=PATCH, q=PATCH
        ),
        "video_token_pooling": torch.cat(of_frames),
        "video_grids": torch.tensor([[NUM_FRAMES, 3, 3]]),
        "mm_token_type_ids": torch.isin(ids, marks).long(),
    }


def _molmo_video() -> str:
    marks = SimpleNamespace(use_frame_special_tokens=True, video_use_col_tokens=False)
    text: str = Molmo2Processor.get_video_string(marks, torch.tensor([NUM_FRAMES, 3, 3]), _TIMES)
    return text


MOLMO2 = Case(
    "molmo2",
    _molmo,
    Molmo2ForConditionalGeneration,
    "<im_patch>",
    _CHAT,
    _molmo_own,
    _molmo_video,
    size=(_MOLMO_SIDE, _MOLMO_SIDE),
    bytewise=True,
    preprocessor=_exactly(_MOLMO_SIDE, _MOLMO_SIDE),
)

# Gemma 4: frames of 2 x 3 tokens, of at most 6, in patches that are padded to 7 tokens.
_GEMMA_SIZE = (2 * 3 * PATCH, 3 * 3 * PATCH)
_MOST_TOKENS = 7


def _gemma(**kwargs: Any) -> Any:
    text = decoder(
        vocab_size=NUM_BYTE_IDS,
        vocab_size_per_layer_input=NUM_BYTE_IDS,
        head_dim=8,
        global_head_dim=16,
        num_hidden_layers=4,
        layer_types=["sliding_attention", "full_attention"] * 2,
        sliding_window=16,
        initializer_range=0.05,
        **kwargs,
    )
    vision = tower(head_dim=8, global_head_dim=8, num_key_value_heads=4)
    vision |= {"pooling_kernel_size": 3, "initializer_range": 0.05}
    return Gemma4Config(
        vision_config=vision,
        text_config=text,
        audio_config=None,
        audio_token_id=1,
        image_token_id=MARKS.index("<|image|>"),
        video_token_id=MARKS.index("<|video|>"),
    )


def _gemma_own(pixels: torch.Tensor, ids: torch.Tensor) -> dict[str, Any]:
    rows, columns = (side // PATCH for side in _GEMMA_SIZE)
    lacking = _MOST_TOKENS * 9 - rows * columns
    patches = rearrange(pixels, "t c (h p) (w q) -> t (h w) (p q c)", p=PATCH, q=PATCH)
    places = torch.tensor([[column, row] for row in range(rows) for column in range(columns)])
    places = torch.nn.functional.pad(places, (0, 0, 0, lacking), value=-1)
    return {
        "pixel_values_videos": torch.nn.functional.pad(patches, (0, 0, 0, lacking)),
        "video_position_ids": places.expand(NUM_FRAMES, -1, -1),
        "num_frames_per_video": torch.tensor([NUM_FRAMES]),
        "mm_token_type_ids": 2 * (ids == MARKS.index("<|video|>")).long(),
    }


def _gemma_video() -> str:
    marks = SimpleNamespace(boi_token="<|image>", eoi_token="<image|>", video_token="<|video|>")
    times = SimpleNamespace(fps=1.0, timestamps=_TIMES)
    inputs = {"num_soft_tokens_per_video": [6], "video_metadata": [times]}
    text: str = Gemma4Processor.replace_video_token(marks, inputs, 0)
    return text


GEMMA4 = Case(
    "gemma4",
    lambda: _gemma(use_bidirectional_attention="vision", hidden_size_per_layer_input=0),
    Gemma4ForConditionalGeneration,
    "<|video|>",
    "<bos><|turn>user\n{video}{question}{choices}<turn|>\n<|turn>model\n",
    _gemma_own,
    _gemma_video,
    size=_GEMMA_SIZE,
    bytewise=True,
    preprocessor={"max_soft_tokens": _MOST_TOKENS, **_exactly(*_GEMMA_SIZE)},
)
#: Of the small sizes: a layer reads embeddings of its own, and attends only to what came before.
GEMMA4_SMALL = dataclasses.replace(
    GEMMA4,
    build=lambda: _gemma(hidden_size_per_layer_input=4, num_kv_shared_layers=2),
)

OTHERS = (PERCEPTION, MINICPM, OMNI, MOLMO2, GEMMA4, GEMMA4_SMALL)
