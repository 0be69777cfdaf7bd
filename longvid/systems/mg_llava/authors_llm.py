"""MG-LLaVA's language model: its weights are in the authors' file, the rest in a folder of its own.

The folder is that of the model it began as (Vicuna, Llama 3, Phi 3, Yi): config.json and the
tokenizer are read there, and weights where the authors' file holds none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from longvid.errors import ModelError
from longvid.lazy_import import later, torch
from longvid.models import checkpoint_files
from longvid.models.families.llava import LlavaDecoder
from longvid.models.families.protocol import Decoder, Projector, Prompt
from longvid.models.weights import COMPUTED, load_text_model
from longvid.systems.families import PublishedFamily

if TYPE_CHECKING:
    from longvid.systems.mg_llava import checkpoint
else:
    checkpoint = later("longvid.systems.mg_llava.checkpoint")

#: Class and configuration of transformers by `model_type`.
_CLASSES = {"llama": ("LlamaForCausalLM", "LlamaConfig"), "phi3": ("Phi3ForCausalLM", "Phi3Config")}


@dataclass(frozen=True, slots=True)
class ConnectedFamily(PublishedFamily):
    """The language model and the projector of one file."""

    file: Path = Path()

    def load_decoder(self, folder: Path, dtype: torch.dtype, device: str) -> Decoder:
        """Load the language model, after the names in the file are compared.

        Args:
            folder: With the configuration; its weights are read if the file holds none.
            dtype, device: Of the weights.

        Raises:
            ModelError: A weight is missing, or the file holds an adapter.
        """
        import transformers

        config = self._text_config(folder)
        text_class = getattr(transformers, self.text_class)
        state = checkpoint.language_model_state(self.file)
        if state is not None:
            with torch.device("meta"):
                expected = set(text_class(config).state_dict())
            expected -= {"lm_head.weight"} if config.tie_word_embeddings else set()
            missing = sorted(expected - state.keys())
            if missing:
                raise ModelError(
                    f"{self.file} lacks {len(missing)} of {len(expected)} weights of its language "
                    f"model, first llm.{missing[0]}; it is incomplete, or {folder} is not the "
                    "model that it was trained from."
                )
        module = load_text_model(
            folder, text_class, config, COMPUTED.pattern, dtype, device, state=state
        )
        return LlavaDecoder(module)

    def load_projector(self, folder: Path, dtype: torch.dtype, device: str) -> Projector:
        """Load the projector of the file alone."""
        return checkpoint.load_token_projector(self.file, dtype, device)


def connected_family(file: Path, folder: Path, template: str) -> ConnectedFamily:
    """Return the family of the language model that a file was trained with.

    Raises:
        ModelError: The folder is of no architecture that the authors used.
    """
    model_type = str(checkpoint_files.read_config(folder).get("model_type"))
    if model_type not in _CLASSES:
        raise ModelError(
            f"{folder} is of architecture {model_type!r}; MG-LLaVA's language models are "
            f"{' and '.join(_CLASSES)}, such as lmsys/vicuna-7b-v1.5."
        )
    text_class, text_config = _CLASSES[model_type]
    return ConnectedFamily(
        name="mg_llava",
        tower="clip_convnext",
        text_class=text_class,
        text_config=text_config,
        beside=COMPUTED.pattern,
        names="",
        prompt=Prompt(template),
        encoder="conv_gate",
        projects_tokens=True,
        file=file,
    )
