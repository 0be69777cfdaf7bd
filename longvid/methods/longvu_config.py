"""Every number of LongVU, and every choice where the paper and the released code differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

from longvid.errors import ConfigError, require_at_least, require_one_of

LLAMA_PAD_TOKEN_ID = 128002


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number


@dataclass(frozen=True, slots=True)
class LongVUConfig:
    """Settings of LongVU; the defaults are the released code; the paper differs.

    Args:
        image_token_len: Tokens of a frame at high resolution, a square number.
        query_num: Queries of the aggregator, a square number; where it is not image_token_len,
            its output is resized.
        lowres_side: Side of the low-resolution grid.
        highres: Whether frames of two resolutions may be mixed.
        max_length: The language model's context, tokens (`tokenizer_model_max_length`).
        answer_length: Tokens kept free for the answer (`inference_max_length`).
        pad_token_id: Ends the text when its length is counted. The default is Qwen's; Llama's is
            LLAMA_PAD_TOKEN_ID.
        window: Frames of a window of temporal reduction.
        dino_threshold: Frames as similar to their window as this are dropped.
        include_self: Whether a frame's similarity to itself counts in the average.
        force_middle: Whether the middle frame of a window always survives. Otherwise it does only
            if none else would.
        always_reduce: Reduce in time even when all frames fit.
        max_frames: Frames kept at most after temporal reduction, evenly; 0 for no limit.
        low_when_over: Show frames at low resolution when even that exceeds the context. The
            released code intends it and shows them at high resolution.
        score_resolution: Frames are scored against the question by their "low" or "high" tokens.
        chunk: Frames of a chunk of spatial token compression.
        drop_threshold: Tokens as similar to their chunk's first frame as this are dropped.
        orientation: "hw": heights and widths of a video are confused when padding is cut, as
            released; "wh": the padding is what is cut.

    Source: LongVU sections 3.2 to 3.4, `cambrian_arch.py`, `train.py`.
    """

    image_token_len: int = 144
    query_num: int = 144
    lowres_side: int = 8
    highres: bool = True
    max_length: int = 8192
    answer_length: int = 16
    pad_token_id: int = 151643
    window: int = 16
    dino_threshold: float = 0.83
    include_self: bool = True
    force_middle: bool = True
    always_reduce: bool = False
    max_frames: int = 400
    low_when_over: bool = False
    score_resolution: str = "low"
    chunk: int = 8
    drop_threshold: float = 0.8
    orientation: str = "hw"

    def __post_init__(self) -> None:
        for name in ("image_token_len", "query_num"):
            if not _is_square(getattr(self, name)):
                raise ConfigError(
                    f"longvu.{name} must be a square number, got {getattr(self, name)}; released "
                    "video checkpoints have 144, image checkpoints 576."
                )
        for name in ("lowres_side", "max_length", "window", "chunk"):
            require_at_least(f"longvu.{name}", getattr(self, name), 1)
        if self.max_frames < 0 or self.answer_length < 0:
            raise ConfigError("longvu.max_frames and longvu.answer_length cannot be negative.")
        if not self.dino_threshold > 0:
            raise ConfigError(
                f"longvu.dino_threshold must be above 0, got {self.dino_threshold}; at 0 not even "
                "the middle frame of a window survives."
            )
        require_one_of("longvu.orientation", self.orientation, ("hw", "wh"))
        require_one_of("longvu.score_resolution", self.score_resolution, ("low", "high"))

    @property
    def high_side(self) -> int:
        """Side of the high-resolution grid."""
        return math.isqrt(self.image_token_len)

    @property
    def query_side(self) -> int:
        """Side of the aggregator's grid of queries."""
        return math.isqrt(self.query_num)
