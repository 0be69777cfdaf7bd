"""LLaMA-VID from a folder under its authors' names, on the public path.

The other side of each comparison is an array made by the original code, or the model library's
own forward.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import longvid
from longvid.config import load_config
from longvid.errors import ModelError, QuestionError
from longvid.llm.prompt import render
from longvid.qa.video_qa import VideoQA
from longvid.systems.llama_vid import encoder as encoding
from longvid.systems.llama_vid.checkpoint import load_adapter, load_tower
from longvid.systems.llama_vid.network import LlamaVid
from tests.parity import published_checkpoints as tiny
from tests.parity.golden_file import GoldenFile
from tests.parity.golden_llama_vid import EVA_HEADS, QFORMER_HEADS
from tests.parity.llama_vid_folder import (
    NEW_TOKENS,
    Recorder,
    Table,
    configured,
    eva_file,
    plain_bert_rows,
)
from tests.parity.test_golden import DIRECTORY
from tests.parity.test_published_slowfast import CLIP, clip_pixels, frames_of

GOLDEN = sorted(DIRECTORY.glob("llamavid_full_*.npz"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_llama_vid_arrays_from_a_folder_through_store_and_question(
    path: Path, tmp_path: Path, llama_vid_embedder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = GoldenFile(path)
    compress_type = golden.text("compress_type")
    folder = tmp_path / "model"
    tiny.write_llama_vid(
        folder,
        golden.weights(),
        compress_type=None if compress_type == "None" else compress_type,
        bert_heads=QFORMER_HEADS,
    )
    features = golden.tensor("feat")
    long_video = golden.flag("long_video")
    if long_video:  # the arrays lack the class token, which the path of long videos drops
        features = torch.cat([torch.full_like(features[:, :1], 9.0), features], dim=1)
    monkeypatch.setattr(encoding.published, "load_tower", lambda *_: Table(features))
    config = configured(
        folder,
        llama_vid_embedder,
        "sample.grid=midpoints",
        f"sample.num_frames={len(features)}",
        f"sample.segment_frames={len(features)}",  # one segment, so the table is read in order
        f"llm.long_video={str(long_video).lower()}",
        "llm.template={video}{question}",
    )
    store = tmp_path / "store"
    assert not longvid.index([CLIP], store=store, config=config).failures
    qa = VideoQA(store, config)
    recorder = Recorder(qa)
    expected = golden.tensor("out")
    images = not golden.flag("image_counts_given")
    for number, ids in enumerate(golden.tensor("prompt_ids").tolist()):
        qa.ask(" ".join(f"w{i}" for i in ids if i >= 0))
        wanted = expected[:, number].flatten(0, 1) if images else expected[number]
        torch.testing.assert_close(recorder.visual, wanted, atol=1e-5, rtol=0.0)


@pytest.fixture(scope="module")
def llama_vid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A checkpoint with its tower beside it."""
    folder = tmp_path_factory.mktemp("llama_vid") / "model"
    width = eva_file(folder)
    adapter = tiny.random_adapter(width, llm_width=24)
    text = tiny.write_llama_vid(folder, adapter, tower_heads=EVA_HEADS)
    return {"folder": folder, "adapter": adapter, "text": text}


def test_the_tower_of_the_file_equals_the_original(llama_vid: dict[str, Any]) -> None:
    golden = GoldenFile(DIRECTORY / "llamavid_eva_tiny.npz")
    tower = load_tower(llama_vid["folder"], "", torch.float32, "cpu")
    golden.close("out", tower(golden.tensor("x")))


def own_answer(
    llama_vid: dict[str, Any], visual: torch.Tensor, before: str, after: str
) -> list[int]:
    """Answer with the library's own language model, the prompt tokenized as the original does."""
    tokenizer = longvid_tokenizer(llama_vid["folder"])
    embed = llama_vid["text"].get_input_embeddings()
    ids = tokenizer(before).input_ids, tokenizer(after, add_special_tokens=False).input_ids
    with torch.no_grad():
        head, tail = (embed(torch.tensor([x])) for x in ids)
        embeds = torch.cat([head, visual[None], tail], dim=1)
        output = llama_vid["text"].generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
        )
    return [int(token) for token in output[0]]


def longvid_tokenizer(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)


def original_tokens(
    llama_vid: dict[str, Any], frames: torch.Tensor, ids: list[int], *, class_token: bool
) -> torch.Tensor:
    tower = load_tower(llama_vid["folder"], "", torch.float32, "cpu")
    model: LlamaVid = load_adapter(llama_vid["folder"], "", torch.float32, "cpu")
    with torch.no_grad():
        features = tower(clip_pixels(frames))
        features = features if class_token else features[:, 1:]
        return model.video_tokens(features, torch.tensor([ids]))[0]


@pytest.fixture(scope="module")
def llama_vid_store(
    llama_vid: dict[str, Any], llama_vid_embedder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    config = configured(llama_vid["folder"], llama_vid_embedder, "store.tokens=float32")
    store = tmp_path_factory.mktemp("llama_vid_store") / "store"
    assert not longvid.index([CLIP], store=store, config=config).failures
    return store


def test_a_short_video_is_answered_as_by_the_library(
    llama_vid: dict[str, Any], llama_vid_embedder: Path, llama_vid_store: Path
) -> None:
    config = configured(llama_vid["folder"], llama_vid_embedder, "store.tokens=float32")
    frames = frames_of(config, CLIP)
    assert frames.shape[2:] == (28, 28)
    answer = longvid.ask("w7 w3 w9", store=llama_vid_store, config=config)
    visual = original_tokens(llama_vid, frames, [7, 3, 9], class_token=True)
    assert len(visual) == 2 * len(frames)
    system = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. "
    )
    ids = own_answer(llama_vid, visual, system + "USER: ", "\nw7 w3 w9 ASSISTANT:")
    tokenizer = longvid_tokenizer(llama_vid["folder"])
    assert answer.text == tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert answer.output_tokens == len(ids)
    assert answer.visual_tokens == len(visual)


def test_a_film_is_written_with_its_subtitles(
    llama_vid: dict[str, Any], llama_vid_embedder: Path, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    shutil.copy(CLIP, film)
    film.with_suffix(".srt").write_text(
        "1\n00:00:00,500 --> 00:00:00,900\n<i>first\nwords</i>\n\n"
        "2\n00:00:02,100 --> 00:00:02,300\nin the middle\n\n"
        "3\n00:00:05,100 --> 00:00:05,200\nat last\n"
    )
    config = configured(
        llama_vid["folder"],
        llama_vid_embedder,
        "store.tokens=float32",
        "llm.long_video=true",
        "ask.subtitles=interleaved",
        "llm.rope=linear",
        "llm.rope_factor=16.0",
    )
    store = tmp_path / "store"
    assert not longvid.index([film], store=store, config=config).failures
    qa = VideoQA(store, config)
    recorder = Recorder(qa)
    qa.ask("w7 w3 w9")
    frames = frames_of(config, CLIP)
    visual = original_tokens(llama_vid, frames, [7, 3, 9], class_token=False)
    torch.testing.assert_close(recorder.visual, visual, atol=1e-5, rtol=0.0)
    assert recorder.decoder.context == 16 * 4096
    rotary = recorder.decoder.module.model.rotary_emb
    assert (rotary.rope_type, rotary.config.rope_parameters["factor"]) == ("linear", 16.0)

    said = [""] * len(frames)
    assert len(frames) == 6
    said[0], said[2], said[5] = "first words", "in the middle", "at last"
    film_text = "".join("<image><image>" + text for text in said)
    prompt = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: Below is a "
        "movie. Memorize the content and answer my question after watching this movie."
        f"{film_text}Now the movie end.\nw7 w3 w9 ASSISTANT:"
    )
    tokenizer = longvid_tokenizer(llama_vid["folder"])
    first, *others = prompt.split("<image>")
    expected = list(tokenizer(first).input_ids)
    for other in others:
        expected += [-200, *tokenizer(other, add_special_tokens=False).input_ids]
    found = []
    for piece in recorder.pieces:
        found += piece.ids if hasattr(piece, "ids") else [-200] * len(piece.tokens)
    assert found == expected


def test_sampling_is_seeded(
    llama_vid: dict[str, Any], llama_vid_embedder: Path, llama_vid_store: Path
) -> None:
    def ask(seed: int) -> str:
        settings = ("store.tokens=float32", "llm.temperature=5.0", "llm.top_p=0.9")
        config = configured(llama_vid["folder"], llama_vid_embedder, *settings, f"llm.seed={seed}")
        return longvid.ask("w7", store=llama_vid_store, config=config).text

    assert ask(1) == ask(1)
    assert len({ask(1), ask(2), ask(3)}) > 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"without": "model.vlm_att_key_projector.weight"}, "vlm_att_key_projector.weight"),
        ({"without": "model.layers.1.mlp.up_proj.weight"}, "model.layers.1.mlp.up_proj.weight"),
        ({"extra": {"model.vlm_att_mystery": torch.ones(1)}}, "model.vlm_att_mystery"),
        ({"extra": {"model.layers.7.mystery": torch.ones(1)}}, "model.layers.7.mystery"),
        ({"bert_type": "raw_bert"}, "vlm_att_bert_proj"),
        ({"bert_type": "t5"}, "bert_type 't5'"),
    ],
)
def test_a_tensor_too_many_or_too_few_is_named(
    change: dict[str, Any], sentence: str, tmp_path: Path, llama_vid_embedder: Path
) -> None:
    folder = tmp_path / "model"
    width = eva_file(folder)
    tiny.write_llama_vid(folder, tiny.random_adapter(width, 24), tower_heads=EVA_HEADS, **change)
    with pytest.raises(ModelError, match=sentence):
        configured(folder, llama_vid_embedder).llm.setup()


@pytest.mark.parametrize("kind", ["raw_bert_layer:3", "qformer", "qformer_pretrain_freeze_all"])
def test_whatever_the_question_is_read_by(
    kind: str, tmp_path: Path, llama_vid_embedder: Path
) -> None:
    """Every `bert_type` that the original can be trained with is loaded and asked."""
    folder = tmp_path / "model"
    changes: dict[str, Any] = {"frame_norm": "pretrain" in kind}
    if "raw" in kind:
        changes["reader"] = "raw"
    adapter = tiny.random_adapter(eva_file(folder), 24, **changes)
    tiny.write_llama_vid(folder, adapter, tower_heads=EVA_HEADS, bert_type=kind)
    adapter = {name: value.half().float() for name, value in adapter.items()}
    config = configured(folder, llama_vid_embedder, "store.tokens=float32")
    store = tmp_path / "store"
    assert not longvid.index([CLIP], store=store, config=config).failures
    qa = VideoQA(store, config)
    recorder = Recorder(qa)
    qa.ask("w7 w3 w9")

    model: LlamaVid = qa.llm.adapter  # type: ignore[attr-defined]
    ids = [7, 3, 9]
    with torch.no_grad():
        seen = load_tower(folder, "", torch.float32, "cpu")(clip_pixels(frames_of(config, CLIP)))
        patches = seen[:, 1:]
        if "raw" in kind:
            # As the original has it, BERT is not shown the class token.
            rows = plain_bert_rows(adapter, ids, model.vlm_att_bert_proj(patches))
        else:
            normed = model.vlm_att_ln(seen) if "pretrain" in kind else seen
            queries = adapter["vlm_att_query"].expand(len(seen), -1, -1)
            asked = torch.tensor([ids]).expand(len(seen), -1)
            mask = torch.ones_like(asked, dtype=torch.bool)
            rows = model.vlm_att_encoder["bert"](queries, asked, mask, normed)
        expected = model.token_generation(model.vlm_att_projector(rows), patches)
    torch.testing.assert_close(recorder.visual, expected.flatten(0, 1), atol=1e-5, rtol=0.0)


def test_what_does_not_fit_or_is_cut_off_says_what_to_do(
    llama_vid: dict[str, Any], llama_vid_embedder: Path, llama_vid_store: Path, tmp_path: Path
) -> None:
    config = configured(llama_vid["folder"], llama_vid_embedder, "store.tokens=float32")
    qa = VideoQA(llama_vid_store, config)
    llm: Any = qa.llm
    llm._decoder.context = 150
    sentence = r"12 visual .* context of 150; shorten the question, .* by at least \d+ tokens"
    with pytest.raises(QuestionError, match=sentence):  # not even without the video
        qa.ask("w7 w3 w9")
    filled = render(llm._template, "<image>", "w7 w3 w9", "")
    llm._decoder.context = len(llm._prompt_ids(filled)) - 1 + NEW_TOKENS + 5
    with pytest.raises(QuestionError, match=r"is 7 tokens too long: 12 visual .* sample\.fps"):
        qa.ask("w7 w3 w9")
    folder = tmp_path / "cut"
    shutil.copytree(llama_vid["folder"], folder)
    shard = folder / "pytorch_model-00002-of-00002.bin"
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"00002\.bin ends before .*hf download"):
        longvid.index(
            [CLIP], store=tmp_path / "store", config=configured(folder, llama_vid_embedder)
        )
    assert not (tmp_path / "store").exists()


def test_a_folder_of_the_first_stage_says_what_it_lacks(
    tmp_path: Path, llama_vid_embedder: Path
) -> None:
    folder = tmp_path / "model"
    adapter = tiny.random_adapter(eva_file(folder), 24)
    tiny.write_llama_vid(folder, adapter, tower_heads=EVA_HEADS)
    for file in folder.glob("pytorch_model*"):
        file.unlink()
    torch.save({f"model.{name}": x for name, x in adapter.items()}, folder / "mm_projector.bin")
    with pytest.raises(ModelError, match=r"only mm_projector\.bin, .* no language model"):
        configured(folder, llama_vid_embedder).encoder.space()


def test_a_pickle_that_would_run_code_is_refused(llama_vid: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "eva_vit_g.pth"
    torch.save({"blocks": print}, path)
    with pytest.raises(ModelError, match="more than tensors"):
        load_tower(llama_vid["folder"], str(path), torch.float32, "cpu")


def test_a_missing_tower_says_where_it_belongs(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny.write_llama_vid(folder, tiny.random_adapter(24, 24))
    with pytest.raises(ModelError, match=r"put eva_vit_g\.pth \(https://.*\) into the folder"):
        load_tower(folder, "", torch.float32, "cpu")


def test_the_llama_vid_preset_is_what_was_released() -> None:
    config = load_config("llama_vid")
    assert (config.sample.grid, config.sample.fps) == ("step", 1.0)
    assert config.compressors == config.selectors == ()
    assert (config.llm.temperature, config.llm.top_p, config.llm.max_new_tokens) == (0.2, 1, 1024)
    assert config.ask.num_segments == 0
