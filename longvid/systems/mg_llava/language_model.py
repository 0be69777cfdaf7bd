"""MG-LLaVA asks about a video: of each frame its fused tokens, then its objects, without a mark."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from longvid.errors import ConfigError, ModelError, require_one_of
from longvid.lazy_import import later
from longvid.models import checkpoint_files
from longvid.models.checkpoint_ref import hub_checkpoint
from longvid.models.families.protocol import PROJECTED, TOWER, Decoder
from longvid.protocols import RUN_ONLY
from longvid.systems.language_model import PublishedLanguageModel, PublishedWorker
from longvid.types import CheckpointRef, EncoderMemory, LanguageModelMemory

if TYPE_CHECKING:
    from longvid.systems.mg_llava import authors_llm, checkpoint
    from longvid.systems.mg_llava.authors_llm import ConnectedFamily
else:
    _HERE = "longvid.systems.mg_llava"
    checkpoint, authors_llm = later(f"{_HERE}.checkpoint"), later(f"{_HERE}.authors_llm")

#: The authors' prompt for each kind of language model, without a system text, as they evaluate.
_PROMPTS = {
    "vicuna": "USER: {video}\n{question}{choices} ASSISTANT:",
    "llama3": (
        "<|start_header_id|>user<|end_header_id|>\n\n{video}\n{question}{choices}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "phi3": "<|user|>\n{video}\n{question}{choices}<|end|>\n<|assistant|>\n",
}

#: What ends an answer there before the tokenizer's own end, as it was trained.
_ENDS = {"llama3": "<|eot_id|>", "phi3": "<|end|>"}


@dataclass(frozen=True, slots=True)
class MgLlavaLanguageModel(PublishedLanguageModel):
    """MG-LLaVA as its authors ask it of videos; it reads what the encoder `conv_gate` stores.

    Args:
        model: MG-LLaVA's .pth file, its folder, or a hub name; the one that the encoder names.
        llm: The language model that it was trained from: a folder or a hub name. Its weights are
            read only where the file holds none, as after the first stage of training.
        conversation: "vicuna" (also Yi), "llama3" or "phi3".
        context: Most tokens of a prompt and its answer; 0 takes the language model's own. The
            authors' 8 frames of 576 tokens and their objects exceed Vicuna's 4096, and were run
            past it.

    Source: MG-LLaVA, `fuse_model.py` prepare_inputs_labels_for_multimodal;
    `video_mg_llava_proxy_eval_dataset.py`; XTuner's templates.
    """

    model: str = "PhoenixZ/MG-LLaVA"
    max_new_tokens: int = 50
    llm: str = field(default="lmsys/vicuna-7b-v1.5", metadata=RUN_ONLY)
    conversation: str = "vicuna"
    context: int = 0

    def __post_init__(self) -> None:
        PublishedLanguageModel.__post_init__(self)
        require_one_of("llm.conversation", self.conversation, _PROMPTS)
        if self.context < 0:
            raise ConfigError(f"llm.context must not be negative, got {self.context}.")

    def folder(self) -> Path:
        return checkpoint_files.locate(self.llm)

    def file(self) -> Path:
        return checkpoint.connector_file(self.model)

    def family(self) -> ConnectedFamily:
        return authors_llm.connected_family(self.file(), self.folder(), _PROMPTS[self.conversation])

    def spaces(self) -> tuple[str, ...]:
        file = self.file()
        return checkpoint.token_space(file, PROJECTED), checkpoint.token_space(file, TOWER)

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return (
            hub_checkpoint("mg_llava", "llm.model", self.model, find=self.file),
            # Mostly its weights are not read.
            dataclasses.replace(hub_checkpoint("llm", "llm.llm", self.llm), has_weights=False),
        )

    def memory(self, encoder: EncoderMemory, device: str) -> LanguageModelMemory:
        from longvid.systems.mg_llava.memory import language_model_memory

        return language_model_memory(self, encoder, device)

    def setup(self, device: str = "cpu") -> Worker:
        return Worker(self.with_prompts(_PROMPTS[self.conversation]), *self.load(device))


class Worker(PublishedWorker):
    """Shows every frame's tokens as they are stored."""

    def __init__(self, part: MgLlavaLanguageModel, folder: Path, decoder: Decoder) -> None:
        super().__init__(part, folder, decoder)
        if part.context:
            decoder.context = part.context
        # What ends an answer is the conversation's and the tokenizer's, not the language model's.
        own = self._tokenizer.eos_token_id
        end = _ENDS.get(part.conversation)
        if end is not None and end not in self._tokenizer.get_vocab():
            raise ModelError(
                f"An answer of the conversation {part.conversation} ends with {end}, which the "
                f"tokenizer of {folder} has not; set llm.conversation to that of the model."
            )
        ends = [own] if end is None else [self._tokenizer.convert_tokens_to_ids(end), own]
        decoder.module.generation_config.eos_token_id = list(dict.fromkeys(ends))
