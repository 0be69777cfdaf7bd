"""MG-LLaVA from a file to an answer, against the language model fed as its authors feed it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM

import longvid
from longvid.capacity import needs_of
from longvid.config import Config, load_config
from longvid.errors import ConfigError, ModelError
from longvid.llm.generation import end_ids
from longvid.methods.roi_pooling import join_levels
from longvid.methods.tracking import Detection
from longvid.models import detectors
from longvid.models.families.protocol import TextPiece
from longvid.systems.mg_llava.object_boxes import FrameBoxes, prepare_boxes
from longvid.systems.mg_llava.square_frames import square_pixels
from longvid.testing import check_language_model
from longvid.types import Question, Segment, Selection
from tests.conftest import DATA
from tests.parity import published_checkpoints as tiny
from tests.parity.mg_llava_checkpoint import HIGH_SIDE, LLM, SIDE, write_connector, write_towers
from tests.parity.test_published_slowfast import frames_of
from tests.reference.methods import pool_boxes_slowly

CLIP = DATA / "bbb_rabbit_5s.mp4"
QUESTION = "What does the rabbit do?"
NEW_TOKENS = 6
BOXES = ((0.3, 0.2, 0.7, 0.9), (0.25, 0.1, 0.4, 0.3))


def finds(picture: np.ndarray, names: Sequence[str]) -> list[Detection]:
    """Find two boxes in every frame."""
    return [Detection(names[i], box, 0.9 - 0.1 * i) for i, box in enumerate(BOXES)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return towers, connector and language model as they were saved under the authors' names."""
    root = tmp_path_factory.mktemp("mg_llava")
    made = write_towers(root)
    torch.manual_seed(4)
    sizes = {"num_attention_heads": 2, "hidden_size": LLM, "max_position_embeddings": 64}
    text = LlamaForCausalLM(tiny.text_config(**sizes)).eval()
    (root / "vicuna").mkdir()
    text.config.save_pretrained(root / "vicuna")  # no weights: those of the file count
    tiny.write_byte_tokenizer(root / "vicuna", with_image=False)
    connector = write_connector(root / "mg_llava.pth", llm=text.state_dict())
    return {**made, "text": text, "connector": connector}


def settings(root: Path) -> list[str]:
    return [
        f"encoder.model={root / 'mg_llava.pth'}",
        f"encoder.clip={root / 'clip'}",
        f"encoder.convnext={root / 'open_clip'}",
        f"encoder.detector={root / 'clip'}",
        "encoder.things=rabbit, tree",
        f"llm.model={root / 'mg_llava.pth'}",
        f"llm.llm={root / 'vicuna'}",
        f"llm.max_new_tokens={NEW_TOKENS}",
        "store.tokens=float32",
    ]


@pytest.fixture(scope="module")
def config(model: dict[str, Any]) -> Config:
    return load_config("mg_llava", settings(model["root"]))


@pytest.fixture(scope="module")
def store(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detectors, "load_detector", lambda *_: finds)
        store = tmp_path_factory.mktemp("store") / "store"
        assert not longvid.index([CLIP], store=store, config=config).failures
    return store


@torch.no_grad()
def original(model: dict[str, Any], config: Config, question: str) -> torch.Tensor:
    """Embed a prompt as the authors do: of each frame its fused tokens, then its boxes, (1, L, D).

    Towers are transformers' own; fusion, RoI pooling and boxes are held to arrays of the original
    code by the golden tests.
    """
    frames = frames_of(config, CLIP)
    connector, text = model["connector"], model["text"]
    low = model["clip"].vision_model(square_pixels(frames, SIDE), output_hidden_states=True)
    stages = model["high"](square_pixels(frames, HIGH_SIDE), output_hidden_states=True)
    maps = stages.hidden_states[1:]
    tokens = connector.projector(connector.fuse_module(low.hidden_states[-2][:, 1:], maps[-1]))
    joined = join_levels(list(maps))
    height, width = frames.shape[-2:]
    corners = (torch.tensor(BOXES) * torch.tensor([width, height, width, height])).int()
    found = FrameBoxes(corners, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]))
    boxes = prepare_boxes(found, width, height, side=HIGH_SIDE).corners
    tokenizer = AutoTokenizer.from_pretrained(model["root"] / "vicuna")
    before = tokenizer.encode("USER: ")
    after = tokenizer.encode(f"\n{question} ASSISTANT:", add_special_tokens=False)
    embed = text.get_input_embeddings()
    pieces = [embed(torch.tensor(before))]
    for frame, of_frame in zip(tokens, joined, strict=True):
        pooled = pool_boxes_slowly(of_frame, boxes, of_frame.shape[-1] / HIGH_SIDE, 56)
        pieces += [frame, connector.bbox_projector(pooled)]
    return torch.cat([*pieces, embed(torch.tensor(after))])[None]


def selection_of(store: Path) -> Selection:
    with longvid.VideoQA(store) as qa:
        return qa.select(Question(QUESTION))


@torch.no_grad()
def test_logits_and_text_are_those_of_the_language_model_fed_as_published(
    model: dict[str, Any], config: Config, store: Path
) -> None:
    embeds = original(model, config, QUESTION)
    selection = selection_of(store)
    worker: Any = config.llm.setup()
    pieces = worker._ask(Question(QUESTION), selection).pieces
    got = worker._decoder.logits(worker._decoder.splice(pieces, newline=False), keep=0)
    want = model["text"](inputs_embeds=embeds).logits
    assert got.shape == want.shape
    assert want.std() > 0.1
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)

    output = model["text"].generate(
        inputs_embeds=embeds, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=2
    )[0]
    tokenizer = AutoTokenizer.from_pretrained(model["root"] / "vicuna")
    with longvid.VideoQA(store) as qa:
        answer = qa.ask(QUESTION)
        assert qa.ask(QUESTION, choices=("It runs.", "It sleeps.")).choice in (0, 1)
    assert answer.text == tokenizer.decode(output, skip_special_tokens=True).strip()
    assert answer.visual_tokens == 8 * (4 * 4 + len(BOXES))
    assert answer.prompt_tokens == embeds.shape[1]


def test_laws(config: Config, store: Path) -> None:
    question = Question(QUESTION, choices=("It runs.", "It sleeps."))
    check_language_model(config.llm, selection_of(store), question)


def test_fused_tokens_are_projected_when_they_are_shown(
    model: dict[str, Any], tmp_path: Path
) -> None:
    plain = ["encoder.detector=", "encoder.things="]
    answers = []
    for keep in ("projected", "tower"):
        config = load_config("mg_llava", [*settings(model["root"]), *plain, f"encoder.keep={keep}"])
        longvid.index([CLIP], store=tmp_path / keep, config=config)
        worker: Any = config.llm.setup()
        selection = selection_of(tmp_path / keep)
        assert selection.segments[0].space in config.llm.spaces()
        pieces = worker._ask(Question(QUESTION), selection).pieces
        answers.append(worker._decoder.logits(worker._decoder.splice(pieces, newline=False)))
        needs = needs_of(config, 0.1)
        assert needs.context == 8192
        assert needs.tokens == 8 * 4 * 4
    torch.testing.assert_close(answers[0], answers[1], atol=1e-5, rtol=0)


def test_a_file_of_the_first_stage_takes_the_weights_of_the_folder(
    model: dict[str, Any], config: Config, store: Path, tmp_path: Path
) -> None:
    root = model["root"]
    model["text"].save_pretrained(tmp_path / "vicuna")
    tiny.write_byte_tokenizer(tmp_path / "vicuna", with_image=False)
    state = torch.load(root / "mg_llava.pth")["state_dict"]
    kept = {name: value for name, value in state.items() if not name.startswith("llm.")}
    torch.save(kept, tmp_path / "stage1.pth")
    llm = [f"llm.model={tmp_path / 'stage1.pth'}", f"llm.llm={tmp_path / 'vicuna'}"]
    part: Any = load_config("mg_llava", [*settings(root), *llm]).llm
    _, decoder = part.load("cpu")
    for name, weight in model["text"].named_parameters():
        assert torch.equal(decoder.module.get_parameter(name), weight)
    worker = part.setup()
    with pytest.raises(ModelError, match="are of mg_llava"):
        worker.answer(Question(QUESTION), selection_of(store))  # made by another file


@torch.no_grad()
def test_phi3_is_loaded_and_ends_as_it_was_trained(model: dict[str, Any], tmp_path: Path) -> None:
    root = model["root"]
    torch.manual_seed(6)
    sizes = {**tiny.text_config(num_attention_heads=2, hidden_size=LLM).to_diff_dict()}
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
    shared = {name: sizes[name] for name in (*names, "num_attention_heads", "initializer_range")}
    text = Phi3ForCausalLM(Phi3Config(**shared, pad_token_id=0, eos_token_id=2)).eval()
    folder = tmp_path / "phi3"
    text.config.save_pretrained(folder)
    tiny.write_byte_tokenizer(folder, with_image=False)
    write_connector(tmp_path / "phi3.pth", llm=text.state_dict())
    given = [
        *settings(root),
        f"llm.model={tmp_path / 'phi3.pth'}",
        f"llm.llm={folder}",
        "llm.conversation=phi3",
    ]
    part: Any = load_config("mg_llava", given).llm
    with pytest.raises(ModelError, match=r"ends with <\|end\|>, which the tokenizer"):
        part.setup()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    tokenizer.save_pretrained(folder)
    worker = part.setup()
    assert end_ids(worker._decoder) == (tokenizer.convert_tokens_to_ids("<|end|>"), 2)
    ids = torch.tensor([tokenizer.encode("What is it?")])
    piece = TextPiece(tuple(ids[0].tolist()))
    got = worker._decoder.logits(worker._decoder.splice([piece], newline=False), keep=0)
    torch.testing.assert_close(got, text(input_ids=ids).logits, atol=1e-5, rtol=0)


def test_what_does_not_fit_is_refused(model: dict[str, Any], tmp_path: Path) -> None:
    root = model["root"]
    state = torch.load(root / "mg_llava.pth")["state_dict"]
    for name, changes in (
        ("half", {"llm.model.norm.weight": None}),
        ("lora", {"llm.base_model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(1)}),
    ):
        changed = {k: v for k, v in {**state, **changes}.items() if v is not None}
        torch.save(changed, tmp_path / f"{name}.pth")
    for file, llm, sentence in (
        ("half.pth", root / "vicuna", r"lacks 1 of .* first llm\.model\.norm\.weight"),
        ("lora.pth", root / "vicuna", "LoRA"),
        ("half.pth", root / "clip", "'clip'; MG-LLaVA's language models are llama and phi3"),
    ):
        given = [*settings(root), f"llm.model={tmp_path / file}", f"llm.llm={llm}"]
        with pytest.raises(ModelError, match=sentence):
            load_config("mg_llava", given).llm.setup()
    for setting, sentence in (
        ("llm.conversation=alpaca", "use vicuna, llama3 or phi3"),
        ("llm.context=-1", "must not be negative"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            load_config("mg_llava", [setting])


def test_the_preset_is_what_was_released() -> None:
    tables = load_config("mg_llava").to_dict()
    assert (tables["sample"]["grid"], tables["sample"]["num_frames"]) == ("spread", 8)
    assert tables["sample"]["slow_every"] == 1
    assert tables["encoder"]["pad"] is False
    assert tables["llm"]["max_new_tokens"] == 50
    assert tables["llm"]["temperature"] == 0


def test_frames_without_tokens_are_silent(config: Config, store: Path) -> None:
    whole = selection_of(store)
    (segment,) = whole.segments
    first = segment.tokens.frame == 0
    part: Segment = segment.with_tokens(segment.tokens.keep(first))
    worker: Any = config.llm.setup()
    answer = worker.answer(Question(QUESTION), Selection((part,), (), 100))
    assert answer.visual_tokens == int(first.sum())
