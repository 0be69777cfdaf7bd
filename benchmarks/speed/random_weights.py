"""Write checkpoints of true sizes with random weights: speed does not depend on what they say.

Widths, heads, patches and vocabularies are those that the published configurations state; only the
number of layers can be lowered. The tokenizer reads a token a byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from longvid.config import Config, change
from longvid.errors import ConfigError
from longvid.models.transformers_logging import quiet

_SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}
_VIT_L = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
_SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>", "<video>")
_IDS = {word: index for index, word in enumerate(_SPECIAL)}
_MEAN = _STD = (0.5, 0.5, 0.5)

#: Hub name -> architecture, the vision side's and the text side's configuration.
SIZES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": (
        "LlavaOnevisionForConditionalGeneration",
        {"model_type": "siglip_vision_model", "vision_use_head": False, **_SO400M}
        | {"num_hidden_layers": 26},
        {
            "model_type": "qwen2",
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
            "max_position_embeddings": 32768,
        },
    ),
    "llava-hf/llava-1.5-7b-hf": (
        "LlavaForConditionalGeneration",
        {"model_type": "clip_vision_model", **_VIT_L},
        {
            "model_type": "llama",
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 32064,
            "max_position_embeddings": 4096,
        },
    ),
    "google/siglip2-so400m-patch14-384": (
        "SiglipModel",
        {"model_type": "siglip_vision_model", **_SO400M},
        {
            "model_type": "siglip_text_model",
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "vocab_size": 256000,
            "max_position_embeddings": 64,
        },
    ),
    "openai/clip-vit-large-patch14-336": (
        "CLIPModel",
        {"model_type": "clip_vision_model", **_VIT_L},
        {
            "model_type": "clip_text_model",
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "vocab_size": 49408,
            "max_position_embeddings": 77,
            "projection_dim": 768,
        },
    ),
}


def with_random_weights(
    config: Config, folder: str, depth: int = 0, *, towers_only: bool = False
) -> Config:
    """Return a configuration whose checkpoints are random ones of the same sizes.

    Args:
        config: Names published checkpoints; "mini" and what else is on disk stays.
        folder: Where they are written.
        depth: Most layers of each tower and language model; 0 keeps all.
        towers_only: Write one layer of each language model, for what never runs it.

    Raises:
        ConfigError: The size of none of its checkpoints is known.
    """
    tables = config.to_dict()
    settings = []
    for section, field in (("encoder", "model"), ("encoder", "embedder"), ("llm", "model")):
        name = str(tables[section].get(field, ""))
        if name in SIZES:
            target = Path(folder) / name.replace("/", "--")
            if not target.exists():
                write(name, target, depth, towers_only=towers_only)
            settings.append(f"{section}.{field}={json.dumps(str(target))}")
    if not settings:
        raise ConfigError(
            f"--random-weights knows the sizes of {', '.join(SIZES)}; the configuration names "
            "none of them."
        )
    return Config.from_dict(change(tables, settings))


def write(name: str, folder: Path, depth: int = 0, *, towers_only: bool = False) -> None:
    """Write one checkpoint.

    Args:
        name: One of SIZES.
        folder: Where it goes.
        depth: Most layers; 0 keeps all.
        towers_only: Write one layer and few words of the text side.
    """
    architecture, vision, text = SIZES[name]
    vision, text = dict(vision), dict(text)
    if depth:
        for table in (vision, text):
            table["num_hidden_layers"] = min(depth, table["num_hidden_layers"])
    if towers_only:
        text["num_hidden_layers"], text["vocab_size"] = 1, 512
    write_architecture(architecture, vision, text, folder)


def write_architecture(
    architecture: str, vision: Mapping[str, Any], text: Mapping[str, Any], folder: Path
) -> None:
    """Write a checkpoint of any size.

    Args:
        architecture: Class of transformers, one of those in SIZES.
        vision: Configuration of the tower.
        text: Configuration of the text side; the special tokens' ids are added.
        folder: Where it goes.
    """
    import transformers

    text = {**text, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    settings: dict[str, Any] = {"vision_config": vision, "text_config": text}
    if architecture.endswith("ForConditionalGeneration"):
        settings["image_token_index"] = _IDS["<image>"]
        if "Onevision" in architecture:
            settings["video_token_index"] = _IDS["<video>"]
    elif "projection_dim" in vision:
        settings["projection_dim"] = vision["projection_dim"]
    model_class = getattr(transformers, architecture)
    with quiet():
        model = model_class._from_config(model_class.config_class(**settings), dtype=torch.bfloat16)
        model.save_pretrained(folder)
    _write_tokenizer(folder)
    side = int(vision["image_size"])
    (folder / "preprocessor_config.json").write_text(json.dumps(_preprocessor(side)))


def _preprocessor(side: int) -> Mapping[str, Any]:
    return {
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "image_mean": _MEAN,
        "image_std": _STD,
        "resample": 3,
        "size": {"height": side, "width": side},
    }


def _write_tokenizer(folder: Path) -> None:
    """Write a tokenizer that reads any text, a token a byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {**_IDS, **{letter: len(_IDS) + index for index, letter in enumerate(alphabet)}}
    backend = Tokenizer(models.BPE(vocab=ids, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>", "<video>"],
    ).save_pretrained(folder)
