"""Compressors of learned queries against arrays of the original code."""

from __future__ import annotations

import re
from typing import Any

import torch

from longvid.models.flamingo import FlamingoResampler
from tests.parity.golden_file import GoldenFile
from tests.parity.golden_weights import TOLERANCE, weights_of, widths_of


@torch.no_grad()
def check_flamingo(golden: GoldenFile) -> None:
    weights = weights_of(golden)
    num_latents, width = weights["latents"].shape
    head_width = 8
    resampler = FlamingoResampler(
        width,
        depth=len(widths_of(weights, "layers.{}.0.to_q.weight")),
        num_heads=weights["layers.0.0.to_q.weight"].shape[0] // head_width,
        head_width=head_width,
        num_latents=num_latents,
        max_frames=len(weights["frame_embs"]),
    )
    resampler.load_state_dict(weights)
    x = golden.tensor("in_x")
    golden.close("out", resampler(x), TOLERANCE)
    for key in golden.keys("out_"):
        count = int(re.findall(r"\d+", key)[0])
        golden.close(key, resampler(x[:, :, :count]), TOLERANCE)


@torch.no_grad()
def check_idefics(golden: GoldenFile) -> None:
    from transformers import IdeficsConfig
    from transformers.models.idefics.perceiver import IdeficsPerceiverResampler

    weights = weights_of(golden)
    num_latents, width = weights["latents"].shape
    config = IdeficsConfig(vision_config={"embed_dim": width}, use_resampler=True)
    depth = len(widths_of(weights, "blocks.{}.0.q_proj.weight"))
    resampler = IdeficsPerceiverResampler(config, width, depth, 2, width // 2, num_latents)
    resampler.load_state_dict(weights)
    golden.close("out", resampler(golden.tensor("in_context")), TOLERANCE)


@torch.no_grad()
def check_idefics2(golden: GoldenFile) -> None:
    from transformers.models.idefics2.configuration_idefics2 import Idefics2PerceiverConfig
    from transformers.models.idefics2.modeling_idefics2 import Idefics2PerceiverResampler

    weights = weights_of(golden)
    num_latents, width = weights["latents"].shape
    config = Idefics2PerceiverConfig(
        hidden_size=width,
        resampler_n_latents=num_latents,
        resampler_depth=len(widths_of(weights, "layers.{}.self_attn.q_proj.weight")),
        resampler_n_heads=4,
        num_key_value_heads=2,
        resampler_head_dim=width // 4,
    )
    resampler = Idefics2PerceiverResampler(config)
    resampler.load_state_dict(weights)
    context, mask = golden.tensor("in_context"), golden.tensor("in_mask")
    golden.close("out", resampler(context, attention_mask=mask), TOLERANCE)


def _qformer_sizes(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    layer = "encoder.layer.{}"
    crossed = [
        int(m[1])
        for name in weights
        if (
            m := re.fullmatch(
                r"encoder\.layer\.(\d+)\.crossattention\.attention\.key\.weight", name
            )
        )
    ]
    return {
        "hidden_size": weights["encoder.layer.0.attention.output.dense.weight"].shape[0],
        "num_hidden_layers": len(widths_of(weights, f"{layer}.attention.output.dense.weight")),
        "num_attention_heads": 2,
        "intermediate_size": weights["encoder.layer.0.output_query.dense.weight"].shape[1],
        "encoder_hidden_size": weights["encoder.layer.0.crossattention.attention.key.weight"].shape[
            1
        ],
        "cross_attention_frequency": sorted(crossed)[1],
    }


@torch.no_grad()
def check_blip2(golden: GoldenFile) -> None:
    from transformers import Blip2QFormerConfig, Blip2QFormerModel

    projection = weights_of(golden, "language_projection.")
    weights = {
        name: weight
        for name, weight in weights_of(golden).items()
        if not name.startswith("language_projection.")
    }
    model = Blip2QFormerModel(Blip2QFormerConfig(**_qformer_sizes(weights))).eval()
    model.load_state_dict(weights)
    queries, encoded = golden.tensor("in_query"), golden.tensor("in_enc")
    out = model(
        query_embeds=queries.expand(len(encoded), -1, -1), encoder_hidden_states=encoded
    ).last_hidden_state
    golden.close("out", out, TOLERANCE)
    projected = torch.nn.functional.linear(out, projection["weight"], projection["bias"])
    golden.close("out_llm", projected, TOLERANCE)


@torch.no_grad()
def check_instructblip(golden: GoldenFile) -> None:
    from transformers import InstructBlipVideoQFormerConfig, InstructBlipVideoQFormerModel

    weights = weights_of(golden)
    config = InstructBlipVideoQFormerConfig(
        **_qformer_sizes(weights),
        vocab_size=len(weights["embeddings.word_embeddings.weight"]),
        max_position_embeddings=len(weights["embeddings.position_embeddings.weight"]),
    )
    model = InstructBlipVideoQFormerModel(config).eval()
    model.load_state_dict(weights, strict=False)
    assert weights.keys() <= model.state_dict().keys()
    queries, encoded = golden.tensor("in_query"), golden.tensor("in_enc")
    queries = queries.expand(len(encoded), -1, -1)
    mask = golden.tensor("in_text_mask")
    rows = torch.cat([torch.ones(queries.shape[:2], dtype=mask.dtype), mask], dim=1)
    out = model(
        input_ids=golden.tensor("in_ids"),
        attention_mask=rows,
        query_embeds=queries,
        encoder_hidden_states=encoded,
    ).last_hidden_state
    golden.close("out_all", out, TOLERANCE)
    golden.close("out_query", out[:, : queries.shape[1]], TOLERANCE)
