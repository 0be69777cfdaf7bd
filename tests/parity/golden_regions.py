"""Golden checks of MG-LLaVA, MoVA, resamplers, regions, boxes in text and metrics of masks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longvid.methods.box_text import CODECS, kosmos2_corners, kosmos2_pair, thousandths
from longvid.methods.grounding_metrics import (
    boundary,
    pixel_accuracy,
    region_similarity,
    robustness,
)
from longvid.methods.region_features import mask_means, point_means
from longvid.methods.roi_pooling import join_levels, pool_boxes, pool_boxes_reference
from longvid.models.flamingo import FlamingoResampler
from longvid.systems.mg_llava.conv_gate import ConvGateFusion, Variant
from longvid.systems.mg_llava.frames import pad_frames, video_frames
from longvid.systems.mg_llava.object_boxes import (
    FrameBoxes,
    crop_boxes,
    limit_boxes,
    pad_boxes,
    prepare_boxes,
    resize_boxes,
    thin_boxes,
)
from longvid.systems.mg_llava.object_tokens import BoxProjector, MultiLevelPooling
from longvid.systems.mova.adapter import MoVAdapter
from longvid.systems.mova.layers import Attention, rotary_table, rotate
from longvid.systems.mova.routing import (
    align_tokens,
    chosen_experts,
    pool_tokens,
    question_text,
)
from tests.parity.golden_file import GoldenFile

TOLERANCE = 2e-6


def _weights(golden: GoldenFile, prefix: str = "") -> dict[str, torch.Tensor]:
    return golden.weights(f"w_{prefix}")


def _widths(weights: dict[str, torch.Tensor], name: str) -> list[int]:
    """Return the input widths of the layers whose number takes the place of {} in `name`."""
    pattern = re.compile(re.escape(name).replace(r"\{\}", r"(\d+)"))
    found = {int(m[1]): w.shape[1] for key, w in weights.items() if (m := pattern.fullmatch(key))}
    return [found[number] for number in sorted(found)]


# --- MG-LLaVA -------------------------------------------------------------------------------------


@torch.no_grad()
def check_fuse(golden: GoldenFile) -> None:
    low, high = golden.tensor("in_low"), golden.tensor("in_high")
    weights = _weights(golden)
    outputs: dict[Variant, str] = {
        "gate_sum": "out_gate_sum",
        "gate_concat": "out_gate_concat",
        "concat": "out_concat",
        "raw_concat": "out_raw_concat",
    }
    for variant, key in outputs.items():
        fusion = ConvGateFusion(low.shape[2], high.shape[1], variant)
        known = fusion.state_dict().keys()
        fusion.load_state_dict({name: w for name, w in weights.items() if name in known})
        golden.close(key, fusion(low, high), TOLERANCE)
        if variant == "gate_sum":
            assert weights.keys() == known
            local, fine = fusion.paths(low, high)
            golden.close("mid_low_conv", local, TOLERANCE)
            golden.close("mid_high_proj", fine, TOLERANCE)
            golden.close("mid_gate_tanh", fusion.strength(local, fine), TOLERANCE)
    untrained = ConvGateFusion(low.shape[2], high.shape[1])
    assert torch.equal(untrained(low, high), low)


def check_stages(golden: GoldenFile) -> None:
    stages = [golden.tensor(key) for key in sorted(golden.keys("in_stage"))]
    golden.close("out_cat", join_levels(stages), TOLERANCE)
    golden.close("out_last", stages[-1], TOLERANCE)


@torch.no_grad()
def check_roi(golden: GoldenFile) -> None:
    maps, boxes, scale = (
        golden.tensor("in_map"),
        golden.tensor("in_boxes"),
        golden.tensor("in_scale"),
    )
    factor = float(scale)
    weights = _weights(golden, "bbox_projector.")
    projector = BoxProjector(*reversed(weights["model.0.weight"].shape))
    projector.load_state_dict(weights)
    for key in golden.keys("out_pool"):
        bins = int(key.removeprefix("out_pool"))
        golden.close(key, pool_boxes(maps[0], boxes, factor, bins), TOLERANCE)
        if bins <= 7:
            golden.close(key, pool_boxes_reference(maps[0], boxes, factor, bins), TOLERANCE)
    for key in golden.keys("out_tokens"):
        bins, frame = map(int, re.findall(r"\d+", key))
        pooled = pool_boxes(maps[frame], boxes, factor, bins)
        golden.close(key, projector(pooled), TOLERANCE)
    levels = _weights(golden, "multi_level_linear.")
    groups = _widths(levels, "{}.weight")
    pooling = MultiLevelPooling(groups, levels["0.weight"].shape[0])
    pooling.multi_level_linear.load_state_dict(levels)
    pooled = pooling(maps[0].split(groups), boxes, [factor] * len(groups), bins=7)
    golden.close("out_multilevel_pre_projector", pooled, TOLERANCE)


def check_boxes(golden: GoldenFile) -> None:
    cases = sorted({key.partition(".")[0] for key in golden.keys("")})
    for case in cases:
        _check_case(golden, case)


def _check_case(golden: GoldenFile, case: str) -> None:
    pad, most, per_category = golden.array(f"{case}.in_cfg").tolist()
    width, height = golden.array(f"{case}.in_wh").tolist()
    given = FrameBoxes(
        golden.tensor(f"{case}.in_boxes"),
        golden.tensor(f"{case}.in_scores"),
        golden.tensor(f"{case}.in_labels"),
    )
    side = max(width, height)
    moved = pad_boxes(given, width, height) if pad else given
    thin = thin_boxes(moved)
    golden.same(f"{case}.out_nms_boxes", thin.corners)
    golden.same(f"{case}.out_nms_labels", thin.labels)
    golden.same(f"{case}.out_nms_scores", thin.scores)
    limited = limit_boxes(thin, most, per_category)
    golden.same(f"{case}.out_limit_labels", limited.labels)
    size = (side, side) if pad else (width, height)
    resized, (new_height, new_width) = resize_boxes(limited, *size)
    golden.same(f"{case}.out_resized", resized.corners)
    golden.same(f"{case}.out_resized_hw", [new_height, new_width])
    cropped = crop_boxes(resized, new_height, new_width)
    golden.same(f"{case}.out_boxes", cropped.corners)
    golden.same(f"{case}.out_labels", cropped.labels)
    whole = prepare_boxes(given, width, height, pad=bool(pad), most=most, each=per_category)
    assert torch.equal(whole.corners, cropped.corners)


def check_video(golden: GoldenFile) -> None:
    golden.close("out_padded", pad_frames(golden.tensor("in_video")), TOLERANCE)
    for key in golden.keys("out_frames_n"):
        count = len(golden.array(key))
        golden.same(key, video_frames(int(key.removeprefix("out_frames_n")), count))


# --- MoVA -----------------------------------------------------------------------------------------


@torch.no_grad()
def check_mova_attention(golden: GoldenFile) -> None:
    turned = golden.tensor("in_t")
    side = round(turned.shape[2] ** 0.5)
    cosines, sines = rotary_table(side)
    golden.close("out_cos", cosines, TOLERANCE)
    golden.close("out_sin", sines, TOLERANCE)
    golden.close("out_rope", rotate(turned, cosines, sines), TOLERANCE)
    x, value = golden.tensor("in_x"), golden.tensor("in_value")
    attention = Attention(x.shape[2], value.shape[2])
    attention.load_state_dict(_weights(golden))
    golden.close("out", attention(x, value), TOLERANCE)


@torch.no_grad()
def check_mova_adapter(golden: GoldenFile) -> None:
    weights = _weights(golden)
    features, text = golden.tensor("in_x"), golden.tensor("in_text")
    _, count, width = weights["pos_embed"].shape
    adapter = MoVAdapter(
        width=width,
        expert_widths=_widths(weights, "blocks.0.cross_attn.{}.k_proj.weight"),
        count=count,
        llm_width=weights["mlp.0.weight"].shape[0],
        depth=len(_widths(weights, "blocks.{}.gate.0.weight")),
        topk=2,
    )
    adapter.load_state_dict(weights)
    first, question = features[:1], text[:1]
    x = first[..., :width] + adapter.pos_embed
    block = adapter.blocks[0]
    golden.close("mid_gate_logits", block.gate_logits(x, question), TOLERANCE)
    for key in golden.keys("mid_gate_r"):
        routing = _bits(key.removeprefix("mid_gate_r"))
        golden.close(key, block.weights(x, question, routing), TOLERANCE)
    for key in golden.keys("out_b1_r"):
        routing = _bits(key.removeprefix("out_b1_r"))
        golden.close(key, adapter(first, question, routing), TOLERANCE)
    routing = torch.cat([_bits("101"), _bits("000")])
    golden.close("out_b2", adapter(features, text, routing), TOLERANCE)


def _bits(digits: str) -> torch.Tensor:
    return torch.tensor([[float(digit) for digit in digits]])


def check_mova_routing(golden: GoldenFile) -> None:
    replies = [str(reply) for reply in golden.array("responses")]
    rows = np.array([chosen_experts(reply, strict=True) for reply in replies], dtype=np.float32)
    golden.same("out_routing", rows)
    base = golden.tensor("in_base36")
    for key in golden.keys("out_align"):
        source, target = map(int, re.findall(r"\d+", key))
        golden.close(key, align_tokens(golden.tensor(f"in_expert{source}"), target), TOLERANCE)
    aligned = align_tokens(golden.tensor("in_expert16"), base.shape[1])
    golden.close("out_merge", torch.cat([base, aligned], dim=2), TOLERANCE)
    for key in golden.keys("out_routing_pool"):
        count = int(key.removeprefix("out_routing_pool"))
        golden.close(key, pool_tokens(golden.tensor("in_tokens36"), count), TOLERANCE)
    for key in ("text_single", "text_multi"):
        for text in map(str, golden.array(key)):
            questions = re.findall(r"question \d+: (.*)\n\n", text)
            assert question_text(questions) == text


# --- compressors of learned queries ---------------------------------------------------------------


@torch.no_grad()
def check_flamingo(golden: GoldenFile) -> None:
    weights = _weights(golden)
    num_latents, width = weights["latents"].shape
    head_width = 8
    resampler = FlamingoResampler(
        width,
        depth=len(_widths(weights, "layers.{}.0.to_q.weight")),
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

    weights = _weights(golden)
    num_latents, width = weights["latents"].shape
    config = IdeficsConfig(vision_config={"embed_dim": width}, use_resampler=True)
    depth = len(_widths(weights, "blocks.{}.0.q_proj.weight"))
    resampler = IdeficsPerceiverResampler(config, width, depth, 2, width // 2, num_latents)
    resampler.load_state_dict(weights)
    golden.close("out", resampler(golden.tensor("in_context")), TOLERANCE)


@torch.no_grad()
def check_idefics2(golden: GoldenFile) -> None:
    from transformers.models.idefics2.configuration_idefics2 import Idefics2PerceiverConfig
    from transformers.models.idefics2.modeling_idefics2 import Idefics2PerceiverResampler

    weights = _weights(golden)
    num_latents, width = weights["latents"].shape
    config = Idefics2PerceiverConfig(
        hidden_size=width,
        resampler_n_latents=num_latents,
        resampler_depth=len(_widths(weights, "layers.{}.self_attn.q_proj.weight")),
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
        "num_hidden_layers": len(_widths(weights, f"{layer}.attention.output.dense.weight")),
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

    projection = _weights(golden, "language_projection.")
    weights = {
        name: weight
        for name, weight in _weights(golden).items()
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

    weights = _weights(golden)
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


# --- regions, metrics, text -----------------------------------------------------------------------


def check_regions(golden: GoldenFile) -> None:
    features, masks = golden.tensor("in_map"), golden.tensor("in_masks")
    golden.close("out_maskpool", mask_means(features, masks), TOLERANCE)
    for key in golden.keys("out_ferret_mean_mask"):
        batch, region = map(int, key.removeprefix("out_ferret_mean_mask"))
        golden.close(key, point_means(features[batch], masks[batch, region]), TOLERANCE)


def check_masks(golden: GoldenFile) -> None:
    true, found, around = (golden.array(f"in_{name}") for name in ("gt", "pred", "foreground"))
    scores = {
        "out_J": region_similarity(true, found),
        "out_A": pixel_accuracy(true, found),
        "out_R": robustness(true, found, around),
    }
    for key, score in scores.items():
        np.testing.assert_allclose(score, golden.array(key), rtol=0, atol=TOLERANCE, err_msg=key)
    golden.same("out_boundary", boundary(true))


def check_box_text(path: Path) -> None:
    """Check a file of boxes and their texts; every key of it is read."""
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    boxes = [tuple(box) for box in table.pop("boxes")]
    assert [list(kosmos2_pair(box)) for box in boxes] == (pairs := table.pop("kosmos2_pair"))
    assert [list(kosmos2_corners(*pair)) for pair in pairs] == table.pop("kosmos2_back")
    text, mentions = CODECS["kosmos2"].read(table.pop("kosmos2_text"))
    read = [[m.phrase, list(m.span), [list(box) for box in m.boxes]] for m in mentions]
    assert [text, read] == table.pop("kosmos2_parsed")
    shikra = CODECS["shikra"]
    written = table.pop("shikra_text")
    assert [shikra.write("", [box]) for box in boxes] == written
    assert shikra.write("", boxes[:2]) == table.pop("shikra_two")
    for parsed in table.pop("shikra_parsed"):
        _, (mention,) = shikra.read(shikra.write("", [tuple(box) for box in parsed]))
        assert [list(box) for box in mention.boxes] == parsed
    assert [list(thousandths(box)) for box in boxes] == table.pop("ferret_int1000")
    assert not table, f"{path.name}: not checked: {', '.join(table)}"


CHECKS = {
    "mgllava_fuse": check_fuse,
    "mgllava_stages": check_stages,
    "mgllava_roi": check_roi,
    "mgllava_boxes": check_boxes,
    "mgllava_video": check_video,
    "mova_attention": check_mova_attention,
    "mova_adapter": check_mova_adapter,
    "mova_routing": check_mova_routing,
    "flamingo_resampler": check_flamingo,
    "idefics2_resampler": check_idefics2,
    "idefics_resampler": check_idefics,
    "blip2_qformer": check_blip2,
    "instructblipvideo_qformer": check_instructblip,
    "region_pooling": check_regions,
    "mask_metrics": check_masks,
}
