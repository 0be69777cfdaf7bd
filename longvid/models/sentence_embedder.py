"""Embed sentences with any checkpoint of sentence-transformers, by transformers alone.

The folder says how: `modules.json` which layers follow the network, `1_Pooling/config.json` how its
outputs become one vector, `config_sentence_transformers.json` what is written before a question
and before a text. Folders that ask for more (a dense layer, other pooling) are refused.

Source: Reimers and Gurevych 2019, Sentence-BERT; the file formats of sentence-transformers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import no_grad, torch
from longvid.models import checkpoint_files
from longvid.models.checkpoint_errors import first_line
from longvid.models.from_pretrained import require_fitting
from longvid.models.transformers_logging import quiet

_BATCH = 32
_LONGEST = 512
_POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
    "pooling_mode_lasttoken": "last",
}
_QUERY, _PASSAGE = ("query", "search_query"), ("passage", "document", "search_document")


class SentenceEmbedder:
    """Embeds questions and lines into one space.

    Args:
        name: Folder of the checkpoint, or its name in the local hub cache.
        device: Where it runs.

    Raises:
        ModelError: The checkpoint is missing, or not one that this reads.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        from transformers import AutoModel, AutoTokenizer

        folder = checkpoint_files.locate(name)
        checkpoint_files.weight_files(folder)
        self._pooling = _pooling_of(folder)
        prompts = _table(folder / "config_sentence_transformers.json").get("prompts") or {}
        self._before_query = _first_of(prompts, _QUERY)
        self._before_passage = _first_of(prompts, _PASSAGE)
        try:
            with quiet():
                self._tokenizer: Any = AutoTokenizer.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                )
                model, info = AutoModel.from_pretrained(
                    folder,
                    local_files_only=True,
                    trust_remote_code=False,
                    dtype=torch.float32,
                    output_loading_info=True,
                )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"{folder} cannot be loaded to embed sentences: {first_line(error)}"
            ) from error
        # What BERT puts on top of its states is not read here, and many folders leave it out.
        missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
        require_fitting(folder, model, missing, info["unexpected_keys"])
        self._model: Any = model.eval().to(device)
        self._device = device
        positions = int(getattr(model.config, "max_position_embeddings", _LONGEST))
        longest = _table(folder / "sentence_bert_config.json").get("max_seq_length") or _LONGEST
        self._longest = min(int(longest), positions, _LONGEST)

    def embed_query(self, text: str) -> torch.Tensor:
        """Return the unit vector of a question, (D,) float32 on the CPU."""
        return self._embed([self._before_query + text])[0]

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the unit vectors of texts, (N, D) float32 on the CPU."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        found: list[torch.Tensor] = [torch.empty(0)] * len(texts)
        for first in range(0, len(order), _BATCH):
            places = order[first : first + _BATCH]  # of about one length: little padding
            vectors = self._embed([self._before_passage + texts[place] for place in places])
            for place, vector in zip(places, vectors, strict=True):
                found[place] = vector
        return torch.stack(found) if found else torch.empty(0, 0)

    @no_grad
    def _embed(self, texts: Sequence[str]) -> torch.Tensor:
        inputs = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._longest,
            return_tensors="pt",
        ).to(self._device)
        states = self._model(**inputs).last_hidden_state  # (B, L, D)
        mask = inputs["attention_mask"]
        if self._pooling == "mean":
            weights = mask[:, :, None].to(states.dtype)
            pooled = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        else:
            places = torch.arange(mask.shape[1], device=mask.device)
            of_token = torch.where(mask > 0, places, -1 if self._pooling == "last" else 1 << 30)
            at = of_token.amax(1) if self._pooling == "last" else of_token.amin(1)
            pooled = states[torch.arange(len(states), device=states.device), at]
        return torch.nn.functional.normalize(pooled.float(), dim=-1).cpu()


def _pooling_of(folder: Path) -> str:
    """Return "mean", "first" or "last"; the mean where the folder does not say.

    Raises:
        ModelError: The folder asks for something else.
    """
    modules = _table(folder / "modules.json") or []
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if set(kinds) - {"Transformer", "Pooling", "Normalize"}:
        raise ModelError(
            f"{folder} embeds sentences by {', '.join(kinds)}; only Transformer, Pooling and "
            "Normalize are read."
        )
    table = _table(folder / "1_Pooling" / "config.json")
    asked = [mode for mode, is_asked in table.items() if mode.startswith("pooling_") and is_asked]
    named = [_POOLINGS[mode] for mode in asked if mode in _POOLINGS]
    if len(asked) > 1 or len(named) < len(asked):
        raise ModelError(
            f"{folder} pools by {', '.join(asked)}; only one of {', '.join(_POOLINGS)} is read."
        )
    return named[0] if named else "mean"


def _table(path: Path) -> Any:
    """Return what a JSON file holds, {} without one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error


def _first_of(prompts: dict[str, str], names: Sequence[str]) -> str:
    return next((prompts[name] for name in names if prompts.get(name)), "")
