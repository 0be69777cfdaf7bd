"""LongVU: adaptive compression of a long video in time, then by question, then in space.

temporal.py   which frames survive (DINOv2 similarity)
grid.py       grids of patches: content area, grouping, two resolutions, newlines, positions
sva.py        the spatial vision aggregator, which fuses two vision towers
prune.py      question-guided resolution and spatial token compression (STC)
compose.py    all of it in the released order, up to the language model's input
checkpoint.py the published folders, and which of them do not fit
config.py     every number and every choice between the paper and the released code
"""

from __future__ import annotations

from longvid.models.longvu.compose import LongVU, PreparedInputs, VisualBlock
from longvid.models.longvu.config import LongVUConfig
from longvid.models.longvu.grid import (
    content_box,
    content_mask,
    crop_to_content,
    frame_positions,
    group_patches,
    resize_grid,
    with_newlines,
)
from longvid.models.longvu.prune import (
    cut_tails,
    fit_to_budget,
    frame_scores,
    num_high_frames,
    query_guided_frames,
    similar_to_anchor,
    spatial_token_compression,
)
from longvid.models.longvu.temporal import (
    frame_similarity,
    frame_similarity_reference,
    max_num_frames,
    select_frames,
    select_marked,
    text_length,
)

__all__ = [
    "LongVU",
    "LongVUConfig",
    "PreparedInputs",
    "VisualBlock",
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
