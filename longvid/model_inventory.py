"""Which checkpoints configurations name, and which of them are on this machine.

Nothing is loaded: config.json and the names and sizes of files are read. This module does not know
how a checkpoint is run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from longvid.config import Config, load_config, preset_names
from longvid.errors import ModelError
from longvid.models import checkpoint_files
from longvid.models.checkpoint_ref import hub_checkpoint
from longvid.models.families import FAMILIES, family_of
from longvid.types import CheckpointRef


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
        download: What fetches it where it is missing, "" where it is here or nobody knows.
    """

    preset: str
    part: str
    model: str
    family: str
    num_bytes: int
    lacking: str
    download: str = ""


def models_on_disk() -> list[Model]:
    """List the checkpoints that the presets name and those in the hub cache.

    Returns:
        Those of the presets first, in order of preset.
    """
    listed = [
        _model(preset, named)
        for preset in preset_names()
        for named in load_config(preset).checkpoints()
    ]
    known = {model.model for model in listed}
    others = [
        _model("", hub_checkpoint("", "", name)) for name in _hub_cache() if name not in known
    ]
    return listed + others


def require_models(config: Config) -> None:
    """Refuse a configuration some of whose checkpoints are not on this machine.

    Raises:
        ModelError: The sentence names all of them, and what to do.
    """
    missing: dict[str, list[CheckpointRef]] = {}
    for named in config.checkpoints():
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


def _model(preset: str, named: CheckpointRef) -> Model:
    """Look a checkpoint up."""

    def model(family: str = "", num_bytes: int = 0, lacking: str = "", download: str = "") -> Model:
        return Model(preset, named.role, named.name, family, num_bytes, lacking, download)

    try:
        place = named.find()
    except ModelError as error:
        fetch = f"not on this machine: {named.download}"
        return model(lacking=fetch if named.download else str(error), download=named.download)
    if place.is_file():
        return model(num_bytes=place.stat().st_size)
    if not named.has_weights:
        return model(named.role)
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
    return sorted(
        entry.name.removeprefix("models--").replace("--", "/", 1)
        for entry in _hub_home().glob("models--*")
    )
