"""Load LLaMA-VID from the files its authors published.

A checkpoint is a folder whose tensors are a Vicuna, an adapter (`model.vlm_att_*`,
`model.mm_projector.*`) and, sometimes, the vision tower. The tower proper is a file of its own,
`eva_vit_g.pth`; the words of a question are read by BERT's tokenizer, a third one.

Six finished models are published, for pictures, short and long videos, and all of them are read
here. The five folders of the first stage (`-pretrain-`) hold an adapter without a language model,
trained to caption; they are refused.

Source: LLaMA-VID, `README.md`, `builder.py`, `llamavid_arch.py` initialize_attention_modules.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longvid.errors import ModelError
from longvid.models import checkpoint_files
from longvid.models.free_memory import require_room
from longvid.models.preprocessing import PixelFormat
from longvid.models.tokenizer import TextTokenizer, load_tokenizer
from longvid.models.weights import read_file, read_tensors
from longvid.systems.llama_vid.eva_vit import EvaConfig, EvaVisionTransformer
from longvid.systems.llama_vid.network import LlamaVid, LlamaVidConfig
from longvid.systems.llama_vid.qformer import QFormerConfig
from longvid.types import CheckpointRef

#: Where the adapter's tensors begin, and those of the tower.
ADAPTER = r"model\.(vlm_att|mm_projector)"
TOWER = r"model\.vision_tower\."
_STORED_TOWER = "model.vision_tower.vision_tower."

#: Where BLIP-2's authors publish the tower's file, as LLaMA-VID's README says.
TOWER_URL = (
    "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2/eva_vit_g.pth"
)

#: The checkpoint whose tokenizer and head count the reader of questions was built with.
BERT = "google-bert/bert-base-uncased"
BERT_FOLDER = "bert"

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# EVA-CLIP-G has 88 channels a head; its 40th block and what follows it are never used.
_HEAD_CHANNELS = 88
_FILE_BLOCKS, _USED_BLOCKS = 40, 39

_LONGEST_QUESTION = 256


def pixel_format(config: dict[str, Any], folder: Path) -> PixelFormat:
    """Say how the tower wants frames: the centre of a picture, normalised as CLIP does.

    Raises:
        ModelError: The configuration names no image processor with a size.
    """
    match = re.search(r"(\d+)/?$", str(config.get("image_processor", "")))
    if match is None:
        raise ModelError(
            f"config.json of {folder} names no image_processor that ends in its size, such as "
            "clip-patch14-224; download the checkpoint again."
        )
    side = int(match[1])
    return PixelFormat(height=side, width=side, fit="crop", mean=_CLIP_MEAN, std=_CLIP_STD)


def tower_file(folder: Path, config: dict[str, Any], name: str) -> Path | None:
    """Find the file of the vision tower.

    Args:
        folder: The checkpoint.
        config: Its config.json, which names the file as its authors had it.
        name: A path, which must exist; "" looks where the configuration says, from here and from
            the checkpoint, and for a file of that name in the checkpoint.

    Returns:
        None where there is no such file; the checkpoint may hold the tower itself.

    Raises:
        ModelError: A file was named and is not there.
    """
    if name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise ModelError(
                f"There is no vision tower {name!r}; name the file eva_vit_g.pth in "
                "encoder.vision_tower."
            )
        return path
    stated = Path(str(config.get("mm_vision_tower", "eva_vit_g.pth")))
    converted = folder / f"{stated.stem}.safetensors"
    places = (converted, folder / stated.name, folder / stated, stated)
    return next((path for path in places if path.is_file()), None)


def load_tower(folder: Path, name: str, dtype: torch.dtype, device: str) -> EvaVisionTransformer:
    """Load the EVA tower from its own file, or from the checkpoint if that holds it.

    Args:
        folder: The checkpoint.
        name: See `tower_file`.
        dtype, device: Of the weights.

    Raises:
        ModelError: There is no tower, a tensor is missing or of another shape, or the device has
            no room for it.
    """
    sizes = tower_sizes(folder, name)
    with torch.device("meta"):
        num_weights = sum(x.numel() for x in EvaVisionTransformer(sizes).parameters())
    require_room(f"The vision tower of {folder}", num_weights * dtype.itemsize, dtype, device)
    tower = EvaVisionTransformer(sizes)
    tower.load_released(_tower_state(folder, checkpoint_files.read_config(folder), name, data=True))
    return tower.to(device=device, dtype=dtype).requires_grad_(False).eval()


def tower_sizes(folder: Path, name: str) -> EvaConfig:
    """Read the sizes of the EVA tower off the heads of its files.

    Args:
        folder, name: See `load_tower`.

    Raises:
        ModelError: There is no tower.
    """
    config = checkpoint_files.read_config(folder)
    state = _tower_state(folder, config, name, data=False)
    return _tower_sizes(state, config, folder)


def _tower_state(
    folder: Path, config: dict[str, Any], name: str, *, data: bool
) -> dict[str, Tensor]:
    """Return the tower's tensors by its own names, from its file or else from the checkpoint."""
    file = tower_file(folder, config, name)
    if file is not None:
        return read_file(file, data=data)
    stored = read_tensors(folder, lambda tensor: tensor.startswith(_STORED_TOWER), data=data)
    if not stored:
        raise ModelError(
            f"{folder} has no vision tower: neither the file "
            f"{config.get('mm_vision_tower', 'eva_vit_g.pth')} nor tensors of its own are there; "
            f"put eva_vit_g.pth ({TOWER_URL}) into the folder, or name it in "
            "encoder.vision_tower."
        )
    return {key.removeprefix(_STORED_TOWER): value for key, value in stored.items()}


def _tower_sizes(state: dict[str, Tensor], config: dict[str, Any], folder: Path) -> EvaConfig:
    try:
        width, _, patch, _ = state["patch_embed.proj.weight"].shape
        mlp_width = state["blocks.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise ModelError(
            f"The vision tower of {folder} lacks {error}; it must be eva_vit_g.pth or a tower of "
            "the same names."
        ) from error
    blocks = {int(name.split(".")[1]) for name in state if name.startswith("blocks.")}
    depth = max(blocks) + 1
    own = config.get("mm_vision_tower_config", {})
    return EvaConfig(
        image_size=pixel_format(config, folder).height,
        patch_size=patch,
        width=width,
        depth=_USED_BLOCKS if depth == _FILE_BLOCKS else depth,
        num_heads=int(own.get("num_heads", max(1, width // _HEAD_CHANNELS))),
        mlp_width=mlp_width,
    )


def adapter_names(folder: Path) -> frozenset[str]:
    """Return the names of the adapter's tensors as the checkpoint must hold them.

    The sizes are read off its tensors, so what is missing inside them is noticed.

    Raises:
        ModelError: A tensor that says a size is missing.
    """
    with torch.device("meta"):
        model = LlamaVid(adapter_sizes(folder))
    return frozenset(f"model.{name}" for name in model.state_dict())


def adapter_sizes(folder: Path) -> LlamaVidConfig:
    """Read the sizes of the adapter off the heads of the checkpoint's files.

    The number of attention heads is not among them.

    Raises:
        ModelError: A tensor that says a size is missing.
    """
    return _sizes(folder, _adapter_state(folder, data=False), num_heads=1)


def load_adapter(folder: Path, bert: str, dtype: torch.dtype, device: str) -> LlamaVid:
    """Load the Q-Former or BERT, the context attention and the projector.

    Args:
        folder: The checkpoint.
        bert: Checkpoint of BERT, which says the number of heads; see `bert_folder`.
        dtype, device: Of the weights.

    Raises:
        ModelError: A tensor is missing, not known, or of another shape.
    """
    state = _adapter_state(folder, data=True)
    num_heads = int(checkpoint_files.read_config(bert_folder(folder, bert))["num_attention_heads"])
    with torch.device("meta"):
        model = LlamaVid(_sizes(folder, state, num_heads))
    strange = sorted(
        state.keys()
        - {f"model.{name}" for name in model.state_dict()}
        - {"model.vlm_att_encoder.bert.embeddings.position_ids"}
    )
    if strange:
        raise ModelError(
            f"{folder} holds {len(strange)} tensors that LLaMA-VID does not have, the first is "
            f"{strange[0]}; its config.json may state the bert_type of another one."
        )
    model = model.to_empty(device="cpu")
    model.load_released(state)
    return model.to(device=device, dtype=dtype).requires_grad_(False).eval()


def bert_folder(folder: Path, bert: str) -> Path:
    """Return the folder of BERT's tokenizer: `bert/` in the checkpoint, or where it is named."""
    inside = folder / BERT_FOLDER
    return inside if not bert and inside.is_dir() else checkpoint_files.locate(bert or BERT)


def load_question_tokenizer(folder: Path, bert: str) -> Any:
    """Load the tokenizer of the Q-Former; it keeps the end of a question that is too long.

    Returns:
        A function from a text to its ids, a list of at most 256.

    Raises:
        ModelError: BERT's tokenizer is missing.
    """
    tokenizer = TextTokenizer(load_tokenizer(bert_folder(folder, bert)))
    return lambda text: tokenizer.framed_ids(text, _LONGEST_QUESTION, keep_end=True)


def _adapter_state(folder: Path, *, data: bool) -> dict[str, Tensor]:
    pattern = re.compile(ADAPTER)
    return read_tensors(folder, lambda name: pattern.match(name) is not None, data=data)


def _sizes(folder: Path, state: dict[str, Tensor], num_heads: int) -> LlamaVidConfig:
    """Read sizes off the tensors, and off config.json who reads the question.

    Every published folder states "qformer_pretrain", with "_freeze" or "_freeze_all" where parts
    of it were not trained. Their code can also be trained with "qformer", without the norm of the
    frames, and "raw_bert", a plain BERT; with ":n" either keeps its first n layers.
    """
    config = checkpoint_files.read_config(folder)
    kind = str(config.get("bert_type", "qformer_pretrain"))
    if "qformer" not in kind and "raw" not in kind:
        raise ModelError(
            f"{folder} was trained with bert_type {kind!r}; LLaMA-VID has qformer_pretrain, "
            "qformer and raw_bert, and endings of them."
        )
    raw = "qformer" not in kind
    try:
        llm_width, vision_width = state["model.mm_projector.0.weight"].shape
        num_queries = 0 if raw else state["model.vlm_att_query"].shape[1]
        qformer = _reader_sizes(state, num_heads)
    except KeyError as error:
        raise ModelError(
            f"{folder} lacks {error} of LLaMA-VID's adapter; the checkpoint is incomplete or of "
            "another architecture."
        ) from error
    content = str(config.get("compress_type") or "none")
    return LlamaVidConfig(
        qformer=qformer,
        num_queries=num_queries,
        vision_width=vision_width,
        llm_width=llm_width,
        content="none" if content == "None" else content,
        reader="raw" if raw else "qformer",
        frame_norm="pretrain" in kind,
    )


def _reader_sizes(state: dict[str, Tensor], num_heads: int) -> QFormerConfig:
    """Return the sizes of what reads the question; KeyError names a tensor that says one."""
    bert = "model.vlm_att_encoder.bert."
    layer = bert + "encoder.layer."
    layers = {int(name.split(".layer.")[1].split(".")[0]) for name in state if layer in name}
    crossing = sorted(
        int(name.split(".layer.")[1].split(".")[0])
        for name in state
        if name.endswith("crossattention.self.key.weight")
    )
    words = state[bert + "embeddings.word_embeddings.weight"]
    return QFormerConfig(
        hidden=words.shape[1],
        depth=max(layers, default=0) + 1,
        num_heads=num_heads,
        feedforward=state[f"{layer}0.intermediate.dense.weight"].shape[0],
        vocabulary=words.shape[0],
        max_positions=state[bert + "embeddings.position_embeddings.weight"].shape[0],
        vision_width=state[f"{layer}0.crossattention.self.key.weight"].shape[1],
        cross_attention_every=crossing[1] if len(crossing) > 1 else max(layers) + 1,
    )


def tower_checkpoint(model: str, name: str) -> CheckpointRef:
    """Refer to the vision tower, which is a file of its own or in the checkpoint.

    Args:
        model: The checkpoint.
        name: The tower's file, "" where config.json names it.
    """

    def find() -> Path:
        folder = checkpoint_files.locate(model)
        file = tower_file(folder, checkpoint_files.read_config(folder), name)
        if file is None:
            tower_sizes(folder, name)
        return file or folder

    download = "" if name else f"{TOWER_URL}, into the folder of {model}"
    shown = name or TOWER_URL.rpartition("/")[2]
    return CheckpointRef("vision_tower", "encoder.vision_tower", shown, find, download)


def bert_checkpoint(model: str, name: str) -> CheckpointRef:
    """Refer to the tokenizer of the Q-Former's questions; "" takes the checkpoint's own folder."""
    wanted = name or BERT

    def find() -> Path:
        try:
            folder = checkpoint_files.locate(model)
        except ModelError:
            return checkpoint_files.locate(wanted)
        return bert_folder(folder, name)

    download = f"hf download {wanted}" if checkpoint_files.is_hub_name(wanted) else ""
    return CheckpointRef("bert", "llm.bert", wanted, find, download, has_weights=False)
