"""References to checkpoints that parts name by folder or hub name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from longvid.errors import ModelError
from longvid.models import checkpoint_files
from longvid.types.needs import CheckpointRef


def hub_checkpoint(
    role: str,
    setting: str,
    name: str,
    inner: str = checkpoint_files.VLM,
    find: Callable[[], Path] | None = None,
) -> CheckpointRef:
    """Refer to a checkpoint.

    Args:
        role, setting, name: As in `CheckpointRef`.
        inner: The folder in it that is meant, where it is a folder of several.
        find: Of what is no folder with a config.json.
    """

    def find_folder() -> Path:
        if not name:
            raise ModelError(f"{setting} is empty; name a folder or a hub name.")
        folder = checkpoint_files.part_of(checkpoint_files.locate(name), inner)
        checkpoint_files.read_config(folder)
        return folder

    download = f"hf download {name}" if checkpoint_files.is_hub_name(name) else ""
    return CheckpointRef(role, setting, name, find or find_folder, download)
