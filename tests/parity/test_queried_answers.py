"""BLIP-2 and IDEFICS2 from a clip to an answer: queries run by the encoder or by a compressor."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast
from transformers.models.blip_2.processing_blip_2 import Blip2Processor
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil
from transformers.models.idefics2.processing_idefics2 import Idefics2Processor

import longvid
from longvid.capacity import needs_of
from longvid.config import Config, load_config
from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.errors import ModelError
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.models.families import family_of
from longvid.models.tokenizer import Span
from longvid.types import Segment, Selection
from tests.conftest import DATA
from tests.parity import family_checkpoints as tiny
from tests.parity.family_case import Case
from tests.parity.family_checkpoints import MEAN, NUM_FRAMES, STD
from tests.parity.queried_families import BLIP2, IDEFICS2, QUERIED, QUERIES

CLIP = DATA / "sign_book_640x480.mkv"
QUESTION = "what color is it ?"
COMPRESSORS = {"blip-2": "qformer", "idefics2": "perceiver"}


@pytest.fixture(scope="module", params=QUERIED, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def configuration(case: Case, folder: Path, embedder: Path, keep: str) -> Config:
    settings = [
        f"encoder.model={folder}",
        f"encoder.embedder={embedder}",
        f"encoder.keep={keep}",
        f"llm.model={folder}",
        "llm.max_new_tokens=5",
        "store.tokens=float32",
        "ask.budget=40",
    ]
    queries = [
        f"compressors.0.name={COMPRESSORS[case.name]}",
        f"compressors.0.model={folder}",
    ]
    return load_config("idefics2", [*settings, *(queries if keep == "tower" else ())])


def test_both_ways_store_the_same_and_answer_the_same(
    case: Case, folder: Path, embedder: Path, tmp_path: Path
) -> None:
    stored: list[Segment] = []
    texts = []
    for keep in ("projected", "tower"):
        config = configuration(case, folder, embedder, keep)
        store = tmp_path / keep
        assert not longvid.index([CLIP], store=store, config=config).failures
        assert config.space() in config.llm.spaces()
        with longvid.VideoQA(store) as qa:
            (video,) = qa.store.videos()
            stored += qa.store.load([(video.video.video_id, 0)])
            answer = qa.ask(QUESTION)
            assert qa.ask(QUESTION, choices=("red", "blue")).text in ("red", "blue")
        assert 0 < answer.visual_tokens <= 40
        assert answer.visual_tokens % QUERIES == 0
        texts.append(answer.text)
        needs = needs_of(config, 0.1)
        assert needs.tokens == needs.frames * QUERIES
    assert stored[0].space == stored[1].space
    assert stored[0].tokens.counts(stored[0].num_frames).unique().tolist() == [QUERIES]
    torch.testing.assert_close(stored[0].tokens.data, stored[1].tokens.data, atol=1e-5, rtol=1e-5)
    assert texts[0] == texts[1]


def test_the_towers_own_tokens_are_not_shown(case: Case, folder: Path, embedder: Path) -> None:
    part = HuggingFaceEncoder(model=str(folder), embedder=str(embedder), keep="tower")
    kept = part.setup()(tiny.frames(case.size))
    assert kept.space == part.space()
    assert kept.tokens.data.shape[1] == 32
    worker = HuggingFaceLanguageModel(model=str(folder)).setup()
    with pytest.raises(ModelError, match="but the language model reads"):
        worker.answer(longvid.Question(QUESTION), Selection((kept,), (), 10_000))
    with pytest.raises(ModelError, match="compressor"):
        family_of(folder).load_projector(folder, torch.float32, "cpu")


def ids_of(folder: Path, segment: Segment, template: str) -> list[int]:
    """Return the ids of a prompt as it is laid out, the placeholder's for each visual token."""
    worker: Any = HuggingFaceLanguageModel(model=str(folder)).setup()
    ids = worker._prompt_ids([Span(template.replace("{question}", QUESTION))])
    found: list[int] = []
    for piece in worker._layout(ids, Selection((segment,), (), 10_000)):
        visual = getattr(piece, "tokens", None)
        found += piece.ids if visual is None else [worker._placeholder_id] * len(visual)
    return found


def segment_of(case: Case, folder: Path, embedder: Path) -> Segment:
    part = HuggingFaceEncoder(model=str(folder), embedder=str(embedder))
    return part.setup()(tiny.frames(case.size))


def test_a_prompt_has_the_ids_of_blip2s_processor(embedder: Path, tmp_path: Path) -> None:
    BLIP2.save(tmp_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)

    class Text(Blip2Processor):
        """The processor without its pictures, which only make it write the visual tokens."""

        def __init__(self) -> None:
            self.tokenizer, self.num_query_tokens = tokenizer, QUERIES
            self.image_token = tokenizer.added_tokens_decoder[tokenizer.vocab["<image>"]]
            self.image_processor = lambda images, **_: {}

        def _merge_kwargs(self, **_: Any) -> dict[str, dict[str, Any]]:
            return {"text_kwargs": {}, "images_kwargs": {}}

    own = Text()(images=[None], text=f"Question: {QUESTION} Answer:")["input_ids"][0]
    segment = segment_of(BLIP2, tmp_path, embedder)
    got = ids_of(tmp_path, segment, "<image>Question: {question} Answer:")
    assert got == own[:QUERIES] * NUM_FRAMES + own[QUERIES:]


def test_pictures_and_prompt_are_those_of_idefics2s_processor(
    embedder: Path, tmp_path: Path
) -> None:
    IDEFICS2.save(tmp_path)
    size = json.loads((tmp_path / "preprocessor_config.json").read_text())["size"]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    pictures = Idefics2ImageProcessorPil(size=size, image_mean=MEAN, image_std=STD, resample=3)
    processor = Idefics2Processor(pictures, tokenizer, image_seq_len=QUERIES)
    for height, width in ((29, 20), (100, 30), (30, 200), (3, 50)):
        frames = tiny.frames((height, width)).data
        images = [Image.fromarray(f.permute(1, 2, 0).contiguous().numpy()) for f in frames]
        text = "User:" + "<image>" * NUM_FRAMES + f"{QUESTION}<end_of_utterance>\nAssistant:"
        made = processor(images=images, text=text, return_tensors="pt")
        wanted = family_of(tmp_path).pixel_format(tmp_path)
        height, width = wanted.resize(frames).shape[-2:]
        sized = dataclasses.replace(wanted, height=height, width=width)
        got = wanted.normalize(sized.resize_with_pillow(frames, "squash"))
        torch.testing.assert_close(got, made["pixel_values"][0], atol=1e-5, rtol=0)
    segment = segment_of(IDEFICS2, tmp_path, embedder)
    template = "User:<image> {question}<end_of_utterance>\nAssistant:"
    assert ids_of(tmp_path, segment, template) == made["input_ids"][0].tolist()


def test_a_language_model_with_an_encoder_is_refused(tmp_path: Path) -> None:
    BLIP2.save(tmp_path)
    path = tmp_path / "config.json"
    table = json.loads(path.read_text())
    table["use_decoder_only_language_model"] = False
    table["text_config"] = {"model_type": "t5", "d_model": 40}
    path.write_text(json.dumps(table))
    with pytest.raises(ModelError, match=r"\(t5\) reads its prompt with an encoder"):
        HuggingFaceLanguageModel(model=str(tmp_path)).setup()


def test_models_that_read_pictures_through_cross_attention_are_left_out(tmp_path: Path) -> None:
    table = {"model_type": "idefics", "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match="cross-attention"):
        family_of(tmp_path)
