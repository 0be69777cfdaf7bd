"""Tiny detectors with random weights, saved as their checkpoints are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    ".",
    *["a", "photo", "of", "red", "car", "dog", "the", "white"],
]


def save_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
    ).save_pretrained(folder)


def save_owlv2(folder: Path) -> None:
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        **sizes,
        "vocab_size": 20,
        "max_position_embeddings": 8,
        "eos_token_id": 3,
        "pad_token_id": 0,
    }
    config = transformers.Owlv2Config(
        text_config=text,
        vision_config={**sizes, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    save_tokenizer(folder)


def save_grounding_dino(folder: Path) -> None:
    _save_dino(
        folder, transformers.GroundingDinoConfig, transformers.GroundingDinoForObjectDetection
    )


def save_mm_grounding_dino(folder: Path) -> None:
    _save_dino(
        folder, transformers.MMGroundingDinoConfig, transformers.MMGroundingDinoForObjectDetection
    )


def _save_dino(folder: Path, configuration: Any, model: Any) -> None:
    torch.manual_seed(0)
    config = configuration(
        backbone_config=transformers.SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=4,
            image_size=64,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config={
            "model_type": "bert",
            "vocab_size": 20,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 32,
        },
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=12,
        max_text_len=32,
    )
    model(config).save_pretrained(folder)
    save_tokenizer(folder)
