"""Nothing compressed: longvid's two halves equal the model's own forward and its own greedy text.

Checkpoints are tiny, random and of the true architecture, written and read in the Hugging Face
format; the reference side never touches longvid's code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.models.families import family_of
from longvid.types import FrameBatch, Question, Segment, Selection

MEAN, STD = (0.48, 0.45, 0.41), (0.27, 0.26, 0.28)
SIDE, PATCH, NUM_FRAMES = 28, 4, 3
WORDS = ("USER", "ASSISTANT", ":", "what", "color", "is", "it", "?", "red", "blue", "dark", "green")
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>", "<video>")
IDS = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
ENDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
QUESTION = "what color is it ?"


@dataclass(frozen=True)
class Case:
    """One family at one grid, and how the model itself is given the same frames."""

    name: str
    model_class: type[Any]
    placeholder: str
    grid: str
    prompt: str

    def own_inputs(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        side = SIDE // PATCH
        if self.placeholder == "<image>":
            return {"pixel_values": pixels}, NUM_FRAMES * side * side
        return {"pixel_values_videos": pixels[None]}, NUM_FRAMES * (-(-side // 2)) ** 2 + 1


LLAVA = Case(
    "llava",
    LlavaForConditionalGeneration,
    "<image>",
    "full",
    "USER: {video}\n{question}{choices} ASSISTANT:",
)
ONEVISION = Case(
    "llava_onevision",
    LlavaOnevisionForConditionalGeneration,
    "<video>",
    "model",
    "<|im_start|>user {video}\n{question}{choices}<|im_end|><|im_start|>assistant\n",
)


def _write_tokenizer(folder: Path) -> None:
    backend = Tokenizer(models.WordLevel(IDS, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"[:?]"), "isolated")]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>", "<video>"],
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)


def _write_preprocessor(folder: Path) -> None:
    table = {
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 3,
        "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_center_crop": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(table))


def _tower(**kwargs: Any) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": PATCH,
        "initializer_range": 0.2,
        **kwargs,
    }


def _decoder(**kwargs: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(IDS),
        "hidden_size": 40,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        **ENDS,
        **kwargs,
    }


def _build(case: Case) -> Any:
    torch.manual_seed(0)
    if case is LLAVA:
        config = LlavaConfig(
            vision_config=CLIPVisionConfig(**_tower()).to_dict(),
            text_config=LlamaConfig(**_decoder()).to_dict(),
            image_token_index=IDS["<image>"],
            image_seq_length=(SIDE // PATCH) ** 2,
        )
    else:
        config = LlavaOnevisionConfig(
            vision_config=SiglipVisionConfig(vision_use_head=False, **_tower()).to_dict(),
            text_config=Qwen2Config(tie_word_embeddings=True, **_decoder()).to_dict(),
            image_token_index=IDS["<image>"],
            video_token_index=IDS["<video>"],
            tie_word_embeddings=True,
        )
    model = case.model_class(config).eval()
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=8, **ENDS)
    return model


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(1)
    text = CLIPTextConfig(
        vocab_size=len(IDS),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        **ENDS,
    )
    config = CLIPConfig(
        text_config=text.to_dict(),
        vision_config=CLIPVisionConfig(**_tower(image_size=16)).to_dict(),
        projection_dim=20,
    )
    CLIPModel(config).save_pretrained(folder)
    _write_tokenizer(folder)
    _write_preprocessor(folder)
    return folder


@pytest.fixture(scope="module", params=[LLAVA, ONEVISION], ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def folder(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(case.name)
    _build(case).save_pretrained(folder)
    _write_tokenizer(folder)
    _write_preprocessor(folder)
    return folder


def _frames() -> FrameBatch:
    generator = torch.Generator().manual_seed(2)
    data = torch.randint(0, 256, (NUM_FRAMES, 3, SIDE, SIDE), generator=generator)
    return FrameBatch(
        video_id="v",
        segment_index=0,
        start_seconds=0.0,
        end_seconds=3.0,
        data=data.to(torch.uint8),
        pts_seconds=torch.arange(NUM_FRAMES, dtype=torch.float64),
        duration_seconds=torch.ones(NUM_FRAMES, dtype=torch.float64),
        slow=torch.ones(NUM_FRAMES, dtype=torch.bool),
    )


def _own_pixels() -> torch.Tensor:
    """The frames, normalised the way the preprocessor's numbers say, in float64."""
    pixels = _frames().data.double() / 255
    mean = torch.tensor(MEAN, dtype=torch.float64)[None, :, None, None]
    std = torch.tensor(STD, dtype=torch.float64)[None, :, None, None]
    return ((pixels - mean) / std).float()


def _own_ids(case: Case, folder: Path, text: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The prompt with a placeholder for every visual token, as the model's processor writes it."""
    inputs, num_tokens = case.own_inputs(_own_pixels())
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    text = text.replace("{video}", " ".join([case.placeholder] * num_tokens))
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    return ids, {**inputs, "attention_mask": torch.ones_like(ids)}


def _prompt(case: Case, question: str = QUESTION, choices: str = "") -> str:
    return case.prompt.replace("{question}", question).replace("{choices}", choices)


@pytest.fixture(scope="module")
def segment(case: Case, folder: Path, embedder: Path) -> Segment:
    part = HuggingFaceEncoder(model=str(folder), embedder=str(embedder), grid=case.grid)
    return part.setup()(_frames())


def _selection(segment: Segment) -> Selection:
    return Selection(segments=(segment,), evidence=(), budget=10_000)


@pytest.fixture(scope="module")
def own(case: Case, folder: Path) -> Any:
    return case.model_class.from_pretrained(folder, dtype=torch.float32).eval()


def test_logits_equal_the_models_own(case: Case, folder: Path, segment: Segment, own: Any) -> None:
    worker = HuggingFaceLanguageModel(model=str(folder)).setup()
    ids = worker._prompt_ids(_prompt(case).replace("{video}", case.placeholder))
    pieces = worker._layout(ids, _selection(segment))
    spliced = worker._decoder.splice(pieces, newline=worker._newline)
    got = worker._decoder.logits(spliced, keep=0)

    own_ids, inputs = _own_ids(case, folder, _prompt(case))
    with torch.no_grad():
        want = own(input_ids=own_ids, **inputs).logits

    assert got.shape == want.shape
    assert want.std() > 0.1, "the reference is too flat for the comparison to mean anything"
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


def test_greedy_text_equals_the_models_own(
    case: Case, folder: Path, segment: Segment, own: Any
) -> None:
    worker = HuggingFaceLanguageModel(model=str(folder), max_new_tokens=12).setup()
    got = worker.answer(Question(QUESTION), _selection(segment))

    own_ids, inputs = _own_ids(case, folder, _prompt(case))
    with torch.no_grad():
        output = own.generate(input_ids=own_ids, max_new_tokens=12, **inputs)[0, own_ids.shape[1] :]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    assert got.text == tokenizer.decode(output, skip_special_tokens=True).strip()
    assert got.text
    assert got.output_tokens == len(output)
    assert got.prompt_tokens == own_ids.shape[1]
    assert set(got.seconds) == {"prefill", "decode"}


@pytest.mark.parametrize("score", ["mean", "sum"])
def test_choices_score_as_one_full_forward_each(
    case: Case, folder: Path, segment: Segment, own: Any, score: str
) -> None:
    choices = ("red", "dark blue", "green", "dark")
    template = "{video} USER: {question} ASSISTANT:"
    part = HuggingFaceLanguageModel(model=str(folder), template=template, choice_score=score)
    got = part.setup().answer(Question(QUESTION, choices=choices), _selection(segment))

    prompt = template.replace("{question}", QUESTION)
    start = _own_ids(case, folder, prompt)[0].shape[1]
    want = []
    for choice in choices:
        ids, inputs = _own_ids(case, folder, f"{prompt} {choice} </s>")
        with torch.no_grad():
            likelihood = own(input_ids=ids, **inputs).logits[0].log_softmax(-1)
        terms = [likelihood[i - 1, ids[0, i]].item() for i in range(start, ids.shape[1])]
        want.append(sum(terms) / (len(terms) if score == "mean" else 1))

    assert got.choice_scores == pytest.approx(want, abs=1e-4)
    assert got.choice == max(range(len(want)), key=want.__getitem__)
    assert got.text == choices[got.choice]


def test_full_grid_of_onevision_equals_its_images(embedder: Path, tmp_path: Path) -> None:
    _build(ONEVISION).save_pretrained(tmp_path)
    _write_tokenizer(tmp_path)
    _write_preprocessor(tmp_path)
    part = HuggingFaceEncoder(model=str(tmp_path), embedder=str(embedder))
    tokens = part.setup()(_frames()).tokens

    own = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        images = own.get_image_features(
            pixel_values=_own_pixels()[:, None],
            image_sizes=torch.full((NUM_FRAMES, 2), SIDE),
            batch_num_images=[NUM_FRAMES],
        ).pooler_output  # each with its newline at the end
    want = torch.cat([image[:-1] for image in images])

    torch.testing.assert_close(tokens.data, want, atol=1e-5, rtol=0)
    assert tokens.counts(NUM_FRAMES).tolist() == [(SIDE // PATCH) ** 2] * NUM_FRAMES


def test_each_side_leaves_the_other_on_disk(case: Case, folder: Path) -> None:
    family = family_of(folder)
    tower = family.load_tower(folder, "full", torch.float32, "cpu").module
    decoder = family.load_decoder(folder, torch.float32, "cpu").module
    vision = {name.split(".")[1] for name, _ in tower.named_parameters()}
    text = {".".join(name.split(".")[:2]) for name, _ in decoder.named_parameters()}

    assert vision <= {"vision_tower", "multi_modal_projector", "image_newline"}
    assert text <= {"model.language_model", "model.image_newline", "lm_head.weight"}
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
    again = part.setup()(_frames())
    assert torch.equal(again.tokens.data, segment.tokens.data)
    assert again.space != segment.space

    question = Question(QUESTION)
    want = HuggingFaceLanguageModel(model=str(folder)).setup().answer(question, _selection(segment))
    got = HuggingFaceLanguageModel(model=str(tmp_path)).setup().answer(question, _selection(again))
    assert got.text == want.text
