"""The language models of LLaMA-VID and LongVU, from folders in their authors' own layout.

They are ordinary language models of transformers among other tensors. Their towers are not told
here: the encoder of each system loads what it needs, and what is stored is no grid of tokens in
the language model's space.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import torch
from longvid.models import checkpoint_files
from longvid.models.families.llava import LlavaDecoder
from longvid.models.families.protocol import PROJECTED, Decoder, Projector, Prompt, Tower
from longvid.models.preprocessing import PixelFormat
from longvid.models.weights import check_names, load_text_model

#: Stands for the video among the ids of a prompt; no tokenizer has it.
IMAGE_TOKEN_ID = -200


@dataclass(frozen=True, slots=True)
class PublishedFamily:
    """A system whose checkpoint transformers does not know as a whole.

    Args:
        name: As in the name of its token space.
        tower: The vision towers, in a word.
        text_class, text_config: Classes of transformers.
        beside: Pattern at the start of the names of tensors that are not the language model's.
        names: "module:function" that names the system's own tensors in a folder.
        prompt: The published prompt.
        encoder: Name of the encoder part that makes its tokens.
        keeps_rope: Whether `rope_scaling` of the checkpoint counts.
    """

    name: str
    tower: str
    text_class: str
    text_config: str
    beside: str
    names: str
    prompt: Prompt
    encoder: str
    keeps_rope: bool = True
    placeholder: str = "<image>"
    content_type: str = "image"
    rewrites: tuple[tuple[str, str], ...] = ()
    projects_tokens: bool = False

    def config(self, folder: Path) -> Any:
        return SimpleNamespace(
            vision_config=SimpleNamespace(model_type=self.tower),
            text_config=self._text_config(folder),
        )

    def stated(self, folder: Path) -> Any:
        return self.config(folder)

    def pixel_format(self, folder: Path, most_pixels: int = 0) -> PixelFormat:
        """Refuse: frames are fitted by the system's own encoder."""
        raise self._own_encoder(folder)

    def token_width(self, folder: Path) -> int:
        return int(self._text_config(folder).hidden_size)

    def tower_width(self, folder: Path, grid: str) -> int:
        """Refuse: the system has an encoder of its own."""
        raise self._own_encoder(folder)

    def load_tower(
        self, folder: Path, grid: str, dtype: torch.dtype, device: str, keep: str = PROJECTED
    ) -> Tower:
        raise self._own_encoder(folder)

    def load_projector(self, folder: Path, dtype: torch.dtype, device: str) -> Projector:
        raise self._own_encoder(folder)

    def load_decoder(self, folder: Path, dtype: torch.dtype, device: str) -> Decoder:
        """Load the language model, after every name in the folder is accounted for."""
        import transformers

        config = self._text_config(folder)
        text_class = getattr(transformers, self.text_class)
        with torch.device("meta"):
            text_names = frozenset(text_class(config).state_dict())
        tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
        module, _, function = self.names.partition(":")
        find_names: Callable[[Path], frozenset[str]]
        find_names = getattr(importlib.import_module(module), function)
        check_names(
            folder,
            (text_names - tied) | find_names(folder),
            optional=tied,
            beside=r"model\.vision_tower",
        )
        return LlavaDecoder(load_text_model(folder, text_class, config, self.beside, dtype, device))

    def placeholder_id(self, folder: Path) -> int:
        return IMAGE_TOKEN_ID

    def _text_config(self, folder: Path) -> Any:
        """Read the language model's part of config.json."""
        import transformers

        base = getattr(transformers, self.text_config)
        table = dict(checkpoint_files.read_config(folder))
        if not self.keeps_rope:
            table.pop("rope_scaling", None)
        known = set(base().to_dict()) | {"rope_theta", "rope_scaling"}
        dropped = {"model_type", "architectures", "transformers_version", "dtype", "torch_dtype"}
        # A decoder asks for `text_config`; here the whole is one.
        whole = type(base.__name__, (base,), {"text_config": property(lambda self: self)})
        return whole(**{key: table[key] for key in table if key in known - dropped})

    def _own_encoder(self, folder: Path) -> ModelError:
        return ModelError(
            f"{folder} is a checkpoint of {self.name}, which has an encoder of its own; set "
            f"encoder.name = {self.encoder!r}, as --config {self.encoder} does."
        )


LLAMA_VID = PublishedFamily(
    name="llama_vid",
    tower="eva",
    text_class="LlamaForCausalLM",
    text_config="LlamaConfig",
    beside=r"^model\.(vlm_att|mm_projector|vision_tower)",
    names="longvid.systems.llama_vid.checkpoint:adapter_names",
    prompt=Prompt(
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: {video}\n"
        "{question}{choices} ASSISTANT:"
    ),
    encoder="llama_vid",
)

_CONNECTOR = r"^model\.(mm_projector|vision_sampler|vision_query|image_newline|vision_tower)"
_CONNECTOR_NAMES = "longvid.systems.longvu.checkpoint:connector_names"

CAMBRIAN_QWEN = PublishedFamily(
    name="cambrian_qwen",
    text_class="Qwen2ForCausalLM",
    text_config="Qwen2Config",
    prompt=Prompt(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{video}\n"
        "{question}{choices}<|im_end|>\n<|im_start|>assistant\n"
    ),
    keeps_rope=False,
    tower="siglip_dinov2",
    beside=_CONNECTOR,
    names=_CONNECTOR_NAMES,
    encoder="longvu",
)

CAMBRIAN_LLAMA = PublishedFamily(
    name="cambrian_llama",
    text_class="LlamaForCausalLM",
    text_config="LlamaConfig",
    prompt=Prompt(
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful "
        "assistant.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{video}\n"
        "{question}{choices}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    tower="siglip_dinov2",
    beside=_CONNECTOR,
    names=_CONNECTOR_NAMES,
    encoder="longvu",
)
