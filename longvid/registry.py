"""The names of all parts, by kind: a new part is one file and one line here.

A part from another package needs no line. It is named by its place, `package.module:Class`, or by
an entry point of the group `longvid.parts` whose name is its kind and its own:

    [project.entry-points."longvid.parts"]
    "compressor.every_other" = "mypackage.every_other:EveryOther"

Upper rooms are named as strings, so that this module imports none of them.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
from typing import Any

from longvid.errors import ConfigError
from longvid.protocols import PROTOCOLS, members

ENTRY_POINTS = "longvid.parts"

PARTS: dict[str, dict[str, str]] = {
    "decoder": {
        "pyav": "longvid.decode.pyav:PyAVDecoder",
        "torchcodec": "longvid.decode.torchcodec:TorchcodecDecoder",
        "decord": "longvid.decode.decord:DecordDecoder",
    },
    "reducer": {
        "keep_all": "longvid.reduce:KeepAll",
        "longvu_temporal": "longvid.reduce:TemporalReduction",
    },
    "encoder": {
        "huggingface": "longvid.encode.huggingface:HuggingFaceEncoder",
        "llama_vid": "longvid.systems.llama_vid.encoder:LlamaVidEncoder",
        "longvu": "longvid.systems.longvu.encoder:LongVUEncoder",
        "conv_gate": "longvid.systems.mg_llava.encoder:ConvGateEncoder",
    },
    "compressor": {
        "slowfast_pooling": "longvid.compress.pooling:SlowFastPooling",
        "content_tokens": "longvid.compress.pooling:ContentTokens",
        "grid_pooling": "longvid.compress.pooling:GridPooling",
        "stc": "longvid.compress.prune:SpatialTokenCompression",
        "dycoke": "longvid.compress.prune:DyCoke",
        "evs": "longvid.compress.ranking:EfficientVideoSampling",
        "vidcom2": "longvid.compress.ranking:VidCom2",
        "vcast": "longvid.compress.ranking:VCast",
        "dtd": "longvid.compress.ranking:DifferentialTokenDrop",
        "flashvid": "longvid.compress.flashvid:FlashVID",
        "random": "longvid.compress.prune:RandomPruning",
        "tome": "longvid.compress.token_merging:TokenMerging",
        "qformer": "longvid.compress.learned_queries:QFormer",
        "perceiver": "longvid.compress.learned_queries:Perceiver",
    },
    "text_source": {
        "screen_text": "longvid.transcribe.screen_text:ScreenText",
        "whisper": "longvid.transcribe.whisper:Whisper",
        "faster_whisper": "longvid.transcribe.faster_whisper:FasterWhisper",
        "remote": "longvid.transcribe.remote:RemoteSpeech",
        "pocketsphinx": "longvid.transcribe.pocketsphinx:PocketSphinx",
    },
    "reranker": {
        "qwen3_vl": "longvid.rerank.qwen_reranker:Qwen3VLReranker",
        "likelihood": "longvid.rerank.likelihood_reranker:LikelihoodReranker",
    },
    "selector": {
        "uniform": "longvid.select.frames:Uniform",
        "top_k": "longvid.select.frames:TopK",
        "bolt": "longvid.select.frames:InverseTransform",
        "aks": "longvid.select.frames:AdaptiveKeyframes",
        "mmr": "longvid.select.frames:MarginalRelevance",
        "dpp": "longvid.select.frames:Determinantal",
        "q_frame": "longvid.select.tiers:QFrame",
        "query_guided": "longvid.select.tiers:QueryGuided",
    },
    "llm": {
        "huggingface": "longvid.llm.huggingface:HuggingFaceLanguageModel",
        "openai": "longvid.llm.openai:OpenAILanguageModel",
        "llama_vid": "longvid.systems.llama_vid.language_model:LlamaVidLanguageModel",
        "longvu": "longvid.systems.longvu.language_model:LongVULanguageModel",
        "slowfast_llava": "longvid.systems.slowfast_llava.language_model:SlowFastLanguageModel",
        "instructblip": "longvid.systems.instructblip.language_model:InstructBlipLanguageModel",
        "mg_llava": "longvid.systems.mg_llava.language_model:MgLlavaLanguageModel",
        "quote": "longvid.llm.quote:Quote",
    },
    "grounder": {
        "open_vocabulary": "longvid.ground.open_vocabulary:OpenVocabulary",
        "drawn_shapes": "longvid.world.grounder:DrawnShapes",
    },
}

KINDS = tuple(PARTS)

#: Families of video language models: `model_type` in config.json, and the adapter.
FAMILIES: dict[str, str] = {
    "llava": "longvid.models.families.llava:LLAVA",
    "llava_next": "longvid.models.families.llava_next:LLAVA_NEXT",
    "llava_next_video": "longvid.models.families.llava_next_video:LLAVA_NEXT_VIDEO",
    "llava_onevision": "longvid.models.families.llava_onevision:LLAVA_ONEVISION",
    "qwen2_vl": "longvid.models.families.qwen2_vl:QWEN2_VL",
    "qwen2_5_vl": "longvid.models.families.qwen2_5_vl:QWEN2_5_VL",
    "qwen3_vl": "longvid.models.families.qwen3_vl:QWEN3_VL",
    "qwen3_vl_moe": "longvid.models.families.qwen3_vl:QWEN3_VL_MOE",
    "qwen3_5": "longvid.models.families.qwen3_5:QWEN3_5",
    "qwen3_5_moe": "longvid.models.families.qwen3_5:QWEN3_5_MOE",
    "glm4v": "longvid.models.families.glm:GLM4V",
    "glm4v_moe": "longvid.models.families.glm:GLM4V_MOE",
    "glm46v": "longvid.models.families.glm:GLM46V",
    "video_llama_3": "longvid.models.families.video_llama_3:VIDEO_LLAMA_3",
    "perception_lm": "longvid.models.families.perception_lm:PERCEPTION_LM",
    "minicpmv4_6": "longvid.models.families.minicpmv:MINICPM_V_4_6",
    "molmo2": "longvid.models.families.molmo2:MOLMO2",
    "gemma4": "longvid.models.families.gemma4:GEMMA4",
    "cosmos3_omni": "longvid.models.families.qwen3_vl:COSMOS3_OMNI",
    "exaone4_5": "longvid.models.families.exaone:EXAONE_4_5",
    "hyperclovax_vision_v2": "longvid.models.families.exaone:HYPERCLOVAX_VISION_V2",
    "qwen2_5_omni": "longvid.models.families.qwen2_5_omni:QWEN2_5_OMNI",
    "internvl": "longvid.models.families.internvl:INTERNVL",
    "smolvlm": "longvid.models.families.smolvlm:SMOLVLM",
    "blip-2": "longvid.models.families.blip2:BLIP2",
    "idefics2": "longvid.models.families.idefics2:IDEFICS2",
    "instructblip": "longvid.systems.instructblip.blip_halves:INSTRUCTBLIP",
    "instructblipvideo": "longvid.systems.instructblip.blip_halves:INSTRUCTBLIPVIDEO",
    "llama_vid": "longvid.systems.families:LLAMA_VID",
    "cambrian_qwen": "longvid.systems.families:CAMBRIAN_QWEN",
    "cambrian_llama": "longvid.systems.families:CAMBRIAN_LLAMA",
}
#: Classes of checkpoints whose `model_type` is another family's.
FAMILY_OF_CLASS = {
    "LlavaLlamaAttForCausalLM": "llama_vid",
    "Qwen2_5OmniThinkerForConditionalGeneration": "qwen2_5_omni",
}


def names(kind: str) -> tuple[str, ...]:
    """List the names of a kind's parts: the project's own first, then those of entry points."""
    return tuple(dict.fromkeys([*PARTS[kind], *_entry_points(kind)]))


def find(kind: str, name: str) -> type[Any]:
    """Import the class of a part.

    Args:
        kind: One of KINDS.
        name: A name listed under that kind, one of an entry point, or "package.module:Class".
            The project's own names come first: no package can take one of them over.

    Raises:
        ConfigError: The name is not known, the class cannot be imported, or it is no part of that
            kind; the sentence says which.
    """
    known = PARTS[kind]
    if name in known:
        place = known[name]
    elif ":" in name:
        place = name
    else:
        outside = _entry_points(kind)
        if name not in outside:
            raise ConfigError(
                f"No {kind} is named {name[:80]!r}; known are "
                f"{', '.join(names(kind)) or 'none of this kind'}, and one of your own is named by "
                "its place, as package.module:Class."
            )
        place = outside[name]
    part: type[Any] = _import(kind, place)
    if not place.startswith("longvid."):
        _check(kind, place, part)
    return part


def name_of(kind: str, part: object) -> str:
    """Return the name by which `find` finds a part's class; its place, for one from outside."""
    place = f"{type(part).__module__}:{type(part).__qualname__}"
    for name, target in PARTS[kind].items():
        if target == place:
            return name
    if "<" in place or place.startswith("__main__:"):
        raise ConfigError(
            f"{place} cannot be found again by its name; define it at the top of a module that can "
            "be imported."
        )
    return place


@functools.cache
def _entry_points(kind: str) -> dict[str, str]:
    """Return the places of installed parts of a kind by name; of two of one name, the first."""
    found: dict[str, str] = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        prefix, _, name = entry.name.partition(".")
        if prefix == kind and name:
            found.setdefault(name, entry.value)
    return found


def _import(kind: str, place: str) -> Any:
    module, _, path = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for step in path.split("."):
            found = getattr(found, step)
    except Exception as error:  # importing runs code that is not ours
        raise ConfigError(
            f"The {kind} {place[:120]!r} cannot be imported: {type(error).__name__}: "
            f"{str(error).partition(chr(10))[0][:200]}."
        ) from error
    return found


def _check(kind: str, place: str, part: Any) -> None:
    """Refuse a class from outside that is no part of its kind, in one sentence."""
    if not isinstance(part, type) or not dataclasses.is_dataclass(part):
        raise ConfigError(f"{place} is no dataclass; a {kind} is a frozen dataclass.")
    if not part.__dataclass_params__.frozen:  # type: ignore[attr-defined]  # of a dataclass
        raise ConfigError(f"{place} is not frozen; write @dataclass(frozen=True, slots=True).")
    fields = {item.name for item in dataclasses.fields(part)}
    lacking = min(
        (
            [name for name in members(protocol) if name not in fields and not hasattr(part, name)]
            for protocol in PROTOCOLS[kind]
        ),
        key=len,
    )
    if lacking:
        raise ConfigError(
            f"{place} is no {kind}: it lacks {', '.join(lacking)}; see longvid.protocols."
        )
