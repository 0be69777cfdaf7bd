"""Golden checks of LongVU. The original's head count is fixed at 16."""

from __future__ import annotations

import torch

from longvid.methods.longvu_config import LLAMA_PAD_TOKEN_ID, LongVUConfig
from longvid.methods.temporal_reduction import (
    frame_similarity,
    max_num_frames,
    select_frames,
    text_length,
)
from longvid.systems.longvu.padded_grid import (
    content_box,
    content_mask,
    group_patches,
)
from longvid.systems.longvu.sva import SpatialVisionAggregator, VisionTokenSampler
from tests.parity.golden_file import GoldenFile
from tests.reference.longvu_composition import LongVU, ReferenceConfig, VisualBlock
from tests.reference.longvu_positions import frame_positions
from tests.reference.methods import frame_similarity_slowly


def _pad_token_id(model_type: str) -> int:
    return LLAMA_PAD_TOKEN_ID if "llama" in model_type else LongVUConfig().pad_token_id


def check_select(golden: GoldenFile) -> None:
    dino = golden.tensor("dino")
    # The files do not name the language model; a padding id among the text shows which it was.
    is_llama = "input_ids" in golden and LLAMA_PAD_TOKEN_ID in golden.array("input_ids")
    config = LongVUConfig(
        pad_token_id=_pad_token_id("cambrian_llama" if is_llama else "cambrian_qwen"),
        max_length=golden.number("tokenizer_model_max_length"),
        lowres_side=golden.number("lowres_token"),
        image_token_len=golden.number("image_token_len") if "image_token_len" in golden else 144,
        highres=golden.flag("highres") if "highres" in golden else True,
        dino_threshold=float(golden.array("threshold")),
        window=golden.number("window") if "window" in golden else 16,
    )
    text_tokens = golden.number("text_len")
    if "input_ids" in golden:
        golden.same("text_len", text_length(golden.tensor("input_ids"), config.pad_token_id))
    if "max_num_frames_formula" in golden:
        golden.same("max_num_frames_formula", max_num_frames(text_tokens, config))
    sizes = golden.array("split_sizes").tolist() if "split_sizes" in golden else [len(dino)]
    videos = torch.split(dino, sizes)
    kept = [select_frames(video, text_tokens, config) for video in videos]
    starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
    golden.same("kept", torch.cat([k + start for k, start in zip(kept, starts, strict=True)]))
    if "split_size" in golden:
        golden.same("split_size", len(kept[0]))
    if "new_split_sizes" in golden:
        golden.same("new_split_sizes", [len(k) for k in kept])
    if "indices_returned" in golden:
        golden.same("indices_returned", kept[0])
    for video in videos:
        torch.testing.assert_close(
            frame_similarity(video, config.window),
            frame_similarity_slowly(video, config.window),
            atol=1e-5,
            rtol=0.0,
        )


def check_unpad_and_mask(golden: GoldenFile) -> None:
    named = set()
    for key in golden.keys("unpad/") + golden.keys("mask/"):
        kind, side_name, size_name = key.split("/")
        side = int(side_name)
        a, b = map(int, size_name.split("x"))
        named.add((a, b))
        # The original takes the two numbers for (width, height), whoever passes them.
        if kind == "unpad":
            cells = torch.arange(side * side).reshape(side, side)
            golden.same(key, cells[content_box(side, width=a, height=b)])
        else:
            golden.same(key, content_mask(side, width=a, height=b))
    assert {tuple(size) for size in golden.array("sizes").tolist()} == named


def check_rearrange(golden: GoldenFile) -> None:
    x = golden.tensor("x")
    a, b = golden.array("image_size").tolist()
    golden.same("side", round(x.shape[1] ** 0.5))
    groups, mask = group_patches(
        x, golden.number("query_side"), width=a, height=b, unpad=golden.flag("unpad")
    )
    golden.close("feats", groups)
    golden.same("mask", mask)


def check_sva(golden: GoldenFile) -> None:
    queries = golden.tensor("queries")
    sampler = VisionTokenSampler(
        width=queries.shape[2],
        group_sides=golden.array("kv_side").tolist(),
        depth=golden.number("depth"),
        num_heads=golden.number("num_heads"),
    )
    sampler.load_state_dict(golden.weights())
    towers = range(len(golden.keys("feat")))
    with torch.inference_mode():
        out = sampler(
            queries,
            golden.tensor("context"),
            [golden.tensor(f"feat{k}") for k in towers],
            [golden.tensor(f"mask{k}") for k in towers],
        )
    golden.close("out", out)


def check_frame_positions(golden: GoldenFile) -> None:
    width = golden.array("out").shape[2]
    golden.close("out", frame_positions(golden.tensor("t"), width))


def _config(golden: GoldenFile) -> ReferenceConfig:
    assert golden.text("cfg/mm_projector_type") == "sva"
    max_length = golden.number("cfg/tokenizer_model_max_length")
    golden.same("tokenizer_model_max_length", max_length)
    return ReferenceConfig(
        pad_token_id=_pad_token_id(golden.text("cfg/model_type")),
        image_token_len=golden.number("cfg/image_token_len"),
        query_num=golden.number("query_num"),
        lowres_side=golden.number("cfg/lowres_token"),
        highres=golden.flag("cfg/highres"),
        max_length=max_length,
        dino_threshold=float(golden.array("cfg/dino_threshold")),
        drop_threshold=float(golden.array("cfg/drop_threshold")),
        frame_pos=golden.flag("cfg/frame_pos"),
    )


def _aggregator(golden: GoldenFile, config: LongVUConfig) -> SpatialVisionAggregator:
    weights = golden.weights()
    layers = {name.split(".")[2] for name in weights if name.startswith("vision_sampler_0")}
    towers = (golden.tensor("siglip"), golden.tensor("dino"))
    aggregator = SpatialVisionAggregator(
        tower_widths=[tower.shape[2] for tower in towers],
        tower_sides=[round(tower.shape[1] ** 0.5) for tower in towers],
        query_side=config.query_side,
        width=weights["vision_query"].shape[1],
        llm_width=weights["mm_projector.2.bias"].shape[0],
        depth=len(layers),
    )
    aggregator.load_state_dict(weights)
    return aggregator


def check_pipeline(golden: GoldenFile) -> None:
    config = _config(golden)
    siglip, dino = golden.tensor("siglip"), golden.tensor("dino")
    table = golden.tensor("embed_tokens")
    golden.same("cfg/hidden_size", table.shape[1])
    newline = golden.tensor("image_newline")
    if golden.flag("real_sva"):
        aggregator = _aggregator(golden, config)
        aggregate, project = aggregator.aggregate, aggregator.project
    else:
        assert not golden.keys("W/")
        aggregate, project = (lambda towers, width, height: towers[0]), (lambda tokens: tokens)
    model = LongVU(config, aggregate, project, newline, lambda ids: table[ids])
    input_ids = golden.tensor("input_ids")
    a, b = golden.array("image_size").tolist()
    still = golden.flag("is_image")
    if still:  # picture libraries say (width, height) ...
        blocks = [
            VisualBlock((siglip[i : i + 1], dino[i : i + 1]), height=b, width=a)
            for i in range(len(siglip))
        ]
    else:  # ... and arrays of frames (height, width)
        blocks = [VisualBlock((siglip, dino), height=a, width=b)]
    with torch.inference_mode():
        prepared = model.prepare_inputs(input_ids, blocks, still=still)
    golden.close("embeds", prepared.embeds)
    assert prepared.attention_mask.all()
    assert len(set(prepared.num_visual_tokens)) == 1
    golden.same("n_visual_tokens", prepared.num_visual_tokens[0])
    with_placeholder = text_length(input_ids[0], config.pad_token_id)
    golden.same("text_len_with_image_placeholder", with_placeholder)
    golden.same("text_len", int((input_ids[0] >= 0).sum()))
    golden.same(
        "final_size",
        [
            grid
            for grid, frames in zip(prepared.grids, prepared.frames, strict=True)
            for _ in frames
        ],
    )
