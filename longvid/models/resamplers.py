"""Learned queries that read the tokens of a picture: Q-Formers and Perceiver resamplers.

The networks are those of transformers (BLIP-2, IDEFICS, IDEFICS2) and `models.flamingo`; a
checkpoint is loaded without its vision tower and its language model. Untrained queries are noise,
so there is no default weight here.

    blip-2     Q-Former and projection    32 queries of a picture, as the language model reads them
    idefics2   projection and resampler   64, as the language model reads them
    idefics    resampler                  64, of the tower's width, for gated cross-attention
    flamingo   resampler                  64 of a clip, the same (OpenFlamingo's checkpoint.pt)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longvid.errors import ModelError
from longvid.models import checkpoint_files
from longvid.models.checkpoint_errors import checkpoint_errors
from longvid.models.flamingo import FlamingoResampler
from longvid.models.free_memory import require_room
from longvid.models.from_pretrained import load
from longvid.models.transformers_logging import quiet
from longvid.models.weight_count import count_built, within
from longvid.models.weights import read_file

#: Families by kind: `model_type` in config.json, and for Flamingo, which has none, its name.
QFORMERS = ("blip-2",)
PERCEIVERS = ("idefics2", "idefics", "flamingo")

_ASKS = ("instructblip", "instructblipvideo")
_FLAMINGO_FILE = "checkpoint.pt"
_FLAMINGO = re.compile(r"^(module\.)?perceiver\.")
_FLAMINGO_HEAD = 64
#: Of each class, what is neither built nor read.
_CLASSES = {
    "blip-2": ("Blip2ForConditionalGeneration", ("vision_model", "language_model")),
    "idefics2": (
        "Idefics2ForConditionalGeneration",
        ("model.vision_model", "model.text_model", "lm_head"),
    ),
    "idefics": (
        "IdeficsForVisionText2Text",
        (
            "model.vision_model",
            "model.embed_tokens",
            "model.layers",
            "model.gated_cross_attn_layers",
            "model.norm",
            "lm_head",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class ResamplerFacts:
    """What is known of a resampler without its weights.

    Args:
        family: One of QFORMERS and PERCEIVERS.
        folder: Its checkpoint.
        num_queries: Tokens that it makes of a picture or a clip.
        in_width, out_width: Of a token before and after.
        most_frames: Of a clip; 0 where the network does not know frames.
        identity: Of its weights.
    """

    family: str
    folder: Path
    num_queries: int
    in_width: int
    out_width: int
    most_frames: int
    identity: str


@dataclass(frozen=True, slots=True)
class Resampler:
    """A loaded resampler.

    Args:
        facts: What it is.
        module: Holds the weights.
        run: From tokens (B, N, in_width) to (B, num_queries, out_width).
        frames: (F, in_width), what is added to the tokens of each frame of a clip; None for none.
    """

    facts: ResamplerFacts
    module: nn.Module
    run: Callable[[Tensor], Tensor]
    frames: Tensor | None = None


def read_facts(name: str, families: tuple[str, ...]) -> ResamplerFacts:
    """Read the sizes of a checkpoint's resampler, from config.json or the heads of its file.

    Args:
        name: A folder or a hub name.
        families: Those that count.

    Raises:
        ModelError: It is not on this machine, reads the question, or is of another family.
    """
    folder = checkpoint_files.locate(name)
    file = folder / _FLAMINGO_FILE
    if "flamingo" in families and file.is_file() and not (folder / "config.json").is_file():
        return _flamingo_facts(folder, _flamingo_state(file, data=False))
    family = str(checkpoint_files.read_config(folder).get("model_type"))
    if family in _ASKS:
        raise ModelError(
            f"The Q-Former of {folder} reads the question ({family}), which is not known while a "
            "video is indexed; leave the compressor out and ask with llm.name = 'instructblip', or "
            "name a BLIP-2 checkpoint, whose Q-Former reads pictures alone."
        )
    if family not in families:
        raise ModelError(
            f"{folder} is of architecture {family!r} and has no such resampler; one of "
            f"{', '.join(families)} is needed."
        )
    import transformers

    with quiet(), checkpoint_errors(folder, "The configuration"):
        config: Any = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if family == "blip-2":
        sizes = config.num_query_tokens, config.qformer_config.encoder_hidden_size
        out_width = config.text_config.hidden_size
    elif family == "idefics2":
        sizes = config.perceiver_config.resampler_n_latents, config.vision_config.hidden_size
        out_width = config.text_config.hidden_size
    else:
        if not config.use_resampler:
            raise ModelError(
                f"{folder} was trained without a resampler (use_resampler is false); name a "
                "checkpoint of IDEFICS that has one, such as HuggingFaceM4/idefics-9b."
            )
        out_width = config.vision_config.embed_dim
        sizes = config.perceiver_config.resampler_n_latents, out_width
    identity = checkpoint_files.identity(folder)
    return ResamplerFacts(family, folder, int(sizes[0]), int(sizes[1]), int(out_width), 0, identity)


def load_resampler(facts: ResamplerFacts, dtype: torch.dtype, device: str) -> Resampler:
    """Load the weights.

    Args:
        facts: Of `read_facts`.
        dtype, device: Of the weights; transformers keeps a Q-Former in float32.

    Raises:
        ModelError: They are missing, incomplete, or do not fit in memory.
    """
    if facts.family == "flamingo":
        return _load_flamingo(facts, dtype, device)
    import transformers

    class_name, drop = _CLASSES[facts.family]
    model_class = getattr(transformers, class_name)
    model = load(facts.folder, model_class, drop=drop, dtype=dtype, device=device)
    run = {"blip-2": blip2, "idefics2": idefics2, "idefics": _idefics}[facts.family]
    return Resampler(facts, model, lambda tokens: run(model, tokens))


def count_weights(facts: ResamplerFacts) -> int:
    """Count the weights that `load_resampler` reads, without reading them.

    Raises:
        ModelError: The checkpoint is not known to transformers.
    """
    if facts.family == "flamingo":
        state = _flamingo_state(facts.folder / _FLAMINGO_FILE, data=False)
        return sum(value.numel() for value in state.values())
    import transformers

    class_name, drop = _CLASSES[facts.family]
    model_class: Any = getattr(transformers, class_name)
    with checkpoint_errors(facts.folder, "The configuration"):
        config = model_class.config_class.from_pretrained(facts.folder)
        weights = count_built(lambda: model_class._from_config(config))
    return sum(weights.values()) - within(weights, drop)


def blip2(model: Any, tokens: Tensor) -> Tensor:
    """Read tokens of pictures with the queries of a BLIP-2, (B, N, C) to (B, queries, D)."""
    queries = model.query_tokens.expand(len(tokens), -1, -1)
    read = model.qformer(query_embeds=queries, encoder_hidden_states=tokens).last_hidden_state
    projection = model.language_projection
    projected: Tensor = projection(read.to(projection.weight.dtype))
    return projected


def idefics2(model: Any, tokens: Tensor) -> Tensor:
    """Read tokens of pictures with the latents of an IDEFICS2, (B, N, C) to (B, latents, D)."""
    connector = model.model.connector
    tokens = tokens.to(connector.perceiver_resampler.latents.dtype)
    everything = torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device)
    resampled: Tensor = connector(tokens, attention_mask=everything)
    return resampled


def _idefics(model: Any, tokens: Tensor) -> Tensor:
    resampler = model.model.perceiver_resampler
    resampled: Tensor = resampler(tokens.to(resampler.latents.dtype))
    return resampled


def _flamingo_state(file: Path, *, data: bool) -> dict[str, Tensor]:
    """Return the tensors of the resampler in OpenFlamingo's file, by its own names."""
    found = read_file(file, data=data)
    return {
        _FLAMINGO.sub("", name): value for name, value in found.items() if _FLAMINGO.match(name)
    }


def _flamingo_facts(folder: Path, state: dict[str, Tensor]) -> ResamplerFacts:
    try:
        num_latents, width = state["latents"].shape
    except KeyError as error:
        raise ModelError(
            f"{folder / _FLAMINGO_FILE} holds no perceiver.{error.args[0]}; download "
            "OpenFlamingo's checkpoint again."
        ) from error
    most_frames = len(state["frame_embs"]) if "frame_embs" in state else 0
    identity = checkpoint_files.file_identity([folder / _FLAMINGO_FILE])
    return ResamplerFacts("flamingo", folder, num_latents, width, width, most_frames, identity)


def _load_flamingo(facts: ResamplerFacts, dtype: torch.dtype, device: str) -> Resampler:
    state = _flamingo_state(facts.folder / _FLAMINGO_FILE, data=True)
    num_bytes = sum(value.numel() for value in state.values()) * dtype.itemsize
    require_room(f"The resampler of {facts.folder}", num_bytes, dtype, device)
    layers = {name.split(".")[1] for name in state if name.startswith("layers.")}
    try:
        inner = state["layers.0.0.to_q.weight"].shape[0]
        module = FlamingoResampler(
            facts.in_width,
            depth=len(layers),
            num_heads=inner // _FLAMINGO_HEAD,
            head_width=_FLAMINGO_HEAD,
            num_latents=facts.num_queries,
            max_frames=facts.most_frames,
        )
        module.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"The resampler of {facts.folder} lacks a tensor, or holds one of another shape: "
            f"{str(error).splitlines()[0]}."
        ) from error
    module = module.to(device=device, dtype=dtype).requires_grad_(False).eval()

    def run(tokens: Tensor) -> Tensor:
        return module.resample(tokens.to(dtype)[:, None])[:, 0]

    return Resampler(facts, module, run, module.frame_embs)
