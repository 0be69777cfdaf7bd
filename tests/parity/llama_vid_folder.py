"""What several tests of LLaMA-VID from a folder share: its files, and what a model is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from longvid.config import Config, load_config
from longvid.qa.video_qa import VideoQA
from tests.parity.golden_file import GoldenFile
from tests.parity.test_golden import DIRECTORY

NEW_TOKENS = 6


def configured(folder: Path, llama_vid_embedder: Path, *settings: str) -> Config:
    return load_config(
        "llama_vid",
        [
            f"encoder.model={folder}",
            f"encoder.embedder={llama_vid_embedder}",
            f"llm.model={folder}",
            f"llm.max_new_tokens={NEW_TOKENS}",
            "llm.temperature=0.0",
            *settings,
        ],
    )


class Recorder:
    """Notes what a language model is given to read."""

    def __init__(self, qa: VideoQA) -> None:
        self.decoder: Any = qa.llm._decoder  # type: ignore[attr-defined]
        self._splice = self.decoder.splice
        self.decoder.splice = self

    def __call__(self, pieces: Any, *, newline: bool) -> Any:
        spliced = self._splice(pieces, newline=newline)
        if not all(hasattr(piece, "ids") for piece in pieces):
            self.pieces, self.spliced = pieces, spliced
        return spliced

    @property
    def visual(self) -> torch.Tensor:
        is_text = [
            hasattr(piece, "ids")
            for piece in self.pieces
            for _ in range(len(piece.ids if hasattr(piece, "ids") else piece.tokens))
        ]
        return self.spliced.inputs_embeds[0, ~torch.tensor(is_text)]


class Table:
    """A tower that looks its frames up: the original's own stand-in."""

    def __init__(self, features: torch.Tensor) -> None:
        self._features = features
        self._next = 0

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        first, self._next = self._next, self._next + len(pixels)
        return self._features[first : self._next]


def eva_file(folder: Path) -> torch.Tensor:
    """Write the golden tower with what the released file has besides; return its width."""
    golden = GoldenFile(DIRECTORY / "llamavid_eva_tiny.npz")
    state = golden.weights()
    folder.mkdir(parents=True, exist_ok=True)
    width = state["cls_token"].shape[2]
    beside = {"norm.weight": torch.ones(width), "head.weight": torch.ones(3, width)}
    torch.save(state | beside, folder / "eva_vit_g.pth")
    return width


def plain_bert_rows(
    adapter: dict[str, torch.Tensor], ids: list[int], frames: torch.Tensor
) -> torch.Tensor:
    """Read a question with the library's BERT as a decoder, (F, L, hidden)."""
    from transformers import BertConfig, BertModel

    name = "vlm_att_encoder.bert."
    state = {key.removeprefix(name): x for key, x in adapter.items() if key.startswith(name)}
    words, hidden = state["embeddings.word_embeddings.weight"].shape
    settings = BertConfig(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=1 + max(int(key.split(".")[2]) for key in state if ".layer." in key),
        num_attention_heads=2,
        intermediate_size=len(state["encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=len(state["embeddings.position_embeddings.weight"]),
        is_decoder=True,
        add_cross_attention=True,
        use_cache=False,
    )
    bert = BertModel(settings, add_pooling_layer=False).eval()
    bert.load_state_dict(state)
    asked = torch.tensor([ids]).expand(len(frames), -1)
    rows: torch.Tensor = bert(input_ids=asked, encoder_hidden_states=frames).last_hidden_state
    return rows
