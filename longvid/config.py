"""One configuration for the whole path: nested frozen dataclasses, read from one TOML file.

The index side (sample, reducer, encoder, compressors, store) decides what is in a store and is
fingerprinted; the ask side (selectors, llm, ask) may change with every question. Every number has
one default, in the field of the dataclass that uses it; a preset only says where it differs.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import importlib
import json
import math
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longvid import registry
from longvid.errors import ConfigError
from longvid.sample import Sampling

__all__ = [
    "Ask",
    "Config",
    "Layout",
    "RayResources",
    "Run",
    "change",
    "load_config",
    "load_layout",
    "preset_names",
    "torch_device",
]

_PRESETS = Path(__file__).parent / "presets"

#: Raised when the same configuration would put different bytes into a store.
_INDEX_VERSION = 1


@dataclass(frozen=True, slots=True)
class Ask:
    """How a question is put to a store.

    Args:
        budget: The most visual tokens that the language model is shown.
        num_segments: Segments taken from the search as candidates; 0 takes every segment of the
            videos in question, as the published systems do.
        neighbours: Segments before and after each of those that are candidates too: what came
            before or after a moment lies outside the segment that a search finds.
        least_score: A question about one video whose best segment scores less names no place in it
            ("what comes first?"): frames spread evenly over the video, from its first segment to
            its last, are shown instead. -1 trusts every search; other values suit one embedder.
        shot_frames: Of what a search found, show the shot of the best frame with the shots right
            before and after it, and of that shot so many frames at most; `neighbours` says how
            far it is looked for. 0 shows whole segments, as does a `num_segments` of 0.
        beside_frames: The most frames of each shot beside it.
        cut_similarity: Two frames that follow each other belong to one shot if the cosine of
            their embeddings is at least this; it suits one embedder and one rate of sampling.
        num_evidence: The most spans listed with an answer.
        batch_questions: Questions that `ask_many` prepares and answers side by side.
        subtitles: Where a store knows what is said: "none" shows it to nobody, "listed" lists the
            lines at the shown frames before the question (Video-MME), "interleaved" writes them
            after the frames they belong to (LLaMA-VID), "covering" only those that cover a shown
            frame (LongVideoBench).
    """

    budget: int = 512
    num_segments: int = 8
    neighbours: int = 0
    least_score: float = -1.0
    shot_frames: int = 0
    beside_frames: int = 4
    cut_similarity: float = 0.5
    num_evidence: int = 5
    batch_questions: int = 8
    subtitles: str = "none"

    def __post_init__(self) -> None:
        if self.subtitles not in ("none", "listed", "interleaved", "covering"):
            raise ConfigError(
                f"ask.subtitles is {self.subtitles!r}; use none, listed, interleaved or covering."
            )
        counts = (self.budget, self.num_evidence, self.batch_questions)
        others = (self.num_segments, self.neighbours, self.shot_frames, self.beside_frames)
        if min(counts) < 1 or min(others) < 0:
            raise ConfigError(
                "ask needs budget, num_evidence and batch_questions of at least 1, and "
                "num_segments, neighbours, shot_frames and beside_frames of at least 0, got "
                f"{', '.join(map(str, counts))}, and {', '.join(map(str, others))}."
            )


@dataclass(frozen=True, slots=True)
class Run:
    """How a run uses the machine. Nothing here changes a result.

    Args:
        device: Where models run: "cpu", "cuda" or "cuda:N"; "auto" takes a GPU if torch sees one.
        decode_workers: Decoding processes; 0 takes one a processor core.
        prefetch_mb: Megabytes of decoded frames that may wait for the encoder. Enough that
            decoding goes on while weights load; a segment of 16 frames of 384 pixels takes 7.
        max_attempts: A video that failed this often is left alone until `longvid retry`.
        max_failure_rate: A run stops when a larger share of its videos fail, counted from the
            20th on; 1 goes on whatever happens.
        cache_mb: Megabytes of remote videos that a machine keeps beside those being read.
    """

    device: str = "auto"
    decode_workers: int = 0
    prefetch_mb: int = 64
    max_attempts: int = 3
    max_failure_rate: float = 1.0
    cache_mb: int = 20_000

    def __post_init__(self) -> None:
        if self.decode_workers < 0 or self.prefetch_mb < 1 or self.max_attempts < 1:
            raise ConfigError(
                "run needs decode_workers >= 0, prefetch_mb >= 1 and max_attempts >= 1, "
                f"got {self.decode_workers}, {self.prefetch_mb} and {self.max_attempts}."
            )
        if not 0 <= self.max_failure_rate <= 1 or self.cache_mb < 0:
            raise ConfigError(
                "run needs max_failure_rate from 0 to 1 and cache_mb >= 0, got "
                f"{self.max_failure_rate} and {self.cache_mb}."
            )


@dataclass(frozen=True, slots=True)
class RayResources:
    """What each stage of the Ray runner asks of the cluster. Nothing here changes a result.

    The defaults fit a machine of two cores with room for the tasks that list and probe.

    Args:
        decode_actors: Decoding actors, 0 for as many as the processors allow.
        decode_cpus: Processor share of one decoding actor.
        encode_actors: Encoding actors.
        encode_cpus, encode_gpus: Processor and GPU share of one encoding actor.
        probe_actors: Probing actors, which hash and open files.
        probe_cpus: Processor share of one probing actor.
        fused: Let the encoding actors decode too, so that frames never leave their process;
            there are then `encode_actors` of them and no decoding actors. Each decodes as many
            chunks at a time as `decode_actors` and the processors allow. A cluster of one machine
            is used so unless `decode_actors` asks for actors of their own.
        frame_batches: Decoded segments that may wait in the object store or be on their way to it
            (Ray frees those that were read within a second); 0 allows two chunks for every actor.
    """

    decode_actors: int = 0
    decode_cpus: float = 0.5
    encode_actors: int = 1
    encode_cpus: float = 0.5
    encode_gpus: float = 0.0
    probe_actors: int = 1
    probe_cpus: float = 0.25
    fused: bool = False
    frame_batches: int = 0

    def __post_init__(self) -> None:
        shares = (self.decode_cpus, self.encode_cpus, self.encode_gpus, self.probe_cpus)
        if min(shares) < 0 or self.decode_cpus == 0 or self.encode_actors < 1:
            raise ConfigError(
                "ray needs shares of 0 or more, decode_cpus above 0 and encode_actors >= 1, got "
                f"decode_cpus {self.decode_cpus}, encode_cpus {self.encode_cpus}, encode_gpus "
                f"{self.encode_gpus}, probe_cpus {self.probe_cpus}, encode_actors "
                f"{self.encode_actors}."
            )
        if self.decode_actors < 0 or self.probe_actors < 1 or self.frame_batches < 0:
            raise ConfigError(
                "ray needs decode_actors >= 0, probe_actors >= 1 and frame_batches >= 0, got "
                f"{self.decode_actors}, {self.probe_actors} and {self.frame_batches}."
            )


# Sections with one fixed class; "store" lives in an upper room and is named as a string.
_SECTIONS: dict[str, Any] = {
    "sample": Sampling,
    "store": "longvid.store:StoreOptions",
    "ask": Ask,
    "run": Run,
    "ray": RayResources,
}
_SINGLE_PARTS = {"decoder": "decoder", "reducer": "reducer", "encoder": "encoder", "llm": "llm"}
_PART_LISTS = {"compressors": "compressor", "selectors": "selector"}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that decides what a run does.

    Args:
        sample: When frames are taken.
        decoder, reducer, encoder: Parts of the index side.
        compressors: Applied in this order to every segment.
        store: How tokens are kept.
        selectors: Applied in this order to a question's candidates.
        llm: The language model.
        ask, run, ray: Budgets, machine, cluster.
    """

    sample: Sampling
    decoder: Any
    reducer: Any
    encoder: Any
    compressors: tuple[Any, ...]
    store: Any
    selectors: tuple[Any, ...]
    llm: Any
    ask: Ask = field(default_factory=Ask)
    run: Run = field(default_factory=Run)
    ray: RayResources = field(default_factory=RayResources)

    def to_dict(self) -> dict[str, Any]:
        """Return plain tables, as TOML and JSON hold them; `Config.from_dict` is the inverse."""
        tables: dict[str, Any] = {}
        for section in _SECTIONS:
            tables[section] = _plain(getattr(self, section))
        for section, kind in _SINGLE_PARTS.items():
            tables[section] = _part_table(kind, getattr(self, section))
        for section, kind in _PART_LISTS.items():
            tables[section] = [_part_table(kind, part) for part in getattr(self, section)]
        return tables

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any]) -> Config:
        """Build a configuration from plain tables.

        Raises:
            ConfigError: A section, part, field or value is not known or not of the right type.
        """
        known = [*_SECTIONS, *_SINGLE_PARTS, *_PART_LISTS]
        _refuse_unknown(tables, known, "section")
        values: dict[str, Any] = {}
        for section, target in _SECTIONS.items():
            values[section] = _build(_resolve(target), tables.get(section, {}), section)
        for section, kind in _SINGLE_PARTS.items():
            if section not in tables:
                raise ConfigError(f"The configuration has no [{section}]; name a {kind}.")
            values[section] = _build_part(kind, tables[section], section)
        for section, kind in _PART_LISTS.items():
            values[section] = tuple(
                _build_part(kind, table, f"{section}.{i}")
                for i, table in enumerate(tables.get(section, []))
            )
        return cls(**values)

    def fingerprint(self) -> str:
        """Name the index side: equal fingerprints mean bit-equal stores, weights included.

        Returns:
            16 hexadecimal digits.
        """
        described = {
            "version": _INDEX_VERSION,
            "sample": _plain(self.sample, fingerprint=True),
            "decoder": _part_table("decoder", self.decoder, fingerprint=True),
            "reducer": _part_table("reducer", self.reducer, fingerprint=True),
            "encoder": _part_table("encoder", self.encoder, fingerprint=True),
            "weights": [self.reducer.identity(), self.encoder.identity()],
            "compressors": [
                _part_table("compressor", part, fingerprint=True) for part in self.compressors
            ],
            "store": _plain(self.store, fingerprint=True),
        }
        text = json.dumps(described, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Layout:
    """The part of a configuration that says how work is cut and where it runs."""

    sample: Sampling
    ray: RayResources


def torch_device(name: str) -> str:
    """Resolve "auto" to "cuda" where torch sees a GPU, else to "cpu"; other names stay.

    Raises:
        ConfigError: There is no such device, or torch cannot use it.
    """
    import torch

    num_gpus = torch.cuda.device_count()
    if name == "auto":
        return "cuda" if num_gpus else "cpu"
    try:
        device = torch.device(name if isinstance(name, str) else str(name))
    except RuntimeError as error:
        raise ConfigError(f"run.device is {name!r}; use auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and (device.index or 0) >= num_gpus:
        raise ConfigError(
            f"run.device is {name!r}, and torch sees {num_gpus} GPUs here; use auto or cpu, or "
            "install a torch that is built for this machine's GPU."
        )
    return name


def preset_names() -> tuple[str, ...]:
    """List the shipped presets."""
    return tuple(sorted(path.stem for path in _PRESETS.glob("*.toml")))


def load_config(name: str | Path = "mini", overrides: Sequence[str] = ()) -> Config:
    """Read a preset or a TOML file, and change single settings.

    A file may start with `preset = "longvid"` and then says only where it differs from it.

    Args:
        name: A preset's name, or the path of a TOML file.
        overrides: Settings such as "sample.fps=2" or "selectors.0.num_slow=8".

    Raises:
        ConfigError: No such preset or file, or something in it is wrong.
    """
    return Config.from_dict(change(_read(name), overrides))


def load_layout(name: str | Path = "mini", overrides: Sequence[str] = ()) -> Layout:
    """Read what a cluster must know before any part is imported; as `load_config` otherwise.

    Raises:
        ConfigError: No such preset or file, or something in these two tables is wrong.
    """
    tables = change(_read(name), overrides)
    sample, ray = tables.get("sample", {}), tables.get("ray", {})
    return Layout(_build(Sampling, sample, "sample"), _build(RayResources, ray, "ray"))


def change(tables: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of plain tables with single settings changed.

    Args:
        tables: As `Config.to_dict` returns them.
        overrides: "section.field=value", the value written as in TOML; a bare word is a string.

    Raises:
        ConfigError: A setting is not of that form, or names no section or part.
    """
    changed = copy.deepcopy(dict(tables))
    for override in overrides:
        _apply(changed, override)
    return changed


def _read(name: str | Path) -> dict[str, Any]:
    if not isinstance(name, (str, Path)):
        raise ConfigError(f"A configuration is named by a preset or a path, got {name!r}.")
    path = Path(name)
    if path.suffix != ".toml":
        path = _PRESETS / f"{name}.toml"
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"There is no configuration {str(name)!r}; presets are {', '.join(preset_names())}, "
            "and a file of your own must end in .toml."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    base = tables.pop("preset", None)
    return _merge(_read(base), tables) if base else tables


def _merge(base: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a file over its preset: fields are replaced one by one, another part replaces whole."""
    merged = dict(base)
    for section, value in change.items():
        old = merged.get(section)
        same_part = (
            isinstance(value, dict)
            and isinstance(old, dict)
            and value.get("name", old.get("name")) == old.get("name")
        )
        merged[section] = {**old, **value} if same_part and isinstance(old, dict) else value
    return merged


def _apply(tables: dict[str, Any], override: str) -> None:
    """Set one value given as `section.field=value`."""
    key, equals, text = override.partition("=")
    steps = key.strip().split(".")
    if not equals or len(steps) < 2:
        raise ConfigError(f"--set takes section.field=value, got {override!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word is a string
    known = [*_SECTIONS, *_SINGLE_PARTS, *_PART_LISTS]
    _refuse_unknown({steps[0]: None}, known, "section")
    node: Any = tables.setdefault(steps[0], [] if steps[0] in _PART_LISTS else {})
    for step in steps[1:-1]:
        if isinstance(node, list):
            if not step.isdigit() or int(step) >= len(node):
                raise ConfigError(
                    f"--set {key}: {steps[0]} has {len(node)} parts, numbered from 0."
                )
            node = node[int(step)]
        else:
            node = node.setdefault(step, {})
        if not isinstance(node, (dict, list)):
            raise ConfigError(f"--set {key}: {step!r} is a value, not a table.")
    if isinstance(node, list):
        raise ConfigError(f"--set {key}: name the part too, as in {steps[0]}.0.{steps[-1]}=value.")
    if steps[-1] == "name" and node.get("name") != value:
        node.clear()  # the fields of one part mean nothing to another
    node[steps[-1]] = value


def _resolve(target: Any) -> type[Any]:
    if isinstance(target, str):
        module, _, attribute = target.partition(":")
        target = getattr(importlib.import_module(module), attribute)
    resolved: type[Any] = target
    return resolved


def _refuse_unknown(given: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(f"Unknown {what} {name!r}; known are {', '.join(known)}.")


def _build_part(kind: str, table: Any, where: str) -> Any:
    if not isinstance(table, Mapping) or "name" not in table:
        raise ConfigError(
            f"[{where}] must name its {kind}: one of {', '.join(registry.PARTS[kind])}."
        )
    fields = {key: value for key, value in table.items() if key != "name"}
    return _build(registry.find(kind, str(table["name"])), fields, where)


def _build(cls: type[Any], table: Any, where: str) -> Any:
    """Build a dataclass from a table, refusing unknown fields and wrong types."""
    if not isinstance(table, Mapping):
        raise ConfigError(f"[{where}] must be a table of settings, got {table!r}.")
    fields = [item.name for item in dataclasses.fields(cls) if item.init]
    _refuse_unknown(table, fields, f"setting of [{where}]")
    hints = typing.get_type_hints(cls)
    return cls(
        **{name: _typed(hints[name], value, f"{where}.{name}") for name, value in table.items()}
    )


def _typed(hint: Any, value: Any, where: str) -> Any:
    """Check a TOML value against a field's type; whole numbers may stand for floats."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, got {value!r}.")
        inner = arguments[0] if arguments else str
        return tuple(_typed(inner, item, where) for item in value)
    if origin is not None:  # a union or a literal: any of its members
        for member in arguments:
            if isinstance(member, type):
                try:
                    return _typed(member, value, where)
                except ConfigError:
                    continue
            elif member == value:
                return value
        raise ConfigError(f"{where} must be {hint}, got {value!r}.")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    wrong = not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool)
    if wrong or (isinstance(value, float) and math.isnan(value)):
        raise ConfigError(f"{where} must be {hint.__name__}, got {value!r}.")
    return value


def _plain(instance: Any, *, fingerprint: bool = False) -> dict[str, Any]:
    """Turn a dataclass into tables; under `fingerprint`, without what changes no result."""
    table: dict[str, Any] = {}
    for item in dataclasses.fields(instance):
        if fingerprint and not item.metadata.get("fingerprint", True):
            continue
        value = getattr(instance, item.name)
        if dataclasses.is_dataclass(value):
            value = _plain(value, fingerprint=fingerprint)
        elif isinstance(value, tuple):
            value = list(value)
        table[item.name] = value
    return table


def _part_table(kind: str, part: Any, *, fingerprint: bool = False) -> dict[str, Any]:
    return {"name": registry.name_of(kind, part), **_plain(part, fingerprint=fingerprint)}
