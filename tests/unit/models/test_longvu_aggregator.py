"""LongVU's spatial vision aggregator: frame by frame, masked, and loaded under released names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longvid.errors import ModelError, OpError
from longvid.systems.longvu.padded_grid import group_patches
from longvid.systems.longvu.sva import (
    SpatialVisionAggregator,
    VisionTokenSampler,
    load_released,
)
from tests.reference.longvu_positions import frame_positions


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _aggregator() -> SpatialVisionAggregator:
    torch.manual_seed(0)
    return SpatialVisionAggregator(
        (5, 7), (8, 4), query_side=4, width=16, llm_width=10, depth=2, num_heads=4
    ).requires_grad_(False)


def test_the_aggregator_works_frame_by_frame() -> None:
    aggregator = _aggregator()
    towers = (_random(70, 64, 5), _random(70, 16, 7, seed=1))
    fused = aggregator.aggregate(towers, 1280, 720)
    assert fused.shape == (70, 16, 16)
    for t in (0, 63, 64, 69):
        one = aggregator.aggregate([tower[t : t + 1] for tower in towers], 1280, 720)
        torch.testing.assert_close(fused[t : t + 1], one)
    assert aggregator.project(fused).shape == (70, 16, 10)


def test_masked_patches_are_not_seen() -> None:
    aggregator = _aggregator()
    siglip, dino = _random(1, 64, 5), _random(1, 16, 7, seed=1)
    sampler = aggregator.vision_sampler_0
    groups = group_patches(aggregator.mm_projector_aux_0(siglip), 4, 100, 100)[0]
    coarse = group_patches(aggregator.mm_projector_aux_1(dino), 4, 100, 100)[0]
    queries, context = _random(16, 1, 16), _random(16, 1, 16, seed=3)
    mask = torch.ones(16, 4, dtype=torch.bool)
    mask[:, 2:] = False
    other = groups.clone()
    other[:, 2:] = 9.0
    seen = torch.ones(16, 1, dtype=torch.bool)
    out = [sampler(queries, context, [g, coarse], [mask, seen]) for g in (groups, other)]
    torch.testing.assert_close(*out)


def test_one_patch_a_group_has_no_position() -> None:
    names = VisionTokenSampler(16, (2, 1), depth=1, num_heads=4).state_dict().keys()
    assert "layers.0.pos_embed_0" in names
    assert "layers.0.pos_embed_1" not in names


def test_released_names_and_shapes_of_the_aggregator() -> None:
    with torch.device("meta"):
        state = SpatialVisionAggregator().state_dict()
    layer = "vision_sampler_0.layers.2."
    shapes = {
        "vision_query": (1, 1024),
        "mm_projector.0.weight": (3584, 1024),
        "mm_projector.2.bias": (3584,),
        "mm_projector_aux_0.0.weight": (1024, 1152),
        "mm_projector_aux_1.0.weight": (1024, 1536),
        "mm_projector_aux_1.3.bias": (1024,),
        layer + "proj_context.weight": (1024, 1024),
        layer + "proj_in.weight": (1024, 2048),
        layer + "proj_out.linear_2.weight": (1024, 1024),
        layer + "norm.bias": (1024,),
        layer + "cross_attn.q_proj.0.weight": (1024,),
        layer + "cross_attn.k_proj_1.1.weight": (1024, 1024),
        layer + "cross_attn.v_proj_0.0.bias": (1024,),
        layer + "cross_attn.o_proj.weight": (1024, 1024),
        layer + "pos_embed_1": (4, 1024),
    }
    for name, shape in shapes.items():
        assert tuple(state[name].shape) == shape


def test_a_released_aggregator_loads() -> None:
    source = _aggregator()
    state = {f"model.{name}": value for name, value in source.state_dict().items()}
    state |= {"model.image_newline": _random(10), "model.layers.0.mlp.weight": _random(1)}
    torch.manual_seed(1)
    target = SpatialVisionAggregator(
        (5, 7), (8, 4), query_side=4, width=16, llm_width=10, depth=2, num_heads=4
    ).requires_grad_(False)
    assert torch.equal(load_released(target, state), state["model.image_newline"])
    towers = (_random(2, 64, 5), _random(2, 16, 7, seed=1))
    torch.testing.assert_close(
        target.aggregate(towers, 100, 100), source.aggregate(towers, 100, 100)
    )
    with pytest.raises(ModelError, match="no image_newline"):
        load_released(target, {k: v for k, v in state.items() if "image_newline" not in k})
    state["model.vision_query"] = _random(1, 8)
    with pytest.raises(ModelError, match="vision_query"):
        load_released(target, state)


def test_an_aggregator_of_other_sizes_is_refused() -> None:
    with pytest.raises(ModelError, match="divide"):
        SpatialVisionAggregator((5,), (10,), query_side=4, width=16)
    with pytest.raises(ModelError, match="heads"):
        VisionTokenSampler(18, (2,), depth=1)
    aggregator = _aggregator()
    with pytest.raises(OpError, match="2 towers"):
        aggregator.aggregate([_random(1, 64, 5)], 100, 100)
    with pytest.raises(OpError, match="image"):
        aggregator.aggregate([_random(1, 16, 5), _random(1, 16, 7)], 100, 100)


@pytest.mark.parametrize("width", [2, 12, 896, 3584])
def test_frame_positions_are_exact_for_late_frames_and_wide_tokens(width: int) -> None:
    # Component by component as released; a frequency off by its last bit shows at frame 3599.
    frequency = torch.stack(
        [
            1 / torch.pow(torch.tensor(10000), torch.tensor(2 * (j // 2) / width))
            for j in range(width)
        ]
    )
    frames = torch.tensor([0, 1, 399, 3599])
    expected = frequency * frames[:, None]
    expected[:, 0::2] = expected[:, 0::2].sin()
    expected[:, 1::2] = expected[:, 0::2].cos()
    torch.testing.assert_close(frame_positions(frames, width)[:, 0], expected, atol=1e-6, rtol=0.0)
