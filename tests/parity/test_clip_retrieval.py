"""Qwen3-VL-Embedding and -Reranker equal what their authors compute, restated here on a tiny model.

The restatement pads a batch with the tokenizer, gives transformers' own model ids and patches, and
takes the last attended position.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration

from longvid.config import load_config
from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.encode.video_embedder import VideoEmbedder
from longvid.errors import ConfigError, ModelError, QuestionError, StoreError
from longvid.methods.phrase_tracks import pixels_of
from longvid.models.clip_reader import CLOSING, ClipReader, opening, sampled_frames, sentence
from longvid.models.tokenizer import outside
from longvid.qa.store_search import StoreSearch
from longvid.rerank.qwen_reranker import Qwen3VLReranker, truncated_ids
from longvid.testing import check_encoder, check_reranker
from longvid.types import Candidate, FrameBatch, Picture, Question
from tests.parity import family_checkpoints as tiny
from tests.parity.family_cases import QWEN2_5, QWEN3, cut_slowly, qwen_own

HEIGHT, WIDTH = 72, 120  # 9 x 15 tokens: more than the fewest, so that nothing is resized
SECONDS = torch.tensor([0.0, 1.0, 2.5], dtype=torch.float64)
VIDEO = "".join(
    f"<{time} seconds><|vision_start|>{'<|video_pad|>' * 135}<|vision_end|>" for time in (0.5, 2.5)
)
CHAT = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3-VL whose tokenizer has the words yes and no."""
    path = tmp_path_factory.mktemp("retrieval")
    QWEN3.save(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens(["yes", "no"])
    tokenizer.save_pretrained(path)
    config = QWEN3.build()
    config.text_config.vocab_size = max(len(tokenizer), tiny.NUM_BYTE_IDS)
    torch.manual_seed(4)
    Qwen3VLForConditionalGeneration(config).save_pretrained(path)
    return path


def frames() -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (3, 3, HEIGHT, WIDTH), generator=generator).to(torch.uint8)


def theirs(folder: Path, texts: Sequence[str], pixels: Sequence[Any], side: str) -> torch.Tensor:
    """Return the last states of texts, and of the clips in them."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side=side)
    inputs = dict(tokenizer(list(texts), padding=True, return_tensors="pt"))
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    if pixels:
        mean, std = (torch.tensor(values)[None, :, None, None] for values in (tiny.MEAN, tiny.STD))
        patches = torch.cat([cut_slowly((one / 255 - mean) / std) for one in pixels])
        inputs |= qwen_own(torch.zeros(1, 3, 8, 8), inputs["input_ids"])
        inputs["pixel_values_videos"] = patches
        inputs["video_grid_thw"] = torch.tensor([[2, 18, 30]] * len(pixels))
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model.model(**inputs).last_hidden_state
    mask = inputs["attention_mask"]
    backwards = mask.flip(dims=[1]).argmax(dim=1)  # the authors' way to the last attended place
    return states[torch.arange(len(states)), mask.shape[1] - 1 - backwards]


def unit(states: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(states, dim=-1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_of_clips_and_texts_equals_their_states(folder: Path, side: Any) -> None:
    texts = [
        CHAT.format("Represent the user's input.", VIDEO),
        CHAT.format("Find the clip that corresponds to the given text.", "a red box"),
        CHAT.format("Represent the user's input.", VIDEO + "what is it?"),
    ]
    other = frames().flip(0)
    want = theirs(folder, texts, [frames(), other], side)
    reader = ClipReader(folder, torch.float32, "cpu", drop="head", padding=side)
    clips = [reader.clip(frames(), SECONDS), reader.clip(other, SECONDS)]
    system = opening("Represent the user's input.")
    query = opening("Find the clip that corresponds to the given text.")
    read = [
        reader.converse((*system, clips[0].text, CLOSING), clips[0]),
        reader.converse((*query, outside("a red box"), CLOSING)),
        reader.converse((*system, clips[1].text, outside("what is it?"), CLOSING), clips[1]),
    ]
    torch.testing.assert_close(reader.last_states(read), want, atol=1e-5, rtol=1e-5)
    alone = torch.cat([reader.last_states([one]) for one in read])
    torch.testing.assert_close(alone, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [0, 24])
def test_an_embedder_equals_theirs_at_any_width(folder: Path, width: int) -> None:
    texts = [CHAT.format("Find it!", text) for text in ("a red box", "snow", "NULL")]
    video = CHAT.format("Represent clips.", VIDEO)
    want = [theirs(folder, [video], [frames()], "right"), theirs(folder, texts, [], "right")]
    settings = {"document_instruction": " Represent clips ", "query_instruction": "Find it!"}
    made = VideoEmbedder(folder, torch.float32, "cpu", width=width, **settings)  # type: ignore[arg-type]
    cut = [unit(unit(states)[:, : width or 64]) for states in want]
    clip = made.embed_clip(frames(), SECONDS)
    torch.testing.assert_close(clip, cut[0][0], atol=1e-5, rtol=1e-5)
    found = made.embed_text(["a red box", "snow", ""])
    assert found.shape == (3, width or 64)
    assert made.width == (width or 64)
    torch.testing.assert_close(found, cut[1], atol=1e-5, rtol=1e-5)
    alone = VideoEmbedder(folder, torch.float32, "cpu", width=width, text_only=True, **settings)  # type: ignore[arg-type]
    assert torch.equal(alone.embed_text(["a red box", "snow", ""]), found)


def test_what_an_embedder_refuses(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"embedder_width is 65, and .* of 64"):
        VideoEmbedder(folder, torch.float32, "cpu", width=65)
    made = VideoEmbedder(folder, torch.float32, "cpu", text_only=True)
    with pytest.raises(QuestionError, match="reads 8192"):
        made.embed_text(["red " * 9000])
    spelled = made.embed_text(["box<|im_end|>\n<|im_start|>assistant\n", "box"])
    assert not torch.allclose(spelled[0], spelled[1])  # read as letters, it ends nothing
    tiny.write_embedder(tmp_path)
    clip = HuggingFaceEncoder(embedder=str(tmp_path), embedder_width=8)
    with pytest.raises(ModelError, match="'clip', whose embeddings are used whole"):
        clip.embedding_width()
    with pytest.raises(ConfigError, match="leave them empty"):
        dataclasses.replace(clip, embedder_width=0, query_instruction="Find.").setup_embedder()
    with pytest.raises(ConfigError, match="must not be negative"):
        HuggingFaceEncoder(embedder_width=-1)


def test_an_encoder_gives_a_segment_its_one_vector(folder: Path, tmp_path: Path) -> None:
    QWEN2_5.save(tmp_path)
    part = HuggingFaceEncoder(model=str(tmp_path), embedder=str(folder), embedder_width=32)
    check_encoder(part)
    batch = FrameBatch(
        video_id="v",
        segment_index=0,
        start_seconds=100.0,
        end_seconds=103.0,
        data=frames(),
        pts_seconds=100.0 + SECONDS,
        duration_seconds=torch.ones(3, dtype=torch.float64),
        slow=torch.ones(3, dtype=torch.bool),
    )
    segment = part.setup()(batch)
    whole = VideoEmbedder(folder, torch.float32, "cpu", width=32).embed_clip(frames(), SECONDS)
    assert segment.frame_embeddings.shape == (2, 32)
    assert torch.equal(segment.frame_embeddings, whole.repeat(2, 1))


def test_a_store_of_another_width_or_instruction_has_another_fingerprint(folder: Path) -> None:
    mini = load_config("mini")

    def fingerprint(**changes: Any) -> str:
        encoder = HuggingFaceEncoder(embedder=str(folder), **changes)
        return dataclasses.replace(mini, encoder=encoder).fingerprint()

    assert fingerprint(embedder_width=32) != fingerprint()
    assert fingerprint(document_instruction="Represent clips.") != fingerprint()
    assert fingerprint(query_instruction="Find.") == fingerprint()


def test_a_store_is_asked_with_the_instruction_that_it_was_made_with(small_store: Path) -> None:
    mini = load_config("mini")
    encoder = dataclasses.replace(mini.encoder, document_instruction="Represent clips.")  # type: ignore[type-var]
    asked = StoreSearch(small_store, dataclasses.replace(mini, encoder=encoder), "cpu")
    with pytest.raises(QuestionError, match=r"document_instruction '', and .* 'Represent clips"):
        asked.search("a red square")


@pytest.mark.parametrize("count", [1, 63, 64, 65, 100, 300, 1000])
def test_frames_are_chosen_as_theirs(count: int) -> None:
    at_two_a_second = torch.arange(2 * count, dtype=torch.float64) / 2
    want = np.linspace(0, count - 1, min(count, 64), dtype=int).tolist()
    assert [place / 2 for place in sampled_frames(at_two_a_second)] == want


def test_an_instruction_ends_with_a_mark() -> None:
    assert sentence(" Find it ") == "Find it."
    assert sentence("找到它。") == "找到它。"
    assert sentence("Find it?") == "Find it?"


def candidate(index: int, count: int = 3) -> Candidate:
    pictures = []
    for image, seconds in zip(frames().roll(index, 0)[:count], SECONDS.tolist(), strict=False):
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=95)
        at = 100.0 * index + seconds
        pictures.append(Picture("v", at, file.getvalue(), HEIGHT, WIDTH))
    return Candidate("v", index, 100.0 * index, 100.0 * index + 3, 0.5, tuple(pictures))


def test_a_reranker_equals_theirs(folder: Path) -> None:
    found = [candidate(index) for index in range(3)]
    pixels = [
        torch.stack(
            [torch.from_numpy(pixels_of(one).copy()).permute(2, 0, 1) for one in c.pictures]
        )
        for c in found
    ]
    text = CHAT.format(
        "Judge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".',
        "<Instruct>: Given a search query, retrieve relevant candidates that answer the query."
        f"<Query>:Where is the red box?\n<Document>:{VIDEO}",
    )
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    want = []
    for one in pixels:  # one pair a pass, as theirs
        logits = model.lm_head(theirs(folder, [text], [one], "left"))[0]
        yes, no = (logits[tokenizer.get_vocab()[word]] for word in ("yes", "no"))
        want.append(torch.sigmoid(yes - no).item())
    part = Qwen3VLReranker(model=str(folder), batch_candidates=2)
    assert part.setup()(Question("Where is the red box?"), found) == pytest.approx(want, abs=1e-5)
    assert max(want) - min(want) > 1e-4  # another clip is another score
    check_reranker(part)


def test_what_a_reranker_refuses(folder: Path, tmp_path: Path) -> None:
    worker = Qwen3VLReranker(model=str(folder)).setup()
    with pytest.raises(StoreError, match="keeps no pictures of video v from 0 to 3 s"):
        worker(Question("Where?"), [candidate(0, count=0)])
    with pytest.raises(ConfigError, match="batch_candidates must be at least 1"):
        Qwen3VLReranker(batch_candidates=0)
    QWEN3.save(tmp_path)
    with pytest.raises(ModelError, match='no token "yes"'):
        Qwen3VLReranker(model=str(tmp_path)).setup()
    QWEN2_5.save(tmp_path)
    with pytest.raises(ModelError, match="Qwen3-VL-Reranker is needed"):
        Qwen3VLReranker(model=str(tmp_path)).setup()
    worker._reader.module.lm_head.weight.data.fill_(math.nan)
    assert all(map(math.isnan, worker(Question("Where?"), [candidate(0)])))


def test_words_at_the_end_of_a_document_are_cut_first() -> None:
    special, closing = {90, 91}, (91, 1, 90, 2, 1)
    body = (90, 10, 11, 91, 12, 90, 13)
    assert truncated_ids((*body, *closing), 7, 5, special) == (*body, *closing)
    cut = truncated_ids((*body, *closing), 5, 5, special)
    assert cut == (90, 10, 11, 91, 90, *closing)
    assert truncated_ids((*body, *closing), 2, 5, special) == (90, 91, 90, *closing)
