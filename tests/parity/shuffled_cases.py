"""InternVL3 and SmolVLM2: square frames whose patches are shuffled four to a token."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    LlamaConfig,
    Qwen2Config,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMVisionConfig,
)
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.smolvlm import processing_smolvlm

from tests.parity.family_case import Case
from tests.parity.family_checkpoints import (
    MARKS,
    NUM_BYTE_IDS,
    NUM_FRAMES,
    PATCH,
    decoder,
    tower,
)

# InternVL3 and SmolVLM2: square frames whose patches are shuffled four to a token.
_SHUFFLED_SIDE = 24


_SHUFFLED = {
    "do_center_crop": False,
    "size": {"height": _SHUFFLED_SIDE, "width": _SHUFFLED_SIDE},
}


_TOKENS_PER_FRAME = (_SHUFFLED_SIDE // PATCH // 2) ** 2


def _internvl() -> Any:
    vision = InternVLVisionConfig(
        **tower(image_size=[_SHUFFLED_SIDE] * 2, patch_size=[PATCH] * 2, norm_type="layer_norm")
    )
    return InternVLConfig(
        vision_config=vision.to_dict(),
        text_config=Qwen2Config(**decoder(vocab_size=NUM_BYTE_IDS)).to_dict(),
        image_token_id=MARKS.index("<IMG_CONTEXT>"),
        image_seq_length=_TOKENS_PER_FRAME,
        downsample_ratio=0.5,
    )


def _internvl_video() -> str:
    marks = SimpleNamespace(
        start_image_token="<img>",
        end_image_token="</img>",
        image_token="<IMG_CONTEXT>",
        image_seq_length=_TOKENS_PER_FRAME,
    )
    inputs = {"pixel_values_videos": torch.empty(1, NUM_FRAMES)}
    return InternVLProcessor.replace_video_token(marks, inputs, 0)


def _smolvlm() -> Any:
    return SmolVLMConfig(
        vision_config=SmolVLMVisionConfig(**tower(image_size=_SHUFFLED_SIDE)).to_dict(),
        text_config=LlamaConfig(**decoder(vocab_size=NUM_BYTE_IDS)).to_dict(),
        image_token_id=MARKS.index("<image>"),
        scale_factor=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )


def _smolvlm_video() -> str:
    times = SimpleNamespace(fps=1.0, timestamps=[0.0, 1.0, 2.0], duration=3.0)
    marks = SimpleNamespace(
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        image_seq_len=_TOKENS_PER_FRAME,
    )
    inputs = {"pixel_values": torch.empty(1, NUM_FRAMES), "video_metadata": [times]}
    # The package that writes numbers in words is not among those of the tests.
    written = processing_smolvlm.num2words
    processing_smolvlm.num2words = {NUM_FRAMES: "three"}.__getitem__
    try:
        return processing_smolvlm.SmolVLMProcessor.replace_video_token(marks, inputs, 0)
    finally:
        processing_smolvlm.num2words = written


INTERNVL = Case(
    "internvl",
    _internvl,
    InternVLForConditionalGeneration,
    "<IMG_CONTEXT>",
    "<|im_start|>user\n{video}\n{question}{choices}<|im_end|>\n<|im_start|>assistant\n",
    lambda pixels, ids: {"pixel_values": pixels},
    _internvl_video,
    size=(_SHUFFLED_SIDE, _SHUFFLED_SIDE),
    bytewise=True,
    preprocessor=_SHUFFLED,
)


SMOLVLM = Case(
    "smolvlm",
    _smolvlm,
    SmolVLMForConditionalGeneration,
    "<image>",
    "<|im_start|>User:{video}\n\n{question}{choices}<end_of_utterance>\nAssistant:",
    lambda pixels, ids: {"pixel_values": pixels[None]},
    # The template, not the video, holds what is written after it.
    lambda: " " + _smolvlm_video().removesuffix("\n\n"),
    size=(_SHUFFLED_SIDE, _SHUFFLED_SIDE),
    bytewise=True,
    around="{video}\n\n",
    preprocessor=_SHUFFLED,
)
