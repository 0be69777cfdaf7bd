"""Models of transformers that take video and have no adapter here, each with the reason.

The test beside it compares this list with transformers' own table, so a release that brings
another model makes it fail until that model is here or has an adapter. One that takes pictures is
listed where a compressor here makes its tokens.
"""

from __future__ import annotations

_INDEXED = "its attention is sparse, by an index over a prompt that is read whole"
_DOCUMENTS = "its checkpoints read documents, a page at a time"
_TO_DO = "one adapter would do, and nobody has written it yet"

#: `model_type` in config.json, and why it is left out.
LEFT_OUT: dict[str, str] = {
    "cohere_compass": "features of inner layers enter layers of two kinds; " + _TO_DO,
    "cosmos3_edge": "a tower of any size under three rotary axes; " + _TO_DO,
    "dots3_note": _INDEXED,
    "ernie4_5_vl_moe": "its experts are chosen by the kind of a token, which embeddings do not say",
    "gemma4_unified": "it has no tower: a projection of patches is all that could be kept",
    "glm5_next": _INDEXED,
    "glm_ocr": _DOCUMENTS,
    "idefics": "its tokens are read by layers of cross-attention inside the language model, as "
    "Flamingo's are, and not in the prompt",
    "kimi_k25": "it pools groups of frames along time, with a clock of milliseconds; " + _TO_DO,
    "lfm3_vl": "steps with their seconds before them; " + _TO_DO,
    "minicpm_ocr": _DOCUMENTS,
    "minicpmv4_7": "positions lie on a canvas that the marks around a frame are pinned to",
    "minimax_m3_vl": _INDEXED,
    "muse_glimmer": "times are written by a format of the processor, a mark between steps; "
    + _TO_DO,
    "muse_spark": "times are written by a format of the processor, a mark between steps; " + _TO_DO,
    "nemotron_h_omni": "pairs of frames are labelled with both times; " + _TO_DO,
    "qianfan_ocr": _DOCUMENTS,
    "qwen3_omni_moe_thinker": "the reader of a speaking model, with features of layers; " + _TO_DO,
    "qwen4_exp": "embeddings of groups of ids are read beside those of tokens; " + _INDEXED,
    "video_llava": "it has one tower for pictures and another for video, of eight frames exactly",
}
