"""MG-LLaVA and MoVA: untrained parts, replies, sizes that do not fit."""

from __future__ import annotations

import pytest
import torch

from longvid.errors import ConfigError, OpError
from longvid.methods.region_features import mask_means, point_means
from longvid.models.flamingo import FlamingoResampler
from longvid.systems.mg_llava.conv_gate import ConvGateFusion
from longvid.systems.mg_llava.object_boxes import FrameBoxes, prepare_boxes
from longvid.systems.mova.adapter import MoVAdapter
from longvid.systems.mova.expert_routing import align_tokens, chosen_experts


def test_untrained_fusion_is_the_low_resolution_tower_bit_for_bit() -> None:
    low = torch.randn(2, 16, 8)
    assert torch.equal(ConvGateFusion(8, 12)(low, torch.randn(2, 12, 4, 4)), low)


def test_an_unknown_fusion_and_other_grids_are_refused() -> None:
    with pytest.raises(ConfigError, match="gate_sum, gate_concat"):
        ConvGateFusion(8, 12, "sum")  # type: ignore[arg-type]
    with pytest.raises(OpError, match="N cells"):
        ConvGateFusion(8, 12)(torch.zeros(1, 9, 8), torch.zeros(1, 12, 4, 4))


@pytest.mark.parametrize(
    ("reply", "exact", "strict"),
    [
        ("B, F", "BF", "BF"),
        ("Answer: F", "F", "AF"),
        ("Model A is best", "A", "A"),
        ("none", "", ""),
        ("", "", ""),
        ("B and E", "BE", "BE"),
        ("A,B,C,D", "ABC", "ABC"),
        ("B, B, B, C", "BC", "B"),
    ],
)
def test_replies(reply: str, exact: str, strict: str) -> None:
    for expected, rule in ((exact, False), (strict, True)):
        flags = chosen_experts(reply, strict=rule)
        assert "".join(e for e, on in zip("ABCDEFG", flags, strict=True) if on) == expected


def test_an_untrained_adapter_pools_its_base_whatever_is_chosen() -> None:
    torch.manual_seed(0)
    adapter = MoVAdapter(64, [6, 4], count=16, llm_width=8, depth=1, topk=1)
    features, text = torch.randn(1, 16, 74), torch.randn(1, 1024)
    outputs = [adapter(features, text, torch.tensor([bits])) for bits in ([0, 0], [1, 0], [1, 1])]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="multiple of 64"):
        MoVAdapter(80, [6], count=16, llm_width=8, topk=1)
    with pytest.raises(ConfigError, match="topk"):
        MoVAdapter(64, [6], count=16, llm_width=8, topk=2)
    with pytest.raises(ConfigError, match="even side"):
        MoVAdapter(64, [6], count=9, llm_width=8, topk=1)
    adapter = MoVAdapter(64, [6], count=16, llm_width=8, depth=1, topk=1)
    with pytest.raises(OpError, match="routing"):
        adapter(torch.zeros(1, 16, 70), torch.zeros(1, 1024), torch.zeros(1, 3))
    with pytest.raises(OpError, match="square"):
        align_tokens(torch.zeros(1, 8, 4), 16)
    with pytest.raises(OpError, match="cut the clip"):
        FlamingoResampler(8, 1, 1, 8, 2, max_frames=2)(torch.zeros(1, 1, 3, 4, 8))


def test_regions_of_an_empty_mask_are_zero() -> None:
    features = torch.randn(1, 5, 8, 8)
    assert not mask_means(features, torch.zeros(1, 2, 16, 16)).any()
    assert not point_means(features[0], torch.zeros(16, 16)).any()
    with pytest.raises(OpError, match="masks"):
        mask_means(features, torch.zeros(2, 2, 16, 16))


def test_no_box_and_300_boxes() -> None:
    none = FrameBoxes(
        torch.zeros(0, 4, dtype=torch.int64), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    )
    prepared = prepare_boxes(none, 640, 480, pad=True)
    assert prepared.corners.tolist() == [[0, 0, 0, 0]]
    assert len(prepared.labels) == 0
    x, y = torch.arange(20).repeat(15) * 30, torch.arange(15).repeat_interleave(20) * 30
    corners = torch.stack([x, y, x + 20, y + 20], dim=1)
    many = FrameBoxes(corners, torch.linspace(1, 0, 300), torch.arange(300) % 3)
    prepared = prepare_boxes(many, 600, 450, pad=True)
    assert len(prepared.corners) == 60  # 20 of each class
    assert bool((prepared.corners >= 0).all() and (prepared.corners <= 768).all())
