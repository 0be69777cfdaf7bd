"""Golden checks of LLaMA-VID. Head counts are those the golden models were built with."""

from __future__ import annotations

import torch

from longvid.systems.llama_vid.eva_vit import (
    EvaConfig,
    EvaVisionTransformer,
    interpolate_position_embedding,
)
from longvid.systems.llama_vid.network import LlamaVid, LlamaVidConfig
from longvid.systems.llama_vid.qformer import QFormerConfig
from tests.parity.golden_file import GoldenFile
from tests.parity.llama_vid_subtitles import interleave_subtitles
from tests.reference.methods import attention_map

QFORMER_HEADS = 4
EVA_HEADS = 3


def _content(golden: GoldenFile) -> str:
    compress_type = golden.text("compress_type")
    return "none" if compress_type == "None" else compress_type


def check_full(golden: GoldenFile) -> None:
    weights = golden.weights()
    bert = "vlm_att_encoder.bert."
    embeddings = weights[bert + "embeddings.word_embeddings.weight"]
    cross = [name for name in weights if "crossattention.self.key.weight" in name]
    layers = {int(name.split(".layer.")[1].split(".")[0]) for name in weights if ".layer." in name}
    query = weights["vlm_att_query"]
    model = LlamaVid(
        LlamaVidConfig(
            qformer=QFormerConfig(
                hidden=query.shape[2],
                depth=len(layers),
                num_heads=QFORMER_HEADS,
                feedforward=weights[bert + "encoder.layer.0.intermediate.dense.bias"].shape[0],
                vocabulary=embeddings.shape[0],
                max_positions=weights[bert + "embeddings.position_embeddings.weight"].shape[0],
                vision_width=weights[cross[0]].shape[1],
                cross_attention_every=-(-len(layers) // len(cross)),
            ),
            num_queries=query.shape[1],
            vision_width=weights["vlm_att_key_projector.weight"].shape[0],
            llm_width=weights["mm_projector.0.weight"].shape[0],
            content=_content(golden),
        )
    )
    model.load_state_dict(weights)  # strict: no weight is left over, none is missing
    prompt_ids = golden.tensor("prompt_ids")
    mask = prompt_ids >= 0
    input_ids = prompt_ids.clamp(min=0)
    features = golden.tensor("feat")
    # Long videos differ from online frames by the CLS token, which the stored features lack.
    golden.flag("long_video")
    with torch.inference_mode():
        if golden.flag("image_counts_given"):
            out = model.video_tokens(features, input_ids, mask)
        else:
            num_images = len(features)
            num_questions = len(input_ids)
            tokens = model.frame_tokens(
                features.repeat_interleave(num_questions, 0),
                input_ids.repeat(num_images, 1),
                mask.repeat(num_images, 1),
            )
            out = tokens.unflatten(0, (num_images, num_questions))
    golden.close("out", out)


def check_token_generation(golden: GoldenFile) -> None:
    weights = golden.weights()
    llm_width, vision_width = weights["mm_projector.0.weight"].shape
    _, num_queries, hidden = weights["vlm_att_query"].shape
    text_query, patches = golden.tensor("text_q"), golden.tensor("vis")
    model = LlamaVid(
        LlamaVidConfig(
            qformer=QFormerConfig(
                hidden=hidden,
                depth=1,
                num_heads=1,
                feedforward=1,
                vocabulary=1,
                max_positions=1,
                vision_width=vision_width,
            ),
            num_queries=num_queries,
            vision_width=vision_width,
            llm_width=llm_width,
            content=_content(golden),
        )
    )
    loaded = model.load_state_dict(weights, strict=False)
    assert not loaded.unexpected_keys
    golden.flag("long_video")  # blocks of 64 frames, no other number
    golden.same("side", round(patches.shape[1] ** 0.5))
    with torch.inference_mode():
        keys = model.vlm_att_key_projector(patches)
        attention = attention_map(text_query, keys, patches.shape[2] ** -0.5)
        golden.close("attn_helper", attention)
        golden.close("out", model.token_generation(text_query, patches))
        readable = model.vlm_att_val_projector((attention @ patches).mean(1, keepdim=True))
        torch.testing.assert_close(
            model.context_token(text_query, patches), readable, atol=1e-5, rtol=0.0
        )


def check_eva(golden: GoldenFile) -> None:
    if "pos_in" in golden:
        wanted = golden.array("pos_out").shape[1] - 1
        position = interpolate_position_embedding(golden.tensor("pos_in"), wanted)
        golden.close("pos_out", position)
        return
    weights, images = golden.weights(), golden.tensor("x")
    width, _, patch_size, _ = weights["patch_embed.proj.weight"].shape
    tower = EvaVisionTransformer(
        EvaConfig(
            image_size=images.shape[2],
            patch_size=patch_size,
            width=width,
            depth=len([name for name in weights if name.endswith("norm1.weight")]),
            num_heads=EVA_HEADS,
            mlp_width=weights["blocks.0.mlp.fc1.bias"].shape[0],
        )
    )
    tower.load_state_dict(weights)
    with torch.inference_mode():
        golden.close("out", tower(images))


def check_subtitles(golden: GoldenFile) -> None:
    text = interleave_subtitles(
        golden.array("end_time").tolist(),
        [str(text) for text in golden.array("text")],
        golden.array("frame_time").tolist(),
        faithful=True,
    )
    golden.same("out", text)
