"""Tiny random checkpoints with resamplers, of the true architectures; a tower token is 24 wide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    IdeficsConfig,
    IdeficsForVisionText2Text,
    InstructBlipVideoConfig,
    InstructBlipVideoForConditionalGeneration,
)

from longvid.models.flamingo import FlamingoResampler

QUERIES = 8
_LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2}
_VISION = {"hidden_size": 24, "intermediate_size": 32, "image_size": 28, "patch_size": 7, **_LAYERS}
_QFORMER = {
    "hidden_size": 16,
    "encoder_hidden_size": 24,
    "intermediate_size": 24,
    "vocab_size": 40,
    **_LAYERS,
}
_OPT = {
    "model_type": "opt",
    "vocab_size": 60,
    "hidden_size": 20,
    "ffn_dim": 24,
    "word_embed_proj_dim": 20,
    "max_position_embeddings": 64,
    **_LAYERS,
}


def _saved(model: Any, folder: Path) -> Any:
    """Give every weight a random value, untrained queries too, and save."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    model.eval().save_pretrained(folder)
    return model


def write_blip2(folder: Path) -> Any:
    """Write a BLIP-2 around OPT."""
    config = Blip2Config(
        vision_config=_VISION, qformer_config=_QFORMER, text_config=_OPT, num_query_tokens=QUERIES
    )
    return _saved(Blip2ForConditionalGeneration(config), folder)


def write_instructblip(folder: Path) -> Any:
    """Write an InstructBLIP for videos around OPT."""
    config = InstructBlipVideoConfig(
        vision_config=_VISION, qformer_config=_QFORMER, text_config=_OPT, num_query_tokens=QUERIES
    )
    return _saved(InstructBlipVideoForConditionalGeneration(config), folder)


def write_idefics2(folder: Path) -> Any:
    """Write an IDEFICS2."""
    config = Idefics2Config(
        vision_config=_VISION,
        text_config={
            "model_type": "mistral",
            "vocab_size": 60,
            "hidden_size": 32,
            "intermediate_size": 24,
            "num_key_value_heads": 1,
            "pad_token_id": 0,
            **_LAYERS,
        },
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": QUERIES,
            "resampler_depth": 2,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
            "num_key_value_heads": 2,
        },
        image_token_id=59,
    )
    return _saved(Idefics2ForConditionalGeneration(config), folder)


def write_idefics(folder: Path, *, use_resampler: bool = True) -> Any:
    """Write an IDEFICS of the first generation."""
    config = IdeficsConfig(
        vocab_size=60,
        additional_vocab_size=2,
        hidden_size=16,
        intermediate_size=24,
        cross_layer_interval=1,
        vision_config={"embed_dim": 24, **_VISION},
        perceiver_config={
            "resampler_n_latents": QUERIES,
            "resampler_depth": 2,
            "resampler_n_heads": 2,
            "resampler_head_dim": 12,
        },
        use_resampler=use_resampler,
        **_LAYERS,
    )
    return _saved(IdeficsForVisionText2Text(config), folder)


def write_flamingo(folder: Path, max_frames: int = 4) -> FlamingoResampler:
    """Write the trained part of an OpenFlamingo, as its training saved it."""
    folder.mkdir(parents=True)
    torch.manual_seed(4)
    resampler = FlamingoResampler(
        24, depth=2, num_heads=2, head_width=64, num_latents=QUERIES, max_frames=max_frames
    ).eval()
    state = {f"module.perceiver.{name}": w for name, w in resampler.state_dict().items()}
    state["module.lang_encoder.gated_cross_attn_layers.0.attn_gate"] = torch.ones(1)
    torch.save(state, folder / "checkpoint.pt")
    return resampler
