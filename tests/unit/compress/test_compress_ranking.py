"""Question-free pruning and merging of 2025: settings, widths, segments against whole videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from longvid import ops
from longvid.compress.flashvid import FlashVID
from longvid.compress.pooling import SlowFastPooling
from longvid.compress.ranking import (
    DifferentialTokenDrop,
    EfficientVideoSampling,
    VCast,
    VidCom2,
)
from longvid.compress.whole_video import compress_video
from longvid.errors import ConfigError, OpError
from longvid.methods import flashvid, flashvid_merging, vcast, vidcom2
from longvid.testing.synthetic import WIDTH, make_segment
from longvid.types import Segment, Tokens
from tests.reference.methods import outstanding_slowly, score_slowly

NAN = float("nan")
PARTS = [EfficientVideoSampling(), VidCom2(), VCast(), DifferentialTokenDrop(), FlashVID()]


def drifting(num_frames: int, side: int = 6, *, seed: int = 0, index: int = 0) -> Segment:
    """Make frames that differ from place to place and change slowly."""
    generator = torch.Generator().manual_seed(seed)
    scene = torch.randn(1, side, side, WIDTH, generator=generator)
    steps = 0.4 * torch.randn(num_frames, side, side, WIDTH, generator=generator)
    segment = make_segment(num_frames, side, side, segment_index=index)
    return segment.with_tokens(Tokens.from_grid(scene + steps.cumsum(0)))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: EfficientVideoSampling(ratio=1.0), r"evs.ratio .* go, in \[0, 1\), got 1.0"),
        (lambda: EfficientVideoSampling(ratio=NAN), "evs.ratio .* got nan"),
        (lambda: EfficientVideoSampling(score_width=-1), "evs.score_width must be 0"),
        (lambda: VidCom2(ratio=0.0), r"vidcom2.ratio .* stay, in \(0, 1\], got 0.0"),
        (lambda: VidCom2(ratio=NAN), "vidcom2.ratio .* got nan"),
        (lambda: VCast(ratio=0.0), r"vcast.ratio .* stay, in \(0, 1\], got 0.0"),
        (lambda: VCast(ratio=NAN), "vcast.ratio .* got nan"),
        (lambda: VCast(min_k=-1), "vcast.min_k must be 0 or"),
        (lambda: DifferentialTokenDrop(threshold=NAN), "dtd.threshold is a cosine"),
        (lambda: DifferentialTokenDrop(share=1.5), "dtd.share is the share"),
        (lambda: FlashVID(ratio=0.0), r"flashvid.ratio .* \(0, 1\], got 0.0"),
        (lambda: FlashVID(ratio=NAN), "flashvid.ratio .* got nan"),
        (lambda: FlashVID(alpha=1.1), r"flashvid.alpha must be in \[0, 1\]"),
        (lambda: FlashVID(min_scenes=0), "flashvid.min_scenes must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_tokens_without_a_common_grid_are_refused(part: Any) -> None:
    uneven = SlowFastPooling(fast_height=2, fast_width=2)(make_segment(4, 8, 8))
    with pytest.raises(OpError, match="frames share no patch grid"):
        part(uneven)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_score_width_compares_the_first_channels_and_carries_the_rest(part: Any) -> None:
    segment = drifting(8)
    extra = torch.arange(len(segment.tokens), dtype=torch.float32).unsqueeze(1)
    tokens = segment.tokens
    wide = Tokens(
        torch.cat([tokens.data, 1e3 * extra], dim=1), tokens.frame, tokens.position, tokens.size
    )
    alone = part(segment).tokens
    packed = dataclasses.replace(part, score_width=WIDTH)(segment.with_tokens(wide)).tokens
    torch.testing.assert_close(packed.data[:, :WIDTH], alone.data)
    assert torch.equal(packed.frame, alone.frame)
    assert torch.equal(packed.position, alone.position)
    # The last channel numbers the tokens: it came with the token whose place was kept.
    places = (packed.data[:, WIDTH] / 1e3).round().long()
    assert torch.equal(tokens.frame[places], packed.frame)
    assert torch.equal(tokens.position[places], packed.position)
    with pytest.raises(OpError, match="score_width is 99, and tokens here are 24 wide"):
        dataclasses.replace(part, score_width=99)(segment)


def test_one_keeps_everything() -> None:
    segment = drifting(6)
    for part in (EfficientVideoSampling(ratio=0.0), VCast(ratio=1.0), FlashVID(ratio=1.0)):
        assert torch.equal(part(segment).tokens.data, segment.tokens.data)
    # VidCom2's clamp takes a little of every frame that is like the video.
    assert len(VidCom2(ratio=1.0)(segment).tokens) <= len(segment.tokens)


def test_vcast_and_evs_keep_an_exact_count() -> None:
    segment = drifting(10)
    assert len(VCast(ratio=0.25)(segment).tokens) == round(360 * 0.25)
    assert len(EfficientVideoSampling(ratio=0.75)(segment).tokens) == int(360 * 0.25)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_dtd_is_causal(share: float) -> None:
    segment = drifting(9)
    part = DifferentialTokenDrop(threshold=0.9, share=share)
    whole = part(segment).tokens
    for num_frames in range(1, 9):
        rows = segment.tokens.frame < num_frames
        prefix = make_segment(num_frames, 6, 6).with_tokens(segment.tokens.keep(rows))
        kept = part(prefix).tokens
        assert torch.equal(kept.data, whole.data[whole.frame < num_frames])
        assert torch.equal(kept.frame, whole.frame[whole.frame < num_frames])


def test_flashvid_counts_patches_that_were_merged() -> None:
    segment = drifting(8)
    tokens = FlashVID(ratio=0.2)(segment).tokens
    assert len(tokens) < 0.25 * len(segment.tokens)
    # One scene of several frames: what is not chosen is merged, and nothing is lost.
    assert float(tokens.size.sum()) == len(segment.tokens)
    exact = flashvid.FlashVIDSettings(ratio=0.2, min_scenes=1, exact=True)
    merged = flashvid.compress(segment.tokens.data.view(8, 36, WIDTH), exact)
    total = (merged.data * merged.size.unsqueeze(1)).sum(0)
    torch.testing.assert_close(total, segment.tokens.data.sum(0), atol=1e-3, rtol=1e-4)


def test_flashvid_divides_by_direct_children_as_published() -> None:
    same = torch.ones(4, 1, 3)
    free = torch.ones(4, 1, dtype=torch.bool)
    published = flashvid_merging.merge_along_time(same, free, 0.8, 0)
    assert published.data[0].tolist() == [2.0, 2.0, 2.0]
    assert float(published.size[0]) == 4
    exact = flashvid_merging.merge_along_time(same, free, 0.8, 0, exact=True)
    assert exact.data[0].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fast_paths_equal_their_readable_twins(dtype: torch.dtype) -> None:
    x = drifting(7).tokens.data.view(7, 36, WIDTH).to(dtype)
    free = torch.ones(7, 36, dtype=torch.bool)
    free[:, ::5] = False
    best, parent = flashvid_merging.nearest_before(x, free)
    want, places = flashvid_merging.nearest_before_slowly(x, free)
    torch.testing.assert_close(best, want, atol=1e-5, rtol=0)
    assert torch.equal(parent[free[1:]], places[free[1:]])
    free[3, 1] = False  # frames with different numbers of tokens go the readable way
    torch.testing.assert_close(
        flashvid_merging.nearest_before(x, free)[0],
        flashvid_merging.nearest_before_slowly(x, free)[0],
    )
    channels = vidcom2.steady_channels(x)
    variance = x.flatten(0, 1).double().var(0, unbiased=False)
    assert torch.equal(channels, variance.sort(stable=True).indices[: WIDTH // 2])
    fast, slow = vidcom2.score(x, channels), score_slowly(x, channels)
    torch.testing.assert_close(fast.video, slow.video, atol=1e-5, rtol=0)
    torch.testing.assert_close(fast.frame, slow.frame, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vcast_scores_equal_those_of_the_formula(dtype: torch.dtype) -> None:
    x = torch.randn(5, 30, 70, generator=torch.Generator().manual_seed(4)).to(dtype)
    x[1, 3] = 0  # a token without a direction
    x[2] = 0  # a frame without one
    fast = vcast.outstanding(*ops.frame_products(x))
    torch.testing.assert_close(fast, outstanding_slowly(x), atol=2e-5, rtol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_a_token_that_is_not_finite_is_named(part: Any, bad: float) -> None:
    segment = drifting(4)
    data = segment.tokens.data.clone()
    data[50, 1] = bad  # of frame 1
    tokens = dataclasses.replace(segment.tokens, data=data)
    with pytest.raises(OpError, match=r"frame 1"):
        part(segment.with_tokens(tokens))


def test_flashvid_refuses_methods_that_need_attention_it_was_not_given() -> None:
    with pytest.raises(OpError, match="needs the vision tower's attention"):
        flashvid.choose(torch.randn(2, 4, 8), 2, "attn_div")


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_whole_video_is_the_joined_segment_cut_again(part: Any) -> None:
    video = drifting(12)
    tokens = video.tokens
    pieces = []
    for index, frames in enumerate((range(5), range(5, 6), range(6, 12))):
        rows = (tokens.frame >= frames.start) & (tokens.frame < frames.stop)
        cut = tokens.keep(rows)
        piece = make_segment(len(frames), 6, 6, segment_index=index)
        shifted = Tokens(cut.data, cut.frame - frames.start, cut.position, cut.size)
        pieces.append(piece.with_tokens(shifted))
    together = compress_video(part, pieces)
    assert [segment.key for segment in together] == [segment.key for segment in pieces]
    expected = part(video).tokens
    assert torch.equal(torch.cat([s.tokens.data for s in together]), expected.data)
    frames = [s.tokens.frame + start for s, start in zip(together, (0, 5, 6), strict=True)]
    assert torch.equal(torch.cat(frames), expected.frame)


def test_whole_video_refuses_what_is_not_one_video() -> None:
    part = VCast()
    assert compress_video(part, []) == []
    first, second = (make_segment(2, 4, 4, segment_index=index) for index in (0, 1))
    with pytest.raises(OpError, match="one video in time order"):
        compress_video(part, [second, first])
    with pytest.raises(OpError, match="one video in time order"):
        compress_video(part, [first, make_segment(2, 4, 4, video_id="b", segment_index=1)])
    with pytest.raises(OpError, match="one token space"):
        compress_video(part, [first, dataclasses.replace(second, space="other")])
