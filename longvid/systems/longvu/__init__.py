"""LongVU: adaptive compression of a long video in time, then by question, then in space.

The formulas are `methods/temporal_reduction.py`, `methods/stc.py` and `methods/longvu_config.py`.
"""

from __future__ import annotations

from longvid.methods.longvu_config import LongVUConfig
from longvid.methods.stc import (
    cut_tails,
    fit_to_budget,
    frame_scores,
    num_high_frames,
    query_guided_frames,
    similar_to_anchor,
    spatial_token_compression,
)
from longvid.methods.temporal_reduction import (
    frame_similarity,
    frame_similarity_reference,
    max_num_frames,
    select_frames,
    select_marked,
    text_length,
)
from longvid.systems.longvu.padded_grid import (
    content_box,
    content_mask,
    crop_to_content,
    frame_positions,
    group_patches,
    resize_grid,
    with_newlines,
)

__all__ = [
    "LongVUConfig",
    "content_box",
    "content_mask",
    "crop_to_content",
    "cut_tails",
    "fit_to_budget",
    "frame_positions",
    "frame_scores",
    "frame_similarity",
    "frame_similarity_reference",
    "group_patches",
    "max_num_frames",
    "num_high_frames",
    "query_guided_frames",
    "resize_grid",
    "select_frames",
    "select_marked",
    "similar_to_anchor",
    "spatial_token_compression",
    "text_length",
    "with_newlines",
]
