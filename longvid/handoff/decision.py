"""Which way stored tokens can go to a serving engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longvid.errors import ConfigError
from longvid.types import Segment

ENGINES = ("vllm", "sglang")
WAYS = ("prompt_embeds", "video_embeds", "precomputed", "pictures", "refused")

# Families whose language model has one rotary axis: a row of embeddings is all that it needs.
_ONE_AXIS = (
    *("llava", "llava_next", "llava_next_video", "llava_onevision"),
    *("internvl", "smolvlm", "video_llama_3", "perception_lm"),
)
# Families with three axes whose tokens vLLM takes with their grid.
_GRIDS_OF_VLLM = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
# Three axes; DeepStack of Qwen3-VL has no place in SGLang's item.
_POSITIONS_OF_SGLANG = ("qwen2_vl", "qwen2_5_vl")


@dataclass(frozen=True, slots=True)
class Handoff:
    """A way, and why it is that one.

    Args:
        way: One of WAYS: rows of the prompt, a video with its grid, an item with positions of its
            own, stored pictures instead of tokens, or none.
        reason: A sentence.
    """

    way: str
    reason: str


def handoff(
    space: str, segments: Sequence[Segment], engine: str = "vllm", *, keeps_pictures: bool = False
) -> Handoff:
    """Decide how tokens go to an engine.

    Args:
        space: Of the tokens.
        segments: Some of them, as a question is shown; their layout decides.
        engine: One of ENGINES.
        keeps_pictures: Whether the store could show pictures in their place.

    Raises:
        ConfigError: The engine is not known.
    """
    if engine not in ENGINES:
        raise ConfigError(f"No engine is named {engine!r}; known are {', '.join(ENGINES)}.")
    family, _, rest = space.partition("/")
    if "-unprojected-" in rest:
        return _otherwise(
            "the tokens are kept before the projector, which no engine runs alone", keeps_pictures
        )
    if family in _ONE_AXIS:
        if engine == "vllm":
            return Handoff(
                "prompt_embeds",
                f"{family} has one rotary axis: tokens are rows of the prompt, exactly, merged "
                "and pruned ones too.",
            )
        return _otherwise(
            f"SGLang takes rows of a prompt only as lists of numbers for {family}", keeps_pictures
        )
    if engine == "sglang" and family in _POSITIONS_OF_SGLANG:
        return Handoff(
            "precomputed",
            f"{family} has three rotary axes, and SGLang takes positions with tokens: each keeps "
            "its own.",
        )
    if engine == "vllm" and family in _GRIDS_OF_VLLM:
        if has_full_grids(segments):
            return Handoff(
                "video_embeds",
                f"{family} has three rotary axes, and every frame is a full grid: vLLM makes the "
                "positions from the grids.",
            )
        return _otherwise(
            f"tokens of {family} that were merged or pruned keep positions of their own, which "
            "vLLM cannot be given",
            keeps_pictures,
        )
    return _otherwise(f"{engine} takes no embeddings of {family or 'this space'}", keeps_pictures)


def has_full_grids(segments: Sequence[Segment]) -> bool:
    """Tell whether the tokens of every frame are a full grid, of any size."""
    from longvid.compress.grid import full_grids
    from longvid.errors import OpError

    try:
        for segment in segments:
            full_grids("handoff", segment)
    except OpError:
        return False
    return True


def _otherwise(why: str, keeps_pictures: bool) -> Handoff:
    if keeps_pictures:
        return Handoff("pictures", f"{why[0].upper()}{why[1:]}; stored pictures go instead.")
    return Handoff(
        "refused",
        f"{why[0].upper()}{why[1:]}, and the store keeps no pictures; index with store.pictures = "
        "frame, or answer with llm.name = huggingface.",
    )
