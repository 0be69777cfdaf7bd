"""Tiny random checkpoints of families that are laid out on grids: Qwen, GLM and VideoLLaMA."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import torch
from transformers import (
    Cosmos3OmniConfig,
    Cosmos3OmniForConditionalGeneration,
    Exaone4_5_Config,
    Exaone4_5_ForConditionalGeneration,
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vMoeConfig,
    Glm4vMoeForConditionalGeneration,
    Glm46VConfig,
    Glm46VForConditionalGeneration,
    HyperCLOVAXVisionV2Config,
    HyperCLOVAXVisionV2ForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    VideoLlama3Config,
    VideoLlama3ForConditionalGeneration,
)
from transformers.models.glm4v.processing_glm4v import Glm4vProcessor
from transformers.models.glm46v.processing_glm46v import Glm46VProcessor
from transformers.models.video_llama_3.processing_video_llama_3 import VideoLlama3Processor

from tests.parity.family_case import Case
from tests.parity.family_cases import (
    QWEN2_5,
    QWEN3,
    QWEN_GRID,
    QWEN_PIXELS,
    QWEN_SIZE,
    cut_slowly,
    qwen_decoder,
    qwen_ids,
    qwen_own,
    qwen_tower,
)
from tests.parity.family_checkpoints import MARKS, NUM_BYTE_IDS, NUM_FRAMES, PATCH, decoder, tower

_ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}


def _qwen2() -> Any:
    return Qwen2VLConfig(
        vision_config={
            **qwen_tower(),
            "embed_dim": 32,
            "hidden_size": 64,
            "mlp_ratio": 2,
        },
        text_config=qwen_decoder(rope_parameters=_ROPE),
        **qwen_ids(),
    )


QWEN2 = dataclasses.replace(
    QWEN2_5,
    name="qwen2_vl",
    build=_qwen2,
    model_class=Qwen2VLForConditionalGeneration,
    own=qwen_own,
)


def _linear(**kwargs: Any) -> dict[str, Any]:
    rope = {
        "rope_type": "default",
        "mrope_section": [2, 1, 1],
        "rope_theta": 1e4,
        "partial_rotary_factor": 0.5,
    }
    return {
        "vision_config": qwen_tower(num_position_embeddings=36),
        "text_config": qwen_decoder(
            rope_parameters=rope,
            initializer_range=0.05,
            head_dim=16,
            num_hidden_layers=4,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            layer_types=["linear_attention", "linear_attention", "full_attention"] * 1
            + ["linear_attention"],
            **kwargs,
        ),
        **qwen_ids(),
    }


QWEN3_5 = dataclasses.replace(
    QWEN3,
    name="qwen3_5",
    build=lambda: Qwen3_5Config(**_linear()),
    model_class=Qwen3_5ForConditionalGeneration,
)
QWEN3_5_MOE = dataclasses.replace(
    QWEN3,
    name="qwen3_5_moe",
    build=lambda: Qwen3_5MoeConfig(
        **_linear(
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
            shared_expert_intermediate_size=32,
        )
    ),
    model_class=Qwen3_5MoeForConditionalGeneration,
)

_IMAGE = MARKS.index("<|image|>")
_GLM_IDS = {
    "image_token_id": _IMAGE,
    "video_token_id": MARKS.index("<|video|>"),
    "image_start_token_id": MARKS.index("<|begin_of_image|>"),
    "image_end_token_id": MARKS.index("<|end_of_image|>"),
    "video_start_token_id": MARKS.index("<|begin_of_video|>"),
    "video_end_token_id": MARKS.index("<|end_of_video|>"),
}


def _glm(config_class: Any, rope: Any = _ROPE, **kwargs: Any) -> Any:
    vision = qwen_tower(image_size=6 * PATCH, out_hidden_size=64, hidden_size=32)
    text = qwen_decoder(rope_parameters=rope, initializer_range=0.05, **kwargs)
    return config_class(vision_config=vision, text_config=text, **_GLM_IDS)


def _glm_own(pixels: torch.Tensor, ids: torch.Tensor) -> dict[str, Any]:
    return {
        "pixel_values_videos": cut_slowly(pixels),
        "video_grid_thw": QWEN_GRID,
        "mm_token_type_ids": 2 * (ids == _IMAGE).int(),
    }


def _glm_video(processor: Any) -> str:
    marks = SimpleNamespace(
        image_token="<|image|>",
        video_processor=SimpleNamespace(merge_size=2),
        replace_frame_token_id=lambda *args, **kwargs: processor.replace_frame_token_id(
            marks, *args, **kwargs
        ),
    )
    times = SimpleNamespace(fps=1.0, timestamps=[float(t) for t in range(NUM_FRAMES)])
    inputs = {"video_grid_thw": QWEN_GRID, "video_metadata": [times]}
    text: str = processor.replace_video_token(marks, inputs, 0)
    return text


GLM4V = Case(
    "glm4v",
    lambda: _glm(Glm4vConfig),
    Glm4vForConditionalGeneration,
    "<|video|>",
    "[gMASK]<sop><|user|>\n<|begin_of_video|>{video}<|end_of_video|>{question}{choices}"
    "<|assistant|>\n",
    _glm_own,
    lambda: _glm_video(Glm4vProcessor),
    size=QWEN_SIZE,
    bytewise=True,
    around="<|begin_of_video|>{video}<|end_of_video|>",
    preprocessor=QWEN_PIXELS,
)
GLM4V_MOE = dataclasses.replace(
    GLM4V,
    name="glm4v_moe",
    build=lambda: _glm(
        Glm4vMoeConfig,
        {**_ROPE, "mrope_section": [2, 1, 1], "partial_rotary_factor": 0.5},
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        moe_intermediate_size=32,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
    ),
    model_class=Glm4vMoeForConditionalGeneration,
)
GLM46V = dataclasses.replace(
    GLM4V,
    name="glm46v",
    build=lambda: _glm(Glm46VConfig),
    model_class=Glm46VForConditionalGeneration,
    video=lambda: _glm_video(Glm46VProcessor),
)

_FRAMES_GRID = torch.tensor([[NUM_FRAMES, 6, 10]])


def _video_llama_3() -> Any:
    vision = {key: value for key, value in tower().items() if key != "image_size"}
    text = {"model_type": "qwen2", **decoder(vocab_size=NUM_BYTE_IDS, initializer_range=0.1)}
    return VideoLlama3Config(
        vision_config=vision,
        text_config=text,
        image_token_id=MARKS.index("<|image_pad|>"),
        video_token_id=MARKS.index("<|video_pad|>"),
    )


def _llama_own(pixels: torch.Tensor, ids: torch.Tensor) -> dict[str, Any]:
    return {
        "pixel_values_videos": cut_slowly(pixels, 1)[: int(_FRAMES_GRID.prod())],
        "video_grid_thw": _FRAMES_GRID,
        "video_merge_sizes": torch.tensor([2]),
        "video_compression_mask": torch.ones(int(_FRAMES_GRID.prod()) // 4, dtype=torch.bool),
    }


def _llama_video() -> str:
    times = SimpleNamespace(fps=1.0, timestamps=[float(t) for t in range(NUM_FRAMES)])
    num_tokens = int(_FRAMES_GRID.prod()) // 4
    inputs = {
        "video_grid_thw": _FRAMES_GRID,
        "video_merge_sizes": torch.tensor([2]),
        "video_compression_mask": torch.ones(num_tokens, dtype=torch.bool),
        "video_metadata": [times],
    }
    marks = SimpleNamespace(video_token="<|video_pad|>")
    text: str = VideoLlama3Processor.replace_video_token(marks, inputs, 0)
    return text


VIDEO_LLAMA_3 = Case(
    "video_llama_3",
    _video_llama_3,
    VideoLlama3ForConditionalGeneration,
    "<|video_pad|>",
    "<|im_start|>user\n{video}\n{question}{choices}<|im_end|>\n<|im_start|>assistant\n",
    _llama_own,
    _llama_video,
    size=QWEN_SIZE,
    bytewise=True,
    preprocessor=QWEN_PIXELS,
)

# Qwen2.5-VL's tower under language models of one rotary axis, and Qwen3-VL under another name.
_WINDOWS = {"window_size": 4 * PATCH, "fullatt_block_indexes": [1, 3]}
_PAD_IDS = {name: qwen_ids()[name] for name in ("image_token_id", "video_token_id")}


def _exaone() -> Any:
    text = qwen_decoder(
        model_type="exaone4", sliding_window=16, layer_types=["sliding_attention", "full_attention"]
    )
    return Exaone4_5_Config(
        vision_config=qwen_tower(**_WINDOWS, num_key_value_heads=2), text_config=text, **_PAD_IDS
    )


def _hyperclovax() -> Any:
    return HyperCLOVAXVisionV2Config(
        vision_config={"model_type": "qwen2_5_vl_vision", **qwen_tower(**_WINDOWS)},
        text_config=qwen_decoder(model_type="hyperclovax"),
        tie_word_embeddings=False,
        **_PAD_IDS,
    )


def _pixels_and_grid(pixels: torch.Tensor, ids: torch.Tensor) -> dict[str, Any]:
    return {"pixel_values_videos": cut_slowly(pixels), "video_grid_thw": QWEN_GRID}


EXAONE = dataclasses.replace(
    QWEN2_5,
    name="exaone4_5",
    build=_exaone,
    model_class=Exaone4_5_ForConditionalGeneration,
    prompt="<|user|>\n<vision>{video}</vision>{question}{choices}\n<|assistant|>\n",
    own=_pixels_and_grid,
    around="<vision>{video}</vision>",
)
HYPERCLOVAX = dataclasses.replace(
    QWEN2_5,
    name="hyperclovax_vision_v2",
    build=_hyperclovax,
    model_class=HyperCLOVAXVisionV2ForConditionalGeneration,
    own=_pixels_and_grid,
)
COSMOS = dataclasses.replace(
    QWEN3,
    name="cosmos3_omni",
    build=lambda: Cosmos3OmniConfig(**QWEN3.build().to_diff_dict()),
    model_class=Cosmos3OmniForConditionalGeneration,
)

#: Those with positions of three axes.
GRIDS = (QWEN2, QWEN3_5, QWEN3_5_MOE, GLM4V, GLM4V_MOE, GLM46V)
RECENT = (*GRIDS, COSMOS, EXAONE, HYPERCLOVAX, VIDEO_LLAMA_3)
