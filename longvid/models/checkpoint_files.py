"""Find a checkpoint on this machine, check that it is whole, and name its weights.

A checkpoint is a folder in the Hugging Face format. Nothing here opens a network connection: what
is missing is reported with the command that fetches it. This module does not know what an
architecture computes.

A *pair* folder holds two checkpoints, `vlm/` and `embedder/`; mini is one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longvid.errors import ModelError
from longvid.models.transformers_logging import quiet
from longvid.paths import cache_home

MINI = "mini"
VLM = "vlm"
EMBEDDER = "embedder"

_ASSETS = Path(__file__).parent.parent / "assets"
_MINI_SEED = 0
_MARKER = "untrained.json"

_ZIP_START = b"PK\x03\x04"

_PROBE_BYTES = 1 << 20
_INNER_PROBES = 14
_INNER_PROBE_BYTES = 1 << 16

# In the order in which they are looked for: the first that exists is the one that is loaded.
_SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
# What LLaVA's and LLaMA-VID's first stage of training saves.
_ADAPTER_FILE = "mm_projector.bin"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "vocab.json",
)
_MOST_JSON_BYTES = 64 << 20
_MOST_LAYERS, _MOST_NUMBER = 2048, 2**40
#: Numbers that no model does without.
_POSITIVE = frozenset(
    {"patch_size", "image_size", "hidden_size", "num_hidden_layers", "num_attention_heads"}
)

_INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def locate(name: str) -> Path:
    """Find a checkpoint by name, without a network.

    Args:
        name: "mini"; the path of a folder; or a Hugging Face hub name such as
            "llava-hf/llava-1.5-7b-hf", which is looked up in the local hub cache.

    Returns:
        An existing folder: a checkpoint, or a pair of them.

    Raises:
        ModelError: There is no such folder, and the name is not in the hub cache.
    """
    if not name:
        raise ModelError(
            f"A checkpoint's name is empty; name {MINI!r}, an existing folder, or a Hugging Face "
            "hub name of the form owner/model."
        )
    if name == MINI:
        return _ASSETS / MINI if mini_is_trained() else _untrained_mini()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not is_hub_name(name):
        raise ModelError(
            f"There is no checkpoint folder {name!r}; name {MINI!r}, an existing folder, or a "
            "Hugging Face hub name of the form owner/model."
        )
    return _in_hub_cache(name)


def is_hub_name(name: str) -> bool:
    """Tell whether a name that is no folder here can be one of the hub: owner/model."""
    return name.count("/") == 1 and not name.startswith((".", "~", "/"))


def part_of(folder: Path, part: str) -> Path:
    """Return the named checkpoint of a pair folder; any other folder is returned as it is.

    Args:
        folder: What `locate` returned.
        part: VLM or EMBEDDER.
    """
    inner = folder / part
    return inner if inner.is_dir() and not (folder / "config.json").exists() else folder


def mini_is_trained() -> bool:
    """Tell whether trained weights of mini are shipped; if not, it is built from a fixed seed."""
    return _holds_weights(_ASSETS / MINI / VLM)


def note(folder: Path) -> str:
    """Return what a person must know of these weights, in one line; "" if there is nothing."""
    for place in (folder, folder.parent):
        if (place / _MARKER).is_file():
            return (
                "The mini model was built from a fixed seed and is not trained; its answers carry "
                "no meaning yet."
            )
    return ""


def read_config(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's config.json.

    Raises:
        ModelError: It is missing, is not valid JSON, or states numbers that no model has.
    """
    path = folder / "config.json"
    config = _read_json(path)
    if config is None:
        raise ModelError(
            f"{folder} has no config.json, so it is not a Hugging Face checkpoint; name a folder "
            "that holds config.json, the weights and the tokenizer."
        )
    for name, value in config.items():
        if name.endswith("_config") and not isinstance(value, (dict, type(None))):
            raise ModelError(f"{path} states {name} as no table; download the checkpoint again.")
    absurd = _absurd_number(config)
    if absurd is not None:
        raise ModelError(
            f"{path} states {absurd[0]} = {absurd[1]}, which no model has; download the checkpoint "
            "again from its authors."
        )
    return config


def _read_json(path: Path) -> dict[str, Any] | None:
    """Read a table from a JSON file, None where there is no file.

    Raises:
        ModelError: It is too large, nested too deeply, or is no table.
    """
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise ModelError(f"{path} is larger than {_MOST_JSON_BYTES >> 20} MiB.")
        table = json.loads(path.read_bytes())
    except OSError:
        return None
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} is not valid JSON ({error}); download the checkpoint again."
        ) from error
    if not isinstance(table, dict):
        raise ModelError(f"{path} is no table of settings; download the checkpoint again.")
    return table


def _absurd_number(table: dict[str, Any]) -> tuple[str, object] | None:
    """Find a size that is 0 or less, or that would keep a library busy for ever."""
    for name, value in table.items():
        if isinstance(value, dict):
            found = _absurd_number(value)
            if found is not None:
                return found
            continue
        most = _MOST_LAYERS if name.endswith(("layers", "depth")) else _MOST_NUMBER
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, int) or isinstance(one, bool):
                continue
            if abs(one) > most or (one < 1 and name in _POSITIVE):
                return name, one if abs(one) < 10**15 else "a number of many digits"
    return None


def require_token(folder: Path, token: str) -> None:
    """Refuse a checkpoint whose tokenizer lacks the token that stands for a video.

    Only the text of its files is searched, so that indexing can check it at once.

    Raises:
        ModelError: It has a tokenizer, and none of its files holds the token.
    """
    files = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    spelled = {token.encode(), json.dumps(token)[1:-1].encode()}
    texts = [file.read_bytes() for file in files]
    if texts and not any(one in text for one in spelled for text in texts):
        raise ModelError(
            f"The tokenizer of {folder} has no token {token!r}, the place of a video in its "
            "prompts; copy the tokenizer's files from the original checkpoint."
        )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """List the weight files that would be loaded, and check that each is whole.

    Only headers are read, so this is cheap for a checkpoint of any size.

    Returns:
        Existing files, sorted by name.

    Raises:
        ModelError: There are none, or the download stopped half way.
    """
    for single, index in zip(_SINGLE_FILES, _INDEX_FILES, strict=True):
        if (folder / single).is_file():
            files = [folder / single]
        elif (folder / index).is_file():
            names = _indexed_files(folder / index)
            missing = [name for name in names if not (folder / name).is_file()]
            if missing:
                raise ModelError(
                    f"{folder} is half downloaded: {len(missing)} of {len(names)} weight files are "
                    f"missing ({', '.join(missing)}); run `hf download` again to complete it."
                )
            files = [folder / name for name in names]
        else:
            continue
        for file in files:
            _check_whole(file)
        return tuple(files)
    if (folder / _ADAPTER_FILE).is_file():
        raise ModelError(
            f"{folder} holds only {_ADAPTER_FILE}, the adapter that a first stage of training "
            "leaves, and no language model; name the folder of the finished model."
        )
    raise ModelError(
        f"{folder} holds no weights: neither {' nor '.join((*_SINGLE_FILES, *_INDEX_FILES))} is "
        "there; download the checkpoint again."
    )


def identity(folder: Path) -> str:
    """Name a checkpoint's weights, so that two checkpoints never share a token space.

    The configuration, the names and sizes of the weight files and probes of each (the first and
    last MiB and points between) are hashed: 15 GB of weights are named in milliseconds, and a copy
    of a checkpoint in another folder has the same name.

    Returns:
        12 hexadecimal digits.

    Raises:
        ModelError: The checkpoint is missing a file.
    """
    config = json.dumps(read_config(folder), sort_keys=True).encode()
    return file_identity(weight_files(folder), config)


def file_identity(files: Sequence[Path], about: bytes = b"") -> str:
    """Name weight files that no config.json describes, as `identity` names a checkpoint.

    Args:
        files: Existing files.
        about: Hashed before them.

    Returns:
        12 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=6)
    digest.update(about)
    for path in files:
        num_bytes = path.stat().st_size
        digest.update(f"\0{path.name}\0{num_bytes}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_PROBE_BYTES))
            for probe in range(1, _INNER_PROBES + 1):
                file.seek(num_bytes * probe // (_INNER_PROBES + 1))
                digest.update(file.read(_INNER_PROBE_BYTES))
            file.seek(max(0, num_bytes - _PROBE_BYTES))
            digest.update(file.read(_PROBE_BYTES))
    return digest.hexdigest()


def _indexed_files(index: Path) -> list[str]:
    weight_map = (_read_json(index) or {}).get("weight_map")
    names = set(weight_map.values()) if isinstance(weight_map, dict) else set()
    # A bare name: an index from outside must not lead out of its folder.
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ModelError(f"{index} does not list weight files; download the checkpoint again.")
    return sorted(names)


def _holds_weights(folder: Path) -> bool:
    files = (*_SINGLE_FILES, *_INDEX_FILES)
    return (folder / "config.json").is_file() and any((folder / file).is_file() for file in files)


def _check_whole(file: Path) -> None:
    """Compare a safetensors file's length with the length its own header promises.

    A pickle in a zip file, as torch has written them since 1.6, ends in its table of contents.
    """
    num_bytes = file.stat().st_size
    if file.suffix != ".safetensors":
        _check_pickle_whole(file, num_bytes)
        return
    try:
        with file.open("rb") as stream:
            header_bytes = int.from_bytes(stream.read(8), "little")
            if not 0 < header_bytes <= num_bytes:
                raise ValueError(f"a header of {header_bytes} bytes")
            header = json.loads(stream.read(header_bytes))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ModelError(
            f"{file} is not a safetensors file ({error}); if it is a pointer of git-lfs, or the "
            "download stopped, run `hf download` again."
        ) from error
    promised = 8 + header_bytes + max(ends, default=0)
    if num_bytes != promised:
        raise ModelError(
            f"{file} holds {num_bytes:,} of {promised:,} bytes: the download stopped half way; run "
            "`hf download` again to complete it."
        )


def _check_pickle_whole(file: Path, num_bytes: int) -> None:
    if num_bytes == 0:
        raise ModelError(f"{file} is empty; download the checkpoint again.")
    with file.open("rb") as stream:
        start = stream.read(len(_ZIP_START))
    if start == _ZIP_START and not zipfile.is_zipfile(file):
        raise ModelError(
            f"{file} ends before its table of contents: the download stopped half way; run "
            "`hf download` again to complete it."
        )


def _in_hub_cache(name: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"The checkpoint {name!r} is not on this machine; run `hf download {name}` where there "
            f"is a network (it lands in {constants.HF_HUB_CACHE}), or copy its folder here and "
            "name the folder instead."
        ) from error


def _untrained_mini() -> Path:
    """Write mini with random weights into the user cache, once for all processes."""
    from longvid.models import mini

    # A change of the architecture or the vocabulary must not meet weights of the older one.
    files = (Path(__file__).with_name(name) for name in ("mini.py", "mini_vocabulary.py"))
    code = b"".join(file.read_bytes() for file in files)
    source = hashlib.blake2b(code, digest_size=6).hexdigest()
    final = cache_home() / f"mini-seed{_MINI_SEED}-{source}"
    if final.is_dir():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".mini-", dir=final.parent))
    except OSError as error:
        raise ModelError(
            f"The mini model cannot be written to {final.parent} ({error.strerror}); set "
            "LONGVID_HOME to a folder that can be written."
        ) from error
    try:
        with quiet():
            mini.save(building, _MINI_SEED)
        marker = json.dumps({"trained": False, "seed": _MINI_SEED}) + "\n"
        (building / _MARKER).write_text(marker, encoding="utf-8")
        building.chmod(0o755)
        try:
            building.rename(final)
        except OSError:
            # Another process was faster; its folder holds the same weights.
            if not final.is_dir():
                raise
    except OSError as error:
        raise ModelError(f"The mini model cannot be written to {final}: {error}.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return final
