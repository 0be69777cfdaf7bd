"""Finding grids and equal counts in ragged tokens."""

from __future__ import annotations

import pytest
import torch

from longvid.compress.grid import equal_groups, full_grids, same_grid
from longvid.errors import OpError
from longvid.methods.token_pooling import require_finite
from longvid.testing.synthetic import make_segment
from longvid.types import Segment, Tokens


def joined(first: Segment, second: Segment) -> Segment:
    """Put the frames of the second segment behind those of the first."""
    tokens = Tokens(
        torch.cat([first.tokens.data, second.tokens.data]),
        torch.cat([first.tokens.frame, second.tokens.frame + first.num_frames]),
        torch.cat([first.tokens.position, second.tokens.position]),
        torch.cat([first.tokens.size, second.tokens.size]),
    )
    return make_segment(first.num_frames + second.num_frames, 1, 1).with_tokens(tokens)


def test_grids_of_different_shape_and_equal_count_are_told_apart() -> None:
    segment = joined(make_segment(2, 4, 6), make_segment(3, 6, 4))
    groups = full_grids("part", segment)
    assert [(group.height, group.width) for group in groups] == [(4, 6), (6, 4)]
    assert [group.frames.tolist() for group in groups] == [[0, 1], [2, 3, 4]]
    rows = torch.cat([group.tokens for group in groups]).flatten()
    assert rows.tolist() == list(range(5 * 24))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (27, 27), (64, 48)])
def test_grid_is_read_from_positions(height: int, width: int) -> None:
    (group,) = full_grids("part", make_segment(2, height, width))
    assert (group.height, group.width) == (height, width)


def test_pruned_and_shuffled_frames_are_no_grid() -> None:
    segment = make_segment(3, 4, 4)
    keep = torch.ones(48, dtype=torch.bool)
    keep[20] = False
    pruned = segment.with_tokens(segment.tokens.keep(keep))
    with pytest.raises(OpError, match=r"part: the 15 tokens of frame 1 .* \(47, 24\) in 3 frames"):
        full_grids("part", pruned)
    order = torch.arange(48)
    order[[17, 18]] = torch.tensor([18, 17])
    with pytest.raises(OpError, match="frame 1 are not a full patch grid"):
        full_grids("part", segment.with_tokens(segment.tokens.keep(order)))


def test_same_grid_wants_equal_places() -> None:
    assert same_grid("part", make_segment(3, 2, 5)).tolist()[1] == list(range(10, 20))
    for other in (make_segment(1, 5, 2), make_segment(1, 3, 3)):
        with pytest.raises(OpError, match="share no patch grid"):
            same_grid("part", joined(make_segment(2, 2, 5), other))


def test_equal_groups_gather_runs_of_one_length() -> None:
    counts = torch.tensor([2, 0, 3, 2])
    found = [
        (runs.tolist(), index.tolist())
        for runs, index in equal_groups(counts.cumsum(0) - counts, counts)
    ]
    assert found == [([0, 3], [[0, 1], [5, 6]]), ([2], [[2, 3, 4]])]


def test_large_finite_half_precision_is_finite() -> None:
    segment = make_segment(1, 2, 2)
    data = torch.full((4, 24), 6e4, dtype=torch.float16)
    tokens = segment.tokens
    require_finite(
        "part", segment.with_tokens(Tokens(data, tokens.frame, tokens.position, tokens.size))
    )
