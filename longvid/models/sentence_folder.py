"""Folders of sentence-transformers whose network places pictures and texts in one space.

`modules.json` lists what an input goes through. Its first module is a checkpoint of transformers in
a folder of its own, such as `0_CLIPModel`; what follows may bring vectors to unit norm, which is
done here anyway, and nothing else.

Source: the file formats of sentence-transformers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from longvid.errors import ModelError

_MODULES = "modules.json"


def network_folder(folder: Path) -> Path:
    """Return where the network of an embedder is: for most checkpoints the folder itself.

    Args:
        folder: A checkpoint, or a folder of sentence-transformers with its network further in.

    Raises:
        ModelError: `modules.json` is damaged, or its modules change what the network gives.
    """
    path = folder / _MODULES
    if (folder / "config.json").exists() or not path.is_file():
        return folder
    modules = _modules(path)
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if set(kinds[1:]) - {"Normalize"}:
        raise ModelError(
            f"{folder} embeds pictures by {', '.join(kinds)}; behind the first module only "
            "Normalize is read."
        )
    inner = folder / str(modules[0].get("path", ""))
    if folder.resolve() not in inner.resolve().parents or not inner.is_dir():
        raise ModelError(
            f"{path} names {modules[0].get('path')!r} as its first module, which is no folder in "
            "it; download the checkpoint again."
        )
    return inner


def _modules(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    if not isinstance(found, list) or not found or not all(isinstance(m, dict) for m in found):
        raise ModelError(f"{path} lists no modules; download the checkpoint again.")
    return found
