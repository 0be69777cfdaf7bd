"""Examine this machine: what longvid found, what it will use, and every fallback by name."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from longvid.config import Config
from longvid.errors import LongvidError

__all__ = ["Finding", "examine", "examine_cluster"]


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


def examine_cluster(config: Config) -> list[Finding]:
    """Say what the Ray cluster offers and what a job with this configuration would take of it.

    Args:
        config: Its [ray] table is what the plan is made from.
    """
    try:
        # By name: the runner lives above this floor and needs an optional package.
        explain = importlib.import_module("pipelines.index").explain
    except ImportError as error:
        return [Finding("error", "ray", "not installed", f"install longvid[ray] ({error})")]
    try:
        return [Finding("ok", what, found) for what, found in explain(config)]
    except LongvidError as error:
        return [Finding("error", "ray plan", "does not fit", str(error))]


def examine_config(config: Config, hours: float) -> list[Finding]:
    """Say what a configuration needs for a video of some length, and whether it fits here.

    Args:
        config: Of which config.json files are read, and nothing else.
        hours: Length of the video.

    Returns:
        One finding a sum; an "error" means that it does not fit.

    Raises:
        ConfigError: What it needs cannot be added up.
        ModelError: A checkpoint is not on this machine.
    """
    from longvid.capacity import device_bytes, needs_of
    from longvid.config import torch_device

    needs = needs_of(config, hours)
    name, free = device_bytes(torch_device(config.run.device))
    longest = f"{needs.prompt_tokens} tokens of at most {needs.context}"
    return [
        Finding("ok", "index: weights", _size(needs.index_weights), "vision tower and embedder"),
        Finding("ok", "index: activations", _size(needs.index_activations), "one batch of frames"),
        _fits("index in all", needs.index, free, name, "lower encoder.batch_frames or its dtype"),
        Finding("ok", "ask: weights", _size(needs.ask_weights), "language model"),
        Finding("ok", "ask: activations", _size(needs.ask_activations), "one span of the prompt"),
        Finding("ok", "ask: keys and values", _size(needs.ask_cache), f"a prompt of {longest}"),
        _fits("ask in all", needs.ask, free, name, "set llm.bits = 8, or lower ask.budget"),
        Finding(
            "error" if needs.prompt_tokens > needs.context else "ok",
            "prompt",
            f"{needs.prompt_tokens} tokens",
            f"the model's context is {needs.context}"
            + ("; lower ask.budget" if needs.prompt_tokens > needs.context else ""),
        ),
        Finding(
            "ok",
            f"store of {hours:g} hours",
            _size(needs.store),
            f"at most: {needs.segments} segments, {needs.frames} frames, {needs.tokens} tokens",
        ),
    ]


def _fits(what: str, wanted: int, free: int, device: str, remedy: str) -> Finding:
    if wanted <= free:
        return Finding("ok", what, _size(wanted), f"fits: {_size(free)} free on {device}")
    return Finding(
        "error", what, _size(wanted), f"does not fit: {_size(free)} free on {device}; {remedy}"
    )


def _size(num_bytes: int) -> str:
    """Write bytes as people read them.

    >>> _size(16_400_000_000)
    '16.4 GB'
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.1f} {name}"
    return f"{num_bytes} B"


@dataclass(frozen=True, slots=True)
class Model:
    """One checkpoint that is known or named.

    Args:
        preset: Which preset names it, "" for one that only lies in the hub cache.
        part: "encoder", "embedder" or "llm".
        model: Its name.
        family: Architecture, "" where it is not on this machine.
        found: "on disk", or why it cannot be used.
    """

    preset: str
    part: str
    model: str
    family: str
    found: str


def models_on_disk() -> list[Model]:
    """List the checkpoints that the presets name and those in the hub cache.

    Returns:
        Those of the presets first, in order of preset.
    """
    from longvid.config import load_config, preset_names

    listed = []
    for preset in preset_names():
        tables = load_config(preset).to_dict()
        named = (
            ("encoder", tables["encoder"].get("model")),
            ("embedder", tables["encoder"].get("embedder")),
            ("llm", tables["llm"].get("model")),
        )
        listed += [Model(preset, part, name, *_found(name)) for part, name in named if name]
    known = {model.model for model in listed}
    listed += [Model("", "", name, *_found(name)) for name in _hub_cache() if name not in known]
    return listed


def _found(name: str) -> tuple[str, str]:
    """Return the architecture of a checkpoint and how it was found."""
    from longvid.errors import ModelError
    from longvid.models import checkpoints

    try:
        folder = checkpoints.part_of(checkpoints.locate(name), checkpoints.VLM)
        family = str(checkpoints.read_config(folder).get("model_type", ""))
    except ModelError:
        return "", f"not on this machine: hf download {name}"
    try:
        num_bytes = sum(file.stat().st_size for file in checkpoints.weight_files(folder))
    except ModelError as error:
        return family, str(error)
    return family, f"on disk, {_size(num_bytes)}"


def _hub_cache() -> list[str]:
    """List the models in the hub cache by name."""
    from pathlib import Path

    from huggingface_hub import constants

    return sorted(
        entry.name.removeprefix("models--").replace("--", "/", 1)
        for entry in Path(constants.HF_HUB_CACHE).glob("models--*")
    )


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
