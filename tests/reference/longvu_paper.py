"""LongVU's settings in the paper, where they differ from the released code."""

from __future__ import annotations

from tests.reference.longvu_composition import ReferenceConfig

#: Windows of 8 frames, compared with the others only and with no frame forced, always reduced and
#: without a limit; the low resolution when over budget; threshold 0.75 for STC; padding cut the
#: right way round. Source: LongVU sections 3.2 to 3.4.
PAPER = ReferenceConfig(
    window=8,
    include_self=False,
    force_middle=False,
    always_reduce=True,
    max_frames=0,
    low_when_over=True,
    score_resolution="high",
    drop_threshold=0.75,
    orientation="wh",
    cosine_of_sine=False,
)
