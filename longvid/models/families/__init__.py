"""The families of video language models that can be run: one adapter file each.

    protocol.py         what a family must do, and the carriers between prompt and model
    llava.py            LLaVA-1.5: every frame is an image
    llava_onevision.py  LLaVA-OneVision: frames pooled 2 x 2 and a newline after the video

A family is told from `config.json`; a new one is a file here and a line in `FAMILIES`.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from longvid.errors import ModelError
from longvid.models import checkpoints
from longvid.models.families.protocol import Family

__all__ = ["FAMILIES", "family_of", "space_of"]

#: `model_type` in config.json, and the adapter.
FAMILIES: dict[str, str] = {
    "llava": "longvid.models.families.llava:LLAVA",
    "llava_onevision": "longvid.models.families.llava_onevision:LLAVA_ONEVISION",
}


def family_of(folder: Path) -> Family:
    """Tell a checkpoint's family from its config.json.

    Raises:
        ModelError: The architecture is not known, or reads text only; the sentence lists the
            known ones.
    """
    config = checkpoints.read_config(folder)
    model_type = str(config.get("model_type", ""))
    if model_type not in FAMILIES:
        what = f"of architecture {model_type!r}" if model_type else "of no stated architecture"
        if "vision_config" not in config:
            what += ", which reads no pictures"
        raise ModelError(
            f"{folder} is {what}; a video language model is needed, one of {', '.join(FAMILIES)}."
        )
    module, _, attribute = FAMILIES[model_type].partition(":")
    family: Family = getattr(importlib.import_module(module), attribute)
    return family


def space_of(folder: Path) -> str:
    """Name the space of the visual tokens that a checkpoint makes and reads.

    The name is made of what the checkpoint holds, never of where it lies: copies share a space,
    and two fine-tunings of one model do not.

    Returns:
        "family/tower-decoder-D@identity", such as "llava/clip-llama-4096@0a1b2c3d4e5f".
    """
    family = family_of(folder)
    config = family.config(folder)
    tower = str(config.vision_config.model_type).removesuffix("_vision_model")
    text = config.text_config
    shape = f"{tower}-{text.model_type}-{text.hidden_size}"
    return f"{family.name}/{shape}@{checkpoints.identity(folder)}"
