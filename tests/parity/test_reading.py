"""Fast ways to read and continue a prompt, each beside its slow twin, on random models.

Read in parts = read at once; begun alike = read anew, bit for bit; side by side = the model's own
`generate`; options in one pass = one after the other.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from longvid.llm import prefill
from longvid.llm.generation import Rows, continue_rows, score_one_by_one, score_together
from longvid.llm.huggingface import HuggingFaceLanguageModel, Worker
from longvid.llm.kv_cache import new_cache, truncate
from longvid.llm.prefill import PromptReader, cuts, divisible_below, span
from longvid.models import mini
from longvid.models.families.protocol import Decoder, FramePiece, Piece, TextPiece
from longvid.types import Question, Segment, Selection, Tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    mini.save(folder, seed=7)
    return folder


@pytest.fixture(scope="module")
def worker(folder: Path) -> Worker:
    return HuggingFaceLanguageModel(model=str(folder), max_new_tokens=12).setup()


@pytest.fixture(scope="module")
def decoder(worker: Worker) -> Decoder:
    """The language model with larger weights, so that its words differ from step to step."""
    generator = torch.Generator().manual_seed(3)
    for weight in worker._decoder.module.parameters():
        weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    return worker._decoder


def frames(seed: int, counts: tuple[int, ...]) -> list[Piece]:
    generator = torch.Generator().manual_seed(seed)
    tokens = [torch.randn(n, 192, generator=generator) for n in counts]
    return [FramePiece(data, torch.rand(len(data), 2), float(i)) for i, data in enumerate(tokens)]


def prompt(seed: int, counts: tuple[int, ...], tail: tuple[int, ...]) -> list[Piece]:
    return [TextPiece((2, 9)), *frames(seed, counts), TextPiece(tail)]


PROMPTS = [
    prompt(0, (5, 9, 4), (17, 20, 30, 31)),
    prompt(1, (3,), (40, 41)),
    prompt(2, (30, 12), (18, 90, 44, 12, 7)),
]


def whole(decoder: Decoder, pieces: list[Piece]) -> torch.Tensor:
    return decoder.logits(decoder.splice(pieces, newline=True), keep=1)[0]


def reader(decoder: Decoder, span_tokens: int = 4096) -> PromptReader:
    return PromptReader(decoder, span_tokens, keep=True)


@pytest.mark.parametrize("span_tokens", [1, 5, 16, 4096])
def test_read_in_parts_equals_read_at_once(decoder: Decoder, span_tokens: int) -> None:
    for pieces in PROMPTS:
        read = reader(decoder, span_tokens).read(pieces, newline=True, num_new=4)
        torch.testing.assert_close(read.logits, whole(decoder, pieces), atol=2e-4, rtol=1e-4)
        assert read.num_reused == 0
        assert read.next_position == read.num_tokens


@pytest.mark.parametrize("span_tokens", [8, 4096])
def test_another_question_reads_only_its_own_words(decoder: Decoder, span_tokens: int) -> None:
    counts, first, second = (5, 9, 4), (17, 20, 30), (60, 61, 62, 63)
    kept = reader(decoder, span_tokens)
    kept.read(prompt(0, counts, first), newline=True, num_new=4)
    again = kept.read(prompt(0, counts, second), newline=True, num_new=4)
    assert again.num_reused == 2 + sum(counts) + 1  # head, frames, newline
    anew = reader(decoder, span_tokens).read(prompt(0, counts, second), newline=True, num_new=4)
    assert torch.equal(again.logits, anew.logits)


def test_words_of_an_answer_are_not_taken_for_the_prompt(decoder: Decoder) -> None:
    kept = reader(decoder)
    for tail in ((17, 20), (60, 61, 62), (17, 20)):
        pieces = prompt(0, (5, 9), tail)
        rows = Rows(1, 0, 6)
        rows.add(kept.read(pieces, newline=True, num_new=6))
        fresh = Rows(1, 0, 6)
        fresh.add(reader(decoder).read(pieces, newline=True, num_new=6))
        assert continue_rows(decoder, rows, 6) == continue_rows(decoder, fresh, 6)


def test_frames_in_front_that_differ_are_read_again(decoder: Decoder) -> None:
    kept = reader(decoder, span_tokens=6)
    kept.read(prompt(0, (10, 10), (17,)), newline=True, num_new=4)
    changed = prompt(0, (10, 10), (17,))
    changed[2] = frames(9, (1, 10))[1]
    read = kept.read(changed, newline=True, num_new=4)
    assert read.num_reused == 12  # two spans of 6: head and the first frame
    torch.testing.assert_close(read.logits, whole(decoder, changed), atol=2e-4, rtol=1e-4)


def test_rows_side_by_side_equal_the_models_own_generate(decoder: Decoder) -> None:
    kept = reader(decoder)
    spliced = [decoder.splice(pieces, newline=True) for pieces in PROMPTS]
    rows = Rows(len(PROMPTS), max(map(len, spliced)), 12)
    for pieces in PROMPTS:
        rows.add(kept.read(pieces, newline=True, num_new=12))
    found = continue_rows(decoder, rows, 12)
    for ids, one in zip(found, spliced, strict=True):
        own = decoder.module.generate(
            inputs_embeds=one.inputs_embeds,
            attention_mask=one.attention_mask,
            max_new_tokens=12,
            do_sample=False,
        )
        assert ids == tuple(own[0].tolist())
    assert len({ids for row in found for ids in row}) > 3  # the models say more than one word


def test_a_repetition_penalty_is_that_of_transformers(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder.module.generation_config, "repetition_penalty", 1.7)
    pieces = PROMPTS[0]
    rows = Rows(1, 0, 12)
    rows.add(reader(decoder).read(pieces, newline=True, num_new=12))
    assert continue_rows(decoder, rows, 12)[0] == _with_penalty(decoder, pieces, 1.7, 12)


def _with_penalty(
    decoder: Decoder, pieces: list[Piece], penalty: float, num_new: int
) -> tuple[int, ...]:
    """Continue word by word with the processor of transformers, reading everything each time."""
    from transformers import RepetitionPenaltyLogitsProcessor

    process = RepetitionPenaltyLogitsProcessor(penalty)
    text = [i for piece in pieces if isinstance(piece, TextPiece) for i in piece.ids]
    found: list[int] = []
    while len(found) < num_new and (not found or found[-1] != 3):
        scores = whole(decoder, [*pieces, TextPiece(tuple(found))] if found else pieces)
        found.append(int(process(torch.tensor([[*text, *found]]), scores).argmax()))
    return tuple(found)


OPTIONS = [[(11, 12, 3), (13, 3), (14,), (11, 50, 51, 52, 3)], [(20,), (21,)], [(5, 6), (5, 6)]]


@pytest.mark.parametrize("options", OPTIONS)
def test_options_in_one_pass_equal_one_after_the_other(
    decoder: Decoder, options: list[tuple[int, ...]]
) -> None:
    read = reader(decoder).read(PROMPTS[0], newline=True, num_new=16)
    slow = score_one_by_one(decoder, read, options)
    fast = score_together(decoder, read, options)
    assert fast == pytest.approx(slow, abs=1e-3)
    assert fast == score_together(decoder, read, options)  # the cache came back as it was
    assert slow == score_one_by_one(decoder, read, options)


def test_a_cache_written_in_place_equals_one_that_is_copied(decoder: Decoder) -> None:
    config = decoder.module.config.get_text_config(decoder=True)
    spliced = decoder.splice(PROMPTS[2], newline=True)
    growing, dynamic = new_cache(config, room=7), DynamicCache(config=config)
    places = [0, 5, 6, 20, len(spliced)]
    for first, last in itertools.pairwise(places):
        part = span(spliced, first, last)
        a = decoder.logits(part, growing, keep=0, start=first)
        assert torch.equal(a, decoder.logits(part, dynamic, keep=0, start=first))
    for mine, theirs in zip(growing.layers, dynamic.layers, strict=True):
        assert torch.equal(mine.keys, theirs.keys)
        assert torch.equal(mine.values, theirs.values)
    truncate(growing, 5)
    assert growing.get_seq_length() == 5
    again = decoder.logits(span(spliced, 5, 6), growing, keep=1, start=5)
    anew = decoder.logits(span(spliced, 0, 6), keep=1)
    torch.testing.assert_close(again, anew, atol=2e-4, rtol=0)


def test_cuts_depend_on_the_prompt_alone() -> None:
    assert cuts(10, 7, 4) == [0, 4, 7, 10]
    assert cuts(10, 0, 4) == [0, 4, 8, 10]
    assert cuts(3, 3, 100) == [0, 3]


def test_what_cannot_be_read_in_parts() -> None:
    class Rope(torch.nn.Module):
        rope_type, original_max_seq_len = "dynamic", 4096

    class Config:
        layer_types: tuple[str, ...] = ("full_attention",)

        def get_text_config(self, decoder: bool) -> Config:
            return self

    module: Any = torch.nn.Module()
    module.config = Config()
    decoder: Any = SimpleNamespace(module=module, divisible=True)
    assert divisible_below(decoder) == math.inf
    decoder.divisible = False
    assert divisible_below(decoder) == 0
    decoder.divisible = True
    module.rope = Rope()
    assert divisible_below(decoder) == 4096
    module.config.layer_types = ("full_attention", "sliding_attention")
    assert divisible_below(decoder) == 0


def test_a_model_that_reads_whole_answers_alike(
    worker: Worker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with sliding windows: no parts, no rows, options one by one."""
    from longvid.llm import huggingface

    tokens = Tokens(
        torch.randn(6, 192, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.int32),
        torch.rand(6, 2),
        torch.ones(6),
    )
    segment = Segment(
        "v",
        0,
        0.0,
        2.0,
        torch.arange(2, dtype=torch.float64),
        torch.ones(2, dtype=torch.bool),
        torch.zeros(2, 4),
        tokens,
        worker.space,
    )
    shown = Selection((segment,), (), 100)
    asked = [
        (Question("what color is the star?"), shown),
        (Question("where is the star?"), shown),
        (Question("what color is the star?", choices=("red", "top left")), shown),
    ]
    part = HuggingFaceLanguageModel(model=str(folder), max_new_tokens=4)
    usual = part.setup().answer_many(asked)
    monkeypatch.setattr(prefill, "divisible_below", lambda module: 0)
    monkeypatch.setattr(huggingface, "divisible_below", lambda module: 0)
    for one, other in zip(usual, part.setup().answer_many(asked), strict=True):
        assert one.text == other.text
        assert one.choice_scores == pytest.approx(other.choice_scores, abs=1e-4)
