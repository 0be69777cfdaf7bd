"""Nothing compressed: longvid's two halves equal the model's own forward and its own greedy text.

Checkpoints are tiny, random and of the true architecture, written and read in the Hugging Face
format; the reference side never touches longvid's code.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.llava_next import modeling_llava_next

from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.errors import ModelError
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.models.families import FAMILIES, family_of
from longvid.models.tokenizer import Span
from longvid.store import Store, StoreOptions
from longvid.types import Question, Segment, Selection, Video
from tests.parity import family_cases as cases
from tests.parity import family_checkpoints as tiny
from tests.parity.family_case import Case
from tests.parity.family_cases import LLAVA, ONEVISION
from tests.parity.family_checkpoints import NUM_FRAMES, NUM_PATCHES, SIDE
from tests.parity.other_families import OTHERS
from tests.parity.queried_families import QUERIED
from tests.parity.recent_families import RECENT

QUESTION = "what color is it ?"


#: Largest difference of logits. On one processor Gemma 4's own float32 logits are 1.2e-5 away from
#: its float64 ones.
TOLERANCE, TOLERANCES = 1e-5, {"gemma4": 2e-5}

ALL = (*cases.ALL, *RECENT, *OTHERS, *QUERIED)


@pytest.fixture(scope="module", params=ALL, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def _prompt(case: Case, question: str = QUESTION, choices: str = "") -> str:
    return case.prompt.replace("{question}", question).replace("{choices}", choices)


@pytest.fixture(scope="module")
def segment(case: Case, folder: Path, embedder: Path) -> Segment:
    part = HuggingFaceEncoder(model=str(folder), embedder=str(embedder), grid=case.grid)
    return part.setup()(tiny.frames(case.size))


def _selection(segment: Segment) -> Selection:
    return Selection(segments=(segment,), evidence=(), budget=10_000)


@pytest.fixture(autouse=True)
def _no_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let LLaVA-NeXT's own side take every picture as one tile, as longvid takes frames."""
    monkeypatch.setattr(modeling_llava_next, "image_size_to_num_patches", lambda **_: 1)


@pytest.fixture(scope="module")
def own(case: Case, folder: Path) -> Any:
    return case.model_class.from_pretrained(folder, dtype=torch.float32).eval()


def test_every_known_family_is_tried() -> None:
    adapted = {name for name, place in FAMILIES.items() if "systems" not in place}
    assert {case.name for case in ALL} == adapted


def test_logits_equal_the_models_own(case: Case, folder: Path, segment: Segment, own: Any) -> None:
    worker = HuggingFaceLanguageModel(model=str(folder)).setup()
    ids = worker._prompt_ids([Span(_prompt(case).replace("{video}", case.placeholder))])
    pieces = worker._layout(ids, _selection(segment))
    spliced = worker._decoder.splice(pieces, newline=worker._newline)
    got = worker._decoder.logits(spliced, keep=0)

    with torch.no_grad():
        want = own(**case.inputs(folder, _prompt(case))).logits

    assert got.shape == want.shape
    assert want.std() > 0.1, "the reference is too flat for the comparison to mean anything"
    atol = TOLERANCES.get(case.name, TOLERANCE)
    torch.testing.assert_close(got, want, atol=atol, rtol=0)


def test_greedy_text_equals_the_models_own(
    case: Case, folder: Path, segment: Segment, own: Any
) -> None:
    worker = HuggingFaceLanguageModel(model=str(folder), max_new_tokens=12).setup()
    got = worker.answer(Question(QUESTION), _selection(segment))

    inputs = case.inputs(folder, _prompt(case))
    num_prompt = inputs["input_ids"].shape[1]
    with torch.no_grad():
        output = own.generate(max_new_tokens=12, **inputs)[0, num_prompt:]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    assert got.text == tokenizer.decode(output, skip_special_tokens=True).strip()
    assert got.output_tokens == len(output) > 0
    assert got.prompt_tokens == num_prompt
    assert set(got.seconds) == {"prefill", "decode"}


@pytest.mark.parametrize("score", ["mean", "sum"])
def test_choices_score_as_one_full_forward_each(
    case: Case, folder: Path, segment: Segment, own: Any, score: str
) -> None:
    choices = ("red", "dark blue", "green", "dark")
    template = case.around + " USER: {question} ASSISTANT:"
    part = HuggingFaceLanguageModel(model=str(folder), template=template, choice_score=score)
    got = part.setup().answer(Question(QUESTION, choices=choices), _selection(segment))

    prompt = template.replace("{question}", QUESTION)
    start = case.inputs(folder, prompt)["input_ids"].shape[1]
    want = []
    for choice in choices:
        inputs = case.inputs(folder, f"{prompt} {choice}{case.end}")
        ids = inputs["input_ids"]
        with torch.no_grad():
            likelihood = own(**inputs).logits[0].log_softmax(-1)
        terms = [likelihood[i - 1, ids[0, i]].item() for i in range(start, ids.shape[1])]
        want.append(sum(terms) / (len(terms) if score == "mean" else 1))

    assert got.choice_scores == pytest.approx(want, abs=1e-4)
    assert got.choice == max(range(len(want)), key=want.__getitem__)
    assert got.text == choices[got.choice]


def test_full_grid_of_onevision_equals_its_images(embedder: Path, tmp_path: Path) -> None:
    ONEVISION.save(tmp_path)
    part = HuggingFaceEncoder(model=str(tmp_path), embedder=str(embedder))
    tokens = part.setup()(tiny.frames()).tokens

    own = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        images = own.get_image_features(
            pixel_values=tiny.own_pixels()[:, None],
            image_sizes=torch.full((NUM_FRAMES, 2), SIDE),
            batch_num_images=[NUM_FRAMES],
        ).pooler_output  # each with its newline at the end
    want = torch.cat([image[:-1] for image in images])

    torch.testing.assert_close(tokens.data, want, atol=1e-5, rtol=0)
    assert tokens.counts(NUM_FRAMES).tolist() == [NUM_PATCHES] * NUM_FRAMES


#: The same at tokens kept before the projector. What OneVision pools after it is left out: a frame
#: keeps its whole grid.
_WHOLE_ONEVISION = dataclasses.replace(
    ONEVISION, grid="full", video=lambda: "<video>" * (NUM_FRAMES * NUM_PATCHES + 1)
)
_UNPROJECTED = [LLAVA, _WHOLE_ONEVISION, cases.NEXT, cases.NEXT_VIDEO]


@pytest.mark.parametrize("case", _UNPROJECTED, ids=lambda case: case.name, indirect=True)
def test_tokens_kept_before_the_projector_give_the_models_own_logits(
    case: Case, folder: Path, embedder: Path, segment: Segment, own: Any, tmp_path: Path
) -> None:
    part = HuggingFaceEncoder(
        model=str(folder), embedder=str(embedder), grid=case.grid, keep="tower"
    )
    kept = part.setup()(tiny.frames(case.size))
    assert kept.tokens.data.shape == (len(segment.tokens), 32)
    assert kept.space == part.space() != segment.space
    assert "-unprojected-32@" in kept.space
    store = Store.create(
        tmp_path,
        fingerprint="f",
        config={},
        space=part.space(),
        embedding_width=part.embedding_width(),
        options=StoreOptions(tokens="float32"),
    )
    video = Video("/clip.mp4", kept.video_id, 0.0, 3.0, 1.0, 3, *case.size)
    store.finish(video, [store.write_chunk(kept.video_id, [kept])])
    stored = store.load([kept.key])[0]

    llm = HuggingFaceLanguageModel(model=str(folder), max_new_tokens=12)
    assert kept.space in llm.spaces()
    worker = llm.setup()
    ids = worker._prompt_ids([Span(_prompt(case).replace("{video}", case.placeholder))])
    pieces = worker._layout(ids, worker._tower_projector(_selection(stored)))
    spliced = worker._decoder.splice(pieces, newline=worker._newline)
    got = worker._decoder.logits(spliced, keep=0)
    if case is _WHOLE_ONEVISION:
        own.model.apply_pooling = lambda tokens: tokens
    with torch.no_grad():
        want = own(**case.inputs(folder, _prompt(case))).logits

    assert got.shape == want.shape
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    question = Question(QUESTION)
    projected = worker.answer(question, _selection(segment))
    assert worker.answer(question, _selection(stored)).text == projected.text


@pytest.mark.parametrize(
    ("case", "grid", "said"),
    [
        (cases.INTERNVL, "full", "joins neighbouring patches"),
        (cases.SMOLVLM, "full", "joins neighbouring patches"),
        (cases.QWEN3, "full", "joins neighbouring patches or layers"),
        (ONEVISION, "model", "pools a video after its projector"),
    ],
    ids=lambda one: getattr(one, "name", None),
    indirect=["case"],
)
def test_what_cannot_be_kept_before_the_projector_is_said(
    folder: Path, embedder: Path, grid: str, said: str
) -> None:
    part = HuggingFaceEncoder(model=str(folder), embedder=str(embedder), grid=grid, keep="tower")
    with pytest.raises(ModelError, match=rf"{said}.*encoder\.keep = 'projected'"):
        part.space()
    with pytest.raises(ModelError, match=said):
        part.setup()


def test_each_side_leaves_the_other_on_disk(case: Case, folder: Path) -> None:
    family = family_of(folder)
    tower = family.load_tower(folder, "full", torch.float32, "cpu").module
    decoder = family.load_decoder(folder, torch.float32, "cpu").module
    vision = {name.split(".")[:2][-1] for name, _ in tower.named_parameters()}
    text = {".".join(name.split(".")[:2]) for name, _ in decoder.named_parameters()}

    assert vision.isdisjoint({"language_model", "text_model", "lm_head"})
    assert text.isdisjoint({"model.vision_tower", "model.vision_model", "model.visual"})
    assert text.isdisjoint({"model.multi_modal_projector", "model.connector"})
    assert not any(p.is_meta for m in (tower, decoder) for p in m.parameters())


def _module_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names that releases from 4.52 on wrote: those of the modules."""
    renamed = {}
    for name, tensor in weights.items():
        if name.startswith("language_model.lm_head"):
            name = name.removeprefix("language_model.")
        elif name.startswith("language_model.model."):
            name = "model.language_model." + name.removeprefix("language_model.model.")
        else:
            name = f"model.{name}"
        renamed[name] = tensor
    return renamed


def _nested_tower(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of the published folders, whose towers have a `vision_model` inside."""
    return {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1): tensor
        for name, tensor in weights.items()
    }


@pytest.mark.parametrize(
    "case", [LLAVA, ONEVISION, cases.NEXT_VIDEO], ids=lambda case: case.name, indirect=True
)
@pytest.mark.parametrize("rename", [_module_names, _nested_tower])
def test_checkpoint_under_other_key_names(
    case: Case, folder: Path, embedder: Path, segment: Segment, tmp_path: Path, rename: Any
) -> None:
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    assert "language_model.model.norm.weight" in weights, "the base format has changed"
    save_file(rename(weights), tmp_path / "model.safetensors", metadata={"format": "pt"})

    part = HuggingFaceEncoder(model=str(tmp_path), embedder=str(embedder), grid=case.grid)
    again = part.setup()(tiny.frames())
    assert torch.equal(again.tokens.data, segment.tokens.data)
    assert again.space != segment.space

    question = Question(QUESTION)
    want = HuggingFaceLanguageModel(model=str(folder)).setup().answer(question, _selection(segment))
    got = HuggingFaceLanguageModel(model=str(tmp_path)).setup().answer(question, _selection(again))
    assert got.text == want.text
