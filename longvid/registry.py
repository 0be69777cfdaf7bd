"""The names of all parts, by kind: a new part is one file and one line here.

Upper rooms are named as strings, so that this module imports none of them.
"""

from __future__ import annotations

import importlib
from typing import Any

from longvid.errors import ConfigError

__all__ = ["KINDS", "PARTS", "find", "name_of"]

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
        "tome": "longvid.compress.merge:TokenMerging",
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
        "llama_vid": "longvid.systems.llama_vid.language_model:LlamaVidLanguageModel",
        "longvu": "longvid.systems.longvu.language_model:LongVULanguageModel",
        "slowfast_llava": "longvid.systems.slowfast_llava.language_model:SlowFastLanguageModel",
    },
}

KINDS = tuple(PARTS)


def find(kind: str, name: str) -> type[Any]:
    """Import the class of a part.

    Args:
        kind: One of KINDS.
        name: A name listed under that kind.

    Raises:
        ConfigError: The name is not known; the sentence lists the known ones.
    """
    known = PARTS[kind]
    if name not in known:
        raise ConfigError(f"No {kind} is named {name!r}; known are {', '.join(known)}.")
    module, _, attribute = known[name].partition(":")
    part: type[Any] = getattr(importlib.import_module(module), attribute)
    return part


def name_of(kind: str, part: object) -> str:
    """Return the name under which a part's class is registered."""
    location = f"{type(part).__module__}:{type(part).__qualname__}"
    for name, target in PARTS[kind].items():
        if target == location:
            return name
    raise ConfigError(f"{location} is not registered as a {kind}; add a line to registry.py.")
