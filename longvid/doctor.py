"""Examine this machine: what longvid found, what it will use, and every fallback by name."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

__all__ = ["Finding", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination.

    Args:
        state: "ok", "fallback" (works, slower or with less), "warning" or "error".
        what: The thing examined.
        found: What it is here.
        remark: What follows from it, or what to do; may be "".
    """

    state: str
    what: str
    found: str
    remark: str = ""


def examine() -> list[Finding]:
    """Examine everything, in the order of the path.

    Returns:
        One finding a thing; an "error" means that the default path cannot run.
    """
    return [
        *_machine(),
        *_decoding(),
        *_operations(),
        *_models(),
        *_optional(),
    ]


def _machine() -> Iterator[Finding]:
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding("ok", "python", platform.python_version(), sys.prefix)
    yield Finding("ok", "machine", f"{os.cpu_count()} cores, {memory:.0f} GiB")
    if torch.cuda.is_available():
        yield Finding("ok", "torch", torch.__version__, torch.cuda.get_device_name(0))
    else:
        yield Finding("fallback", "torch", torch.__version__, "no GPU: models run on the CPU")


def _decoding() -> Iterator[Finding]:
    from longvid.decode import available_decoders, ffmpeg_version

    version, recent = ffmpeg_version()
    yield Finding(
        "ok" if recent else "warning",
        "FFmpeg in PyAV",
        version,
        "" if recent else "older than 8.1.2: known holes in its parsers; upgrade the package av",
    )
    for name, reason in available_decoders().items():
        if name == "pyav":
            yield Finding("error" if reason else "ok", "decoder pyav", "default", reason)
        else:
            found = "not usable" if reason else "usable"
            yield Finding("ok", f"decoder {name}", found, reason)


def _operations() -> Iterator[Finding]:
    import torch

    from longvid import ops
    from longvid.ops.schema import NAMES

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        for name in NAMES:
            active = ops.implementation(name, device)
            slow = active == "torch"
            yield Finding(
                "fallback" if slow else "ok",
                f"op {name} ({device})",
                active,
                "no native build: pure torch is used, several times slower" if slow else "",
            )


def _models() -> Iterator[Finding]:
    from longvid.models import checkpoints

    trained = checkpoints.mini_is_trained()
    yield Finding(
        "ok" if trained else "fallback",
        "model mini",
        "trained weights" if trained else "random weights from a fixed seed",
        "" if trained else "its answers carry no meaning yet",
    )


_OPTIONAL = {
    "ray": ("ray", "clusters: install longvid[ray]"),
    "s3fs": ("s3fs", "stores and videos on S3: install longvid[s3]"),
}


def _optional() -> Iterator[Finding]:
    for package in ("transformers", "faiss-cpu", "faiss-gpu", "pyarrow", "av"):
        try:
            yield Finding("ok", package, metadata.version(package))
        except metadata.PackageNotFoundError:
            if package not in ("faiss-gpu", "faiss-cpu"):
                yield Finding("error", package, "missing", "install longvid again")
    if importlib.util.find_spec("faiss") is None:
        yield Finding("error", "faiss", "missing", "install faiss-cpu or faiss-gpu")
    for module, (package, purpose) in _OPTIONAL.items():
        if importlib.util.find_spec(module) is None:
            yield Finding("ok", package, "not installed", purpose)
        else:
            yield Finding("ok", package, metadata.version(package))
