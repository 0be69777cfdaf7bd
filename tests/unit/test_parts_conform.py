"""Every registered part is what its kind's protocol says. mypy checks the assignments."""

from __future__ import annotations

import inspect
from pathlib import Path

import longvid.protocols
from longvid.compress.flashvid import FlashVID
from longvid.compress.learned_queries import Perceiver, QFormer
from longvid.compress.pooling import ContentTokens, GridPooling, SlowFastPooling
from longvid.compress.prune import DyCoke, RandomPruning, SpatialTokenCompression
from longvid.compress.ranking import (
    DifferentialTokenDrop,
    EfficientVideoSampling,
    VCast,
    VidCom2,
)
from longvid.compress.token_merging import TokenMerging
from longvid.decode.decord import DecordDecoder
from longvid.decode.pyav import PyAVDecoder
from longvid.decode.torchcodec import TorchcodecDecoder
from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.ground.open_vocabulary import OpenVocabulary
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.llm.openai import OpenAILanguageModel
from longvid.llm.quote import Quote
from longvid.protocols import (
    PROTOCOLS,
    CompressorPart,
    DecoderPart,
    EncoderPart,
    GrounderPart,
    LanguageModelPart,
    LearnedCompressorPart,
    ReducerPart,
    RerankerPart,
    SelectorPart,
    TextSourcePart,
    members,
)
from longvid.reduce import KeepAll, TemporalReduction
from longvid.registry import KINDS, PARTS
from longvid.rerank.likelihood_reranker import LikelihoodReranker
from longvid.rerank.qwen_reranker import Qwen3VLReranker
from longvid.select.frames import (
    AdaptiveKeyframes,
    Determinantal,
    InverseTransform,
    MarginalRelevance,
    TopK,
    Uniform,
)
from longvid.select.tiers import QFrame, QueryGuided
from longvid.systems.instructblip.language_model import InstructBlipLanguageModel
from longvid.systems.llama_vid.encoder import LlamaVidEncoder
from longvid.systems.llama_vid.language_model import LlamaVidLanguageModel
from longvid.systems.longvu.encoder import LongVUEncoder
from longvid.systems.longvu.language_model import LongVULanguageModel
from longvid.systems.mg_llava.encoder import ConvGateEncoder
from longvid.systems.mg_llava.language_model import MgLlavaLanguageModel
from longvid.systems.slowfast_llava.language_model import SlowFastLanguageModel
from longvid.transcribe.faster_whisper import FasterWhisper
from longvid.transcribe.pocketsphinx import PocketSphinx
from longvid.transcribe.remote import RemoteSpeech
from longvid.transcribe.screen_text import ScreenText
from longvid.transcribe.whisper import Whisper
from longvid.world.grounder import DrawnShapes

DECODERS: tuple[DecoderPart, ...] = (PyAVDecoder(), TorchcodecDecoder(), DecordDecoder())
REDUCERS: tuple[ReducerPart, ...] = (KeepAll(), TemporalReduction())
ENCODERS: tuple[EncoderPart, ...] = (
    HuggingFaceEncoder(),
    LlamaVidEncoder(),
    LongVUEncoder(),
    ConvGateEncoder(),
)
LEARNED_COMPRESSORS: tuple[LearnedCompressorPart, ...] = (QFormer(), Perceiver())
COMPRESSORS: tuple[CompressorPart, ...] = (
    SlowFastPooling(),
    ContentTokens(),
    GridPooling(),
    SpatialTokenCompression(),
    DyCoke(),
    RandomPruning(),
    TokenMerging(),
    EfficientVideoSampling(),
    VidCom2(),
    VCast(),
    DifferentialTokenDrop(),
    FlashVID(),
    *LEARNED_COMPRESSORS,
)
TEXT_SOURCES: tuple[TextSourcePart, ...] = (
    ScreenText(),
    Whisper(),
    FasterWhisper(),
    RemoteSpeech(),
    PocketSphinx(),
)
RERANKERS: tuple[RerankerPart, ...] = (Qwen3VLReranker(), LikelihoodReranker())
SELECTORS: tuple[SelectorPart, ...] = (
    Uniform(),
    TopK(),
    InverseTransform(),
    AdaptiveKeyframes(),
    MarginalRelevance(),
    Determinantal(),
    QFrame(),
    QueryGuided(),
)
LANGUAGE_MODELS: tuple[LanguageModelPart, ...] = (
    HuggingFaceLanguageModel(),
    OpenAILanguageModel(),
    LlamaVidLanguageModel(),
    LongVULanguageModel(),
    SlowFastLanguageModel(),
    MgLlavaLanguageModel(),
    InstructBlipLanguageModel(),
    Quote(),
)
GROUNDERS: tuple[GrounderPart, ...] = (OpenVocabulary(), DrawnShapes())

ASSIGNED: dict[str, tuple[object, ...]] = {
    "decoder": DECODERS,
    "reducer": REDUCERS,
    "encoder": ENCODERS,
    "compressor": COMPRESSORS,
    "text_source": TEXT_SOURCES,
    "reranker": RERANKERS,
    "selector": SELECTORS,
    "llm": LANGUAGE_MODELS,
    "grounder": GROUNDERS,
}


def test_every_registered_part_is_assigned_to_its_protocol() -> None:
    for kind in KINDS:
        places = {f"{type(part).__module__}:{type(part).__qualname__}" for part in ASSIGNED[kind]}
        own = {place for place in PARTS[kind].values() if place.startswith("longvid.")}
        assert places == own, f"assign every {kind} above"


def test_every_kind_has_a_protocol_and_each_asks_for_setup() -> None:
    assert set(PROTOCOLS) == set(KINDS)
    for protocols in PROTOCOLS.values():
        for protocol in protocols:
            assert "setup" in members(protocol)


def test_the_configuration_carries_no_any() -> None:
    root = Path(inspect.getfile(longvid.protocols)).parents[1]
    source = (root / "config" / "configuration.py").read_text()
    fields = source.partition("class Config")[2].partition("def to_dict")[0]
    assert "Any" not in fields
