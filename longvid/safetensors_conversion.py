"""Rewrite a checkpoint as safetensors: mapped instead of unpickled, and with nothing to run.

Every tensor keeps its name, its type and its bits. What lies outside the folder and is needed by
it (LLaMA-VID's vision tower and BERT's tokenizer) can be brought in, so that one folder is all.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from longvid.errors import ModelError
from longvid.gguf import GGUF_SUFFIX, convert_gguf
from longvid.models import checkpoint_files
from longvid.models.weights import iterate_tensors, read_pickle
from longvid.systems.llama_vid.checkpoint import BERT_FOLDER, tower_file

_PICKLES = (".bin", ".pth", ".pt")
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written."""

    folder: Path
    num_tensors: int
    num_files: int
    weight_bytes: int


def convert(
    source: str, destination: str | Path, *, vision_tower: str = "", bert: str = ""
) -> Converted:
    """Write a checkpoint once more, its weights as safetensors.

    Tokenizers, configurations and other files are copied as they are. One weight file is in
    memory at a time.

    Args:
        source: A folder or a hub name, with `pytorch_model.bin` or shards of it; or a .gguf file
            of the Llama architecture, which is dequantised to float16.
        destination: A folder that does not exist yet, or is empty.
        vision_tower: LLaMA-VID's eva_vit_g.pth; "" looks where config.json says.
        bert: A folder with BERT's tokenizer, which becomes `bert/`.

    Raises:
        ModelError: The source is no checkpoint of pickles, is damaged or incomplete, or the
            destination cannot be written.
    """
    target = Path(destination).expanduser()
    if source.endswith(GGUF_SUFFIX):
        return _from_gguf(Path(source).expanduser(), target)
    folder = checkpoint_files.locate(source)
    config = checkpoint_files.read_config(folder)
    files = checkpoint_files.weight_files(folder)
    if files[0].suffix == ".safetensors":
        raise ModelError(f"{folder} holds safetensors already; there is nothing to convert.")
    _require_new(target)
    tower = tower_file(folder, config, vision_tower) if "mm_vision_tower" in config else None
    try:
        return _write(folder, files, target, tower, bert)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error}.") from error


def _require_new(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ModelError(f"{target} exists already; name a new folder.")


def _from_gguf(file: Path, target: Path) -> Converted:
    _require_new(target)
    if not file.is_file():
        raise ModelError(f"There is no file {file}.")
    try:
        if target.is_dir():
            target.rmdir()
        num_tensors = convert_gguf(file, target)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error}.") from error
    files = checkpoint_files.weight_files(target)
    return Converted(target, num_tensors, len(files), sum(one.stat().st_size for one in files))


def _write(
    folder: Path, files: tuple[Path, ...], target: Path, tower: Path | None, bert: str
) -> Converted:
    target.parent.mkdir(parents=True, exist_ok=True)
    needed = sum(file.stat().st_size for file in (*files, *([tower] if tower else [])))
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise ModelError(
            f"{target} needs {needed:,} bytes and {free:,} are free; free some, or name a folder "
            "on another disk."
        )
    building = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
    try:
        _copy_others(folder, building)
        if bert:
            shutil.copytree(
                checkpoint_files.locate(bert), building / BERT_FOLDER, dirs_exist_ok=True
            )
        written = _write_weights(folder, building, len(files))
        if tower is not None:
            written.append(_save(read_pickle(tower), building / f"{tower.stem}.safetensors"))
        building.chmod(0o755)
        if target.is_dir():
            target.rmdir()
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Converted(
        folder=target,
        num_tensors=sum(count for count, _ in written),
        num_files=len(written),
        weight_bytes=sum(size for _, size in written),
    )


def _copy_others(folder: Path, building: Path) -> None:
    """Copy what is no weight: tokenizer, configurations, a folder of BERT."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            shutil.copytree(path, building / path.name)
        elif path.is_file() and path.suffix not in _PICKLES and ".bin.index" not in path.name:
            shutil.copy(path, building / path.name)


def _write_weights(folder: Path, building: Path, num_files: int) -> list[tuple[int, int]]:
    written = []
    weight_map: dict[str, str] = {}
    for number, (_, tensors) in enumerate(iterate_tensors(folder), start=1):
        name = "model.safetensors"
        if num_files > 1:
            name = f"model-{number:05d}-of-{num_files:05d}.safetensors"
        written.append(_save(tensors, building / name))
        weight_map |= dict.fromkeys(tensors, name)
    if num_files > 1:
        table = {
            "metadata": {"total_size": sum(size for _, size in written)},
            "weight_map": dict(sorted(weight_map.items())),
        }
        (building / _INDEX).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return written


def _save(tensors: dict[str, Tensor], path: Path) -> tuple[int, int]:
    """Write one file; return how many tensors it holds, and their bytes."""
    from safetensors.torch import save_file

    seen: set[Any] = set()
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        # Two names of one memory (tied weights) are two tensors in the file.
        memory = tensor.untyped_storage().data_ptr()
        whole = tensor.contiguous()
        apart[name] = whole.clone() if memory in seen and whole is tensor else whole
        seen.add(memory)
    save_file(apart, path, metadata={"format": "pt"})
    return len(apart), sum(tensor.nbytes for tensor in apart.values())
