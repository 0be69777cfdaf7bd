"""Families whose tokens see later ones, or have inputs by layer: what is left is read so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.models.tokenizer import Span
from longvid.types import Question, Selection
from tests.parity import family_checkpoints as tiny
from tests.parity.family_case import Case
from tests.parity.other_families import GEMMA4, GEMMA4_SMALL, MOLMO2

QUESTION = Question("what color is it ?")


@pytest.mark.parametrize("case", [MOLMO2, GEMMA4, GEMMA4_SMALL], ids=["molmo2", "gemma4", "small"])
def test_what_is_left_is_read_as_the_models_own_input_without_the_rest(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, and of the same visual tokens: in float32 two ways may be 1e-5 apart."""
    case.save(tmp_path)
    tiny.write_embedder(tmp_path / "embedder")
    part = HuggingFaceEncoder(model=str(tmp_path), embedder=str(tmp_path / "embedder"))
    segment = part.setup()(tiny.frames(case.size))
    stored = segment.tokens.data
    kept = torch.arange(len(segment.tokens)) % 3 != 1
    pruned = segment.with_tokens(segment.tokens.keep(kept))
    monkeypatch.setattr("longvid.models.onednn_linear.pack_linears", lambda _: None)  # float32 only
    worker = HuggingFaceLanguageModel(model=str(tmp_path)).setup()
    worker._decoder.module.double()
    text = case.prompt.replace("{question}", QUESTION.text).replace("{choices}", "")
    ids = worker._prompt_ids([Span(text.replace("{video}", case.placeholder))])
    selection = Selection(segments=(pruned,), evidence=(), budget=10_000)
    spliced = worker._decoder.splice(worker._layout(ids, selection), newline=False)
    got = worker._decoder.logits(spliced, keep=0)

    own = case.model_class.from_pretrained(tmp_path, dtype=torch.float32).eval()
    inputs = case.inputs(tmp_path, text)
    visual = inputs["input_ids"][0] == tiny.MARKS.index(case.placeholder)
    shown = torch.ones(len(visual), dtype=torch.bool)
    shown[visual] = kept
    with torch.no_grad():
        names = ("pixel_values_videos", "video_token_pooling", "video_grids")
        if case is not MOLMO2:
            names = ("pixel_values_videos", "video_position_ids", "num_frames_per_video")
        features = own.model.get_video_features(*(inputs[name] for name in names))
        scale = max(1.0, float(stored.abs().max()))
        torch.testing.assert_close(stored, features.pooler_output[0], atol=1e-5 * scale, rtol=0)
        own.double()
        embeds = own.get_input_embeddings()(inputs["input_ids"])
        embeds[0, visual] = stored.double() + (embeds[0, visual] if case is MOLMO2 else 0.0)
        given = {"mm_token_type_ids": inputs["mm_token_type_ids"][:, shown]}
        if case is GEMMA4_SMALL:
            padded = inputs["input_ids"].masked_fill(visual, own.config.text_config.pad_token_id)
            by_layer = own.model.language_model.get_per_layer_inputs(padded)
            given["per_layer_inputs"] = by_layer[:, shown]
        want = own(inputs_embeds=embeds[:, shown], **given).logits
    torch.testing.assert_close(got, want.float(), atol=2e-7, rtol=0)
