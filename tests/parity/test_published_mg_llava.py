"""MG-LLaVA's encoder from files under their authors' names, against the classes of transformers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longvid.errors import ConfigError, ModelError
from longvid.methods.roi_pooling import join_levels
from longvid.methods.tracking import Detection
from longvid.models import detectors
from longvid.models.weights import read_file
from longvid.systems.mg_llava import convnext
from longvid.systems.mg_llava.conv_gate import Variant
from longvid.systems.mg_llava.encoder import ConvGateEncoder
from longvid.systems.mg_llava.object_boxes import FrameBoxes, prepare_boxes
from longvid.systems.mg_llava.square_frames import square_pixels
from longvid.testing import check_encoder, make_frames
from tests.parity.mg_llava_checkpoint import (
    GRID,
    HIGH_SIDE,
    LLM,
    LOW,
    SIDE,
    SIZES,
    WIDTHS,
    write_connector,
    write_towers,
)
from tests.reference.methods import pool_boxes_slowly


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_towers(tmp_path_factory.mktemp("mg_llava"))


def part_of(towers: dict[str, Any], **changes: Any) -> ConvGateEncoder:
    root = towers["root"]
    settings = {
        "model": str(root / "mg_llava.pth"),
        "clip": str(root / "clip"),
        "convnext": str(root / "open_clip"),
        **changes,
    }
    return ConvGateEncoder(**settings)


FRAMES = make_frames(5, height=48, width=72, seed=3)


@torch.no_grad()
def original(towers: dict[str, Any]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Return CLIP's tokens and ConvNeXt's stages as transformers gives them."""
    low = towers["clip"].vision_model(square_pixels(FRAMES.data, SIDE), output_hidden_states=True)
    stages = towers["high"](square_pixels(FRAMES.data, HIGH_SIDE), output_hidden_states=True)
    return low.hidden_states[-2][:, 1:], stages.hidden_states[1:]


def test_laws(towers: dict[str, Any]) -> None:
    check_encoder(part_of(towers))


@pytest.mark.parametrize("folder", ["convnext", "open_clip"])
def test_the_high_tower_is_the_same_from_both_kinds_of_folder(
    towers: dict[str, Any], folder: str
) -> None:
    run = convnext.load_convnext(str(towers["root"] / folder), torch.float32, "cpu")
    _, expected = original(towers)
    for got, wanted in zip(run(square_pixels(FRAMES.data, HIGH_SIDE)), expected, strict=True):
        assert torch.equal(got, wanted)


def test_untrained_the_tokens_are_those_of_clip_bit_for_bit(towers: dict[str, Any]) -> None:
    segment = part_of(towers, model="", keep="tower").setup()(FRAMES)
    low, _ = original(towers)
    assert torch.equal(segment.tokens.data, low.flatten(0, 1))
    assert segment.grid == (GRID, GRID)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["gate_sum", "gate_concat", "concat", "raw_concat"])
def test_published_weights_fuse_as_written(
    towers: dict[str, Any], tmp_path: Path, variant: Variant
) -> None:
    connector = write_connector(
        tmp_path / "iter_1.pth", dataclasses.replace(SIZES, variant=variant)
    )
    low, stages = original(towers)
    fused = connector.fuse_module(low, stages[-1])
    first, second = (connector.projector.model[i] for i in (0, 2))
    projected = second(torch.nn.functional.gelu(first(fused)))
    part = part_of(towers, model=str(tmp_path))
    assert part.sizes().variant == variant
    got = part.setup()(FRAMES).tokens.data
    torch.testing.assert_close(got, projected.flatten(0, 1), atol=1e-5, rtol=1e-5)
    kept = part_of(towers, model=str(tmp_path), keep="tower").setup()(FRAMES).tokens.data
    torch.testing.assert_close(kept, fused.flatten(0, 1), atol=1e-5, rtol=1e-5)


def finds(picture: np.ndarray, names: Sequence[str]) -> list[Detection]:
    """Find two boxes of the second thing in bright corners, none where the corner is dark."""
    if picture[0, 0].sum() < 300:
        return []
    assert picture.shape == (48, 72, 3)
    return [
        Detection(names[1], (0.3, 0.2, 0.7, 0.9), 0.9),
        Detection(names[1], (0.25, 0.1, 0.4, 0.3), 0.5),
    ]


@torch.no_grad()
@pytest.mark.parametrize("levels", [(), WIDTHS])
def test_slow_frames_have_a_token_a_box(
    towers: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    levels: tuple[int, ...],
) -> None:
    sizes = dataclasses.replace(SIZES, levels=levels, box_width=1024 if levels else sum(WIDTHS))
    connector = write_connector(tmp_path / "mg.pth", sizes)
    monkeypatch.setattr(detectors, "load_detector", lambda *_: finds)
    settings: dict[str, Any] = {"model": str(tmp_path / "mg.pth"), "things": "dog, red  car"}
    part = part_of(towers, detector=str(towers["root"] / "clip"), **settings)
    batch = dataclasses.replace(FRAMES, slow=torch.tensor([True, False, True, True, False]))
    batch.data[[0, 2, 4], :, 0, 0], batch.data[3, :, 0, 0] = 255, 0
    plain = part_of(towers, model=str(tmp_path / "mg.pth")).setup()(batch)
    tokens = part.setup()(batch).tokens
    counts = tokens.counts(5).tolist()
    assert counts == [GRID**2 + extra for extra in (2, 0, 2, 1, 0)]  # one zero box for none
    boxes = torch.tensor([[0.3, 0.2, 0.7, 0.9], [0.25, 0.1, 0.4, 0.3]])
    corners = (boxes * torch.tensor([72, 48, 72, 48])).int()
    prepared = prepare_boxes(
        FrameBoxes(corners, torch.tensor([0.9, 0.5]), torch.ones(2, dtype=torch.int64)),
        72,
        48,
        side=HIGH_SIDE,
    ).corners
    _, stages = original(towers)
    joined = join_levels(list(stages))
    start = 0
    for frame in (0, 2, 3):
        start = sum(counts[:frame]) + GRID**2
        wanted = prepared if frame != 3 else torch.zeros(1, 4)
        scale = joined.shape[-1] / HIGH_SIDE
        if levels:
            assert connector.levels is not None
            levels_of = joined[frame].split(levels)
            layers = zip(connector.levels.multi_level_linear, levels_of, strict=True)
            pooled = torch.stack(
                [one(pool_boxes_slowly(m, wanted, scale, 56)) for one, m in layers]
            ).sum(dim=0)
        else:
            pooled = pool_boxes_slowly(joined[frame], wanted, scale, 56)
        got = tokens.data[start : start + len(wanted)]
        expected = connector.bbox_projector(pooled)
        # Two layers of random weights, sums of a thousand terms: what is pooled is held to 2e-6 by
        # the golden arrays.
        torch.testing.assert_close(got, expected, atol=5e-5 * float(expected.abs().max()), rtol=0)
        assert torch.equal(
            tokens.data[start - GRID**2 : start],
            plain.tokens.data[frame * GRID**2 : (frame + 1) * GRID**2],
        )
    assert bool((tokens.size > 0).all())
    assert "dog" in part.things
    assert len(part.checkpoints()) == 4


def test_needs_are_stated_without_loading(towers: dict[str, Any]) -> None:
    part = part_of(towers)
    needs = part.memory("cpu", 8)
    worker = part.setup()
    clip = sum(w.numel() for w in worker._embedder.module.parameters())
    state = read_file(towers["root"] / "mg_llava.pth")
    connector = sum(w.numel() for name, w in state.items() if not name.startswith("llm."))
    high = sum(
        w.numel() for n, w in towers["high"].named_parameters() if not n.startswith("layernorm.")
    )
    assert needs.weight_bytes == 4 * (clip + connector + high)
    assert needs.token_width == LLM
    assert needs.grid == (GRID, GRID)
    assert [ref.find().exists() for ref in part.checkpoints()] == [True] * 3


def test_what_does_not_fit_is_refused(towers: dict[str, Any], tmp_path: Path) -> None:
    for changes, sentence in (
        ({"model": ""}, "encoder.keep = 'tower'"),
        ({"keep": "all"}, "projected or tower"),
        ({"detector": "x"}, "go together"),
        ({"things": "dog"}, "go together"),
        ({"detector": "x", "things": "dog", "keep": "tower"}, "projector of boxes"),
        ({"batch_frames": 0}, "at least 1"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            part_of(towers, **changes)
    with pytest.raises(ConfigError, match="gate_sum"):
        part_of(towers, model="", keep="tower", variant="sum").sizes()
    write_connector(tmp_path / "wide.pth", dataclasses.replace(SIZES, low_width=LOW + 4))
    torch.save({"llm.norm.weight": torch.ones(2)}, tmp_path / "other.pth")
    incomplete = read_file(towers["root"] / "mg_llava.pth")
    del incomplete["fuse_module.fast_proj.bias"]
    torch.save(incomplete, tmp_path / "half.pth")
    for file, sentence in (
        ("wide.pth", "width 20"),
        ("other.pth", "projector.model.0.weight"),
        ("half.pth", "fast_proj.bias"),
        ("", "must hold one file"),
    ):
        with pytest.raises(ModelError, match=sentence):
            part_of(towers, model=str(tmp_path / file)).setup()
    for changes, sentence in (
        ({"clip": str(towers["root"] / "convnext")}, "is a CLIP"),
        ({"convnext": str(towers["root"] / "clip")}, "is a ConvNeXt"),
    ):
        with pytest.raises(ModelError, match=sentence):
            part_of(towers, **changes).setup()
