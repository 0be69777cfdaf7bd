"""Sizes of pictures that keep their aspect, beside the functions of transformers."""

from __future__ import annotations

import pytest
import torch
from transformers.models.gemma4 import image_processing_pil_gemma4 as gemma4
from transformers.models.minicpmv4_6 import image_processing_pil_minicpmv4_6 as minicpm

from longvid.models.families.aspect_sizes import SameArea, WithinTokens

SIZES = [(720, 1280), (1280, 718), (37, 41), (400, 400), (20, 900), (900, 20), (1, 1)]
_PLAIN = {
    "height": 1,
    "width": 1,
    "fit": "native",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_has_the_size_that_the_models_own_processor_gives(size: tuple[int, int]) -> None:
    frames = torch.zeros(1, 3, *size, dtype=torch.uint8)
    within = WithinTokens(**_PLAIN, most_tokens=70, step=48).resize(frames)
    assert tuple(within.shape[2:]) == gemma4.get_aspect_ratio_preserving_size(*size, 16, 630, 3)

    area = SameArea(**_PLAIN, area=448**2, step=56).resize(frames)
    processor = minicpm.MiniCPMV4_6ImageProcessorPil()
    wanted = processor.find_best_resize(size, 448, 14, allow_upscale=True, downsample_mode="16x")
    assert tuple(area.shape[2:]) == tuple(wanted)
