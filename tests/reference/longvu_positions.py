"""LongVU's positions of frames, which no released checkpoint uses (`frame_pos`)."""

from __future__ import annotations

import functools

import torch
from einops import rearrange
from torch import Tensor

from longvid.errors import OpError


@functools.cache
def _frequencies(width: int) -> Tensor:
    """Return 10000^(-2m / width) for every m < width / 2, (width / 2,) float32.

    One by one, as released: a vectorised power differs in the last bit, which a frame index of a
    thousand makes 2e-4.
    """
    powers = [
        torch.pow(torch.tensor(10000), torch.tensor(2 * m / width)) for m in range(width // 2)
    ]
    return 1.0 / torch.stack(powers)


def frame_positions(frames: Tensor, width: int, *, cosine_of_sine: bool = True) -> Tensor:
    """Encode frame indices as sines and cosines of growing wavelength.

    Component 2m is sin(t / 10000^(2m / width)). Component 2m + 1 is the cosine of the same angle,
    or, as released, the cosine of component 2m.

    Args:
        frames: (F,) int64, index of each frame among the sampled frames.
        width: Token width D, even.
        cosine_of_sine: Reproduce the released code.

    Returns:
        (F, 1, D) float32.

    Raises:
        OpError: The width is odd.

    Source: LongVU, `cambrian_arch.py` get_frame_pos.
    """
    if width % 2:
        raise OpError(f"Frame positions need an even token width, got {width}.")
    angle = _frequencies(width).to(frames.device) * frames[:, None]  # (F, D / 2)
    sine = angle.sin()
    cosine = sine.cos() if cosine_of_sine else angle.cos()
    return rearrange([sine, cosine], "s f m -> f 1 (m s)")
