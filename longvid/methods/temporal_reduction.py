"""LongVU's temporal reduction: drop frames that look like the rest of their window.

This module knows one feature map per frame (DINOv2 in the original) and the room that the text
leaves. It does not know pixels, nor the language model's tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from einops import rearrange

from longvid.errors import OpError
from longvid.lazy_import import ops, torch
from longvid.methods.longvu_config import LongVUConfig

if TYPE_CHECKING:
    from torch import Tensor


def text_length(input_ids: Tensor, pad_token_id: int) -> int:
    """Count the tokens before the first padding token, the image placeholder included.

    Args:
        input_ids: (L,) int64.
        pad_token_id: The id that pads.

    Source: LongVU, `cambrian_arch.py` select_frame.
    """
    padding = torch.nonzero(input_ids == pad_token_id)
    return int(padding[0, 0]) if len(padding) else int(input_ids.shape[0])


def max_num_frames(text_tokens: int, config: LongVUConfig) -> int:
    """Return how many frames fit at the coarsest resolution; fewer than this are all kept.

    Newline tokens are not counted, as in the original.

    Args:
        text_tokens: Tokens of the text, the image placeholder included.
        config: Context, answer length, tokens per frame.

    Returns:
        At least 1.

    Source: LongVU, `cambrian_arch.py` select_frame.
    """
    per_frame = config.lowres_side**2 if config.highres else config.image_token_len
    return max(1, (config.max_length - text_tokens - config.answer_length) // per_frame)


def _window_lengths(num_frames: int, window: int, device: torch.device) -> Tensor:
    """Return the number of frames of each window: (W,) int64, the last may be shorter."""
    starts = torch.arange(0, num_frames, window, device=device)
    return (num_frames - starts).clamp(max=window)


def frame_similarity(dino: Tensor, window: int, *, include_self: bool = True) -> Tensor:
    """Average the cosine similarity of every frame to the frames of its window.

    A frame alone in its window has similarity 1 with itself included and 0 without.

    Args:
        dino: (T, P, C) float, feature map of every frame, compared as one long vector.
        window: Frames per window; the last may be shorter.
        include_self: Divide by n and count the frame itself, as released; otherwise by n - 1.

    Returns:
        (T,) float32.

    Source: LongVU section 3.2; `cambrian_arch.py` select_frame counts the frame itself.
    """
    gram = ops.window_gram(dino.flatten(1), window)  # (W, window, window)
    lengths = _window_lengths(dino.shape[0], window, dino.device)
    total = gram.sum(-1)
    if not include_self:
        total = total - gram.diagonal(dim1=1, dim2=2)
    others = lengths if include_self else (lengths - 1).clamp(min=1)
    return rearrange(total / others[:, None], "w f -> (w f)")[: dino.shape[0]]


def _thin_out(indices: Tensor, limit: int) -> Tensor:
    """Keep `limit` of the indices, evenly: number floor(len / limit * i)."""
    if limit == 0 or len(indices) <= limit:
        return indices
    step = len(indices) / float(limit)
    return indices[[int(step * i) for i in range(limit)]]


def select_frames(dino: Tensor, text_tokens: int, config: LongVUConfig) -> Tensor:
    """Choose the frames of a video that survive temporal reduction.

    As released, nothing is dropped while the frames number fewer than `max_num_frames`; then a
    frame survives if its average similarity within its window is below the threshold, or if it is
    the middle of the window.

    Args:
        dino: (T, P, C) float, feature map of every sampled frame.
        text_tokens: Tokens of the text, the image placeholder included.
        config: Window, threshold and profile.

    Returns:
        (k,) int64 frame indices, increasing, k >= 1.

    Raises:
        OpError: There is no frame.

    Source: LongVU section 3.2, `cambrian_arch.py` select_frame.
    """
    if dino.dim() != 3 or not len(dino):
        raise OpError(
            f"Temporal reduction takes features (T, P, C) with T >= 1, got {tuple(dino.shape)}."
        )
    num_frames = len(dino)
    if not config.always_reduce and num_frames < max_num_frames(text_tokens, config):
        return torch.arange(num_frames, device=dino.device)
    similarity = frame_similarity(dino, config.window, include_self=config.include_self)
    lengths = _window_lengths(num_frames, config.window, dino.device)
    middles = torch.arange(0, num_frames, config.window, device=dino.device) + lengths // 2
    keep = similarity < config.dino_threshold
    if config.force_middle:
        keep[middles] = True
    else:
        # No window may vanish: its middle frame stands for it.
        window_of = torch.arange(num_frames, device=dino.device) // config.window
        survivors = torch.zeros_like(lengths).index_add_(0, window_of, keep.long())
        keep[middles[survivors == 0]] = True
    return _thin_out(torch.nonzero(keep).flatten(), config.max_frames)


def select_marked(marked: Tensor, text_tokens: int, config: LongVUConfig) -> Tensor:
    """Choose the surviving frames of a video whose windows were compared when it was indexed.

    Which frames resemble their window does not depend on the question; whether they are dropped
    does, because the text takes room. Equal to `select_frames`.

    Args:
        marked: (T,) bool, the frames that `select_frames` keeps where it always reduces.
        text_tokens: Tokens of the text, the image placeholder included.
        config: Context, answer length, tokens per frame.

    Returns:
        (k,) int64 frame indices, increasing.

    Source: LongVU section 3.2, `cambrian_arch.py` select_frame.
    """
    num_frames = len(marked)
    if not config.always_reduce and num_frames < max_num_frames(text_tokens, config):
        return torch.arange(num_frames, device=marked.device)
    return _thin_out(torch.nonzero(marked).flatten(), config.max_frames)
