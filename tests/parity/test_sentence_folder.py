"""A folder of sentence-transformers around a CLIP embeds pictures and texts as its network does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, CLIPModel

from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.errors import ModelError
from longvid.models.sentence_folder import network_folder
from tests.parity import family_checkpoints as tiny

MODULES = "sentence_transformers.models."


def write(folder: Path, kinds: Sequence[str], first: str = "0_CLIPModel") -> Path:
    (folder / "0_CLIPModel").mkdir()
    tiny.write_embedder(folder / "0_CLIPModel")
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": first if i == 0 else f"{i}_{kind}",
            "type": MODULES + kind,
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    return folder


def test_it_equals_the_network_in_it(tmp_path: Path) -> None:
    folder = write(tmp_path, ["CLIPModel", "Normalize"])
    part = HuggingFaceEncoder(embedder=str(folder))
    worker = part._embedder(torch.float32, "cpu")
    model = CLIPModel.from_pretrained(folder / "0_CLIPModel").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "0_CLIPModel")
    pixels = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    words = ["a red box", "snow"]
    inputs = tokenizer(words, padding=True, return_tensors="pt")
    with torch.no_grad():  # as sentence_transformers.models.CLIPModel does
        pictures = model.visual_projection(model.vision_model(pixel_values=pixels)[1])
        texts = model.text_projection(
            model.text_model(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            )[1]
        )
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(
        worker.embed_frames(pixels), unit(pictures, dim=-1), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(worker.embed_text(words), unit(texts, dim=-1), atol=1e-5, rtol=1e-5)
    alone = HuggingFaceEncoder(embedder=str(folder / "0_CLIPModel"))
    assert part.embedding_width() == alone.embedding_width() == 20
    assert part.identity() == alone.identity()
    assert network_folder(folder / "0_CLIPModel") == folder / "0_CLIPModel"


def test_what_changes_vectors_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, ["CLIPModel", "Dense"])
    with pytest.raises(ModelError, match="CLIPModel, Dense; behind the first module only"):
        HuggingFaceEncoder(embedder=str(folder)).embedding_width()


@pytest.mark.parametrize("first", ["../elsewhere", "", "0_Other"])
def test_a_module_that_is_no_folder_in_it_is_refused(tmp_path: Path, first: str) -> None:
    folder = write(tmp_path, ["CLIPModel"], first)
    with pytest.raises(ModelError, match="is no folder in it"):
        network_folder(folder)


@pytest.mark.parametrize("text", ["{", "[]", "[1]", '{"a": 1}'])
def test_damaged_lists_of_modules_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "modules.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"modules\.json"):
        network_folder(tmp_path)
