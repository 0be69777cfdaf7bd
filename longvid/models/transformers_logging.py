"""Keep what transformers says to a terminal, and nobody can act on, off it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["quiet"]

_LOGGERS = ("configuration_utils", "generation.configuration_utils")
#: Parts of the complaints.
_IDLE = (
    "between 0 and 31999), got 4940",
    "to instantiate a model of type",
    "generation flags are not valid",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars for weights, and complaints that nobody can act on.

    Reading any SigLIP checkpoint makes transformers build its own default text configuration,
    whose token ids (49406, 49407) lie outside its own default vocabulary, and warn of them. Reading
    the tokenizer of LLaMA-VID makes it warn of a name in a configuration that it has no use for;
    that of LongVU, of an architecture that it does not know and need not; Vicuna's weights, of
    settings for sampling, which longvid takes from its own configuration.
    """
    import transformers

    # Typed only in part, so it is handled as an untyped library is.
    bars: Any = transformers.utils.logging
    loggers = [logging.getLogger(f"transformers.{name}") for name in _LOGGERS]
    were_enabled = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    for logger in loggers:
        logger.addFilter(_concerns_this_checkpoint)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`rope_scaling` is deprecated", FutureWarning)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_concerns_this_checkpoint)
        if were_enabled:
            bars.enable_progress_bar()


def _concerns_this_checkpoint(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return not any(part in text for part in _IDLE)
