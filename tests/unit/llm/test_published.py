"""What the published systems share: sampling, and settings that are refused."""

from __future__ import annotations

import pytest
import torch

from longvid.config import load_config
from longvid.errors import ConfigError
from longvid.systems.language_model import nucleus


def test_the_nucleus_keeps_the_likeliest_tokens_that_hold_the_share() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.1, 0.1, 0.1, 0.7]]).log()
    kept = nucleus(logits, 0.6)
    torch.testing.assert_close(kept, torch.tensor([[0.625, 0.375, 0, 0], [0, 0, 0, 1.0]]))
    torch.testing.assert_close(nucleus(logits, 1.0), logits.exp())


@pytest.mark.parametrize(
    ("preset", "override", "sentence"),
    [
        ("slowfast_llava", "llm.rope=yarn", "llm.rope is 'yarn'"),
        ("slowfast_llava", "llm.rope_factor=0.5", "llm.rope_factor must be at least 1"),
        ("slowfast_llava", "llm.conversation=alpaca", "use vicuna, chatml"),
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
