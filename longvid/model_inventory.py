"""Which checkpoints configurations name, and which of them are on this machine.

Nothing is loaded: config.json and the names and sizes of files are read. This module does not know
how a checkpoint is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longvid.config import Config, load_config, preset_names
from longvid.errors import ModelError
from longvid.models import checkpoint_files
from longvid.models.families import FAMILIES, family_of
from longvid.systems.llama_vid import checkpoint

__all__ = ["Model", "models_on_disk", "require_models"]


@dataclass(frozen=True, slots=True)
class Model:
    """One checkpoint that is known or named.

    Args:
        preset: Which preset names it, "" for one that only lies in the hub cache.
        part: What it is for: "encoder", "embedder", "llm", "siglip", "dino", "vision_tower",
            "bert"; "" for one that only lies in the hub cache.
        model: Its name.
        family: Architecture, "" where it is not on this machine.
        num_bytes: Of its weight files.
        lacking: Why it cannot be used and what to do, "" if it can be.
    """

    preset: str
    part: str
    model: str
    family: str
    num_bytes: int
    lacking: str


@dataclass(frozen=True, slots=True)
class _Named:
    """A checkpoint that a configuration names.

    Args:
        part: See `Model`.
        setting: Where it is named.
        name: A folder, a hub name, or a file.
        find: Returns its folder or file.
        download: The command or address that fetches it, "" where only its owner knows.
    """

    part: str
    setting: str
    name: str
    find: Callable[[], Path]
    download: str


def models_on_disk() -> list[Model]:
    """List the checkpoints that the presets name and those in the hub cache.

    Returns:
        Those of the presets first, in order of preset.
    """
    listed = [
        _model(preset, named) for preset in preset_names() for named in _named(load_config(preset))
    ]
    known = {model.model for model in listed}
    others = [_model("", _hub("", "", name)) for name in _hub_cache() if name not in known]
    return listed + others


def require_models(config: Config) -> None:
    """Refuse a configuration some of whose checkpoints are not on this machine.

    Raises:
        ModelError: The sentence names all of them, and what to do.
    """
    missing: dict[str, list[_Named]] = {}
    for named in _named(config):
        try:
            named.find()
        except ModelError:
            if not named.download:
                raise
            missing.setdefault(named.download, []).append(named)
    if missing:
        settings = dict.fromkeys(
            named.setting for group in missing.values() for named in group if named.setting
        )
        raise ModelError(
            f"{len(missing)} of the checkpoints of this configuration are not on this machine: "
            f"{'; '.join(missing)}; run this where there is a network (what `hf download` fetches "
            f"lands in {_hub_home()}), or copy the folders here and name them in "
            f"{', '.join(settings)}."
        )


def _named(config: Config) -> Iterator[_Named]:
    """Yield what a configuration names, in the order of the path."""
    reducer: Any = config.reducer
    encoder: Any = config.encoder
    llm: Any = config.llm
    features = getattr(reducer, "features", "pixels")
    if features != "pixels":
        yield _hub("dino", "reducer.features", features)
    model = encoder.model
    yield _hub("encoder", "encoder.model", model)
    for part in ("siglip", "dino"):
        if hasattr(encoder, part):
            yield _hub(part, f"encoder.{part}", getattr(encoder, part))
    if hasattr(encoder, "vision_tower"):
        yield _tower(model, encoder.vision_tower)
    if hasattr(encoder, "embedder"):
        yield _hub("embedder", "encoder.embedder", encoder.embedder or model)
    yield _hub("llm", "llm.model", llm.model)
    if hasattr(llm, "bert"):
        yield _bert(llm.model, llm.bert)


def _hub(part: str, setting: str, name: str) -> _Named:
    def find() -> Path:
        inner = checkpoint_files.EMBEDDER if part == "embedder" else checkpoint_files.VLM
        folder = checkpoint_files.part_of(checkpoint_files.locate(name), inner)
        checkpoint_files.read_config(folder)
        return folder

    download = f"hf download {name}" if checkpoint_files.is_hub_name(name) else ""
    return _Named(part, setting, name, find, download)


def _tower(model: str, name: str) -> _Named:
    """Return LLaMA-VID's vision tower, which may be a file of its own or lie in the checkpoint."""

    def find() -> Path:
        folder = checkpoint_files.locate(model)
        config = checkpoint_files.read_config(folder)
        file = checkpoint.tower_file(folder, config, name)
        if file is None:
            checkpoint.tower_sizes(folder, name)
        return file or folder

    address = checkpoint.TOWER_URL
    download = "" if name else f"{address}, into the folder of {model}"
    shown = name or address.rpartition("/")[2]
    return _Named("vision_tower", "encoder.vision_tower", shown, find, download)


def _bert(model: str, name: str) -> _Named:
    """Return the tokenizer of LLaMA-VID's questions."""
    wanted = name or checkpoint.BERT

    def find() -> Path:
        try:
            folder = checkpoint_files.locate(model)
        except ModelError:
            return checkpoint_files.locate(wanted)
        return checkpoint.bert_folder(folder, name)

    download = f"hf download {wanted}" if checkpoint_files.is_hub_name(wanted) else ""
    return _Named("bert", "llm.bert", wanted, find, download)


def _model(preset: str, named: _Named) -> Model:
    """Look a checkpoint up."""

    def model(family: str = "", num_bytes: int = 0, lacking: str = "") -> Model:
        return Model(preset, named.part, named.name, family, num_bytes, lacking)

    try:
        place = named.find()
    except ModelError as error:
        fetch = f"not on this machine: {named.download}"
        return model(lacking=fetch if named.download else str(error))
    if place.is_file():
        return model(num_bytes=place.stat().st_size)
    if named.part == "bert":  # its tokenizer alone is read
        return model("bert")
    family = _architecture(place)
    try:
        num_bytes = sum(file.stat().st_size for file in checkpoint_files.weight_files(place))
    except ModelError as error:
        return model(family, lacking=str(error))
    return model(family, num_bytes)


def _architecture(folder: Path) -> str:
    """Return a checkpoint's family, or what its config.json calls it."""
    model_type = str(checkpoint_files.read_config(folder).get("model_type", ""))
    return family_of(folder).name if model_type in FAMILIES else model_type


def _hub_home() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _hub_cache() -> list[str]:
    """List the models in the hub cache by name."""
    return sorted(
        entry.name.removeprefix("models--").replace("--", "/", 1)
        for entry in _hub_home().glob("models--*")
    )
