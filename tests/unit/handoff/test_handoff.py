"""Tokens handed to serving engines: the way, the bytes, and the model's own inputs."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from longvid.compress.token_merging import TokenMerging
from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.errors import ConfigError, ModelError, OpError
from longvid.handoff import packing, sglang, vllm
from longvid.handoff.decision import WAYS, handoff
from longvid.handoff.prompt_layout import lay_out, positions_of
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.models.families.protocol import FramePiece
from longvid.types import Question, Segment, Selection
from tests.parity import family_checkpoints as tiny
from tests.parity.family_case import Case
from tests.parity.family_cases import LLAVA, QWEN2_5, QWEN3

QUESTION = Question("what color is it ?")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tiny.write_embedder(folder)
    return folder


@pytest.fixture(scope="module", params=[LLAVA, QWEN2_5, QWEN3], ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def folder(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(case.name)
    case.save(folder)
    return folder


@pytest.fixture(scope="module")
def segment(case: Case, folder: Path, embedder: Path) -> Segment:
    encoder = HuggingFaceEncoder(model=str(folder), embedder=str(embedder)).setup()
    return encoder(tiny.frames(case.size))


def shown(*segments: Segment) -> Selection:
    return Selection(segments=segments, evidence=(), budget=10_000)


def loaded(data: str) -> torch.Tensor:
    return torch.load(io.BytesIO(base64.b64decode(data)), weights_only=True)


def test_prompts_are_laid_out_as_by_the_language_model_itself(
    folder: Path, segment: Segment
) -> None:
    worker = HuggingFaceLanguageModel(model=str(folder)).setup()
    layout = lay_out(folder, QUESTION, shown(segment))
    own = worker._ask(QUESTION, shown(segment)).pieces
    assert [getattr(piece, "ids", None) for piece in layout.pieces] == [
        getattr(piece, "ids", None) for piece in own
    ]
    with pytest.raises(ModelError, match="hand them to the model that the store was made for"):
        lay_out(folder, QUESTION, shown(dataclasses.replace(segment, space="other")))


def test_rows_are_the_models_own_inputs(case: Case, folder: Path, segment: Segment) -> None:
    worker = HuggingFaceLanguageModel(model=str(folder)).setup()
    merged = TokenMerging().setup()(segment)
    layout = lay_out(folder, QUESTION, shown(merged))
    request = vllm.prompt_embeds(layout.pieces)
    want = worker._decoder.splice(layout.pieces, newline=False)
    is_text = torch.tensor(request["prompt_is_token_ids"])
    rows = request["prompt_embeds"].clone()
    ids = torch.tensor(request["prompt_token_ids"])
    rows[is_text] = worker._decoder.embed(ids[is_text].tolist())
    whole = want.inputs_embeds[0]
    if want.deepstack is not None:
        whole = torch.cat([whole, *want.deepstack[:, 0]], dim=1)
    assert torch.equal(rows, whole)


def test_positions_need_no_weights(case: Case, folder: Path, segment: Segment) -> None:
    worker = HuggingFaceLanguageModel(model=str(folder)).setup()
    layout = lay_out(folder, QUESTION, shown(TokenMerging().setup()(segment)))
    positions = positions_of(folder, layout.pieces)
    if case is LLAVA:
        assert positions is None
        return
    want = worker._decoder.splice(layout.pieces, newline=False).position_ids[:, 0]
    assert positions is not None
    assert torch.equal(positions, want)


def test_sglang_is_given_every_position(case: Case, folder: Path, segment: Segment) -> None:
    if case is not QWEN2_5:
        pytest.skip("only this case goes to SGLang")
    worker = HuggingFaceLanguageModel(model=str(folder)).setup()
    layout = lay_out(folder, QUESTION, shown(TokenMerging().setup()(segment)))
    positions = positions_of(folder, layout.pieces)
    assert positions is not None
    request = sglang.precomputed(layout.pieces, positions, layout.placeholder_id)
    [item] = request["video_data"]
    want = worker._decoder.splice(layout.pieces, newline=False)
    embeds = worker._decoder.embed(request["input_ids"])
    places = [n for first, last in item["offsets"] for n in range(first, last + 1)]
    assert all(request["input_ids"][n] == layout.placeholder_id for n in places)
    embeds[places] = item["feature"]
    assert torch.equal(embeds, want.inputs_embeds[0])
    assert torch.equal(item["mrope_positions"], want.position_ids[:, 0])
    # The first generated token follows the largest position.
    after = len(request["input_ids"]) + int(item["mrope_position_delta"])
    assert after == int(want.position_ids.max()) + 1
    assert item["format"] == "precomputed_embedding"
    with pytest.raises(OpError, match="Positions must be"):
        sglang.precomputed(layout.pieces, positions[:, 1:], layout.placeholder_id)
    with pytest.raises(OpError, match="without frames"):
        sglang.precomputed(layout.pieces[:1], positions, layout.placeholder_id)


def test_a_video_of_full_grids_has_the_models_own_positions(
    case: Case, folder: Path, segment: Segment
) -> None:
    if case is LLAVA:
        pytest.skip("positions of one axis")
    frames = [
        piece
        for piece in lay_out(folder, QUESTION, shown(segment)).pieces
        if isinstance(piece, FramePiece)
    ]
    [item] = vllm.video_items(frames)
    assert item.grid == (2, 6, 10)
    assert len(item.embeds) == 2 * 6 * 10 // 4
    own = case.model_class.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = case.inputs(folder, case.prompt.replace("{question}", "q").replace("{choices}", ""))
    assert torch.equal(inputs["video_grid_thw"], torch.tensor([item.grid]))
    with torch.no_grad():
        features = own.model.get_video_features(
            inputs["pixel_values_videos"], inputs["video_grid_thw"]
        )
    whole = features.pooler_output[0]
    if hasattr(features, "deepstack_features"):
        layers = (layer[0] for layer in features.deepstack_features)
        whole = torch.cat([whole, *layers], dim=1)  # what vLLM's tower gives, width and order
    # Of the largest value: two orders of one sum differ so much in float32, by processor.
    largest = float(whole.abs().max().clamp(min=1))
    torch.testing.assert_close(item.embeds, whole, atol=1e-5 * largest, rtol=0)
    part = vllm.video_part(item)
    assert torch.equal(loaded(part["video_embeds"]["video_embeds"]), item.embeds)
    assert part["video_embeds"]["video_grid_thw"] == [2, 6, 10]
    assert part["uuid"] == vllm.video_part(item)["uuid"]


def test_frames_of_other_grids_begin_another_item(segment: Segment) -> None:
    def frame(rows: int, columns: int, seconds: float) -> FramePiece:
        grid = torch.stack(
            torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1
        ).flatten(0, 1)
        sides = torch.tensor([rows, columns])
        return FramePiece(torch.randn(rows * columns, 4), (grid + 0.5) / sides, seconds, (4, 4))

    items = vllm.video_items([frame(4, 4, 0), frame(4, 4, 1), frame(1, 1, 2), frame(4, 4, 3)])
    assert [item.grid for item in items] == [(2, 8, 8), (1, 2, 2), (1, 8, 8)]
    assert items[0].timestamps == (0, 1)
    broken = frame(4, 4, 5.0)
    with pytest.raises(OpError, match=r"at 5\.0 s holds 15 tokens in 4 rows and 4 columns"):
        vllm.video_items([dataclasses.replace(broken, tokens=broken.tokens[1:])])


def test_chat_content_is_text_and_rows(case: Case, folder: Path, segment: Segment) -> None:
    layout = lay_out(folder, QUESTION, shown(segment))
    content = vllm.chat_content(layout.pieces, layout.tokenizer)
    rows = [loaded(part["data"]) for part in content if part["type"] == "prompt_embeds"]
    assert torch.equal(torch.cat(rows), segment.tokens.data)
    assert any(part["type"] == "text" for part in content)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bytes_on_the_wire(dtype: torch.dtype) -> None:
    tensor = torch.randn(5, 8).to(dtype)[1:4]
    data = packing.torch_file(tensor)
    buffer = io.BytesIO()
    torch.save(tensor.clone(), buffer)
    assert base64.b64decode(data) == buffer.getvalue()  # not the whole of what it is a view of
    assert torch.equal(loaded(data), tensor)
    array = np.load(io.BytesIO(base64.b64decode(packing.numpy_file(tensor))), allow_pickle=False)
    assert np.array_equal(array, tensor.float().numpy().astype(array.dtype))
    assert packing.identity_of(tensor) == packing.identity_of(tensor.clone())
    assert packing.identity_of(tensor) != packing.identity_of(tensor + 1)


def test_a_request_too_large_is_a_sentence() -> None:
    with pytest.raises(OpError, match=r"40 MiB of embeddings, and a server takes 32 MiB"):
        packing.require_body(40 * 2**20)


def _ragged(segment: Segment) -> Segment:
    return segment.with_tokens(segment.tokens.keep(torch.arange(len(segment.tokens)) % 3 > 0))


@pytest.mark.parametrize(
    ("space", "engine", "ragged", "pictures", "way"),
    [
        ("llava/clip-llama-40@1", "vllm", True, False, "prompt_embeds"),
        ("llava/clip-llama-40@1", "sglang", False, False, "refused"),
        ("llava/clip-unprojected-32@1", "vllm", False, True, "pictures"),
        ("qwen2_5_vl/q-q-64@1", "vllm", False, False, "video_embeds"),
        ("qwen2_5_vl/q-q-64@1", "vllm", True, False, "refused"),
        ("qwen2_5_vl/q-q-64@1", "vllm", True, True, "pictures"),
        ("qwen2_5_vl/q-q-64@1", "sglang", True, False, "precomputed"),
        ("qwen3_vl/q-q-192@1", "vllm", False, False, "video_embeds"),
        ("qwen3_vl/q-q-192@1", "sglang", False, True, "pictures"),
        ("longvu/x@1", "vllm", False, False, "refused"),
    ],
)
def test_every_store_has_a_way_and_a_reason(
    space: str, engine: str, ragged: bool, pictures: bool, way: str
) -> None:
    from longvid.testing.synthetic import make_segment

    segment = make_segment(3, 4, 4)
    segment = _ragged(segment) if ragged else segment
    found = handoff(space, [segment], engine, keeps_pictures=pictures)
    assert found.way == way
    assert found.way in WAYS
    assert found.reason.endswith(".")


def test_an_unknown_engine_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="No engine is named 'tgi'; known are vllm, sglang"):
        handoff("llava/x", [], "tgi")
