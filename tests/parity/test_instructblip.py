"""InstructBLIP from a clip to an answer, against the forward of transformers' own classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    GenerationConfig,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipVideoConfig,
    InstructBlipVideoForConditionalGeneration,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

import longvid
from longvid.capacity import needs_of
from longvid.config import Config, load_config
from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.errors import ModelError
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.systems.instructblip.language_model import InstructBlipLanguageModel
from longvid.testing import check_language_model
from longvid.types import Question, Segment, Selection
from tests.conftest import DATA
from tests.parity import family_checkpoints as tiny
from tests.parity import queried_families as queried
from tests.parity.family_checkpoints import ENDS, IDS, NUM_FRAMES
from tests.parity.queried_families import QUERIES, StartCase

CLIP = DATA / "sign_book_640x480.mkv"
QUESTION = "what color is it ?"
NEW_TOKENS = 8


def _video() -> Any:
    return InstructBlipVideoConfig(
        vision_config=tiny.tower(),
        qformer_config=queried.QFORMER,
        text_config=queried.opt(),
        num_query_tokens=QUERIES,
        video_token_index=IDS["<video>"],
    )


def _pictures() -> Any:
    """Make one around a Llama, as the published Vicuna."""
    return InstructBlipConfig(
        vision_config=tiny.tower(),
        qformer_config=queried.QFORMER,
        text_config=LlamaConfig(**tiny.decoder()).to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=IDS["<image>"],
    )


def case(
    name: str, build: Callable[[], Any], model_class: type[Any], token: str, *, clip: bool
) -> StartCase:
    return StartCase(
        name,
        build,
        model_class,
        token,
        "{video}{question}{choices}",
        lambda pixels, ids: {"pixel_values": pixels[None] if clip else pixels},
        lambda: token * (NUM_FRAMES * QUERIES),
    )


CASES = (
    case(
        "instructblipvideo",
        _video,
        InstructBlipVideoForConditionalGeneration,
        "<video>",
        clip=True,
    ),
    case("instructblip", _pictures, InstructBlipForConditionalGeneration, "<image>", clip=False),
)


@pytest.fixture(scope="module", params=CASES, ids=lambda one: one.name)
def asked(request: pytest.FixtureRequest) -> StartCase:
    return request.param


@pytest.fixture(scope="module")
def folder(asked: StartCase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(asked.name)
    asked.save(folder)
    tiny.write_word_tokenizer(folder / "qformer_tokenizer")
    # Untrained queries are zero, and all of them would read the same.
    model = asked.model_class.from_pretrained(folder)
    torch.manual_seed(5)
    torch.nn.init.normal_(model.query_tokens)
    model.generation_config = GenerationConfig(do_sample=False, **ENDS)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def segment(asked: StartCase, folder: Path, embedder: Path) -> Segment:
    part = HuggingFaceEncoder(model=str(folder), embedder=str(embedder), keep="tower")
    return part.setup()(tiny.frames(asked.size))


def selection_of(segment: Segment) -> Selection:
    return Selection((segment,), (), 10_000)


def own_inputs(asked: StartCase, folder: Path, text: str) -> dict[str, Any]:
    """Return what the model's own forward takes: the text twice, once for the queries."""
    inputs = asked.inputs(folder, "{video}" + text)
    reader = PreTrainedTokenizerFast.from_pretrained(folder / "qformer_tokenizer")
    ids = reader(text, return_tensors="pt")["input_ids"]
    return {**inputs, "qformer_input_ids": ids.expand(len(inputs["pixel_values"]), -1)}


@torch.no_grad()
def test_logits_and_greedy_text_equal_the_models_own(
    asked: StartCase, folder: Path, segment: Segment
) -> None:
    own = asked.model_class.from_pretrained(folder, dtype=torch.float32).eval()
    worker: Any = InstructBlipLanguageModel(str(folder), max_new_tokens=NEW_TOKENS).setup()
    for question in (QUESTION, "is it dark ?"):
        inputs = own_inputs(asked, folder, question)
        pieces = worker._ask(Question(question), selection_of(segment)).pieces
        spliced = worker._decoder.splice(pieces, newline=False)
        got = worker._decoder.logits(spliced, keep=0)
        want = own(**inputs).logits
        assert got.shape == want.shape
        assert want.std() > 0.1
        torch.testing.assert_close(got, want, atol=1e-5, rtol=0)

        num_prompt = inputs["input_ids"].shape[1]
        output = own.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)[0, num_prompt:]
        answer = worker.answer(Question(question), selection_of(segment))
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        text = tokenizer.decode(output, skip_special_tokens=True).strip()
        assert answer.text == text
        assert answer.output_tokens == len(output) > 0
        assert answer.prompt_tokens == num_prompt


@torch.no_grad()
def test_the_queries_read_the_question_and_the_choices(
    asked: StartCase, folder: Path, segment: Segment
) -> None:
    worker: Any = InstructBlipLanguageModel(str(folder)).setup()
    words = []
    read = worker._read_frames
    worker._read_frames = lambda tokens, text: words.append(text) or read(tokens, text)
    worker.answer(Question(QUESTION), selection_of(segment))
    worker.answer(Question(QUESTION, choices=("red", "blue")), selection_of(segment))
    assert words[0] == QUESTION
    assert words[1].startswith(f"{QUESTION}\nOptions:\nred\nblue\n")


def test_laws(folder: Path, segment: Segment) -> None:
    question = Question(QUESTION, choices=("red", "blue"))
    part = InstructBlipLanguageModel(str(folder), max_new_tokens=4)
    check_language_model(part, selection_of(segment), question)


def configuration(folder: Path, embedder: Path, *changes: str) -> Config:
    settings = [
        f"encoder.model={folder}",
        f"encoder.embedder={embedder}",
        f"llm.model={folder}",
        "llm.max_new_tokens=4",
        *changes,
    ]
    return load_config("instructblip", settings)


def test_from_a_clip_to_an_answer(folder: Path, embedder: Path, tmp_path: Path) -> None:
    config = configuration(folder, embedder)
    assert not longvid.index([CLIP], store=tmp_path / "store", config=config).failures
    with longvid.VideoQA(tmp_path / "store") as qa:
        answer = qa.ask(QUESTION)
        assert qa.ask(QUESTION, choices=("red", "blue")).text in ("red", "blue")
    assert answer.prompt_tokens == 4 * QUERIES + 1 + len(QUESTION.split())
    needs = needs_of(config, 0.1)
    assert needs.tokens == 4 * (1 + tiny.NUM_PATCHES)
    assert needs.prompt_tokens < 4 * QUERIES + 300


def test_what_does_not_fit_is_refused(folder: Path, embedder: Path, segment: Segment) -> None:
    with pytest.raises(ModelError, match=r"encoder\.keep = 'tower'"):
        configuration(folder, embedder, "encoder.keep=projected").space()
    with pytest.raises(ModelError, match=r"llm\.name = 'instructblip'"):
        HuggingFaceLanguageModel(str(folder)).spaces()
    worker = InstructBlipLanguageModel(str(folder)).setup()
    half = segment.with_tokens(segment.tokens.keep(torch.arange(len(segment.tokens) - 3)))
    with pytest.raises(ModelError, match="InstructBLIP asks its question of whole frames"):
        worker.answer(Question(QUESTION), selection_of(half))
    none = segment.with_tokens(segment.tokens.keep(torch.arange(0)))
    assert worker.answer(Question(QUESTION), selection_of(none)).prompt_tokens == 6
