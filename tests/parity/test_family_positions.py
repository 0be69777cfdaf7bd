"""Compressed tokens keep the place that they had in the whole video, and are told their time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from longvid.compress.token_merging import TokenMerging
from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.errors import ModelError
from longvid.llm.huggingface import HuggingFaceLanguageModel, Worker
from longvid.models.families.protocol import FramePiece, Spliced, TextPiece
from longvid.models.families.qwen_pixels import fit_to_patches
from longvid.models.tokenizer import Span
from longvid.types import Question, Segment, Selection
from tests.parity import family_checkpoints as tiny
from tests.parity.family_case import Case
from tests.parity.family_cases import QWEN2_5, QWEN3, QWEN3_MOE
from tests.parity.other_families import GEMMA4, MINICPM, MOLMO2, OMNI
from tests.parity.recent_families import GLM4V, GLM46V, GRIDS, QWEN2, QWEN3_5, VIDEO_LLAMA_3
from tests.parity.shuffled_cases import INTERNVL, SMOLVLM

QUESTION = Question("what color is it ?")
GRID = (3, 5)


@pytest.fixture(
    scope="module", params=[QWEN2_5, QWEN3, QWEN3_MOE, *GRIDS, OMNI], ids=lambda case: case.name
)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def segment(case: Case, folder: Path, embedder: Path) -> Segment:
    encoder = HuggingFaceEncoder(model=str(folder), embedder=str(embedder)).setup()
    return encoder(tiny.frames(case.size))


@pytest.fixture(scope="module")
def worker(folder: Path) -> Worker:
    return HuggingFaceLanguageModel(model=str(folder)).setup()


@pytest.fixture(scope="module")
def own(case: Case, folder: Path) -> Any:
    return case.model_class.from_pretrained(folder, dtype=torch.float32).eval()


def show(*segments: Segment) -> Selection:
    return Selection(segments=segments, evidence=(), budget=10_000)


def splice(worker: Worker, case: Case, *segments: Segment) -> Spliced:
    text = case.prompt.replace("{video}", case.placeholder).replace("{question}", QUESTION.text)
    ids = worker._prompt_ids([Span(text.replace("{choices}", ""))])
    return worker._decoder.splice(worker._layout(ids, show(*segments)), newline=False)


def own_positions(case: Case, folder: Path, own: Any) -> torch.Tensor:
    text = case.prompt.replace("{question}", QUESTION.text).replace("{choices}", "")
    inputs = case.inputs(folder, text)
    inputs.pop("pixel_values_videos")
    if case is OMNI:
        inputs["second_per_grids"] = inputs.pop("video_second_per_grid")
    return own.model.get_rope_index(**inputs)[0]


def is_visual(case: Case, folder: Path) -> torch.Tensor:
    text = case.prompt.replace("{question}", QUESTION.text).replace("{choices}", "")
    inputs = case.inputs(folder, text)
    kinds = inputs.get("mm_token_type_ids")
    if kinds is None:  # a model that finds its video by the placeholder
        return inputs["input_ids"][0] == tiny.MARKS.index(case.placeholder)
    return kinds[0] == 2


def keep_some(segment: Segment) -> torch.Tensor:
    """Mark a third of the tokens, at least one a step."""
    return torch.arange(len(segment.tokens)) % 3 == 1


def test_pruning_moves_no_token(
    case: Case, folder: Path, own: Any, worker: Worker, segment: Segment
) -> None:
    kept = keep_some(segment)
    whole = own_positions(case, folder, own)
    shown = torch.ones(whole.shape[-1], dtype=torch.bool)
    shown[is_visual(case, folder)] = kept

    assert torch.equal(splice(worker, case, segment).position_ids, whole)
    pruned = segment.with_tokens(segment.tokens.keep(kept))
    assert torch.equal(splice(worker, case, pruned).position_ids, whole[..., shown])


def test_a_merged_token_stands_in_the_middle_of_its_parts(
    case: Case, worker: Worker, segment: Segment
) -> None:
    tokens = segment.tokens
    position = tokens.position.clone()
    one = tokens.keep(torch.tensor([0]))
    # Row 0 of the first three columns, merged: column 1.
    one = dataclasses.replace(one, position=position[:3].mean(dim=0, keepdim=True))
    where = splice(worker, case, segment.with_tokens(one)).position_ids[:, 0]
    alone = splice(worker, case, segment.with_tokens(tokens.keep(torch.tensor([1]))))
    assert torch.equal(where, alone.position_ids[:, 0])


def test_merging_leaves_every_token_on_the_grid(
    case: Case, worker: Worker, segment: Segment
) -> None:
    merged = TokenMerging().setup()(segment)
    assert len(merged.tokens) < len(segment.tokens)
    assert merged.grid == GRID
    positions = splice(worker, case, merged).position_ids
    whole = splice(worker, case, segment).position_ids
    assert positions.max() <= whole.max()
    assert worker.answer(QUESTION, show(merged)).text


def test_the_model_reads_pruned_tokens_with_all_their_layers(
    case: Case, folder: Path, own: Any, worker: Worker, segment: Segment
) -> None:
    """The reference drops the same tokens out of the model's own whole input."""
    kept = keep_some(segment)
    spliced = splice(worker, case, segment.with_tokens(segment.tokens.keep(kept)))
    got = worker._decoder.logits(spliced, keep=0)

    text = case.prompt.replace("{question}", QUESTION.text).replace("{choices}", "")
    inputs = case.inputs(folder, text)
    visual = is_visual(case, folder)
    with torch.no_grad():
        features = own.model.get_video_features(
            inputs["pixel_values_videos"], inputs["video_grid_thw"]
        )
        embeds = own.get_input_embeddings()(inputs["input_ids"])
        embeds[0, visual] = features.pooler_output[0]
        shown = torch.ones(len(visual), dtype=torch.bool)
        shown[visual] = kept
        layers = {}
        if hasattr(features, "deepstack_features"):
            of_layers = [layer[0][kept] for layer in features.deepstack_features]
            layers = {
                "visual_pos_masks": (visual & shown)[shown][None],
                "deepstack_visual_embeds": of_layers,
            }
        hidden = own.model.language_model(
            inputs_embeds=embeds[:, shown],
            position_ids=own_positions(case, folder, own)[..., shown],
            **layers,
        ).last_hidden_state
        want = own.lm_head(hidden)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


def test_a_prompt_read_in_spans_is_answered_alike(folder: Path, segment: Segment) -> None:
    whole = HuggingFaceLanguageModel(model=str(folder), max_new_tokens=8)
    spans = dataclasses.replace(whole, prefill_tokens=5)
    closed = dataclasses.replace(QUESTION, choices=("red", "dark blue"))
    one, two = whole.setup(), spans.setup()
    assert one.answer(QUESTION, show(segment)).text == two.answer(QUESTION, show(segment)).text
    assert two.answer(closed, show(segment)).choice_scores == pytest.approx(
        one.answer(closed, show(segment)).choice_scores, abs=1e-4
    )


def test_questions_side_by_side_are_answered_as_alone(worker: Worker, segment: Segment) -> None:
    """Prompts of different length are padded; every row keeps its own positions."""
    fewer = segment.with_tokens(segment.tokens.keep(keep_some(segment)))
    asked = [(QUESTION, show(segment)), (Question("is it red ?"), show(fewer))]
    alone = [worker.answer(*one).text for one in asked]
    assert [one.text for one in worker.answer_many(asked)] == alone


def later(segment: Segment, seconds: float, video_id: str = "v") -> Segment:
    return dataclasses.replace(
        segment,
        video_id=video_id,
        segment_index=7,
        start_seconds=seconds,
        end_seconds=seconds + 3,
        pts_seconds=segment.pts_seconds + seconds,
    )


def test_time_of_qwen2_5_counts_from_the_start_of_the_video(tmp_path: Path, embedder: Path) -> None:
    QWEN2_5.save(tmp_path)
    encoder = HuggingFaceEncoder(model=str(tmp_path), embedder=str(embedder)).setup()
    segment = encoder(tiny.frames(QWEN2_5.size))
    worker = HuggingFaceLanguageModel(model=str(tmp_path)).setup()
    per_step = GRID[0] * GRID[1]

    def ticks(*segments: Segment) -> list[int]:
        pieces = worker._layout((1, worker._placeholder_id, 1), show(*segments))
        time = worker._decoder.splice(pieces, newline=False).position_ids[0, 0]
        return (time[1:-1:per_step] - 1).tolist()

    # Two ticks a second; a step is shown with its first frame, here every two seconds.
    assert ticks(segment) == [0, 4]
    assert ticks(later(segment, 100.0)) == [200, 204]
    assert ticks(segment, later(segment, 100.0)) == [0, 4, 200, 204]
    # Another video starts behind the longer side of the grid of the one before.
    assert ticks(later(segment, 100.0), later(segment, 10.0, "w")) == [200, 204, 25, 29]


def prefixes(case: Case, folder: Path, embedder: Path, seconds: float) -> list[str]:
    """Return what is written before, between and after the frames of a later segment."""
    case.save(folder)
    encoder = HuggingFaceEncoder(model=str(folder), embedder=str(embedder)).setup()
    segment = later(encoder(tiny.frames(case.size)), seconds)
    worker = HuggingFaceLanguageModel(model=str(folder)).setup()
    pieces = worker._layout((1, worker._placeholder_id, 1), show(segment))[1:-1]
    assert sum(isinstance(piece, FramePiece) for piece in pieces) == segment.num_frames
    return [worker._tokenizer.decode(p.ids) for p in pieces if isinstance(p, TextPiece)]


def test_time_of_qwen3_is_the_mean_of_two_frames(tmp_path: Path, embedder: Path) -> None:
    assert prefixes(QWEN3, tmp_path, embedder, 100.0) == [
        "<100.5 seconds><|vision_start|>",
        "<|vision_end|><102.0 seconds><|vision_start|>",
        "<|vision_end|>",
    ]


@pytest.mark.parametrize(
    ("case", "texts"),
    [
        (
            QWEN3_5,
            [
                "<100.5 seconds><|vision_start|>",
                "<|vision_end|><102.0 seconds><|vision_start|>",
                "<|vision_end|>",
            ],
        ),
        (
            GLM4V,
            [
                "<|begin_of_image|>",
                "<|end_of_image|>100<|begin_of_image|>",
                "<|end_of_image|>102",
            ],
        ),
        (
            GLM46V,
            [
                "<|begin_of_image|>",
                "<|end_of_image|>100.0 seconds<|begin_of_image|>",
                "<|end_of_image|>102.0 seconds",
            ],
        ),
        (VIDEO_LLAMA_3, ["Time 100.0s:", ",Time 101.0s:", ",Time 102.0s:"]),
        (
            MOLMO2,
            [
                "100.0 <frame_start>",
                "<frame_end> 101.0 <frame_start>",
                "<frame_end> 102.0 <frame_start>",
                "<frame_end>",
            ],
        ),
        (
            GEMMA4,
            [
                "01:40 <|image>",
                "<image|> 01:41 <|image>",
                "<image|> 01:42 <|image>",
                "<image|>",
            ],
        ),
        (
            MINICPM,
            [
                "<image_id>0</image_id><image>",
                "</image><image>",
                "</image><image>",
                "</image>",
            ],
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
    indirect=["case"],
)
def test_times_are_written_as_trained(
    case: Case, texts: list[str], tmp_path: Path, embedder: Path
) -> None:
    assert prefixes(case, tmp_path, embedder, 100.0) == texts


def test_time_of_qwen2_counts_the_steps_shown(tmp_path: Path, embedder: Path) -> None:
    QWEN2.save(tmp_path)
    encoder = HuggingFaceEncoder(model=str(tmp_path), embedder=str(embedder)).setup()
    segment = encoder(tiny.frames(QWEN2.size))
    worker = HuggingFaceLanguageModel(model=str(tmp_path)).setup()
    pieces = worker._layout((1, worker._placeholder_id, 1), show(segment, later(segment, 50.0)))
    time = worker._decoder.splice(pieces, newline=False).position_ids[0, 0]
    assert (time[1 : -1 : GRID[0] * GRID[1]] - 1).tolist() == [0, 1, 2, 3]


def test_frames_of_internvl_are_numbered(tmp_path: Path, embedder: Path) -> None:
    assert prefixes(INTERNVL, tmp_path, embedder, 100.0) == [
        "Frame1: <img>",
        "</img>\nFrame2: <img>",
        "</img>\nFrame3: <img>",
        "</img>",
    ]


def test_frames_of_smolvlm_have_the_time_on_the_clock(tmp_path: Path, embedder: Path) -> None:
    first, second, *_ = prefixes(SMOLVLM, tmp_path, embedder, 100.0)
    assert first == (
        " You are provided the following series of three frames from a 0:01:43 [H:MM:SS] video.\n"
        "\nFrame from 01:40:<fake_token_around_image><global-img>"
    )
    assert second == (
        "<fake_token_around_image>\nFrame from 01:41:<fake_token_around_image><global-img>"
    )


def test_tokens_that_do_not_say_their_grid_are_refused(
    case: Case, worker: Worker, segment: Segment
) -> None:
    with pytest.raises(ModelError, match=r"grid they were laid out on.*index the videos again"):
        splice(worker, case, dataclasses.replace(segment, grid=(0, 0)))


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((720, 1280), (560, 1008)),  # too large: the aspect is kept
        ((448, 448), (448, 448)),  # as it is
        ((450, 460), (448, 448)),  # to the nearest whole tokens
        ((28, 2800), (56, 3192)),  # too small
    ],
)
def test_fit_to_patches(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    got = fit_to_patches(*size, 28, 128 * 28 * 28, 768 * 28 * 28)
    assert got == fitted
    assert 128 <= got[0] * got[1] / 28 / 28 <= 768
