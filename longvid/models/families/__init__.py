"""The families of video language models that can be run: one adapter file each.

    protocol.py          what a family must do, and the carriers between prompt and model
    hf_family.py         what families have in common
    llava.py             LLaVA-1.5: every frame is an image
    llava_next.py        LLaVA-NeXT: the same, and a newline after each frame
    llava_next_video.py  LLaVA-NeXT-Video: patches pooled 2 x 2 before the projector
    llava_onevision.py   LLaVA-OneVision: frames pooled 2 x 2 and a newline after the video
    qwen_pixels.py       pictures of any size, as the Qwen-VL towers want them
    aspect_sizes.py      pictures that keep their aspect, of one area or number of tokens
    qwen2_vl.py          Qwen2-VL: pairs of frames, positions by step, row and column
    qwen2_5_vl.py        Qwen2.5-VL: the same, by time in place of the step
    stepped.py           steps that are pictures of their own, their time written beside them
    qwen3_vl.py          Qwen3-VL, dense and MoE: features of several layers
    qwen3_5.py           Qwen3.5, dense and MoE: layers of linear attention
    glm.py               GLM-4.1V, GLM-4.5V and GLM-4.6V: the time follows a step
    video_llama_3.py     VideoLLaMA 3: frames of any size, the time before each
    internvl.py          InternVL3: frames are numbered
    smolvlm.py           SmolVLM2: frames with their time on the clock
    qwen2_5_omni.py      Qwen2.5-Omni: Qwen2.5-VL's tower, ticks of 1/25 s; sound is read as text
    exaone.py            EXAONE 4.5, HyperCLOVA X: Qwen2.5-VL's tower, one rotary axis
    perception_lm.py     Perception LM: patches averaged after the projector
    minicpmv.py          MiniCPM-V 4.6: patches joined twice, a model of linear attention
    molmo2.py            Molmo2: visual tokens see each other
    queried.py           what families with learned queries share, which a compressor may run too
    blip2.py             BLIP-2 with OPT: 32 queries a frame, before the start of the text
    idefics2.py          IDEFICS2: 64 latents a frame, a mark between frames
    gemma4.py            Gemma 4: frames of 70 tokens, their time on the clock
    positions.py         places on three rotary axes, without weights
    left_out.py          models of transformers that take video and have no adapter, with reasons

Published systems bring families of their own (`longvid.systems`). A family is found by
`config.json`; a new one is a file here and a line in `registry.FAMILIES`.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from longvid.errors import ModelError
from longvid.models import checkpoint_files
from longvid.models.checkpoint_errors import checkpoint_errors
from longvid.models.families.left_out import LEFT_OUT
from longvid.models.families.protocol import PROJECTED, TOWER, Family
from longvid.registry import FAMILIES, FAMILY_OF_CLASS

__all__ = ["FAMILIES", "family_of", "space_of", "spaces_of"]


def family_of(folder: Path) -> Family:
    """Find a checkpoint's family by its config.json.

    Raises:
        ModelError: The architecture is not known, or reads text only; the sentence lists the
            known ones.
    """
    config = checkpoint_files.read_config(folder)
    model_type = str(config.get("model_type", ""))
    for architecture in config.get("architectures") or ():
        model_type = FAMILY_OF_CLASS.get(architecture, model_type)
    if model_type not in FAMILIES:
        what = f"of architecture {model_type!r}" if model_type else "of no stated architecture"
        if model_type in LEFT_OUT:
            what += f", which is left out ({LEFT_OUT[model_type]})"
        elif "vision_config" not in config:
            what += ", which reads no pictures"
        raise ModelError(
            f"{folder} is {what}; a video language model is needed, one of {', '.join(FAMILIES)}."
        )
    module, _, attribute = FAMILIES[model_type].partition(":")
    family: Family = getattr(importlib.import_module(module), attribute)
    return family


def space_of(folder: Path, keep: str = PROJECTED, grid: str = "full") -> str:
    """Name the space of the visual tokens that a checkpoint makes and reads.

    The name is made of what the checkpoint holds, never of where it lies: copies share a space,
    and two fine-tunings of one model do not.

    Args:
        folder: The checkpoint.
        keep: PROJECTED, or TOWER for tokens as they are before the projector.
        grid: As `Family.load_tower` has it; it changes no name.

    Returns:
        "family/tower-decoder-D@identity", such as "llava/clip-llama-4096@0a1b2c3d4e5f"; for tokens
        before the projector "family/tower-unprojected-D@identity".

    Raises:
        ModelError: The family cannot keep tokens before its projector on this grid.
    """
    family = family_of(folder)
    with checkpoint_errors(folder, "The configuration"):
        config = family.stated(folder)
        tower = str(config.vision_config.model_type).removesuffix("_vision_model")
        if keep == TOWER:
            shape = f"{tower}-unprojected-{family.tower_width(folder, grid)}"
            return f"{family.name}/{shape}@{checkpoint_files.identity(folder)}"
        shape = f"{tower}-{config.text_config.model_type}-{family.token_width(folder)}"
        return f"{family.name}/{shape}@{checkpoint_files.identity(folder)}"


def spaces_of(folder: Path) -> tuple[str, ...]:
    """Name the spaces whose tokens a checkpoint's language model can be shown.

    Returns:
        That of projected tokens; then, where the projector takes tokens one by one and may run when
        a question is asked, that of tokens before it.
    """
    keeps = (PROJECTED, TOWER) if family_of(folder).projects_tokens else (PROJECTED,)
    return tuple(space_of(folder, keep) for keep in keeps)
