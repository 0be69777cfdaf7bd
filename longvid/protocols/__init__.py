"""The nine kinds of part, as protocols: what each must do, in the order of the path.

A part is a frozen dataclass whose fields are its configuration. `setup(device)` loads what it
needs and returns a worker that does the work; a part that needs nothing returns itself. A
configuration can therefore be compared, hashed, printed and sent to another process, and the
weights never travel with it.

    decoder ─ reducer ─ encoder ─ compressor ║ reranker ─ selector ─ llm ─ grounder
            └ text source (speech, screen)   ║

`KindPart` is the configuration, `Kind` the worker.
"""

from __future__ import annotations

import inspect
from typing import Protocol

from longvid.protocols.ask_side import (
    AnswerListener,
    Generation,
    Grounder,
    GrounderPart,
    LanguageModel,
    LanguageModelPart,
    Reranker,
    RerankerPart,
    Selector,
    SelectorPart,
)
from longvid.protocols.index_side import (
    ADDED_LATER,
    Compressor,
    CompressorPart,
    Decoder,
    DecoderPart,
    Encoder,
    EncoderPart,
    LearnedCompressorPart,
    Reducer,
    ReducerPart,
    ScreenText,
    ScreenTextPart,
    Speech,
    SpeechPart,
    TextEmbedder,
    TextSourcePart,
    segments_together,
)
from longvid.protocols.part import RUN_ONLY, Part

__all__ = [
    "ADDED_LATER",
    "PROTOCOLS",
    "RUN_ONLY",
    "AnswerListener",
    "Compressor",
    "CompressorPart",
    "Decoder",
    "DecoderPart",
    "Encoder",
    "EncoderPart",
    "Generation",
    "Grounder",
    "GrounderPart",
    "LanguageModel",
    "LanguageModelPart",
    "LearnedCompressorPart",
    "Part",
    "Reducer",
    "ReducerPart",
    "Reranker",
    "RerankerPart",
    "ScreenText",
    "ScreenTextPart",
    "Selector",
    "SelectorPart",
    "Speech",
    "SpeechPart",
    "TextEmbedder",
    "TextSourcePart",
    "members",
    "segments_together",
]

#: The protocol of each kind of part, in the order of the path; a text source fits one of two.
PROTOCOLS: dict[str, tuple[type, ...]] = {
    "decoder": (DecoderPart,),
    "reducer": (ReducerPart,),
    "encoder": (EncoderPart,),
    "compressor": (CompressorPart,),
    "text_source": (SpeechPart, ScreenTextPart),
    "reranker": (RerankerPart,),
    "selector": (SelectorPart,),
    "llm": (LanguageModelPart,),
    "grounder": (GrounderPart,),
}


def members(protocol: type) -> tuple[str, ...]:
    """Name what a protocol asks for, in the order of its definition."""
    names = [
        name
        for base in reversed(protocol.__mro__)
        if base not in (Protocol, object) and base.__module__.startswith(__name__)
        for name in (*inspect.get_annotations(base), *vars(base))
        if not name.startswith("_")
    ]
    return tuple(dict.fromkeys(names))
