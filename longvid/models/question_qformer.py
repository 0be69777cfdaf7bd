"""InstructBLIP's Q-Former: queries that look at a picture and read the question.

What it makes of a frame depends on the question, so nothing of it can be stored: it runs when a
question is asked, on stored tokens of its own vision tower (`systems.instructblip`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from longvid.errors import ModelError
from longvid.lazy_import import no_grad
from longvid.models import checkpoint_files
from longvid.models.from_pretrained import load
from longvid.models.tokenizer import TextTokenizer, load_tokenizer

_CLASSES = {
    "instructblip": "InstructBlipForConditionalGeneration",
    "instructblipvideo": "InstructBlipVideoForConditionalGeneration",
}
#: Folder of the tokenizer that reads the question, in the checkpoint.
_TOKENIZER = "qformer_tokenizer"


class QuestionQFormer:
    """Turns frames and a question into what InstructBLIP's language model is shown.

    Args:
        name: A folder or a hub name, such as "Salesforce/instructblip-vicuna-7b".
        dtype, device: Of the weights.

    Raises:
        ModelError: The checkpoint is missing, incomplete, or of another family.

    Source: InstructBLIP, section 2.3; `InstructBlipVideoForConditionalGeneration` of transformers.
    """

    def __init__(self, name: str, dtype: torch.dtype, device: str) -> None:
        import transformers

        folder = checkpoint_files.locate(name)
        family = str(checkpoint_files.read_config(folder).get("model_type"))
        if family not in _CLASSES:
            raise ModelError(
                f"{folder} is of architecture {family!r}; a Q-Former that reads the question needs "
                f"one of {', '.join(_CLASSES)}."
            )
        model_class = getattr(transformers, _CLASSES[family])
        self.module: Any = load(
            folder, model_class, drop=("vision_model", "language_model"), dtype=dtype, device=device
        )
        self._tokenizer = TextTokenizer(load_tokenizer(folder / _TOKENIZER))
        self._longest = int(self.module.config.qformer_config.max_position_embeddings)
        self._device = device

    @no_grad
    def __call__(self, tokens: Tensor, question: str) -> Tensor:
        """Return (T, queries, D) float32 on the CPU.

        Args:
            tokens: (T, N, C) of frames, as the checkpoint's own vision tower gives them, class
                token first; each is read by itself.
            question: Cut where it is longer than the Q-Former reads.
        """
        module = self.module
        ids = torch.tensor([self._tokenizer.framed_ids(question, self._longest)])
        ids = ids.to(self._device).expand(len(tokens), -1)
        kind = next(module.qformer.parameters()).dtype
        queries = module.query_tokens.to(kind).expand(len(tokens), -1, -1)
        seen = torch.ones(len(tokens), queries.shape[1] + ids.shape[1], dtype=torch.long)
        rows = module.qformer(
            input_ids=ids,
            attention_mask=seen.to(self._device),
            query_embeds=queries,
            encoder_hidden_states=tokens.to(self._device, kind),
        ).last_hidden_state[:, : queries.shape[1]]
        projection = module.language_projection
        projected: Tensor = projection(rows.to(projection.weight.dtype))
        return projected.float().cpu()
