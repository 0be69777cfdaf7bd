"""Examine this machine: what longvid found, what it will use, and every fallback by name."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from longvid.config import Config
from longvid.errors import LongvidError, StoreError, counted
from longvid.registry import PARTS
from longvid.store.faiss_index import load_faiss


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination.

    Args:
        state: "ok", "fallback" (works, slower or with less), "absent" (optional and not usable),
            "warning" or "error".
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
    return [*_machine(), *_decoding(), *_operations(), *_models(), *_optional()]


def examine_cluster(config: Config) -> list[Finding]:
    """Say what the Ray cluster offers and what a job with this configuration would take of it.

    Args:
        config: Its [ray] table is what the plan is made from.
    """
    try:
        from longvid.cluster.ray_runner import explain  # needs an optional package
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
    from longvid.model_inventory import require_models

    require_models(config)
    needs = needs_of(config, hours)
    device = torch_device(config.run.device)
    name, free = device_bytes(device)
    # On a processor the stored tokens share the memory of the weights.
    host, host_free = device_bytes("cpu")
    beside = needs.ask_tokens if device == "cpu" else 0
    longest = f"{needs.prompt_tokens} tokens of at most {needs.context or 'an unknown number'}"
    too_long = 0 < needs.context < needs.prompt_tokens
    less = "lower sample.fps or ask.num_segments, or keep tokens as int8"
    lighter = "set llm.bits = 8 (on a GPU) or llm.dtype = 'bfloat16', or lower ask.budget"
    return [
        Finding("ok", "index: weights", size(needs.index_weights), "vision towers and embedder"),
        Finding("ok", "index: activations", size(needs.index_activations), "one batch of frames"),
        _fits("index in all", needs.index, free, name, "lower encoder.batch_frames or its dtype"),
        Finding("ok", "ask: weights", size(needs.ask_weights), "language model"),
        Finding("ok", "ask: activations", size(needs.ask_activations), "one span of the prompt"),
        Finding("ok", "ask: keys and values", size(needs.ask_cache), f"a prompt of {longest}"),
        _fits("ask: stored tokens", needs.ask_tokens, host_free, host, less),
        _fits("ask in all", needs.ask + beside, free, name, lighter),
        Finding(
            "error" if too_long else "ok",
            "prompt",
            f"{needs.prompt_tokens} tokens",
            f"the model's context is {needs.context or 'not known'}"
            + (f"; {needs.remedy}" if too_long else ""),
        ),
        Finding(
            "ok",
            f"store of {hours:g} hours",
            size(needs.store),
            f"at most: {needs.segments} segments, {needs.frames} frames, {needs.tokens} tokens",
        ),
    ]


def examine_store(uri: str) -> list[Finding]:
    """Say which way the tokens of a store can go to each serving engine.

    Args:
        uri: Folder or URI of the store; its first segment is read.

    Raises:
        StoreError: There is no store.
    """
    from longvid.handoff.decision import ENGINES, handoff
    from longvid.store import Store
    from longvid.store.pictures import picture_times

    store = Store.open(uri)
    videos = store.videos()
    segments = store.load([(videos[0].video.video_id, 0)]) if videos else []
    keeps = bool(videos and picture_times(store.annotations, videos[0].video.video_id))
    found = [Finding("ok", "tokens", store.space, counted(len(videos), "video"))]
    for engine in ENGINES:
        way = handoff(store.space, segments, engine, keeps_pictures=keeps)
        state = {"refused": "warning", "pictures": "fallback"}.get(way.way, "ok")
        found.append(Finding(state, f"to {engine}", way.way, way.reason))
    return found


def _fits(what: str, wanted: int, free: int | None, device: str, remedy: str) -> Finding:
    if free is None:
        return Finding("warning", what, size(wanted), f"what is free on {device} is not known")
    if wanted <= free:
        return Finding("ok", what, size(wanted), f"fits: {size(free)} free on {device}")
    return Finding(
        "error", what, size(wanted), f"does not fit: {size(free)} free on {device}; {remedy}"
    )


def size(num_bytes: int) -> str:
    """Write bytes as people read them.

    >>> size(16_400_000_000)
    '16.4 GB'
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.1f} {name}"
    return f"{num_bytes} B"


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
    default = next(iter(PARTS["decoder"]))
    for name, reason in available_decoders().items():
        if name == default:
            yield Finding("error" if reason else "ok", f"decoder {name}", "default", reason)
        else:
            state, found = ("absent", "not usable") if reason else ("ok", "usable")
            yield Finding(state, f"decoder {name}", found, reason)
    yield Finding(
        "ok",
        "subtitles",
        ".srt and .vtt beside a video; text inside Matroska, WebM, MP4 and MOV",
        "not read: teletext and DVB in MPEG-TS, pictures of text, captions inside the pictures",
    )


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
    from longvid.models import checkpoint_files

    trained = checkpoint_files.mini_is_trained()
    yield Finding(
        "ok" if trained else "fallback",
        "model mini",
        "trained weights" if trained else "random weights from a fixed seed",
        "" if trained else "its answers carry no meaning yet",
    )


_OPTIONAL = {
    "ray": ("ray", "clusters: install longvid[ray]"),
    "s3fs": ("s3fs", "stores and videos on S3: install longvid[s3]"),
    "rapidocr": ("rapidocr", "text source screen_text: install longvid[text]"),
    "onnxruntime": ("onnxruntime", "screen_text and speech: install longvid[text]"),
    "silero_vad": ("silero-vad", "speech, to find it: install longvid[speech]"),
    "faster_whisper": ("faster-whisper", "text source faster_whisper: install longvid[speech]"),
    "pocketsphinx": ("pocketsphinx", "text source pocketsphinx: install pocketsphinx"),
}


def _search_index() -> Finding:
    try:
        num_gpus = load_faiss().get_num_gpus()
    except StoreError as error:
        return Finding("error", "search index", "FAISS cannot be imported", str(error))
    where = f"built on {num_gpus} GPUs" if num_gpus else "built on processors"
    return Finding("ok", "search index", where, "" if num_gpus else "on GPUs with faiss-gpu")


def _optional() -> Iterator[Finding]:
    for package in ("transformers", "faiss-cpu", "faiss-gpu", "pyarrow", "av"):
        try:
            yield Finding("ok", package, metadata.version(package))
        except metadata.PackageNotFoundError:
            if package not in ("faiss-gpu", "faiss-cpu"):
                yield Finding("error", package, "missing", "install longvid again")
    yield _search_index()
    for module, (package, purpose) in _OPTIONAL.items():
        if importlib.util.find_spec(module) is None:
            yield Finding("absent", package, "not installed", purpose)
        else:
            yield Finding("ok", package, metadata.version(package))
