"""Call transformers: without messages that nobody can act on, and one thread at a time."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from longvid.errors import ModelError

# Held by the thread that loads something. transformers replaces functions of torch while it builds
# a model, and filters of warnings belong to the process: of two threads that load at once, one
# gets a model without storage, and the process keeps the replaced functions.
_LOADING_LOCK = threading.RLock()
# torch writes its default into the environment when transformers imports a part of it.
_SET_BY_TORCH = "TORCHINDUCTOR_CACHE_DIR"


@contextmanager
def loading() -> Iterator[None]:
    """Load models or tokenizers in this thread alone, and leave the environment as it was.

    Raises:
        ModelError: Python was started in a way in which transformers cannot be imported.
    """
    if sys.flags.optimize >= 2:
        raise ModelError(
            "Python was started with -OO (or PYTHONOPTIMIZE=2), which removes docstrings that "
            "transformers reads when it is imported; start it without, or with -O."
        )
    with _LOADING_LOCK:
        was_set = _SET_BY_TORCH in os.environ
        try:
            yield
        finally:
            if not was_set:
                os.environ.pop(_SET_BY_TORCH, None)


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

    Other threads that load wait until the block ends.

    Reading any SigLIP checkpoint makes transformers build its own default text configuration,
    whose token ids (49406, 49407) lie outside its own default vocabulary, and warn of them. Reading
    the tokenizer of LLaMA-VID makes it warn of a name in a configuration that it has no use for;
    that of LongVU, of an architecture that it does not know and need not; Vicuna's weights, of
    settings for sampling, which longvid takes from its own configuration.
    """
    with loading():
        yield from _silenced()


def _silenced() -> Iterator[None]:
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
