"""What a part needs before it can work: checkpoints and memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CheckpointRef:
    """A checkpoint that a part names.

    Args:
        role: What it is for: "encoder", "embedder", "llm", "dino", ...
        setting: Where it is named, such as "encoder.model".
        name: A folder, a hub name, or a file.
        find: Returns its folder or file, or raises ModelError.
        download: The command or address that fetches it, "" where only its owner knows.
        has_weights: False where only a tokenizer is read.
    """

    role: str
    setting: str
    name: str
    find: Callable[[], Path]
    download: str
    has_weights: bool = True


@dataclass(frozen=True, slots=True)
class EncoderMemory:
    """What an encoder needs and makes, known without loading it.

    Args:
        system: The published system whose language model alone reads its tokens, "" for none.
        weight_bytes: Of towers, projector and embedder.
        text_bytes: Of the embedder's text side.
        activation_bytes: Of one batch of frames in the towers.
        item_bytes: Of one weight or token on the device.
        grid: Rows and columns of the tokens of one frame.
        token_width, embedding_width: Of what is stored.
        projected: Whether tokens have passed the projector.
    """

    system: str
    weight_bytes: int
    text_bytes: int
    activation_bytes: int
    item_bytes: int
    grid: tuple[int, int]
    token_width: int
    embedding_width: int
    projected: bool = True


@dataclass(frozen=True, slots=True)
class LanguageModelMemory:
    """What a language model needs for tokens of one encoder, known without loading it.

    The defaults are those of one that has no weights here.

    Args:
        weight_bytes: Of the model, and of what runs between stored tokens and it.
        cache_bytes: Keys and values of one token.
        context: The longest sequence; 0 where it is not known here.
        max_new_tokens: Of an answer.
        shown: From frames read, tokens read and the budget to the visual tokens of a prompt.
        activation_bytes: From the tokens of a prompt and the frames read to bytes held at once.
        remedy: What makes a prompt shorter.
    """

    weight_bytes: int = 0
    cache_bytes: int = 0
    context: int = 0
    max_new_tokens: int = 0
    shown: Callable[[int, int, int], int] = lambda frames, tokens, budget: min(tokens, budget)
    activation_bytes: Callable[[int, int], int] = lambda prompt, frames: 0
    remedy: str = ""
