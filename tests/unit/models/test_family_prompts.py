"""Chat templates in the form that checkpoints publish come out as each family's own prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

from longvid.llm import prompt
from longvid.models.families.idefics2 import IDEFICS2
from longvid.models.families.internvl import INTERNVL
from longvid.models.families.protocol import Family, Prompt
from longvid.models.families.qwen2_5_vl import QWEN2_5_VL
from longvid.models.families.qwen3_vl import QWEN3_VL, QWEN3_VL_MOE
from longvid.models.families.smolvlm import SMOLVLM


def chat(video: str, system: str = "") -> str:
    """Return a template of ChatML that writes `video` for a video."""
    return (
        "{% for message in messages %}"
        + (f"{{% if loop.first %}}{system}{{% endif %}}" if system else "")
        + "<|im_start|>{{ message['role'] }}\n{% for content in message['content'] %}"
        + "{% if content['type'] == 'video' %}"
        + video
        + "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}"
        + "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


MARKED = "<|vision_start|><|video_pad|><|vision_end|>"
#: That of IDEFICS2: a picture is written without the space that its processor puts after it.
PICTURES = (
    "{% for message in messages %}{{ message['role'].capitalize() }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"


@pytest.mark.parametrize(
    ("family", "template"),
    [
        (QWEN2_5_VL, chat(MARKED, SYSTEM)),
        (QWEN3_VL, chat(MARKED)),
        (QWEN3_VL_MOE, chat(MARKED)),
        (INTERNVL, chat("<video>\n")),
        (SMOLVLM, DEFAULT_CHAT_TEMPLATE),
        (IDEFICS2, PICTURES),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_a_published_template_is_the_familys_prompt(
    family: Family, template: str, tmp_path: Path
) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    )
    tokenizer.chat_template = template
    found = prompt.prompt_of(tmp_path, family, tokenizer)
    assert found.template == family.prompt.template.replace("{video}", family.placeholder)
    assert found.frame_prefix == family.prompt.frame_prefix


def test_texts_around_frames() -> None:
    around = Prompt(
        "",
        frame_prefix="[{index} {seconds} {clock}",
        frame_suffix="]",
        frame_separator=", ",
        video_prefix="{num_frames} in {duration}: ",
    )
    assert prompt.texts_around(around, [59.96, 3661.0], 3665.9) == [
        "two in 1:01:05: [1 60.0 00:59",
        "], [2 3661.0 61:01",
        "]",
    ]
    assert prompt.texts_around(around, [], 10.0) == [""]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (20, "twenty"),
        (64, "sixty-four"),
        (100, "one hundred"),
        (768, "seven hundred and sixty-eight"),
        (1000, "one thousand"),
        (1001, "one thousand and one"),
        (12345, "twelve thousand, three hundred and forty-five"),
    ],
)
def test_numbers_in_words(number: int, words: str) -> None:
    assert prompt.in_words(number) == words
