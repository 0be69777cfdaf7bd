"""Published systems are asked in their authors' words, about their authors' frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from benchmarks.harness.asker import Protocol, question_of
from benchmarks.harness.published_protocols import PROTOCOLS
from benchmarks.harness.record import Record
from longvid.config import load_config
from longvid.models.tokenizer import Span
from longvid.sample import rounded_step_indices
from longvid.systems.longvu.language_model import _CHATML, LongVULanguageModel, Worker
from longvid.types import Question

USER = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
ASSISTANT = "<|im_end|>\n<|im_start|>assistant\n"

FORMS = {
    "video-mme": (
        ("red", "blue", "green", "black"),
        "<image>\nQuestion: What color is it?\nOptions:\nA. red\nB. blue\nC. green\nD. black\n"
        "Respond with only the letter (A, B, C, or D) of the correct option.\n",
    ),
    "mlvu": (
        ("red", "blue", "green", "black"),
        "<image>\nQuestion: What color is it?\nOptions:\n(A) red\n(B) blue\n(C) green\n(D) black\n"
        "Respond with only the letter (A, B, C or D) of the correct option.",
    ),
    "egoschema": (
        ("red", "blue", "green", "black", "white"),
        "<image>\nQuestion: What color is it?\nOptions:\n(A) red\n(B) blue\n(C) green\n(D) black\n"
        "(E) white\nRespond with only the letter (A, B, C, D or E) of the correct option.",
    ),
    "mvbench": (
        ("red", "blue", "green"),
        "<image>\nQuestion: What color is it?\nOptions:\n(A) red\n(B) blue\n(C) green\n"
        "Answer with the option's letter from the given choices directly and only give the best "
        "option.",
    ),
}


class Recorder(Worker):
    """Notes the prompt instead of reading it."""

    space = "cambrian_qwen"

    def __init__(self, part: LongVULanguageModel) -> None:
        self._part = part
        self._placeholder = "<image>"
        self._part = dataclasses.replace(
            part, choice_template=_CHATML.replace("%s", self._words(part.choice_words))
        )
        self._template = _CHATML.replace("%s", self._words(part.question_words))
        self.texts: list[str] = []

    def _prompt_ids(self, spans: Sequence[Span]) -> tuple[int, ...]:
        text = "".join(span.text for span in spans)
        self.texts.append(text)
        return tuple(map(ord, text))


@pytest.mark.parametrize("task", FORMS)
def test_longvu_is_asked_word_for_word(task: str) -> None:
    config = load_config("longvu", list(PROTOCOLS["longvu"].settings_of(task, "likelihood")))
    assert isinstance(config.llm, LongVULanguageModel)
    recorder = Recorder(config.llm)
    choices, words = FORMS[task]
    recorder._option_ids(Question("What color is it?", (), choices))
    letters = "ABCDE"[: len(choices)]
    assert recorder.texts == [USER + words + ASSISTANT + letter for letter in letters]


@pytest.mark.parametrize("task", FORMS)
def test_longvu_is_asked_word_for_word_where_its_letter_is_read(task: str) -> None:
    config = load_config("longvu", list(PROTOCOLS["longvu"].settings_of(task, "text")))
    assert isinstance(config.llm, LongVULanguageModel)
    recorder = Recorder(config.llm)
    choices, words = FORMS[task]
    record = Record("1", ("v.mp4",), "What color is it?", options=choices)
    protocol = Protocol(options="text", form=PROTOCOLS["longvu"].forms[task])
    recorder._asked_ids(question_of(record, protocol, "v"))
    assert recorder.texts == [USER + words + ASSISTANT]


@pytest.mark.parametrize(("average_fps", "step"), [(12.5, 24), (7.5, 16), (29.65, 60), (27.36, 54)])
def test_the_rate_is_rounded_before_the_step(average_fps: float, step: int) -> None:
    assert rounded_step_indices(1000, average_fps, 0.5) == tuple(range(0, 1000, step))


@pytest.mark.parametrize(
    ("seconds", "count"), [(1999, 1000), (4000, 1000), (4001, 1001), (7200, 1200), (9000, 1125)]
)
def test_more_than_a_thousand_frames_are_thinned(seconds: int, count: int) -> None:
    frames = rounded_step_indices(30 * seconds, 30.0, 0.5, thin_above=1000)
    sampled = list(range(0, 30 * seconds, 60))
    if len(sampled) > 1000:
        sampled = [sampled[i] for i in range(0, len(sampled), len(sampled) // 1000)]
    assert list(frames) == sampled
    assert len(frames) == count


def test_a_slow_video_is_not_divided_by_nothing() -> None:
    assert rounded_step_indices(5, 0.3, 0.5) == (0, 2, 4)


def test_each_set_has_its_grid() -> None:
    grids = {
        task: load_config("longvu", list(PROTOCOLS["longvu"].settings_of(task, options))).sample
        for task in FORMS
        for options in ("likelihood", "text")
    }
    assert {task: (sample.grid, sample.fps) for task, sample in grids.items()} == {
        "video-mme": ("rounded_step", 0.5),
        "egoschema": ("rounded_step_1000", 0.5),
        "mlvu": ("rounded_step_1000", 0.5),
        "mvbench": ("step", 2.0),
    }
