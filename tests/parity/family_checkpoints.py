"""What tiny checkpoints are made of: sizes, tokenizers, numbers for pixels, and an embedder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    PreTrainedTokenizerFast,
)

from longvid.types import FrameBatch

MEAN, STD = (0.48, 0.45, 0.41), (0.27, 0.26, 0.28)
SIDE, PATCH, NUM_FRAMES = 28, 4, 3
NUM_PATCHES = (SIDE // PATCH) ** 2
WORDS = ("USER", "ASSISTANT", ":", "what", "color", "is", "it", "?", "red", "blue", "dark", "green")
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>", "<video>")
IDS = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
ENDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}

#: Special tokens of the tokenizers that spell words out of bytes.
MARKS = (
    *("<pad>", "<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"),
    *("<|vision_start|>", "<|vision_end|>", "<|video_pad|>", "<|image_pad|>"),
    *("<img>", "</img>", "<IMG_CONTEXT>"),
    *("<fake_token_around_image>", "<global-img>", "<end_of_utterance>"),
    *("<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>"),
    *("<|begin_of_video|>", "<|end_of_video|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>"),
    *(
        "<im_patch>",
        "<frame_start>",
        "<frame_end>",
        "<|VIDEO|>",
        "<|vision_bos|>",
        "<|vision_eos|>",
    ),
)
_CORPUS = (
    "You are provided the following series of three frames from a video. Frame from: what color "
    "is it? red blue dark green seconds user assistant system helpful \n\n User: Assistant: "
) * 4
NUM_BYTE_IDS = len(MARKS) + 256 + 60


def frames(size: tuple[int, int] = (SIDE, SIDE)) -> FrameBatch:
    """Return the frames that every test shows, one a second."""
    generator = torch.Generator().manual_seed(2)
    data = torch.randint(0, 256, (NUM_FRAMES, 3, *size), generator=generator)
    return FrameBatch(
        video_id="v",
        segment_index=0,
        start_seconds=0.0,
        end_seconds=3.0,
        data=data.to(torch.uint8),
        pts_seconds=torch.arange(NUM_FRAMES, dtype=torch.float64),
        duration_seconds=torch.ones(NUM_FRAMES, dtype=torch.float64),
        slow=torch.ones(NUM_FRAMES, dtype=torch.bool),
    )


def own_pixels(size: tuple[int, int] = (SIDE, SIDE)) -> torch.Tensor:
    """The frames, normalised the way the preprocessor's numbers say, in float64."""
    pixels = frames(size).data.double() / 255
    mean = torch.tensor(MEAN, dtype=torch.float64)[None, :, None, None]
    std = torch.tensor(STD, dtype=torch.float64)[None, :, None, None]
    return ((pixels - mean) / std).float()


def write_word_tokenizer(folder: Path) -> None:
    """Write a tokenizer of whole words."""
    backend = Tokenizer(models.WordLevel(IDS, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"[:?]"), "isolated")]
    )
    _save_tokenizer(folder, backend, ["<image>", "<video>"])


def write_byte_tokenizer(folder: Path) -> None:
    """Write a tokenizer of pairs of bytes, which joins across whitespace as those of GPT-2 do."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=NUM_BYTE_IDS,
        special_tokens=list(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([_CORPUS], trainer)
    _save_tokenizer(folder, backend, list(MARKS[4:]))


def _save_tokenizer(folder: Path, backend: Tokenizer, special: list[str]) -> None:
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=special,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)


def write_preprocessor(folder: Path, **changes: Any) -> None:
    """Write the numbers by which frames are prepared."""
    table = {
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 3,
        "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_center_crop": True,
        **changes,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(table))


def tower(**kwargs: Any) -> dict[str, Any]:
    """Return the sizes of a tiny vision tower."""
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": PATCH,
        "initializer_range": 0.2,
        **kwargs,
    }


def decoder(**kwargs: Any) -> dict[str, Any]:
    """Return the sizes of a tiny language model."""
    return {
        "vocab_size": len(IDS),
        "hidden_size": 40,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        **ENDS,
        **kwargs,
    }


def write_embedder(folder: Path, side: int = 16) -> None:
    """Write a tiny CLIP that sees squares of `side` pixels."""
    torch.manual_seed(1)
    text = CLIPTextConfig(
        vocab_size=len(IDS),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        **ENDS,
    )
    config = CLIPConfig(
        text_config=text.to_dict(),
        vision_config=CLIPVisionConfig(**tower(image_size=side)).to_dict(),
        projection_dim=20,
    )
    CLIPModel(config).save_pretrained(folder)
    write_word_tokenizer(folder)
    write_preprocessor(folder)
