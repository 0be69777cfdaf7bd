"""LongVU's whole path: batches, resolutions, stills, orientation and what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from longvid.errors import BudgetError, ConfigError, OpError
from longvid.methods.stc import spatial_token_compression
from longvid.systems.longvu.padded_grid import resize_grid, resolution, with_newlines
from tests.reference.longvu_composition import LongVU, PreparedInputs, ReferenceConfig, VisualBlock
from tests.reference.longvu_paper import PAPER

WIDTH = 4
PAD = 59
CONFIG = ReferenceConfig(
    image_token_len=36, query_num=36, lowres_side=4, max_length=600, pad_token_id=PAD
)
PROMPT = [1, 2, 3, -200, 10, 11, 12]


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


NEWLINE = _random(WIDTH, seed=7)
TABLE = _random(60, WIDTH, seed=8)


def _block(num_frames: int, height: int = 100, width: int = 100, seed: int = 0) -> VisualBlock:
    siglip, dino = _random(num_frames, 36, WIDTH, seed=seed), _random(num_frames, 4, 64, seed=seed)
    return VisualBlock((siglip, dino), height, width)


def _prepare(
    config: ReferenceConfig,
    *blocks: VisualBlock,
    ids: Tensor | None = None,
    mask: Tensor | None = None,
    still: bool = False,
) -> PreparedInputs:
    model = LongVU(config, lambda towers, w, h: towers[0], lambda x: x, NEWLINE, lambda i: TABLE[i])
    if ids is None:
        ids = torch.tensor([PROMPT] * len(blocks))
    return model.prepare_inputs(ids, blocks, attention_mask=mask, still=still)


def test_resolution_of_a_video() -> None:
    # 600 - 7 - 16 = 577: 16 frames of 36 tokens, 36 frames of 16.
    text = len(PROMPT)
    assert [resolution(t, text, CONFIG) for t in (1, 15, 16, 36, 37)] == [
        "high", "high", "mixed", "mixed", "over",
    ]  # fmt: skip
    assert resolution(1, 700, CONFIG) == "mixed"


def test_all_frames_in_detail() -> None:
    block = _block(3)
    prepared = _prepare(CONFIG, block)
    assert prepared.num_visual_tokens == (3 * 42,)
    assert prepared.grids == ((6, 6),)
    visual = prepared.embeds[0, 3 : 3 + 126].reshape(3, 6, 7, WIDTH)
    assert torch.equal(visual[:, :, :6], block.towers[0].reshape(3, 6, 6, WIDTH))
    assert (visual[:, :, 6] == NEWLINE).all()
    assert torch.equal(prepared.embeds[0, :3], TABLE[PROMPT[:3]])
    assert torch.equal(prepared.embeds[0, 129:], TABLE[PROMPT[4:]])


def test_a_batch_is_padded_and_its_first_video_decides() -> None:
    short, long = _block(3), _block(20, seed=1)
    both = _prepare(CONFIG, short, long)
    alone = _prepare(CONFIG, short)
    assert both.num_visual_tokens[0] == 126
    # The second video alone would be mixed; now all its frames are high, and STC thins them out.
    tokens = with_newlines(long.towers[0].reshape(20, 6, 6, WIDTH), NEWLINE)
    keep = spatial_token_compression(tokens, budget=600 - 16 - 6)
    assert both.num_visual_tokens[1] == keep.sum()
    torch.testing.assert_close(both.embeds[1, 3 : 3 + int(keep.sum())], tokens[keep])
    torch.testing.assert_close(both.embeds[:1, : alone.embeds.shape[1]], alone.embeds)
    assert not both.embeds[0, alone.embeds.shape[1] :].any()
    assert both.attention_mask.sum(1).tolist() == [126 + 6, both.num_visual_tokens[1] + 6]
    left = _prepare(dataclasses.replace(CONFIG, padding_side="left"), short, long)
    torch.testing.assert_close(left.embeds[0, -alone.embeds.shape[1] :], alone.embeds[0])
    assert not left.attention_mask[0, : -alone.embeds.shape[1]].any()


def test_padding_of_the_prompt_is_left_out_by_its_mask() -> None:
    ids = torch.tensor([[*PROMPT, PAD, PAD]])
    prepared = _prepare(CONFIG, _block(3), ids=ids, mask=ids != PAD)
    torch.testing.assert_close(prepared.embeds, _prepare(CONFIG, _block(3)).embeds)
    # Without a mask the original embeds padding like text.
    assert _prepare(CONFIG, _block(3), ids=ids).embeds.shape[1] == 126 + 8


@pytest.mark.parametrize(
    ("orientation", "grid"), [("hw", (6, 4)), ("wh", (4, 6))], ids=["released", "corrected"]
)
def test_orientation(orientation: str, grid: tuple[int, int]) -> None:
    config = dataclasses.replace(CONFIG, orientation=orientation)
    landscape = _block(2, height=720, width=1280)
    assert _prepare(config, landscape).grids == (grid,)
    # Stills were never confused.
    assert _prepare(config, _block(1, 720, 1280), still=True).grids == ((4, 6),)


@pytest.mark.parametrize(("height", "width"), [(10, 1000), (1000, 10), (1, 1), (1, 1000)])
def test_pictures_far_from_square_keep_the_whole_grid(height: int, width: int) -> None:
    prepared = _prepare(CONFIG, _block(20, height, width))
    assert prepared.grids == ((6, 6),)
    assert max(prepared.num_visual_tokens) <= 600 - 16 - 6


def test_stills_are_shown_at_low_resolution_as_released() -> None:
    blocks = (_block(1), _block(1, seed=1))
    prepared = _prepare(CONFIG, *blocks, still=True)
    assert prepared.num_visual_tokens == (20, 20)
    low = resize_grid(blocks[1].towers[0], 4).reshape(4, 4, WIDTH)
    visual = prepared.embeds[1, 3:23].reshape(4, 5, WIDTH)
    torch.testing.assert_close(visual[:, :4], low)
    high = _prepare(dataclasses.replace(CONFIG, highres=False), *blocks, still=True)
    assert high.num_visual_tokens == (42, 42)


def test_positions_count_sampled_frames_and_stills_are_frame_0() -> None:
    config = dataclasses.replace(CONFIG, frame_pos=True)
    block = _block(1)
    shift = _prepare(config, block, still=True).embeds - _prepare(CONFIG, block, still=True).embeds
    expected = torch.tensor([0.0, 1.0, 0.0, 1.0]).expand(20, -1)
    torch.testing.assert_close(shift[0, 3:23], expected, atol=1e-6, rtol=0.0)
    video = _block(3)
    shift = _prepare(config, video).embeds - _prepare(CONFIG, video).embeds
    sines = shift[0, 3:129, 0].reshape(3, 42)
    torch.testing.assert_close(sines, torch.arange(3.0).sin()[:, None].expand(-1, 42))


def test_over_the_low_resolution() -> None:
    over = _block(40)
    # As released, frames stay at high resolution and STC cuts them.
    assert _prepare(CONFIG, over).num_visual_tokens[0] <= 600 - 16 - 6
    mismatched = dataclasses.replace(CONFIG, image_token_len=16, lowres_side=3)
    assert resolution(65, len(PROMPT), mismatched) == "over"
    with pytest.raises(ConfigError, match="low_when_over"):
        _prepare(mismatched, _block(65))
    intended = dataclasses.replace(CONFIG, low_when_over=True, drop_threshold=1.1)
    prepared = _prepare(intended, over)
    assert prepared.grids == ((4, 4),)
    assert prepared.num_visual_tokens[0] <= 600 - 16 - 6


def test_the_paper_profile_runs_whatever_the_length() -> None:
    config = dataclasses.replace(
        PAPER, image_token_len=36, query_num=36, lowres_side=4, max_length=600
    )
    for num_frames in (1, 15, 20, 60):
        prepared = _prepare(config, _block(num_frames, 720, 1280))
        assert 1 <= prepared.num_visual_tokens[0] <= 600 - 16 - 6
        assert prepared.grids[0][0] < prepared.grids[0][1]


def test_a_question_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(BudgetError, match="shorten the text"):
        _prepare(dataclasses.replace(CONFIG, max_length=20), _block(3))


def test_prompts_and_videos_must_fit() -> None:
    with pytest.raises(OpError, match="one video"):
        _prepare(CONFIG, _block(3), ids=torch.tensor([PROMPT, PROMPT]))
    with pytest.raises(OpError, match="one placeholder"):
        _prepare(CONFIG, _block(3), ids=torch.tensor([[1, 2, 3]]))
    with pytest.raises(OpError, match="same T"):
        VisualBlock((_random(2, 4, 3), _random(3, 4, 3)), 10, 10)
