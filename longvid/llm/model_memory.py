"""What a language model needs, from config.json alone: its weights may be elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.errors import ConfigError
from longvid.llm.kv_cache import elements_per_token
from longvid.models.families.hf_family import transformers_family
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.weight_count import count_built, held_bytes, within
from longvid.types.needs import EncoderMemory, LanguageModelMemory

if TYPE_CHECKING:
    from longvid.llm.huggingface import HuggingFaceLanguageModel


def language_model_memory(
    part: HuggingFaceLanguageModel,
    folder: Path,
    encoder: EncoderMemory,
    device: str,
    rope_factor: float = 1.0,
) -> LanguageModelMemory:
    """Add up what a language model of transformers needs.

    Raises:
        ConfigError: The encoder's tokens are for another system.
        ModelError: There is no config.json.
    """
    require_system(part, encoder, "")
    family = transformers_family(folder)
    weights = count_built(lambda: family.build(folder))
    text = family.config(folder).get_text_config(decoder=True)
    return add_up(
        part,
        device,
        text=text,
        context=int(text.max_position_embeddings * rope_factor),
        language=sum(weights.values()) - within(weights, family.parts_of_vision),
        between=0 if encoder.projected else within(weights, family.between),
        shown=lambda frames, tokens, budget: min(tokens, budget),
        question_bytes=lambda frames: 0,
        remedy="lower ask.budget",
    )


def add_up(
    part: HuggingFaceLanguageModel,
    device: str,
    *,
    text: Any,
    context: int,
    language: int,
    between: int,
    shown: Callable[[int, int, int], int],
    question_bytes: Callable[[int], int],
    remedy: str,
) -> LanguageModelMemory:
    """Turn counts of weights into bytes, and add what a span of a prompt holds.

    Args:
        part: The settings.
        device: Where it runs.
        text: The configuration of the language model.
        context, shown, remedy: As in `LanguageModelMemory`.
        language, between: Weights of the model, and of what runs between stored tokens and it.
        question_bytes: From the frames read to what runs in between holds at once.
    """
    item_bytes = resolve_dtype(part.dtype, device).itemsize
    mlp = getattr(text, "intermediate_size", None) or text.ffn_dim  # as OPT calls it

    def activation_bytes(prompt: int, frames: int) -> int:
        span = min(prompt, part.prefill_tokens)
        layer = held_bytes(span, text.hidden_size, mlp, item_bytes)
        return int(layer + 4 * text.vocab_size) + question_bytes(frames)

    return LanguageModelMemory(
        weight_bytes=round(language * (part.bits / 8 or item_bytes)) + between * item_bytes,
        cache_bytes=elements_per_token(text) * item_bytes,
        context=context,
        max_new_tokens=part.max_new_tokens or 128,
        shown=shown,
        activation_bytes=activation_bytes,
        remedy=remedy,
    )


def require_system(part: object, encoder: EncoderMemory, system: str) -> None:
    """Refuse an encoder of another system than a language model's.

    Raises:
        ConfigError: They do not fit together.
    """
    if encoder.system != system:
        raise ConfigError(
            f"The encoder makes tokens of {encoder.system or 'a model of transformers'} and the "
            f"language model {type(part).__name__} reads those of {system or 'such a model'}; name "
            "one system in encoder.name and llm.name, as its preset does."
        )
