"""LLaMA-VID with a plain BERT (`bert_type` "raw"), against the BERT of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from longvid.errors import OpError
from longvid.systems.llama_vid.network import LlamaVid, LlamaVidConfig
from longvid.systems.llama_vid.qformer import BertDecoder, QFormerConfig

SIZES = QFormerConfig(
    hidden=16,
    depth=3,
    num_heads=4,
    feedforward=24,
    vocabulary=40,
    max_positions=12,
    vision_width=16,
    cross_attention_every=1,
)


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def twin() -> Any:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=SIZES.vocabulary,
        hidden_size=SIZES.hidden,
        num_hidden_layers=SIZES.depth,
        num_attention_heads=SIZES.num_heads,
        intermediate_size=SIZES.feedforward,
        max_position_embeddings=SIZES.max_positions,
        is_decoder=True,
        add_cross_attention=True,
        use_cache=False,
    )
    model = BertModel(config, add_pooling_layer=False).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    return model


def _state(twin: Any) -> dict[str, Tensor]:
    return {name: value for name, value in twin.state_dict().items() if "position_ids" not in name}


IDS = torch.tensor([[5, 9, 3, 7, 1], [4, 2, 0, 0, 0]])
MASK = torch.tensor([[True] * 5, [True, True, False, False, False]])


def test_every_row_equals_the_twin_also_of_padding(twin: Any) -> None:
    decoder = BertDecoder(SIZES).eval()
    decoder.load_state_dict(_state(twin))  # strict: the names are BERT's
    frames = _random(2, 9, 16)
    with torch.inference_mode():
        expected = twin(
            input_ids=IDS, attention_mask=MASK.long(), encoder_hidden_states=frames
        ).last_hidden_state
        torch.testing.assert_close(decoder(IDS, MASK, frames), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("average_padding", [True, False])
def test_the_words_are_the_queries(twin: Any, average_padding: bool) -> None:
    config = LlamaVidConfig(
        SIZES, vision_width=6, llm_width=10, reader="raw", average_padding=average_padding
    )
    torch.manual_seed(1)
    model = LlamaVid(config).eval().requires_grad_(False)
    model.vlm_att_encoder["bert"].load_state_dict(_state(twin))
    assert not any("vlm_att_query" in name or "vlm_att_ln" in name for name in model.state_dict())
    features = _random(2, 10, 6, seed=2)  # an even count: no CLS token
    with torch.inference_mode():
        rows = twin(
            input_ids=IDS,
            attention_mask=MASK.long(),
            encoder_hidden_states=model.vlm_att_bert_proj(features),
        ).last_hidden_state
        query = model.vlm_att_projector(rows)
        key = model.vlm_att_key_projector(features)
        contexts = (query @ key.transpose(1, 2) / 6**0.5).softmax(-1) @ features
        counted = torch.ones_like(MASK) if average_padding else MASK
        mean = (contexts * counted.unsqueeze(2)).sum(1) / counted.sum(1, keepdim=True)
        expected = torch.stack(
            [model.vlm_att_val_projector(mean), model.mm_projector(features.mean(1))], dim=1
        )
        got = model.frame_tokens(features, IDS, MASK)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_a_question_that_is_too_long_is_named() -> None:
    ids = torch.zeros(1, 13, dtype=torch.int64)
    with pytest.raises(OpError, match=r"13 tokens.*at most 12"):
        BertDecoder(SIZES)(ids, ids == 0, _random(1, 4, 16))
