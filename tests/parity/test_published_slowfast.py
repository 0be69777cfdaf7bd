"""The three published systems from checkpoints under their authors' names, on the public path.

Every checkpoint is tiny and random, but of the true architecture, file layout and key names. The
other side of each comparison is the model library's own forward, or an array made by the
original code.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlavaNextForConditionalGeneration

import longvid
from longvid.config import Config, load_config
from longvid.indexing.video_reader import open_video, sized_decoder
from longvid.methods.slowfast_pooling import SlowFastLayout, aggregate
from longvid.sample import plan_chunks
from longvid.systems.slowfast_llava.language_model import SlowFastLanguageModel
from longvid.types import FrameBatch, Question, Video
from tests.conftest import DATA
from tests.parity import published_checkpoints as tiny
from tests.reference.slowfast_setting import parse_setting

CLIP = DATA / "bbb_rabbit_5s.mp4"
NEW_TOKENS = 6


def frames_of(config: Config, path: Path) -> torch.Tensor:
    """Decode what the configuration samples, (T, 3, H, W) uint8."""
    decoder = sized_decoder(config).setup()
    video = open_video(decoder, str(path))
    assert isinstance(video, Video)
    batches = [
        batch for chunk in plan_chunks(video, config.sample) for batch in decoder.decode(chunk)
    ]
    decoder.close()
    assert all(isinstance(batch, FrameBatch) for batch in batches)
    return torch.cat([batch.data for batch in batches if isinstance(batch, FrameBatch)])


def clip_pixels(frames: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (tiny.CLIP_MEAN, tiny.CLIP_STD))
    return (frames.float() / 255 - mean) / std


def around_video(tokenizer: Any, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokenize a prompt as the original code does: the text after the video apart."""
    before, after = prompt.split("<image>")
    return (
        torch.tensor([tokenizer(before).input_ids]),
        torch.tensor([tokenizer(after, add_special_tokens=False).input_ids]),
    )


QUESTION = "What does the rabbit do?"


@pytest.fixture(scope="module")
def slowfast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slowfast")
    tiny.write_llava(folder / "model")
    tiny.write_embedder(folder / "embedder")
    return folder


@pytest.fixture(scope="module")
def slowfast_config(slowfast: Path) -> Config:
    return load_config(
        "slowfast_llava",
        [
            f"encoder.model={slowfast / 'model'}",
            f"encoder.embedder={slowfast / 'embedder'}",
            f"llm.model={slowfast / 'model'}",
            f"llm.max_new_tokens={NEW_TOKENS}",
            "store.tokens=float32",
        ],
    )


@pytest.fixture(scope="module")
def slowfast_store(slowfast_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("slowfast_store") / "store"
    assert not longvid.index([CLIP], store=store, config=slowfast_config).failures
    return store


@pytest.fixture(scope="module")
def slowfast_original(slowfast: Path, slowfast_config: Config) -> dict[str, Any]:
    """The tokens of the video and the language model, by the library and the golden code."""
    model = LlavaNextForConditionalGeneration.from_pretrained(slowfast / "model").eval()
    rope = model.config.text_config.rope_parameters
    changed = model.config
    changed.text_config.rope_parameters = {**rope, "rope_type": "dynamic", "factor": 2.0}
    model = LlavaNextForConditionalGeneration.from_pretrained(slowfast / "model", config=changed)
    frames = frames_of(slowfast_config, CLIP)
    assert frames.shape == (50, 3, 336, 336)
    with torch.no_grad():
        hidden = model.model.vision_tower(clip_pixels(frames), output_hidden_states=True)
        x = model.model.multi_modal_projector(hidden.hidden_states[-2][:, 1:])
    return {"model": model.eval(), "tokens": aggregate(x, SlowFastLayout())}


def prompt_embeds(
    slowfast_original: dict[str, Any], slowfast: Path, prompt: str
) -> tuple[torch.Tensor, int]:
    tokenizer = AutoTokenizer.from_pretrained(slowfast / "model")
    embed = slowfast_original["model"].get_input_embeddings()
    before, after = (embed(ids) for ids in around_video(tokenizer, prompt))
    embeds = torch.cat([before, slowfast_original["tokens"][None], after], dim=1)
    return embeds.detach(), embeds.shape[1]


def test_an_open_question_equals_the_released_pipeline(
    slowfast: Path, slowfast_config: Config, slowfast_store: Path, slowfast_original: dict[str, Any]
) -> None:
    prompt = (
        "USER: <image>\nThe input consists of a sequence of key frames from a video. Answer "
        "concisely with overall content and context of the video, highlighting any "
        "significant events, characters, or objects that appear throughout the video. "
        f"Question: {QUESTION} \nASSISTANT:\nAnswer: In the video,"
    )
    embeds, length = prompt_embeds(slowfast_original, slowfast, prompt)
    answer = longvid.ask(QUESTION, store=slowfast_store, config=slowfast_config)
    assert (answer.visual_tokens, answer.prompt_tokens) == (3680, length)
    with torch.no_grad():
        ids = copy.deepcopy(slowfast_original["model"]).generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(1, length, dtype=torch.long),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
        )[0]
    tokenizer = AutoTokenizer.from_pretrained(slowfast / "model")
    assert 2048 < length < 4096  # beyond the trained context: the dynamic rope is at work
    assert answer.output_tokens == len(ids)
    assert answer.text == tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_a_closed_question_is_scored_after_the_released_prompt(
    slowfast: Path, slowfast_config: Config, slowfast_store: Path, slowfast_original: dict[str, Any]
) -> None:
    choices = ("runs", "sleeps", "sings")
    prompt = (
        "You are a helpful expert in video analysis. Select the best option to answer the "
        "question. USER: <image>\nThe input consists of a sequence of key frames from a "
        f"video.\nQuestion: {QUESTION}\nOptions:\n(A) runs\n(B) sleeps\n(C) sings\nOnly "
        "give the best option. \nASSISTANT:\nAnswer: Best option:("
    )
    embeds, _ = prompt_embeds(slowfast_original, slowfast, prompt)
    tokenizer = AutoTokenizer.from_pretrained(slowfast / "model")
    letters = [tokenizer(x, add_special_tokens=False).input_ids[0] for x in "ABC"]
    with torch.no_grad():
        logits = copy.deepcopy(slowfast_original["model"])(inputs_embeds=embeds).logits[0, -1]
    expected = logits.log_softmax(-1)[letters]
    answer = longvid.ask(QUESTION, store=slowfast_store, config=slowfast_config, choices=choices)
    torch.testing.assert_close(torch.tensor(answer.choice_scores), expected, atol=1e-5, rtol=0.0)


def test_a_video_of_few_frames_repeats_its_slow_ones() -> None:
    from longvid.compress.pooling import SlowFastPooling
    from longvid.systems.slowfast_llava.language_model import slow_first
    from longvid.types import Segment, Tokens

    x = torch.randn(7, 64, 5, generator=torch.Generator().manual_seed(3))
    segments = [
        SlowFastPooling()(
            Segment(
                video_id="v",
                segment_index=index,
                start_seconds=first,
                end_seconds=first + len(part),
                pts_seconds=first + torch.arange(len(part), dtype=torch.float64),
                slow=torch.ones(len(part), dtype=torch.bool),
                frame_embeddings=torch.zeros(len(part), 2),
                tokens=Tokens.from_grid(part.reshape(len(part), 8, 8, 5)),
                space="s",
            )
        )
        for index, (first, part) in enumerate(((0, x[:5]), (5, x[5:])))
    ]
    shown = slow_first(segments, num_slow=10, fast_tokens=16)
    tokens = torch.cat([segment.tokens.data for segment in shown])
    torch.testing.assert_close(tokens, aggregate(x, SlowFastLayout()), atol=1e-6, rtol=0.0)


def test_the_slowfast_preset_is_what_was_released() -> None:
    config = load_config("slowfast_llava")
    assert isinstance(config.llm, SlowFastLanguageModel)
    assert (config.sample.grid, config.sample.num_frames) == ("midpoints", 50)
    assert config.encoder.fit == "squash"
    assert (config.llm.rope, config.llm.rope_factor) == ("dynamic", 2.0)
    assert (config.llm.temperature, config.llm.max_new_tokens) == (0.0, 128)
    layout = parse_setting("slowfast-slow_10frms_spatial_1d_max_pool-fast_4x4")
    (pooling,) = config.compressors
    assert (pooling.slow_mode, pooling.fast_height, pooling.fast_width, config.sample.num_slow) == (
        layout.slow_mode,
        layout.fast_height,
        layout.fast_width,
        layout.num_slow,
    )
    assert config.ask.budget == layout.num_tokens(50, 24) == 3680
    assert Question("q").choices == ()
