"""The Q-Former of LLaMA-VID: a BERT whose learned queries look at one frame and read the question.

Query rows come first and have no position embedding; in every second layer only they attend to
the frame. Parameter names are those of BLIP-2 / InstructBLIP checkpoints. Beside it, the plain BERT
decoder that LLaMA-VID can be trained with instead. This module knows token ids, not words.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from longvid.errors import ConfigError, OpError

# BERT's additive mask: large enough to vanish in the softmax, and finite in half precision.
_MASKED_SCORE = -10000.0


@dataclass(frozen=True, slots=True)
class QFormerConfig:
    """Sizes of a Q-Former; the defaults are BERT-base with the "[DEC]" token, as released.

    Args:
        hidden: Width of query and text rows.
        depth: Number of layers.
        num_heads: Attention heads.
        feedforward: Hidden width of the feed-forward nets.
        vocabulary: Number of token ids.
        max_positions: Longest text, tokens.
        vision_width: Width C of the frame tokens attended to.
        cross_attention_every: Layers 0, k, 2k, ... have cross-attention.
        norm_epsilon: Epsilon of the layer norms.
    """

    hidden: int = 768
    depth: int = 12
    num_heads: int = 12
    feedforward: int = 3072
    vocabulary: int = 30523
    max_positions: int = 512
    vision_width: int = 1408
    cross_attention_every: int = 2
    norm_epsilon: float = 1e-12

    def __post_init__(self) -> None:
        if self.hidden % self.num_heads:
            raise ConfigError(
                f"hidden {self.hidden} is not a multiple of num_heads {self.num_heads}."
            )
        if self.depth < 1 or self.cross_attention_every < 1:
            raise ConfigError("depth and cross_attention_every must be at least 1.")


class _Embeddings(nn.Module):
    """Words at their positions; `typed` as BERT has it, every word of type 0."""

    def __init__(self, config: QFormerConfig, *, typed: bool = False) -> None:
        super().__init__()
        if typed:
            self.token_type_embeddings = nn.Embedding(2, config.hidden)
        self.typed = typed
        self.word_embeddings = nn.Embedding(config.vocabulary, config.hidden, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.max_positions, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=config.norm_epsilon)

    def forward(self, queries: Tensor | None, input_ids: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        text = self.word_embeddings(input_ids) + self.position_embeddings(positions)
        if self.typed:
            text = text + self.token_type_embeddings.weight[0]
        rows: Tensor = self.LayerNorm(text if queries is None else torch.cat([queries, text], 1))
        return rows


class _Projections(nn.Module):
    """Multi-head attention of rows to a source, before the output projection."""

    def __init__(self, config: QFormerConfig, source_width: int) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(source_width, config.hidden)
        self.value = nn.Linear(source_width, config.hidden)

    def forward(self, rows: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            rearrange(x, "b n (a c) -> b a n c", a=self.num_heads)
            for x in (self.query(rows), self.key(source), self.value(source))
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return rearrange(attended, "b a n c -> b n (a c)")


class _Residual(nn.Module):
    """norm(dense(x) + residual), BERT's post-norm."""

    def __init__(self, config: QFormerConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=config.norm_epsilon)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        rows: Tensor = self.LayerNorm(self.dense(x) + residual)
        return rows


class _Attention(nn.Module):
    def __init__(self, config: QFormerConfig, source_width: int) -> None:
        super().__init__()
        self.self = _Projections(config, source_width)  # the checkpoints' name
        self.output = _Residual(config, config.hidden)

    def forward(self, rows: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        out: Tensor = self.output(self.self(rows, source, mask), rows)
        return out


class _Dense(nn.Module):
    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden, config.feedforward)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class _Layer(nn.Module):
    def __init__(self, config: QFormerConfig, index: int) -> None:
        super().__init__()
        self.attention = _Attention(config, config.hidden)
        self.looks_at_frame = index % config.cross_attention_every == 0
        if self.looks_at_frame:
            self.crossattention = _Attention(config, config.vision_width)
        self.intermediate = _Dense(config)
        self.output = _Residual(config, config.feedforward)
        self.intermediate_query = _Dense(config)
        self.output_query = _Residual(config, config.feedforward)

    def forward(self, rows: Tensor, num_queries: int, frames: Tensor, mask: Tensor) -> Tensor:
        rows = self.attention(rows, rows, mask)
        queries, text = rows[:, :num_queries], rows[:, num_queries:]
        if self.looks_at_frame:
            queries = self.crossattention(queries, frames, None)
        queries = self.output_query(self.intermediate_query(queries), queries)
        text = self.output(self.intermediate(text), text)
        return torch.cat([queries, text], dim=1)


class _Encoder(nn.Module):
    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer(config, index) for index in range(config.depth))


class QFormer(nn.Module):
    """Read a question with queries that look at a frame.

    Source: BLIP-2 section 3.1, InstructBLIP section 2.2; LLaMA-VID, `qformer.py`.
    """

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config)

    def forward(
        self, queries: Tensor, input_ids: Tensor, text_mask: Tensor, frames: Tensor
    ) -> Tensor:
        """Return the query rows of the last layer.

        Args:
            queries: (B, M, hidden) learned queries.
            input_ids: (B, L) int64 question, any id where text_mask is false.
            text_mask: (B, L) bool, false for padding.
            frames: (B, N, vision_width) normalised frame tokens; none of them is masked.

        Returns:
            (B, M, hidden).

        Raises:
            OpError: The question is longer than max_positions.
        """
        _require_room(input_ids, self.config)
        rows: Tensor = self.embeddings(queries, input_ids)
        num_queries = queries.shape[1]
        seen = F.pad(text_mask, (num_queries, 0), value=True)  # (B, M + L)
        mask = ((~seen) * _MASKED_SCORE).to(rows.dtype)[:, None, None, :]
        for layer in self.encoder.layer:
            rows = layer(rows, num_queries, frames, mask)
        return rows[:, :num_queries]


class _DecoderLayer(nn.Module):
    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.attention = _Attention(config, config.hidden)
        self.crossattention = _Attention(config, config.vision_width)
        self.intermediate = _Dense(config)
        self.output = _Residual(config, config.feedforward)

    def forward(self, rows: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        rows = self.attention(rows, rows, mask)
        rows = self.crossattention(rows, frames, None)
        out: Tensor = self.output(self.intermediate(rows), rows)
        return out


class _Decoder(nn.Module):
    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_DecoderLayer(config) for _ in range(config.depth))


class BertDecoder(nn.Module):
    """Read a question word by word, every layer of every word looking at the frame.

    A word sees the words before it, as in any decoder.

    Source: LLaMA-VID, `llamavid_arch.py` with bert_type "raw"; BERT as a decoder.
    """

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config, typed=True)
        self.encoder = _Decoder(config)

    def forward(self, input_ids: Tensor, text_mask: Tensor, frames: Tensor) -> Tensor:
        """Return the rows of the last layer.

        Args:
            input_ids: (B, L) int64 question, any id where text_mask is false.
            text_mask: (B, L) bool, false for padding.
            frames: (B, N, vision_width) frame tokens; none of them is masked.

        Returns:
            (B, L, hidden), with rows for the padding too.

        Raises:
            OpError: The question is longer than max_positions.
        """
        _require_room(input_ids, self.config)
        rows: Tensor = self.embeddings(None, input_ids)
        length = input_ids.shape[1]
        before = torch.ones(length, length, dtype=torch.bool, device=rows.device).tril()
        seen = before & text_mask[:, None, None, :]  # (B, 1, L, L)
        mask = ((~seen) * _MASKED_SCORE).to(rows.dtype)
        for layer in self.encoder.layer:
            rows = layer(rows, frames, mask)
        return rows


def _require_room(input_ids: Tensor, config: QFormerConfig) -> None:
    if input_ids.shape[1] > config.max_positions:
        raise OpError(
            f"The question has {input_ids.shape[1]} tokens, the Q-Former reads at most "
            f"{config.max_positions}; truncate it."
        )
