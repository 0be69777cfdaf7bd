"""Masks as run lengths in text: the format of COCO, as its annotations and most tools read it.

The columns of a mask are one sequence, top to bottom and left to right. Its runs, of background
and of the thing in turn, background first, are numbers; from the fourth on each is written as the
difference from the one before the last. A number is written in groups of five bits, the lowest
first, each as the character 48 + the group + 32 where another group follows; the fifth bit of the
last one is the sign.

Source: COCO API, `maskApi.c` (rleEncode, rleToString, rleFrString).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from longvid.errors import LongvidError, shown
from longvid.types import Mask

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FIRST, _GROUP, _MORE, _SIGN, _BITS = 48, 0x1F, 0x20, 0x10, 5


def encode_mask(mask: npt.NDArray[np.bool_]) -> Mask:
    """Return a mask (H, W) bool as run lengths.

    >>> import numpy as np
    >>> mask = np.zeros((4, 4), bool)
    >>> mask[1:3, 1] = True
    >>> encode_mask(mask)
    Mask(size=(4, 4), counts='529')
    """
    import numpy as np

    height, width = mask.shape
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    bounds = [0, *changes.tolist(), mask.size]
    runs = [end - start for start, end in itertools.pairwise(bounds)]
    return Mask((height, width), _text(runs))


def decode_mask(mask: Mask) -> npt.NDArray[np.bool_]:
    """Undo `encode_mask`, (H, W) bool.

    Raises:
        LongvidError: The runs are no text of this format, or do not fill the size.
    """
    import numpy as np

    runs = _runs(mask.counts)
    height, width = mask.size
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise LongvidError(
            f"The run lengths {shown(mask.counts)} do not fill a mask of {height}x{width}."
        )
    is_thing = np.arange(len(runs)) % 2 == 1
    return np.repeat(is_thing, runs).reshape(width, height).T


def _text(runs: list[int]) -> str:
    letters = []
    for place, run in enumerate(runs):
        rest = run - runs[place - 2] if place > 2 else run
        goes_on = True
        while goes_on:
            group, rest = rest & _GROUP, rest >> _BITS
            goes_on = rest != (-1 if group & _SIGN else 0)
            letters.append(chr(_FIRST + group + (_MORE if goes_on else 0)))
    return "".join(letters)


def _runs(text: str) -> list[int]:
    runs: list[int] = []
    number, shift = 0, 0
    for letter in text:
        code = ord(letter) - _FIRST
        if not 0 <= code <= _GROUP + _MORE:
            raise LongvidError(f"{shown(text)} holds {letter!r}, which is no run length of COCO.")
        number |= (code & _GROUP) << shift
        shift += _BITS
        if not code & _MORE:
            number -= (1 << shift) if code & _SIGN else 0
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number, shift = 0, 0
    if shift:
        raise LongvidError(f"{shown(text)} ends within a run length.")
    return runs
