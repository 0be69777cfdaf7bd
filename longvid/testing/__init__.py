"""The laws of parts, for tests of your own.

    from longvid.testing import check_compressor

    def test_laws() -> None:
        check_compressor(EveryOther())

Each function raises `LawError`, one sentence that names the law, or returns None. The project's own
property tests call the same functions with many more inputs.
"""

from longvid.errors import LawError
from longvid.testing.compressor_laws import check_compressor
from longvid.testing.decoder_laws import check_decoder
from longvid.testing.language_model_laws import check_language_model
from longvid.testing.model_laws import (
    check_encoder,
    check_grounder,
    check_reranker,
    check_text_source,
)
from longvid.testing.part_laws import check_part
from longvid.testing.reducer_laws import check_reducer
from longvid.testing.selector_laws import check_selector
from longvid.testing.synthetic import make_frames, make_query, make_segment

__all__ = [
    "LawError",
    "check_compressor",
    "check_decoder",
    "check_encoder",
    "check_grounder",
    "check_language_model",
    "check_part",
    "check_reducer",
    "check_reranker",
    "check_selector",
    "check_text_source",
    "make_frames",
    "make_query",
    "make_segment",
]
