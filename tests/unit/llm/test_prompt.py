"""Prompts: the checkpoint's own where it says one, filled in one pass, split at the video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from longvid.errors import ModelError, QuestionError
from longvid.llm import prompt
from longvid.models import mini_vocabulary
from longvid.models.families.llava import LLAVA
from longvid.models.families.llava_onevision import LLAVA_ONEVISION
from longvid.models.families.protocol import Prompt
from longvid.models.tokenizer import unknown_words

# The form of the templates that the llava-hf checkpoints carry.
VIDEO_CHAT = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}"
    "{{ '<video>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ '\\n' + content['text'] }}{% endfor %}{{'<|im_end|>'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TEXT_CHAT = (
    "{% for message in messages %}{% if message['content'] is not string %}"
    "{{ raise_exception('text only') }}{% endif %}{{ message['content'] }}{% endfor %}"
)


def filled(template: str, placeholder: str, question: str, choices: str) -> str:
    return "".join(span.text for span in prompt.render(template, placeholder, question, choices))


def tokenizer(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    made.chat_template = chat_template
    return made


def test_the_family_speaks_where_the_checkpoint_does_not(tmp_path: Path) -> None:
    assert prompt.prompt_of(tmp_path, LLAVA, tokenizer()) == LLAVA.prompt


def test_a_chat_template_that_shows_a_video(tmp_path: Path) -> None:
    found = prompt.prompt_of(tmp_path, LLAVA_ONEVISION, tokenizer(VIDEO_CHAT))
    wanted = "<|im_start|>user <video>\n{question}{choices}<|im_end|><|im_start|>assistant\n"
    assert found == Prompt(wanted, newline=True)
    text = filled(found.template, "<video>", "Who?", "")
    family = filled(LLAVA_ONEVISION.prompt.template, "<video>", "Who?", "")
    assert text == family


def test_a_chat_template_of_the_processor_counts_first(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": VIDEO_CHAT}))
    found = prompt.prompt_of(tmp_path, LLAVA_ONEVISION, tokenizer(TEXT_CHAT))
    assert "<video>" in found.template


def test_a_chat_template_for_text_is_given_text(tmp_path: Path) -> None:
    found = prompt.prompt_of(tmp_path, LLAVA_ONEVISION, tokenizer(TEXT_CHAT))
    assert (found.template, found.note) == ("<video>\n{question}{choices}", "")


def test_of_several_chat_templates_the_default_counts(tmp_path: Path) -> None:
    several: Any = {"tool_use": "no fields", "default": VIDEO_CHAT}
    found = prompt.prompt_of(tmp_path, LLAVA_ONEVISION, tokenizer(several))
    assert found.template.startswith("<|im_start|>user <video>")


@pytest.mark.parametrize("chat", ["{{ messages[0]['content'] + 1 }}", "no fields"])
def test_a_chat_template_that_shows_nothing_is_told(tmp_path: Path, chat: str) -> None:
    found = prompt.prompt_of(tmp_path, LLAVA_ONEVISION, tokenizer(chat))
    assert found.template == LLAVA_ONEVISION.prompt.template
    assert "chat template" in found.note


def test_a_prompt_file_counts_before_all(tmp_path: Path) -> None:
    (tmp_path / "prompt.json").write_text('{"template": "{video} {question}"}')
    found = prompt.prompt_of(tmp_path, LLAVA_ONEVISION, tokenizer(VIDEO_CHAT))
    assert found == Prompt("{video} {question}")
    (tmp_path / "prompt.json").write_text('{"text": "{video} {question}"}')
    with pytest.raises(ModelError, match=r"its fields are .*template"):
        prompt.prompt_of(tmp_path, LLAVA_ONEVISION, tokenizer())


def test_render_fills_each_field_once() -> None:
    text = filled("{video} {question}{choices}!", "<v>", " {choices} {video}? ", "\nA. x")
    assert text == "<v> {choices} {video}?\nA. x!"


def test_choices_are_listed() -> None:
    assert prompt.list_choices((), lettered=True) == ""
    assert prompt.list_choices(("x", "y"), lettered=False).splitlines() == [
        "",
        "Options:",
        "x",
        "y",
        "Answer with one of the options.",
    ]
    assert prompt.list_choices(("x", "y"), lettered=True).splitlines()[1:3] == ["A. x", "B. y"]
    with pytest.raises(QuestionError, match="at most 26"):
        prompt.letters(27)


def test_the_video_stands_once() -> None:
    assert prompt.split_at_video([5, 9, 6, 7], 9, "t") == ((5,), (6, 7))
    for ids in ([5, 6], [9, 9]):
        with pytest.raises(ModelError, match="exactly once"):
            prompt.split_at_video(ids, 9, "t")


def test_words_that_a_closed_vocabulary_lacks() -> None:
    closed = mini_vocabulary.build_tokenizer()
    assert unknown_words(closed, "What color is the star?") == ()
    unknown = unknown_words(closed, "Where is my Car, the red car or my dog?")
    assert unknown[0] == "my"
    assert {word.strip(",").lower() for word in unknown} == {"my", "car", "dog"}
    for text, lacking in (
        ("где star", ("где",)),
        ("red\0star", ("red\0star",)),
        ("the café, a 星 or ⭐?", ("café", "星", "⭐")),
        ("what\N{RIGHT SINGLE QUOTATION MARK}s “red”, or, the star's: (blue)…?", ()),
        ("a\tred\nring", ()),
    ):
        assert unknown_words(closed, text) == lacking


def test_a_vocabulary_of_pieces_knows_every_word() -> None:
    backend = Tokenizer(models.BPE({"<unk>": 0, "a": 1}, [], unk_token="<unk>"))
    pieces = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    assert unknown_words(pieces, "zebra") == ()
