"""Errors of transformers, tokenizers and torch about a checkpoint, as one sentence.

What a checkpoint states is data from outside, and the libraries check little of it: a wrong number
in config.json ends in whatever Python raises where it is used. They are mapped here, where the
libraries are called.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longvid.errors import ModelError


def foreign_errors() -> tuple[type[Exception], ...]:
    """Return the errors that the libraries raise for a checkpoint that is damaged or odd."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    return (
        OSError,
        ValueError,
        RuntimeError,  # RecursionError too
        MemoryError,
        ImportError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        EOFError,
        pickle.UnpicklingError,
        StrictDataclassError,
        SafetensorError,
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:300] if lines else type(error).__name__


@contextmanager
def checkpoint_errors(folder: Path, what: str) -> Iterator[None]:
    """Turn what the libraries raise about a checkpoint into a ModelError.

    Args:
        folder: The checkpoint.
        what: What is read, such as "The configuration".

    Raises:
        ModelError: The sentence names the folder and gives the library's reason.
    """
    try:
        yield
    except foreign_errors() as error:
        raise ModelError(
            f"{what} of {folder} cannot be used: {first_line(error)}; download the checkpoint "
            "again, or name another one."
        ) from error
