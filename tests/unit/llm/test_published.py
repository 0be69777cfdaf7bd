"""What the published systems share: sampling, and settings that are refused."""

from __future__ import annotations

import pytest
import torch

from longvid.config import load_config
from longvid.errors import ConfigError
from longvid.systems.language_model import PublishedLanguageModel, PublishedWorker


def test_only_the_likeliest_tokens_that_hold_the_share_are_drawn() -> None:
    worker = object.__new__(PublishedWorker)
    worker._part = PublishedLanguageModel(temperature=1.0, top_p=0.6)
    worker._generators = [torch.Generator().manual_seed(seed) for seed in range(400)]
    rows = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.1, 0.1, 0.1, 0.7]]).log()
    drawn = worker._next_ids(rows.repeat(200, 1))
    first = torch.bincount(drawn[::2], minlength=4) / 200
    assert first[2:].tolist() == [0, 0]
    assert abs(float(first[0]) - 0.625) < 0.1
    assert set(drawn[1::2].tolist()) == {3}


@pytest.mark.parametrize(
    ("preset", "override", "sentence"),
    [
        ("slowfast_llava", "llm.rope=yarn", "llm.rope is 'yarn'"),
        ("slowfast_llava", "llm.rope_factor=0.5", "llm.rope_factor must be at least 1"),
        ("slowfast_llava", "llm.conversation=alpaca", "use vicuna or chatml"),
        ("slowfast_llava", "llm.num_slow=0", "num_slow >= 1"),
        ("llama_vid", "llm.temperature=-1.0", "temperature >= 0"),
        ("llama_vid", "llm.top_p=0.0", "top_p in"),
        ("longvu", "llm.drop_threshold=2.0", "drop_threshold in"),
        ("longvu", "encoder.window=0", "at least 1"),
    ],
)
def test_a_wrong_setting_is_one_sentence(preset: str, override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config(preset, [override])
