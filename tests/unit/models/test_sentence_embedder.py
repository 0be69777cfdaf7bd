"""Sentences are embedded as sentence-transformers does, by a tiny checkpoint of each pooling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from longvid.config import Ask
from longvid.errors import ModelError
from longvid.models.sentence_embedder import SentenceEmbedder
from longvid.qa.text_search import TextSearch
from longvid.store import Store, write_subtitles
from longvid.types import TextLine
from tests.parity.family_checkpoints import IDS, write_word_tokenizer

TEXTS = ("what color is it ?", "red", "is it dark blue ?")


def write(folder: Path, mode: str, prompts: dict[str, str] | None = None) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(IDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    write_word_tokenizer(folder)
    (folder / "1_Pooling").mkdir()
    modes = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False, mode: True}
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 16, "include_prompt": True, **modes})
    )
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [{"type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    if prompts is not None:
        path = folder / "config_sentence_transformers.json"
        path.write_text(json.dumps({"prompts": prompts}))
    return folder


def reference(folder: Path, text: str, mode: str) -> torch.Tensor:
    """One sentence, unpadded, by the formula."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    vector = {
        "pooling_mode_mean_tokens": states.mean(0),
        "pooling_mode_cls_token": states[0],
        "pooling_mode_lasttoken": states[-1],
    }[mode]
    return vector / vector.norm()


@pytest.mark.parametrize(
    "mode", ["pooling_mode_mean_tokens", "pooling_mode_cls_token", "pooling_mode_lasttoken"]
)
def test_vectors_are_those_of_the_formula(mode: str, tmp_path: Path) -> None:
    folder = write(tmp_path, mode, {"query": "what ", "passage": "is "})
    embedder = SentenceEmbedder(str(folder))
    vectors = embedder.embed_texts(TEXTS)
    for vector, text in zip(vectors, TEXTS, strict=True):
        assert torch.allclose(vector, reference(folder, f"is {text}", mode), atol=1e-5)
    query = embedder.embed_query("it ?")
    assert torch.allclose(query, reference(folder, "what it ?", mode), atol=1e-5)
    assert embedder.embed_texts([]).shape == (0, 0)
    long = embedder.embed_texts(["red " * 500])
    assert torch.isfinite(long).all()


def test_what_is_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "max", "pooling_mode_max_tokens")
    with pytest.raises(ModelError, match="pools by pooling_mode_max_tokens"):
        SentenceEmbedder(str(folder))
    folder = write(tmp_path / "dense", "pooling_mode_mean_tokens")
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(ModelError, match="Dense"):
        SentenceEmbedder(str(folder))
    with pytest.raises(ModelError):
        SentenceEmbedder(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("layers", "sentence"), [(3, "lacks 16 weights"), (1, "holds 16 weights of layers")]
)
def test_weights_that_do_not_fit_the_configuration(
    layers: int, sentence: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, "pooling_mode_mean_tokens")
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] = layers
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=sentence):
        SentenceEmbedder(str(folder))


def test_a_search_by_meaning_joins_that_by_words(tmp_path: Path) -> None:
    folder = str(write(tmp_path / "model", "pooling_mode_mean_tokens"))
    store = Store.create(
        tmp_path / "store", fingerprint="f" * 16, config={}, space="space", embedding_width=4
    )
    video = "a" * 32
    texts = ("what color is it ?", "dark green", "red is red", "it is blue")
    lines = [TextLine(float(at), at + 1.0, text) for at, text in enumerate(texts)]
    write_subtitles(store.objects, video, lines)

    def found(text: str = "green", **settings: object) -> list[tuple[float, str]]:
        ask = Ask(**settings)  # type: ignore[arg-type]
        hits = TextSearch(store, {}, ask).search(text, (video,), 3)
        assert all(hit.by_meaning == (text != "green") for hit in hits)
        return [(hit.score, hit.line.text) for hit in hits]

    alone = found()
    assert [text for _, text in alone] == ["dark green"]
    assert found(text_embedder=folder, text_embedder_weight=0.0) == alone
    both = found(text_embedder=folder)
    embedder = SentenceEmbedder(folder)
    scores = embedder.embed_texts(texts) @ embedder.embed_query("green")
    order = [texts[place] for place in scores.argsort(descending=True).tolist()]
    places = {text: 1 / (60 + rank) for rank, text in enumerate(order, start=1)}
    places["dark green"] += 1 / 61
    expected = sorted(places.items(), key=lambda one: -one[1])[:3]
    assert [text for _, text in both] == [text for text, _ in expected]
    assert [score for score, _ in both] == pytest.approx([score for _, score in expected])
    assert not found("zzz qqq")
    assert len(found("zzz qqq", text_embedder=folder)) == 3
    with pytest.raises(ModelError):
        found(text_embedder=str(tmp_path / "none"))
