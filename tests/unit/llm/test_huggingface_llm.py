"""The language model on mini: tokens in time order, limits named before work, options scored."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from longvid.errors import ConfigError, ModelError, QuestionError
from longvid.llm import kv_cache
from longvid.llm.huggingface import HuggingFaceLanguageModel, Worker
from longvid.llm.kv_cache import elements_per_token
from longvid.llm.projector import SelectionProjector
from longvid.models import checkpoint_files, mini, mini_vocabulary
from longvid.models.families.protocol import FramePiece, TextPiece
from longvid.models.tokenizer import Span
from longvid.protocols import Generation
from longvid.types import Question, Segment, Selection, Tokens

QUESTION = Question("What color is the star?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    mini.save(folder, seed=5)
    return folder


@pytest.fixture(scope="module")
def worker(folder: Path) -> Worker:
    return HuggingFaceLanguageModel(model=str(folder)).setup()


def segment(worker: Worker, counts: list[int], start: float = 0.0, index: int = 0) -> Segment:
    """A segment whose frames hold these numbers of random tokens."""
    generator = torch.Generator().manual_seed(index)
    num_tokens = sum(counts)
    return Segment(
        video_id="v",
        segment_index=index,
        start_seconds=start,
        end_seconds=start + len(counts),
        pts_seconds=start + torch.arange(len(counts), dtype=torch.float64),
        slow=torch.ones(len(counts), dtype=torch.bool),
        frame_embeddings=torch.zeros(len(counts), 4),
        tokens=Tokens(
            data=torch.randn(num_tokens, 192, generator=generator),
            frame=torch.repeat_interleave(
                torch.arange(len(counts), dtype=torch.int32), torch.tensor(counts)
            ),
            position=torch.rand(num_tokens, 2, generator=generator),
            size=torch.ones(num_tokens),
        ),
        space=worker.space,
    )


def show(*segments: Segment) -> Selection:
    return Selection(segments=segments, evidence=(), budget=1_000_000)


def test_frames_follow_each_other_in_time_each_after_its_prefix(folder: Path) -> None:
    part = HuggingFaceLanguageModel(
        model=str(folder), template="{video} {question} <answer>", frame_prefix="time {seconds}"
    )
    worker = part.setup()
    first = segment(worker, [2, 0, 1])
    second = segment(worker, [3], start=10.0, index=1)
    ids = worker._prompt_ids([Span("<video> what ? <answer>")])
    head, *shown, tail = worker._layout(ids, show(first, second))

    assert head == TextPiece(())
    assert worker._tokenizer.decode(tail.ids) == "what ? <answer>"
    frames = [piece for piece in shown if isinstance(piece, FramePiece)]
    assert [frame.pts_seconds for frame in frames] == [0.0, 2.0, 10.0]  # an empty frame is silent
    assert torch.equal(
        torch.cat([frame.tokens for frame in frames]),
        torch.cat([first.tokens.data, second.tokens.data]),
    )
    prefixes = [piece for piece in shown if isinstance(piece, TextPiece)]
    assert [piece.ids for piece in prefixes] == [
        worker._text_tokenizer.text_ids(f"time {seconds}") for seconds in ("0.0", "2.0", "10.0")
    ]


def test_the_prompt_of_mini_is_the_one_it_was_made_with(worker: Worker) -> None:
    pieces = worker._layout(
        worker._prompt_ids([Span(mini_vocabulary.prompt(QUESTION.text))]),
        show(segment(worker, [2, 1])),
    )
    text = [piece.ids for piece in pieces if isinstance(piece, TextPiece)]
    separator = tuple(worker._tokenizer.convert_tokens_to_ids([mini_vocabulary.FRAME_TOKEN]))
    assert text[1:-1] == [separator, separator]
    assert worker._tokenizer.decode(text[-1]) == "what color is the star ? <answer>"


def test_an_open_answer_counts_what_it_used(worker: Worker) -> None:
    selection = show(segment(worker, [4, 4]), segment(worker, [1], start=5.0, index=1))
    answer = worker.answer(QUESTION, selection)
    assert answer.choice is None
    assert answer.choice_scores == ()
    # Nine visual tokens, a separator for each of three frames, six words and <answer>.
    assert answer.prompt_tokens == 9 + 3 + 7
    assert 1 <= answer.output_tokens <= mini_vocabulary.PROMPT.max_new_tokens
    assert answer.seconds["prefill"] > 0
    assert answer == dataclasses.replace(worker.answer(QUESTION, selection), seconds=answer.seconds)


def test_max_new_tokens(folder: Path, worker: Worker) -> None:
    short = HuggingFaceLanguageModel(model=str(folder), max_new_tokens=1).setup()
    assert short.answer(QUESTION, show(segment(worker, [4]))).output_tokens == 1


def test_a_question_without_any_frame_is_still_answered(worker: Worker) -> None:
    assert worker.answer(QUESTION, show()).prompt_tokens == 7


@pytest.mark.parametrize("choice_answer", ["text", "letter"])
def test_a_choice_is_one_of_the_choices(folder: Path, choice_answer: str) -> None:
    worker = HuggingFaceLanguageModel(
        model=str(folder), choice_answer=choice_answer, template="{video} {question} <answer>"
    ).setup()
    choices = ("top", "top left", "red")
    if choice_answer == "letter":
        choices = ("red", "blue")
    answer = worker.answer(Question(QUESTION.text, choices=choices), show(segment(worker, [4])))
    assert answer.text == choices[answer.choice]
    assert len(answer.choice_scores) == len(choices)
    assert max(answer.choice_scores) == answer.choice_scores[answer.choice]
    assert all(score < 0 for score in answer.choice_scores)


def test_equal_choices_tie_to_the_first(worker: Worker) -> None:
    question = Question(QUESTION.text, choices=("red", "Red"))  # one word to mini
    answer = worker.answer(question, show(segment(worker, [4])))
    assert answer.choice == 0
    assert answer.choice_scores[0] == answer.choice_scores[1]


def test_the_order_of_choices_changes_no_score(worker: Worker) -> None:
    """Every option is scored after the same prefill; the cache comes back as it was."""
    selection = show(segment(worker, [4]))
    one = worker.answer(Question(QUESTION.text, choices=("red", "top left", "blue")), selection)
    two = worker.answer(Question(QUESTION.text, choices=("blue", "top left", "red")), selection)
    assert one.choice_scores == pytest.approx(two.choice_scores[::-1], abs=1e-6)


def test_embed_words(worker: Worker) -> None:
    words = worker.embed_words("what color")
    assert words.shape == (2, 192)
    assert words.dtype == torch.float32
    assert torch.equal(words[1], worker.embed_words("color")[0])


@pytest.mark.parametrize(
    "question",
    [Question("Where is my car?"), Question("what color", choices=("red", "my car"))],
)
def test_words_that_mini_does_not_know(worker: Worker, question: Question) -> None:
    with pytest.raises(QuestionError, match=r"'my', 'car'.*circle.*--config"):
        worker.answer(question, show(segment(worker, [4])))


def test_too_many_tokens_is_said_with_numbers_before_any_work(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker._decoder, "splice", None)
    monkeypatch.setattr(SelectionProjector, "segment", None)
    context = worker._decoder.context
    with pytest.raises(QuestionError, match=f"{context} visual and 8 text.*context of {context}"):
        worker.answer(QUESTION, show(segment(worker, [context])))
    with pytest.raises(QuestionError, match=r"ask\.budget to at most"):
        worker.answer(
            Question(QUESTION.text, choices=("red", "blue")), show(segment(worker, [context]))
        )


def test_the_suggested_budget_fits(worker: Worker) -> None:
    context = worker._decoder.context
    with pytest.raises(QuestionError) as caught:
        worker.answer(QUESTION, show(segment(worker, [context])))
    room = int(str(caught.value).rstrip(".").split()[-1])
    assert room == context - 8 - mini_vocabulary.PROMPT.max_new_tokens


def test_a_prompt_that_memory_cannot_hold_is_said_before_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = HuggingFaceLanguageModel(model=str(folder)).setup()
    shown = show(segment(worker, [4]))
    monkeypatch.setattr(kv_cache, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(worker._decoder, "logits", None)
    with pytest.raises(ModelError, match=r"prompt of \d+ tokens does not fit .* lower ask\.budget"):
        worker.answer(QUESTION, shown)
    errors = worker.answer_many([(QUESTION, shown)] * 2)
    assert [type(error) for error in errors] == [ModelError, ModelError]


def test_questions_that_fit_only_one_by_one_are_answered_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = HuggingFaceLanguageModel(model=str(folder)).setup()
    shown = show(segment(worker, [4]))
    alone = worker.answer(QUESTION, shown)
    num_bytes = 4 * elements_per_token(worker._decoder.module.config.get_text_config())
    room = alone.prompt_tokens + worker._max_new_tokens
    monkeypatch.setattr(kv_cache, "free_bytes", lambda device: num_bytes * room)
    worker._reader.forget()
    found = worker.answer_many([(QUESTION, shown)] * 2)
    assert [one.text for one in found if isinstance(one, Generation)] == [alone.text] * 2


def test_tokens_of_another_space_are_refused(worker: Worker) -> None:
    other = dataclasses.replace(segment(worker, [4]), space="llava/clip-llama-4096@0")
    with pytest.raises(ModelError, match=r"llava/clip-llama-4096@0.*index the videos again"):
        worker.answer(QUESTION, show(other))


def test_tokens_of_another_width_are_refused(worker: Worker) -> None:
    own = segment(worker, [4])
    wide = dataclasses.replace(own.tokens, data=torch.zeros(4, 96))
    with pytest.raises(ModelError, match="96 wide"):
        worker.answer(QUESTION, show(own.with_tokens(wide)))


def test_tokens_may_be_kept_in_half_precision(worker: Worker) -> None:
    own = segment(worker, [4])
    half = own.with_tokens(dataclasses.replace(own.tokens, data=own.tokens.data.half()))
    full = half.with_tokens(dataclasses.replace(own.tokens, data=half.tokens.data.float()))
    assert worker.answer(QUESTION, show(half)).text == worker.answer(QUESTION, show(full)).text


def test_a_template_without_a_video_is_refused(folder: Path, worker: Worker) -> None:
    blind = HuggingFaceLanguageModel(model=str(folder), template="{question} <answer>").setup()
    with pytest.raises(ModelError, match="exactly once"):
        blind.answer(QUESTION, show(segment(worker, [1])))


def test_the_note_of_untrained_weights(
    folder: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert worker.note == ""
    monkeypatch.setattr(checkpoint_files, "_ASSETS", tmp_path / "assets")
    monkeypatch.setenv("LONGVID_HOME", str(tmp_path))
    assert "fixed seed" in HuggingFaceLanguageModel().setup().note


@pytest.mark.parametrize(
    "change", [{"choice_answer": "number"}, {"choice_score": "max"}, {"max_new_tokens": -1}]
)
def test_settings_are_checked(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        HuggingFaceLanguageModel(**change)


def test_no_vision_tower_is_loaded(worker: Worker) -> None:
    names = [name for name, _ in worker._decoder.module.named_parameters()]
    assert names
    assert not any("vision" in name or "projector" in name for name in names)


@pytest.mark.parametrize(
    ("setting", "package"),
    [
        ({"device_map": "auto"}, "accelerate"),
        ({"bits": 8}, "accelerate"),
        ({"bits": 4}, "bitsandbytes"),
        ({"attention": "flash_attention_2"}, "flash_attn"),
    ],
)
def test_a_package_that_is_missing_is_named_before_anything_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, object], package: str
) -> None:
    def found(name: str) -> object:
        return None if name == package else name

    monkeypatch.setattr("longvid.models.from_pretrained.importlib.util.find_spec", found)
    part = HuggingFaceLanguageModel(model=str(folder), **setting)
    with pytest.raises(ConfigError, match=r"needs the package .* pip install"):
        part.setup()


@pytest.mark.parametrize(
    "setting", [{"attention": "fast"}, {"device_map": "cuda:7"}, {"bits": 2}, {"prefill_tokens": 0}]
)
def test_how_weights_lie_is_checked(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        HuggingFaceLanguageModel(**setting)


def test_attention_may_be_named(folder: Path, worker: Worker) -> None:
    eager = HuggingFaceLanguageModel(model=str(folder), attention="eager").setup()
    config = eager._decoder.module.config.get_text_config(decoder=True)
    assert config._attn_implementation == "eager"
    selection = show(segment(worker, [4]))
    assert eager.answer(QUESTION, selection).text == worker.answer(QUESTION, selection).text
