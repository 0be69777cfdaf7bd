"""The configuration as a new store keeps it: folders of checkpoints that any folder can ask for.

A store is asked from other folders than the one that it was made in, where a relative name would
lead nowhere.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from longvid.config import Config
from longvid.config.toml_files import Tables
from longvid.models import checkpoint_files
from longvid.protocols import LearnedCompressorPart
from longvid.protocols.part import WeightedPart


def stored_tables(config: Config) -> Tables:
    """Return a configuration's tables, with the folders of its checkpoints absolute.

    Names that are no folder or file here stay: "mini", hub names, and what is missing. So does a
    name that counts in a fingerprint as it is written (`reducer.features`, the models of text
    sources): these parts are not loaded to ask, and what was stored before could not be matched.
    All other names are kept out of fingerprints, so a store that holds a relative name, made
    before, still fits the configuration that made it.
    """
    tables = config.to_dict()
    for table, part, is_asked in _weighted(config, tables):
        for checkpoint in part.checkpoints():
            name = checkpoint.setting.rpartition(".")[2]
            # An empty setting stands for a checkpoint that the part finds by itself.
            if table.get(name) != checkpoint.name:
                continue
            if is_asked or not _counts(part, name):
                table[name] = _absolute(checkpoint.name)
    tables["ask"]["text_embedder"] = _absolute(tables["ask"]["text_embedder"])
    return tables


def _weighted(config: Config, tables: Tables) -> Iterator[tuple[Tables, WeightedPart, bool]]:
    """Yield each part that may have weights, with its table and whether it serves questions alone.

    The fingerprint of a part that serves questions alone is in no store's own.
    """
    yield tables["reducer"], config.reducer, False
    yield tables["encoder"], config.encoder, False
    for table, compressor in zip(tables["compressors"], config.compressors, strict=True):
        if isinstance(compressor, LearnedCompressorPart):
            yield table, compressor, False
    for table, source in zip(tables.get("text_sources", ()), config.text_sources, strict=True):
        yield table, source, False
    for table, reranker in zip(tables.get("rerankers", ()), config.rerankers, strict=True):
        yield table, reranker, True
    yield tables["llm"], config.llm, True
    if config.grounder is not None:
        yield tables["grounder"], config.grounder, True


def _counts(part: WeightedPart, name: str) -> bool:
    """Tell whether a setting is part of a fingerprint as it is written."""
    metadata = {item.name: item.metadata for item in dataclasses.fields(part)}
    return bool(metadata[name].get("fingerprint", True))


def _absolute(name: str) -> str:
    """Return the whole path of a folder or file that is here; any other name as it is."""
    if not name or name == checkpoint_files.MINI:
        return name
    path = Path(name).expanduser()
    return os.path.abspath(path) if path.exists() else name
