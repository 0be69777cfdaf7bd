"""Masks as COCO's run lengths: written by hand, read back, and as its own library writes them."""

from __future__ import annotations

import numpy as np
import pytest

from longvid.errors import LongvidError
from longvid.methods.run_lengths import decode_mask, encode_mask
from longvid.types import Mask


def made(*runs: int, height: int) -> np.ndarray:
    """Return the mask of some runs, background first, column by column."""
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(-1, height).T


@pytest.mark.parametrize(
    ("runs", "height", "counts"),
    [
        # Columns of a 4 x 4 mask: nothing; its two middle rows; nothing.
        ((5, 2, 9), 4, "529"),
        # The first pixel is of the thing: no background before it.
        ((0, 4), 2, "04"),
        # 100 = 3 * 32 + 4: the character 48 + 4 + 32, then 48 + 3.
        ((100,), 10, "T3"),
        # 16 alone would read as a negative number: 48 + 16 + 32, then 48.
        ((16,), 4, "`0"),
        # The fourth run is 1, and the second was 2: -1 is five ones, 48 + 31.
        ((5, 2, 8, 1), 4, "528O"),
        # The fourth is 40, the second 1: 39 = 32 + 7, 48 + 7 + 32 and 48 + 1.
        ((1, 1, 2, 40), 4, "112W1"),
    ],
)
def test_runs_by_hand(runs: tuple[int, ...], height: int, counts: str) -> None:
    mask = made(*runs, height=height)
    encoded = encode_mask(mask)
    assert encoded == Mask(mask.shape, counts)
    assert np.array_equal(decode_mask(encoded), mask)


def test_any_mask_comes_back() -> None:
    rng = np.random.default_rng(1)
    for share in (0.0, 0.02, 0.5, 0.98, 1.0):
        for size in ((1, 1), (7, 3), (64, 96), (1, 4000)):
            mask = rng.random(size) < share
            assert np.array_equal(decode_mask(encode_mask(mask)), mask)


def test_it_is_what_cocos_library_writes() -> None:
    library = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(2)
    for share in (0.0, 0.02, 0.5, 1.0):
        mask = rng.random((48, 80)) < share
        theirs = library.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert encode_mask(mask) == Mask(tuple(theirs["size"]), theirs["counts"].decode())
        assert np.array_equal(library.decode(theirs).astype(bool), mask)


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [("52", "do not fill"), ("5é", "no run length"), ("52h", "ends within"), ("O", "do not fill")],
)
def test_other_text_is_refused(counts: str, sentence: str) -> None:
    with pytest.raises(LongvidError, match=sentence):
        decode_mask(Mask((4, 4), counts))
    with pytest.raises(LongvidError, match="positive"):
        Mask((0, 4), "")
