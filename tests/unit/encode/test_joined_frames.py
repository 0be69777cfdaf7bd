"""Towers that join two frames, see pictures of any size, or feed several layers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPModel

from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.errors import ConfigError, ModelError
from longvid.models.families import family_of, space_of
from longvid.types import FrameBatch
from tests.parity import family_checkpoints as tiny
from tests.parity.family_cases import NEXT, QWEN2_5, QWEN3
from tests.parity.shuffled_cases import SMOLVLM

STEP = 8  # pixels of a token's side


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceEncoder:
    folder = tmp_path_factory.mktemp("qwen")
    QWEN2_5.save(folder / "model")
    (folder / "clip").mkdir()
    tiny.write_embedder(folder / "clip")
    return HuggingFaceEncoder(model=str(folder / "model"), embedder=str(folder / "clip"))


def frames(count: int, height: int = 3 * STEP, width: int = 5 * STEP) -> FrameBatch:
    generator = torch.Generator().manual_seed(3)
    data = torch.randint(0, 256, (count, 3, height, width), generator=generator)
    return FrameBatch(
        video_id="v",
        segment_index=0,
        start_seconds=1.0,
        end_seconds=1.0 + count,
        data=data.to(torch.uint8),
        pts_seconds=1.0 + torch.arange(count, dtype=torch.float64),
        duration_seconds=torch.ones(count, dtype=torch.float64),
        slow=torch.arange(count) == 1,
    )


def test_two_frames_are_one_step(part: HuggingFaceEncoder) -> None:
    worker = part.setup()
    segment = worker(frames(5))
    assert segment.num_frames == 3  # the fifth frame is joined with itself
    assert segment.pts_seconds.tolist() == [1.0, 3.0, 5.0]
    assert segment.slow.tolist() == [True, False, False]
    assert segment.grid == (3, 5)
    assert segment.tokens.counts(3).tolist() == [15, 15, 15]

    pixels = worker._pixels(frames(5).data, worker._embedder_format)
    single = worker._embedder.embed_frames(pixels)
    want = F.normalize(single[:4].reshape(2, 2, -1).mean(dim=1), dim=-1)
    torch.testing.assert_close(segment.frame_embeddings[:2], want)
    torch.testing.assert_close(segment.frame_embeddings[2], single[4])


@pytest.mark.parametrize("batch_frames", [1, 2, 3])
def test_a_pass_never_parts_what_is_joined(part: HuggingFaceEncoder, batch_frames: int) -> None:
    whole = part.setup()(frames(5))
    parts = dataclasses.replace(part, batch_frames=batch_frames).setup()(frames(5))
    torch.testing.assert_close(parts.tokens.data, whole.tokens.data, atol=1e-4, rtol=1e-4)
    assert torch.equal(parts.pts_seconds, whole.pts_seconds)


def test_every_video_keeps_its_own_aspect(part: HuggingFaceEncoder) -> None:
    size = part.frame_size()
    assert size.fit == "native"
    worker = part.setup()
    assert worker(frames(2, 3 * STEP, 5 * STEP)).grid == (3, 5)
    assert worker(frames(2, 9 * STEP, 4 * STEP)).grid == (9, 4)
    # 40 tokens are the most that this checkpoint states: 200 x 100 is scaled, not cropped.
    assert worker(frames(2, 200, 100)).grid == (8, 4)


def test_a_square_may_be_asked_for(part: HuggingFaceEncoder) -> None:
    size = dataclasses.replace(part, fit="pad").frame_size()
    assert (size.fit, size.height, size.width) == ("pad", 6 * STEP, 6 * STEP)


def test_most_pixels(part: HuggingFaceEncoder) -> None:
    fewer = dataclasses.replace(part, most_pixels=12 * STEP * STEP)
    assert fewer.setup()(frames(2, 200, 100)).grid == (4, 2)
    with pytest.raises(ModelError, match=r"most_pixels is 63, less than the 64 of one token"):
        dataclasses.replace(part, most_pixels=63).frame_size()
    with pytest.raises(ConfigError, match="must not be negative"):
        dataclasses.replace(part, most_pixels=-1)


def test_the_space_says_that_a_token_holds_several_layers(tmp_path: Path) -> None:
    QWEN3.save(tmp_path)
    # 64 of the token itself and 64 of each of two inner layers of the tower.
    assert "-qwen3_vl_text-192@" in space_of(tmp_path)
    family = family_of(tmp_path)
    assert family.token_width(tmp_path) == 192
    assert family.load_tower(tmp_path, "full", torch.float32, "cpu").token_width == 192
    decoder = family.load_decoder(tmp_path, torch.float32, "cpu")
    assert decoder.token_width == 192
    words = decoder.embed([1, 2])
    assert words.shape == (2, 192)
    assert not words[:, 64:].any()


def test_a_grey_frame_is_a_frame(tmp_path: Path) -> None:
    """SmolVLM's own code takes a frame of zeros, after normalisation, for padding."""
    SMOLVLM.save(tmp_path)
    tower = family_of(tmp_path).load_tower(tmp_path, "full", torch.float32, "cpu")
    pixels = torch.zeros(3, 3, 24, 24)
    pixels[1] = 1.0
    assert tower(pixels).shape[:3] == (3, 3, 3)


def test_a_view_tower_may_be_the_embedders(tmp_path: Path) -> None:
    """LLaVA-NeXT was trained on a frozen CLIP: with equal weights one tower serves both."""
    NEXT.save(tmp_path / "model")
    (tmp_path / "clip").mkdir()
    tiny.write_embedder(tmp_path / "clip", side=tiny.SIDE)
    embedder = CLIPModel.from_pretrained(tmp_path / "clip")
    own = NEXT.model_class.from_pretrained(tmp_path / "model")
    embedder.vision_model.load_state_dict(own.model.vision_tower.state_dict())
    embedder.save_pretrained(tmp_path / "clip")

    part = HuggingFaceEncoder(model=str(tmp_path / "model"), embedder=str(tmp_path / "clip"))
    shared, apart = part.setup(), dataclasses.replace(part, share_tower=False).setup()
    assert shared._shared is not None
    batch = tiny.frames()
    assert torch.equal(shared(batch).tokens.data, apart(batch).tokens.data)
    assert torch.equal(shared(batch).frame_embeddings, apart(batch).frame_embeddings)
