"""Tiny random checkpoints of families whose frames are read by learned queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from tests.parity.family_case import Case
from tests.parity.family_checkpoints import (
    ENDS,
    IDS,
    MARKS,
    NUM_BYTE_IDS,
    NUM_FRAMES,
    PATCH,
    decoder,
    own_pixels,
    tower,
)

QUERIES = 5
QFORMER = {
    "hidden_size": 24,
    "encoder_hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 40,
    "initializer_range": 0.2,
}


def opt() -> dict[str, Any]:
    """Return the sizes of a tiny OPT."""
    return {
        "model_type": "opt",
        "vocab_size": len(IDS),
        "hidden_size": 40,
        "word_embed_proj_dim": 40,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "init_std": 0.2,
        **ENDS,
    }


@dataclass(frozen=True)
class StartCase(Case):
    """A family whose tokenizer begins a text with <s>, and whose video stands before it."""

    def save(self, folder: Path) -> None:
        """Write the checkpoint."""
        Case.save(self, folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", IDS["<s>"])]
        )
        tokenizer.save_pretrained(folder)

    def inputs(self, folder: Path, text: str) -> dict[str, Any]:
        """Return what the processor makes: the visual tokens, then the text with its start."""
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        assert text.startswith("{video}")
        visual = tokenizer(self.video(), add_special_tokens=False)["input_ids"]
        ids = torch.tensor([visual + tokenizer(text.removeprefix("{video}"))["input_ids"]])
        own = self.own(own_pixels(self.size), ids)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **own}


class FramesBlip2(Blip2ForConditionalGeneration):
    """BLIP-2 given the frames of one video, and whose text is what was generated.

    Its own `generate` repeats each prompt for each picture; here all pictures are in one prompt.
    """

    def generate(self, input_ids: torch.Tensor, **settings: Any) -> torch.Tensor:
        settings.pop("attention_mask")
        for _ in range(settings.pop("max_new_tokens")):
            chosen = self(input_ids=input_ids, **settings).logits[:, -1].argmax(-1)
            input_ids = torch.cat([input_ids, chosen[None]], dim=1)
            if int(chosen) == ENDS["eos_token_id"]:
                break
        return input_ids


def _blip2() -> Any:
    return Blip2Config(
        vision_config=tower(),
        qformer_config=QFORMER,
        text_config=opt(),
        num_query_tokens=QUERIES,
        image_token_index=IDS["<image>"],
    )


def _idefics2() -> Any:
    return Idefics2Config(
        vision_config=tower(image_size=16 * PATCH),
        text_config={"model_type": "mistral", **decoder(vocab_size=NUM_BYTE_IDS)},
        perceiver_config={
            "hidden_size": 40,
            "resampler_n_latents": QUERIES,
            "resampler_depth": 2,
            "resampler_n_heads": 4,
            "resampler_head_dim": 10,
            "num_key_value_heads": 2,
        },
        image_token_id=MARKS.index("<image>"),
        tie_word_embeddings=False,
    )


BLIP2 = StartCase(
    "blip-2",
    _blip2,
    FramesBlip2,
    "<image>",
    "{video}Question: {question}{choices} Answer:",
    lambda pixels, ids: {"pixel_values": pixels},
    lambda: "<image>" * (NUM_FRAMES * QUERIES),
)

#: Frames that are not square, and whose sides no patch divides.
_SIZE = (7 * PATCH + 1, 5 * PATCH)
_MARK = "<fake_token_around_image>"
IDEFICS2 = Case(
    "idefics2",
    _idefics2,
    Idefics2ForConditionalGeneration,
    "<image>",
    "User:{video} {question}{choices}<end_of_utterance>\nAssistant:",
    lambda pixels, ids: {"pixel_values": pixels[None]},
    lambda: _MARK + ("<image>" * QUERIES + _MARK) * NUM_FRAMES,
    size=_SIZE,
    bytewise=True,
    around="User:{video}",
    preprocessor={
        "do_center_crop": False,
        "size": {"shortest_edge": PATCH, "longest_edge": 16 * PATCH},
    },
)

QUERIED = (BLIP2, IDEFICS2)
