"""The whole configuration, its fingerprint, and how it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longvid.config.renamed import current_names
from longvid.config.sections import (
    FIXED_SECTIONS,
    OPTIONAL_PARTS,
    PART_LISTS,
    SECTION_NAMES,
    SINGLE_PARTS,
    Ask,
    RayResources,
    Run,
    StoreOptions,
)
from longvid.config.tables import build, build_part, part_table, plain, refuse_unknown
from longvid.config.toml_files import Tables, change, read_tables
from longvid.errors import ConfigError, shown
from longvid.protocols import (
    CompressorPart,
    DecoderPart,
    EncoderPart,
    GrounderPart,
    LanguageModelPart,
    LearnedCompressorPart,
    ReducerPart,
    RerankerPart,
    SelectorPart,
    TextSourcePart,
    segments_together,
)
from longvid.sample import Sampling
from longvid.types import CheckpointRef

#: Raised when the same configuration would put different bytes into a store.
_INDEX_VERSION = 1
_ALWAYS_LISTED = ("compressors", "selectors")


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
        text_sources: They write down what a video says and shows; their lines have fingerprints
            of their own, so none of them is in the store's.
        rerankers: Applied in this order to what a search found.
        grounder: Finds in pictures what an answer speaks of; None for no boxes.
    """

    sample: Sampling
    decoder: DecoderPart
    reducer: ReducerPart
    encoder: EncoderPart
    compressors: tuple[CompressorPart, ...]
    store: StoreOptions
    selectors: tuple[SelectorPart, ...]
    llm: LanguageModelPart
    ask: Ask = field(default_factory=Ask)
    run: Run = field(default_factory=Run)
    ray: RayResources = field(default_factory=RayResources)
    text_sources: tuple[TextSourcePart, ...] = ()
    rerankers: tuple[RerankerPart, ...] = ()
    grounder: GrounderPart | None = None

    def __post_init__(self) -> None:
        for part in self.compressors:
            together = segments_together(part)
            if self.sample.chunk_segments % together:
                raise ConfigError(
                    f"A compressor sees {together} segments together, and a chunk has "
                    f"sample.chunk_segments = {self.sample.chunk_segments}; make it a multiple of "
                    f"{together}."
                )

    def to_dict(self) -> dict[str, Any]:
        """Return plain tables, as TOML and JSON hold them; `Config.from_dict` is the inverse."""
        tables: Tables = {}
        for section in FIXED_SECTIONS:
            tables[section] = plain(getattr(self, section))
        for section, kind in SINGLE_PARTS.items():
            tables[section] = part_table(kind, getattr(self, section))
        for section, kind in PART_LISTS.items():
            # Kinds that came later are left out where there are none: old readers know no more.
            parts = getattr(self, section)
            if parts or section in _ALWAYS_LISTED:
                tables[section] = [part_table(kind, part) for part in parts]
        for section, kind in OPTIONAL_PARTS.items():
            part = getattr(self, section)
            if part is not None:
                tables[section] = part_table(kind, part)
        return tables

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any]) -> Config:
        """Build a configuration from plain tables.

        Raises:
            ConfigError: A section, part, field or value is not known or not of the right type.
        """
        if not isinstance(tables, Mapping):
            raise ConfigError(f"A configuration is a table of sections, got {shown(tables)}.")
        tables = current_names(tables)
        refuse_unknown(tables, SECTION_NAMES, "section")
        values: dict[str, Any] = {}
        for section, target in FIXED_SECTIONS.items():
            values[section] = build(target, tables.get(section, {}), section)
        for section, kind in SINGLE_PARTS.items():
            if section not in tables:
                raise ConfigError(f"The configuration has no [{section}]; name a {kind}.")
            values[section] = build_part(kind, tables[section], section)
        for section, kind in OPTIONAL_PARTS.items():
            if section in tables:
                values[section] = build_part(kind, tables[section], section)
        for section, kind in PART_LISTS.items():
            listed = tables.get(section, [])
            if not isinstance(listed, (list, tuple)):
                raise ConfigError(
                    f"{section} must be a list of tables, [[{section}]], got {shown(listed)}."
                )
            values[section] = tuple(
                build_part(kind, table, f"{section}.{i}") for i, table in enumerate(listed)
            )
        return cls(**values)

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        """Name the checkpoints of all parts, in the order of the path."""
        grounders = () if self.grounder is None else (self.grounder,)
        parts = (
            self.reducer,
            self.encoder,
            *self._learned(),
            *self.text_sources,
            *self.rerankers,
            self.llm,
            *grounders,
        )
        return tuple(one for part in parts for one in part.checkpoints())

    def space(self) -> str:
        learned = self._learned()
        return learned[-1].space() if learned else self.encoder.space()

    def _learned(self) -> list[LearnedCompressorPart]:
        """Return the compressors with weights of their own."""
        return [part for part in self.compressors if isinstance(part, LearnedCompressorPart)]

    def fingerprint(self, weights: EncoderPart | None = None) -> str:
        """Name the index side: equal fingerprints mean bit-equal stores, weights included.

        Args:
            weights: An encoder whose weights are meant, under the names of this one's.

        Returns:
            16 hexadecimal digits.
        """
        identities = [
            self.reducer.identity(),
            (weights or self.encoder).identity(),
            *(part.identity() for part in self._learned()),
        ]
        described = {"version": _INDEX_VERSION, "weights": identities, **self.index_tables()}
        text = json.dumps(described, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def index_tables(self) -> dict[str, Any]:
        """Return the settings that decide what segments look like, as tables."""
        return {
            "sample": plain(self.sample, fingerprint=True),
            "decoder": part_table("decoder", self.decoder, fingerprint=True),
            "reducer": part_table("reducer", self.reducer, fingerprint=True),
            "encoder": part_table("encoder", self.encoder, fingerprint=True),
            "compressors": [
                part_table("compressor", part, fingerprint=True) for part in self.compressors
            ],
            "store": plain(self.store, fingerprint=True),
        }


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


def load_config(name: str | Path = "mini", overrides: Sequence[str] = ()) -> Config:
    """Read a preset or a TOML file, and change single settings.

    A file may start with `preset = "longvid"` and then says only where it differs from it.

    Args:
        name: A preset's name, or the path of a TOML file.
        overrides: Settings such as "sample.fps=2" or "selectors.0.num_slow=8".

    Raises:
        ConfigError: No such preset or file, or something in it is wrong.
    """
    return Config.from_dict(change(read_tables(name), overrides))


def load_layout(name: str | Path = "mini", overrides: Sequence[str] = ()) -> Layout:
    """Read what a cluster must know before any part is imported; as `load_config` otherwise.

    Raises:
        ConfigError: No such preset or file, or something in these two tables is wrong.
    """
    tables = change(read_tables(name), overrides)
    sample, ray = tables.get("sample", {}), tables.get("ray", {})
    return Layout(build(Sampling, sample, "sample"), build(RayResources, ray, "ray"))
