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
from longvid.methods.roi_pooling import join_levels, pool_boxes
from longvid.systems.mg_llava.conv_gate import ConvGateFusion, Variant
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
from longvid.systems.mg_llava.square_frames import pad_frames, video_frames
from longvid.systems.mova.adapter import MoVAdapter
from longvid.systems.mova.expert_routing import (
    align_tokens,
    chosen_experts,
    pool_tokens,
    question_text,
)
from longvid.systems.mova.layers import Attention, rotary_table, rotate
from tests.parity.golden_file import GoldenFile
from tests.parity.golden_resamplers import (
    check_blip2,
    check_flamingo,
    check_idefics,
    check_idefics2,
    check_instructblip,
)
from tests.parity.golden_weights import TOLERANCE, weights_of, widths_of
from tests.reference.methods import pool_boxes_slowly

# --- MG-LLaVA -------------------------------------------------------------------------------------


@torch.no_grad()
def check_fuse(golden: GoldenFile) -> None:
    low, high = golden.tensor("in_low"), golden.tensor("in_high")
    weights = weights_of(golden)
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
    weights = weights_of(golden, "bbox_projector.")
    projector = BoxProjector(*reversed(weights["model.0.weight"].shape))
    projector.load_state_dict(weights)
    for key in golden.keys("out_pool"):
        bins = int(key.removeprefix("out_pool"))
        golden.close(key, pool_boxes(maps[0], boxes, factor, bins), TOLERANCE)
        if bins <= 7:
            golden.close(key, pool_boxes_slowly(maps[0], boxes, factor, bins), TOLERANCE)
    for key in golden.keys("out_tokens"):
        bins, frame = map(int, re.findall(r"\d+", key))
        pooled = pool_boxes(maps[frame], boxes, factor, bins)
        golden.close(key, projector(pooled), TOLERANCE)
    levels = weights_of(golden, "multi_level_linear.")
    groups = widths_of(levels, "{}.weight")
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
    attention.load_state_dict(weights_of(golden))
    golden.close("out", attention(x, value), TOLERANCE)


@torch.no_grad()
def check_mova_adapter(golden: GoldenFile) -> None:
    weights = weights_of(golden)
    features, text = golden.tensor("in_x"), golden.tensor("in_text")
    _, count, width = weights["pos_embed"].shape
    adapter = MoVAdapter(
        width=width,
        expert_widths=widths_of(weights, "blocks.0.cross_attn.{}.k_proj.weight"),
        count=count,
        llm_width=weights["mlp.0.weight"].shape[0],
        depth=len(widths_of(weights, "blocks.{}.gate.0.weight")),
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
