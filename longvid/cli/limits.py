"""Limits of the shell (`ulimit`), named when a command fails under them."""

from __future__ import annotations

import errno
import resource

from longvid.errors import LongvidError

#: Address space that a command needs with the smallest model, in bytes.
_NEEDED_BYTES = 3_000_000_000

#: What libraries say when an allocation or a mapping is refused.
_REFUSED = ("failed to map segment", "cannot allocate memory", "not enough memory")


def check_memory_limit() -> None:
    """Refuse a limit of address space that no command with a model can keep.

    Under such a limit a native library ends the process, or waits for a thread that could not be
    started: neither can be caught, so this is asked first.

    Raises:
        LongvidError: If `ulimit -v` is below what a command needs.
    """
    memory, _ = resource.getrlimit(resource.RLIMIT_AS)
    if memory != resource.RLIM_INFINITY and memory < _NEEDED_BYTES:
        raise LongvidError(
            f"This shell limits memory to {memory / 1e9:.1f} GB (ulimit -v); "
            f"longvid needs about {_NEEDED_BYTES / 1e9:.0f} GB: raise the limit."
        )


def limits_note() -> str:
    """Name the limits of this process that a command can run into, "" where there are none.

    Python's defaults are no limit of memory and of the size of files.
    """
    limits = []
    memory, _ = resource.getrlimit(resource.RLIMIT_AS)
    if memory != resource.RLIM_INFINITY:
        limits.append(f"memory {memory / 1e9:.1f} GB (ulimit -v)")
    file_size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if file_size != resource.RLIM_INFINITY:
        limits.append(f"size of a file {file_size / 1e6:.3g} MB (ulimit -f)")
    if not limits:
        return ""
    return f"this shell limits processes: {', '.join(limits)}; longvid needs about 3 GB of each"


def resource_sentence(error: Exception) -> str:
    """Say what ran out where an error of Python or of the system means that, else ""."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _REFUSED):
        return f"Memory ran out ({error}); close other programs or raise the limit."
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return "A file grew past the limit for files; raise it."
    if isinstance(error, FileNotFoundError) and "temporary directory" in text:
        return "No folder for temporary files can be written (TMPDIR, /tmp, /var/tmp); free space."
    return ""
