"""Qwen3-VL-Embedding: one vector for a segment's frames and their times, and one for a question.

Both are read after an instruction, which is another for what is searched than for what is searched
for; the vector is the last token's state.

Source: arXiv 2601.04720 and QwenLM/Qwen3-VL-Embedding (Apache-2.0). Their code pools the line break
after "assistant", which their paper does not; outputs in use are those of the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longvid.errors import ModelError, QuestionError
from longvid.lazy_import import F, torch
from longvid.models.clip_reader import CLOSING, ClipReader, Conversation, opening, sentence
from longvid.models.config_json import stated_config
from longvid.models.families import family_of
from longvid.models.tokenizer import Span, outside, require_known_words

#: As published, for anything that is searched, and for the text that looks for a clip.
DOCUMENT_INSTRUCTION = "Represent the user's input."
QUERY_INSTRUCTION = "Find the clip that corresponds to the given text."

_MOST_TOKENS = 8192
_NOTHING = Span("NULL")  # as published, in place of what is empty


def embedding_width(folder: Path, width: int) -> int:
    """Return the width of embeddings, without loading weights.

    Args:
        folder: The checkpoint.
        width: How many channels are kept; 0 keeps all.

    Raises:
        ModelError: The checkpoint has fewer.
    """
    whole = int(stated_config(folder, family_of(folder).config).text_config.hidden_size)
    if width > whole:
        raise ModelError(
            f"encoder.embedder_width is {width}, and {folder} makes embeddings of {whole}; use at "
            "most that, or 0 for all."
        )
    return width or whole


class VideoEmbedder:
    """Embeds clips and texts into one space.

    Args:
        folder: A Qwen3-VL-Embedding checkpoint, or another of its shape.
        dtype, device: Of the weights.
        text_only: Leave the vision tower on disk.
        width: How many channels are kept (Matryoshka); 0 keeps all.
        document_instruction: Read before a clip; "" takes DOCUMENT_INSTRUCTION.
        query_instruction: Read before a text that is searched for; "" takes QUERY_INSTRUCTION.

    Raises:
        ModelError: The checkpoint is incomplete, too large, or narrower than `width`.
    """

    def __init__(
        self,
        folder: Path,
        dtype: torch.dtype,
        device: str,
        *,
        text_only: bool = False,
        width: int = 0,
        document_instruction: str = "",
        query_instruction: str = "",
    ) -> None:
        self.width = embedding_width(folder, width)
        self._document = opening(sentence(document_instruction or DOCUMENT_INSTRUCTION))
        self._query = opening(sentence(query_instruction or QUERY_INSTRUCTION))
        self._reader = ClipReader(folder, dtype, device, drop="vision" if text_only else "head")

    def embed_clip(self, frames: torch.Tensor, seconds: torch.Tensor) -> torch.Tensor:
        """Embed a clip as (E,) float32 of unit norm, on the CPU.

        Args:
            frames: (T, 3, H, W) uint8 on the CPU, in time order; of more than one a second, or
                more than 64, some are left out.
            seconds: (T,) float64, when each is shown, counted from the start of the clip.
        """
        clip = self._reader.clip(frames, seconds)
        spans = (*self._document, clip.text, CLOSING)
        return self._embedded([self._reader.converse(spans, clip)])[0]

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Embed texts that are searched for as (B, E) float32 of unit norm, on the CPU.

        Raises:
            QuestionError: A text is longer than the model reads.
        """
        spans = [(*self._query, outside(text) if text else _NOTHING, CLOSING) for text in texts]
        read = [self._reader.converse(one) for one in spans]
        longest = max(len(one.ids) for one in read)
        if longest > _MOST_TOKENS:
            # The published code cuts its end off, and with it the token that is pooled.
            raise QuestionError(
                f"The text to search for is {longest} tokens long with its instruction; the search "
                f"model reads {_MOST_TOKENS}. Ask in fewer words."
            )
        return self._embedded(read)

    def require_known_words(self, text: str) -> None:
        reader = self._reader
        control_ids = reader.tokenizer.control_ids
        require_known_words(text, "The search model", reader.own_tokenizer, control_ids)

    def _embedded(self, read: Sequence[Conversation]) -> torch.Tensor:
        states = self._reader.last_states(read).float()
        # The first channels were trained to be an embedding of their own, of unit norm again.
        return F.normalize(states[:, : self.width], dim=-1).cpu()
