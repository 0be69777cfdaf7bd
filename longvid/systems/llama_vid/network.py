"""LLaMA-VID: one context token that knows the question, and content tokens, for every frame.

A Q-Former, or a plain BERT, reads the question against the frame; its queries attend to the frame's
patches, and their average becomes the context token. Pooled patches become the content tokens. This
module takes features and token ids: it knows neither pixels, nor words, nor where tokens go in a
prompt. For inference: the context attention has no gradient. Parameters have the released names.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from longvid import ops
from longvid.errors import OpError, require_one_of
from longvid.methods.content_tokens import content_tokens, grid_size
from longvid.models.weights import load_parameters
from longvid.systems.llama_vid.qformer import BertDecoder, QFormer, QFormerConfig

#: Frames whose queries are held in memory at one time; it changes no number.
BLOCK_FRAMES = 64


def drop_class_token(features: Tensor) -> Tensor:
    """Drop the first token of every frame if and only if the number of tokens is odd.

    The rule sees a count, not a name: 257 tokens lose their CLS, and nine patches without a CLS
    lose their first patch, as in the original.

    Args:
        features: (F, N, C).

    Returns:
        (F, N - N % 2, C).

    Source: LLaMA-VID, `llamavid_arch.py` vlm_attention with `mm_vision_select_feature` "patch".
    """
    return features[:, features.shape[1] % 2 :]


def without_class_token(features: Tensor) -> Tensor:
    """Drop the CLS token of stored features, as the long-video path does before the Q-Former.

    Online frames show their CLS to the Q-Former and long videos do not: the same frame gives
    other tokens on the two paths.

    Args:
        features: (T, 1 + P, C).

    Returns:
        (T, P, C).

    Source: LLaMA-VID, `run_llamavid_movie.py`.
    """
    return features[:, 1:]


def paper_context(text_query: Tensor, x: Tensor, query_mask: Tensor | None = None) -> Tensor:
    """Attend as the paper writes it: Mean(Softmax(Q X^T) X), no projections and no scale.

    Args:
        text_query: (F, M, C) float.
        x: (F, P, C) float.
        query_mask: (F, M) bool, false for queries that the mean leaves out.

    Returns:
        (F, C).

    Source: LLaMA-VID section 3.2, equation 1.
    """
    identity = torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    return ops.context_attention(text_query, identity, x, 1.0, query_mask=query_mask)


@dataclass(frozen=True, slots=True)
class LlamaVidConfig:
    """Sizes and choices of LLaMA-VID; the defaults are the released 7B video model.

    Args:
        qformer: Sizes of the Q-Former.
        num_queries: Learned queries.
        vision_width: Width C of the tower's tokens. Where it is not the Q-Former's vision width,
            a linear map (`vlm_att_bert_proj`) goes between.
        llm_width: Width D of the language model's tokens.
        content: "none", "mean" or "grid:k".
        context: "code" attends with learned key and value projections and scale 1 / sqrt(C), as
            released; "paper" without them: the value projection is then the only linear map.
        reader: Who reads the question: "qformer" as in the released models, or "raw", a plain BERT
            decoder of the same sizes whose rows, one for each word, are the queries.
        average_padding: Under "raw", let padding words count in the mean over queries, as
            released; otherwise they are left out.
        frame_norm: Normalise the frames that a Q-Former reads. All released models do; those
            trained with bert_type "qformer", from a BERT instead of a trained Q-Former, do not.
    """

    qformer: QFormerConfig = field(default_factory=QFormerConfig)
    num_queries: int = 32
    vision_width: int = 1408
    llm_width: int = 4096
    content: str = "mean"
    context: str = "code"
    reader: str = "qformer"
    average_padding: bool = True
    frame_norm: bool = True

    def __post_init__(self) -> None:
        grid_size(self.content)
        require_one_of("reader", self.reader, ("qformer", "raw"))
        require_one_of("context", self.context, ("code", "paper"))


class LlamaVid(nn.Module):
    """Turn frame features and a question into one context token and n content tokens a frame.

    Source: LLaMA-VID section 3, `llamavid_arch.py` vlm_attention and token_generation.
    """

    def __init__(self, config: LlamaVidConfig) -> None:
        super().__init__()
        self.config = config
        hidden, width = config.qformer.hidden, config.vision_width
        raw = config.reader == "raw"
        reader = BertDecoder(config.qformer) if raw else QFormer(config.qformer)
        self.vlm_att_encoder = nn.ModuleDict({"bert": reader})
        if raw or width != config.qformer.vision_width:
            self.vlm_att_bert_proj = nn.Linear(width, config.qformer.vision_width)
        if not raw:
            self.vlm_att_query = nn.Parameter(torch.zeros(1, config.num_queries, hidden))
        if config.frame_norm and not raw:
            self.vlm_att_ln = nn.LayerNorm(config.qformer.vision_width)
        self.vlm_att_projector = nn.Linear(hidden, width)
        self.vlm_att_key_projector = nn.Linear(width, width)
        self.vlm_att_val_projector = nn.Linear(width, config.llm_width)
        self.mm_projector = nn.Sequential(
            nn.Linear(width, config.llm_width),
            nn.GELU(),
            nn.Linear(config.llm_width, config.llm_width),
        )

    def text_query(self, features: Tensor, input_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Read a question against each frame.

        A Q-Former sees all tokens of the tower, a plain BERT only the patches, as released.

        Args:
            features: (F, N, C) float, tower output, with CLS on the online path.
            input_ids: (F, L) int64, the question put to each frame.
            text_mask: (F, L) bool, false for padding.

        Returns:
            (F, M, C); with the raw reader M is L.
        """
        raw = self.config.reader == "raw"
        reader = self.vlm_att_encoder["bert"]
        frames = drop_class_token(features) if raw else features
        if hasattr(self, "vlm_att_bert_proj"):
            frames = self.vlm_att_bert_proj(frames)
        if raw:
            rows = reader(input_ids, text_mask, frames)
        else:
            if self.config.frame_norm:
                frames = self.vlm_att_ln(frames)
            queries = self.vlm_att_query.expand(features.shape[0], -1, -1)
            rows = reader(queries, input_ids, text_mask, frames)
        projected: Tensor = self.vlm_att_projector(rows)
        return projected

    def context_token(
        self, text_query: Tensor, x: Tensor, query_mask: Tensor | None = None
    ) -> Tensor:
        """Average what the text queries see in each frame and project it, (F, 1, D).

        Args:
            text_query: (F, M, C) float.
            x: (F, P, C) float, patches without CLS.
            query_mask: (F, M) bool, false for queries that the average leaves out.
        """
        if self.config.context == "paper":
            context = paper_context(text_query, x, query_mask)
        else:
            # The bias of the key projection adds the same score to every patch.
            weight = self.vlm_att_key_projector.weight
            context = ops.context_attention(
                text_query, weight, x, x.shape[2] ** -0.5, query_mask=query_mask
            )
        token: Tensor = self.vlm_att_val_projector(context[:, None])
        return token

    def content_tokens(self, x: Tensor) -> Tensor:
        """Pool and project the patches of each frame: (F, P, C) to (F, n, D)."""
        tokens: Tensor = self.mm_projector(content_tokens(x, self.config.content))
        return tokens

    def token_generation(
        self, text_query: Tensor, x: Tensor, query_mask: Tensor | None = None
    ) -> Tensor:
        """Put the context token before the content tokens of each frame, (F, 1 + n, D).

        Args:
            text_query: (F, M, C) float.
            x: (F, P, C) float, patches without CLS.
            query_mask: (F, M) bool, false for queries that the context token leaves out.
        """
        context = self.context_token(text_query, x, query_mask)
        return torch.cat([context, self.content_tokens(x)], dim=1)

    def frame_tokens(
        self, features: Tensor, input_ids: Tensor, text_mask: Tensor | None = None
    ) -> Tensor:
        """Turn frames, each with its own question, into tokens.

        Args:
            features: (F, N, C) float; with an odd N the first token counts as CLS.
            input_ids: (F, L) int64.
            text_mask: (F, L) bool, false for padding; all true if not given.

        Returns:
            (F, 1 + n, D).

        Raises:
            OpError: Shapes do not belong together, or there is no frame.
        """
        if features.dim() != 3 or features.shape[0] != input_ids.shape[0] or not len(features):
            raise OpError(
                "LLaMA-VID takes features (F, N, C) and one question (F, L) for each frame, got "
                f"{tuple(features.shape)} and {tuple(input_ids.shape)}."
            )
        if text_mask is None:
            text_mask = torch.ones_like(input_ids, dtype=torch.bool)
        left_out = self.config.reader == "raw" and not self.config.average_padding
        blocks = [
            self.token_generation(
                self.text_query(frames, ids, mask),
                drop_class_token(frames).contiguous(),
                mask if left_out else None,
            )
            for frames, ids, mask in zip(
                torch.split(features, BLOCK_FRAMES),
                torch.split(input_ids, BLOCK_FRAMES),
                torch.split(text_mask, BLOCK_FRAMES),
                strict=True,
            )
        ]
        return torch.cat(blocks)

    def video_tokens(
        self, features: Tensor, input_ids: Tensor, text_mask: Tensor | None = None
    ) -> Tensor:
        """Turn a video into tokens, once for each of P questions.

        Serves online frames (features with CLS) and long videos (stored features, to which
        `without_class_token` was applied) alike.

        Args:
            features: (T, N, C) float.
            input_ids: (P, L) int64, questions padded to the longest.
            text_mask: (P, L) bool, false for padding; all true if not given.

        Returns:
            (P, T * (1 + n), D), frame after frame: context, content, context, content, ...
        """
        num_questions = input_ids.shape[0]
        return torch.stack(
            [
                self.frame_tokens(
                    features,
                    input_ids[p].expand(len(features), -1),
                    None if text_mask is None else text_mask[p].expand(len(features), -1),
                ).flatten(0, 1)
                for p in range(num_questions)
            ]
        )

    def load_released(self, state: dict[str, Tensor]) -> None:
        """Load the adapter from a released checkpoint or a stage-1 `mm_projector.bin`.

        Takes the parameters whose names contain `mm_projector` or `vlm_att`, with or without the
        leading `model.`; the language model and the vision tower are left out.

        Raises:
            ModelError: A parameter is missing or has another shape.
        """
        load_parameters(self, state, "LLaMA-VID", "check the sizes in LlamaVidConfig")
