"""Keep what transformers says to a terminal, and nobody can act on, off it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars for weights, and one complaint of the library about itself.

    Reading any SigLIP checkpoint makes transformers build its own default text configuration,
    whose token ids (49406, 49407) lie outside its own default vocabulary, and warn of them. Reading
    the tokenizer of LLaMA-VID makes it warn of a name in a configuration that it has no use for.
    """
    import transformers

    # Typed only in part, so it is handled as an untyped library is.
    bars: Any = transformers.utils.logging
    logger = logging.getLogger("transformers.configuration_utils")
    were_enabled = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    logger.addFilter(_concerns_this_checkpoint)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`rope_scaling` is deprecated", FutureWarning)
            yield
    finally:
        logger.removeFilter(_concerns_this_checkpoint)
        if were_enabled:
            bars.enable_progress_bar()


def _concerns_this_checkpoint(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    about_defaults = "between 0 and 31999), got 4940" in text
    return not about_defaults
