"""LongVU's grids: the content area of a padded frame, patch groups, newlines, positions.

Frames are padded to a square before the towers see them; here the padding is cut again. Sizes are
given as (width, height): who calls decides what those are, because the released code hands over
(height, width) for videos and so cuts content and keeps padding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from einops import rearrange

from longvid.errors import OpError
from longvid.lazy_import import F, torch
from longvid.methods.longvu_config import LongVUConfig

if TYPE_CHECKING:
    from torch import Tensor


def content_box(side: int, width: int, height: int) -> tuple[slice, slice]:
    """Find the rows and columns of a square grid that a picture of this shape fills.

    >>> content_box(12, width=1280, height=720)
    (slice(3, 9, None), slice(0, 12, None))

    A picture far from square may fill no cell: one of the slices is then empty.

    Args:
        side: Side of the grid.
        width: Width of the picture before padding, any unit.
        height: Height of the picture.

    Returns:
        The slice of rows and the slice of columns.

    Raises:
        OpError: A size is below 1.

    Source: LongVU, `cambrian_arch.py` unpad_image, which reads its sizes as (width, height).
    """
    if width < 1 or height < 1 or side < 1:
        raise OpError(
            f"A content area needs sizes of at least 1, got {width} x {height} on a grid of "
            f"side {side}."
        )
    everything = slice(0, side)
    # The factor is rounded before it is multiplied: side * height / width can differ by one.
    if width > height:
        padding = (side - int(height * (side / width))) // 2
        return slice(padding, side - padding), everything
    padding = (side - int(width * (side / height))) // 2
    return everything, slice(padding, side - padding)


def content_mask(side: int, width: int, height: int) -> Tensor:
    """Mark the cells of a square grid that a picture of this shape fills, (side, side) bool.

    Args:
        side: Side of the grid.
        width: Width of the picture before padding.
        height: Height of the picture.

    Source: LongVU, `cambrian_arch.py` unmask_attention_mask.
    """
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[content_box(side, width, height)] = True
    return mask


def crop_to_content(x: Tensor, width: int, height: int) -> Tensor:
    """Cut the padding off a grid of tokens, unless nothing would be left.

    Args:
        x: (F, side, side, D).
        width: Width of the picture before padding.
        height: Height of the picture.

    Returns:
        (F, h, w, D); the whole grid where the content area is empty.

    Source: LongVU, `cambrian_arch.py` unpad_image and the fallback around it.
    """
    rows, columns = content_box(x.shape[1], width, height)
    cropped = x[:, rows, columns]
    return cropped if cropped.shape[1] and cropped.shape[2] else x


def group_patches(
    x: Tensor, query_side: int, width: int, height: int, *, unpad: bool = False
) -> tuple[Tensor, Tensor]:
    """Give each query of a coarse grid the patches of a fine grid that lie under it.

    Args:
        x: (F, side * side, C), row-major.
        query_side: Side of the coarse grid; side must be a multiple of it.
        width: Width of the picture before padding.
        height: Height of the picture.
        unpad: Leave out the queries outside of the content area.

    Returns:
        groups (F * q, r * r, C) and mask (F * q, r * r) bool, true inside the content area, with
        r = side / query_side and q queries a frame. A group entirely outside is unmasked.

    Raises:
        OpError: The fine grid is not a multiple of the coarse one.

    Source: LongVU section 3.1, `cambrian_arch.py` rearrange_vision_tower_features_inference.
    """
    num_frames, num_patches, _ = x.shape
    side = math.isqrt(num_patches)
    if side * side != num_patches or side % query_side:
        raise OpError(
            f"{num_patches} patches do not divide among {query_side} x {query_side} queries; "
            "check query_num and image_token_len of the checkpoint (144 for video, 576 for image)."
        )
    r = side // query_side
    groups = rearrange(x, "f (h r) c -> f h r c", h=side)
    groups = rearrange(groups, "f (h a) (w b) c -> f h w (a b) c", a=r, b=r)
    mask = content_mask(side, width, height).to(x.device)
    mask = rearrange(mask, "(h a) (w b) -> h w (a b)", a=r, b=r)
    if unpad:
        box = content_box(query_side, width, height)
        groups, mask = groups[:, box[0], box[1]], mask[box]
    mask = mask | ~mask.any(-1, keepdim=True)
    return (
        rearrange(groups, "f h w r c -> (f h w) r c"),
        mask.flatten(0, 1).repeat(num_frames, 1),
    )


def resize_grid(x: Tensor, side: int) -> Tensor:
    """Resize a square grid of tokens, bilinearly and in float32; corners are not aligned.

    Args:
        x: (F, P, D), P patches of a square grid in row-major order.
        side: Side of the grid wanted.

    Returns:
        (F, side * side, D) in x's dtype.

    Source: LongVU, `cambrian_arch.py` (12 x 12 to 8 x 8 for the low resolution).
    """
    images = rearrange(x, "f (h w) d -> f d h w", h=math.isqrt(x.shape[1]))
    resized = F.interpolate(images.float(), size=(side, side), mode="bilinear", align_corners=False)
    return rearrange(resized, "f d h w -> f (h w) d").to(x.dtype)


def with_newlines(x: Tensor, newline: Tensor) -> Tensor:
    """End each row of a grid with the newline token and flatten the grid, (F, h * (w + 1), D).

    Args:
        x: (F, h, w, D).
        newline: (D,) learned.

    Source: LongVU, `cambrian_arch.py` (`image_newline`).
    """
    ends = newline.to(x.dtype).expand(x.shape[0], x.shape[1], 1, -1)
    return torch.cat([x, ends], dim=2).flatten(1, 2)


def resolution(num_frames: int, text_tokens: int, config: LongVUConfig) -> str:
    """Decide at which resolution a video can be shown.

    Newline tokens are not counted, as in the original.

    Args:
        num_frames: Frames after temporal reduction.
        text_tokens: Tokens of the text, the image placeholder included.
        config: Context and tokens per frame.

    Returns:
        "high" where every frame fits at high resolution, "mixed" where every frame fits at low
        resolution, "over" where not even that.

    Source: LongVU section 3.3, `cambrian_arch.py` (`input_mix_res`, `input_high_res`).
    """
    room = config.max_length - text_tokens - config.answer_length
    if num_frames < max(1, room // config.image_token_len):
        return "high"
    return "over" if num_frames > max(1, room // config.lowres_side**2) else "mixed"
