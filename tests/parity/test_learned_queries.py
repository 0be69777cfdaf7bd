"""Q-Former and Perceiver parts against the classes of transformers, and the laws of compressors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from longvid.capacity import needs_of
from longvid.compress.learned_queries import Perceiver, QFormer
from longvid.config import load_config
from longvid.errors import ConfigError, ModelError, OpError
from longvid.models.question_qformer import QuestionQFormer
from longvid.protocols import LearnedCompressorPart
from longvid.testing import check_compressor, make_segment
from longvid.types import Segment, Tokens
from tests.parity import resampler_checkpoints as tiny
from tests.parity.published_checkpoints import write_word_tokenizer

QUERIES = tiny.QUERIES
PARTS: dict[str, tuple[Callable[..., LearnedCompressorPart], Callable[[Path], Any]]] = {
    "qformer": (QFormer, tiny.write_blip2),
    "idefics2": (Perceiver, tiny.write_idefics2),
    "idefics": (Perceiver, tiny.write_idefics),
    "flamingo": (Perceiver, tiny.write_flamingo),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Return a tiny checkpoint of each family, and the model that it was saved from."""
    root = tmp_path_factory.mktemp("resamplers")
    return {name: (root / name, write(root / name)) for name, (_, write) in PARTS.items()}


@pytest.mark.parametrize("name", PARTS)
def test_laws(name: str, folders: dict[str, tuple[Path, Any]]) -> None:
    check_compressor(PARTS[name][0](model=str(folders[name][0])))


def test_laws_of_clips(folders: dict[str, tuple[Path, Any]]) -> None:
    for frames in (0, 3):
        check_compressor(Perceiver(str(folders["flamingo"][0]), frames_per_call=frames))
    check_compressor(Perceiver(str(folders["idefics2"][0]), frames_per_call=0))


def segment_of(tokens: torch.Tensor) -> Segment:
    """Return a segment whose frames have these tokens, (T, n, D)."""
    num_frames, count, _ = tokens.shape
    made = make_segment(num_frames, 4, 4)
    grid = Tokens.from_grid(tokens.reshape(num_frames, 1, count, -1))
    return made.with_tokens(grid)


@torch.no_grad()
def test_a_frame_is_read_as_transformers_reads_a_picture(
    folders: dict[str, tuple[Path, Any]],
) -> None:
    torch.manual_seed(0)
    pixels = torch.randn(5, 3, 28, 28)
    expected: dict[str, Any] = {}
    tokens: dict[str, torch.Tensor] = {}
    blip2, idefics, idefics2 = (folders[n][1] for n in ("qformer", "idefics", "idefics2"))
    tokens["qformer"] = blip2.vision_model(pixels).last_hidden_state  # class token first
    expected["qformer"] = blip2.get_image_features(pixels).pooler_output
    tokens["idefics"] = idefics.model.vision_model(pixels).last_hidden_state
    expected["idefics"] = idefics.model.perceiver_resampler(tokens["idefics"])
    mask = torch.ones(5, 4, 4, dtype=torch.bool)
    tokens["idefics2"] = idefics2.model.vision_model(
        pixels, patch_attention_mask=mask
    ).last_hidden_state
    expected["idefics2"] = torch.stack(
        list(idefics2.get_image_features(pixels[None]).pooler_output)
    )
    for name, wanted in expected.items():
        made = PARTS[name][0](model=str(folders[name][0])).setup()(segment_of(tokens[name]))
        assert made.tokens.counts(5).tolist() == [QUERIES] * 5
        got = made.tokens.data.reshape(5, QUERIES, -1)
        torch.testing.assert_close(got, wanted.reshape(got.shape), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_clip_is_read_as_flamingo_reads_it(folders: dict[str, tuple[Path, Any]]) -> None:
    folder, resampler = folders["flamingo"]
    tokens = torch.randn(7, 9, 24)
    made = Perceiver(str(folder), frames_per_call=4).setup()(segment_of(tokens))
    assert made.tokens.frame.unique().tolist() == [1, 4]
    assert made.tokens.size.sum() == 7 * 9
    for number, clip in enumerate((tokens[:3], tokens[3:])):
        got = made.tokens.data[number * QUERIES : (number + 1) * QUERIES]
        torch.testing.assert_close(got, resampler(clip[None, None])[0, 0], atol=1e-5, rtol=1e-5)


def test_without_its_weights_a_part_says_so(tmp_path: Path) -> None:
    for part in (QFormer(), Perceiver()):
        with pytest.raises(ModelError, match="hf download"):
            part.setup()
    model = tiny.write_blip2(tmp_path / "incomplete")
    state = {k: v for k, v in model.state_dict().items() if k != "query_tokens"}
    model.save_pretrained(tmp_path / "incomplete", state_dict=state)
    with pytest.raises(ModelError, match="query_tokens"):
        QFormer(str(tmp_path / "incomplete")).setup()


def test_one_that_reads_the_question_is_refused_while_indexing(tmp_path: Path) -> None:
    tiny.write_instructblip(tmp_path / "asks")
    config = load_config(
        "mini",
        ["compressors.0.name=qformer", f"compressors.0.model={tmp_path / 'asks'}"],
    )
    with pytest.raises(ModelError, match="reads the question"):
        config.space()


@torch.no_grad()
def test_when_a_question_is_asked_it_reads_as_transformers_does(tmp_path: Path) -> None:
    folder = tmp_path / "asks"
    model = tiny.write_instructblip(folder)
    write_word_tokenizer(folder / "qformer_tokenizer", 40)
    pixels = torch.randn(1, 3, 3, 28, 28)
    tokens = model.vision_model(pixels[0]).last_hidden_state
    read = QuestionQFormer(str(folder), torch.float32, "cpu")
    for question, ids in (("w3 w17 w9", [3, 17, 9]), ("w8", [8])):
        expected = model.get_video_features(pixels, torch.tensor([ids])).pooler_output
        got = read(tokens, question)
        torch.testing.assert_close(got, expected.reshape(got.shape), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(read(tokens, "w3"), read(tokens, "w4"))
    tiny.write_blip2(tmp_path / "blind")
    with pytest.raises(ModelError, match="instructblipvideo"):
        QuestionQFormer(str(tmp_path / "blind"), torch.float32, "cpu")


def test_checkpoints_that_do_not_fit(tmp_path: Path, folders: dict[str, tuple[Path, Any]]) -> None:
    tiny.write_idefics(tmp_path / "none", use_resampler=False)
    torch.save({"module.other": torch.ones(1)}, tmp_path / "checkpoint.pt")
    for folder, sentence in (
        (tmp_path / "none", "use_resampler"),
        (tmp_path, "perceiver.latents"),
        (folders["qformer"][0], "one of idefics2, idefics, flamingo"),
    ):
        with pytest.raises(ModelError, match=sentence):
            Perceiver(str(folder)).setup()
    with pytest.raises(ConfigError, match="frames_per_call"):
        Perceiver(str(folders["flamingo"][0]), frames_per_call=5).setup()
    with pytest.raises(ConfigError, match="negative"):
        Perceiver(frames_per_call=-1)
    part = QFormer(str(folders["qformer"][0])).setup()
    with pytest.raises(ModelError, match="width 24"):
        part(segment_of(torch.zeros(2, 16, 12)))
    with pytest.raises(OpError, match="fewer than the 8 queries"):
        part(segment_of(torch.zeros(2, 4, 24)))


def test_a_configuration_states_what_is_stored(folders: dict[str, tuple[Path, Any]]) -> None:
    folder = folders["idefics2"][0]
    plain = load_config("mini", ["llm.name=quote"])
    settings = ["compressors.0.name=perceiver", f"compressors.0.model={folder}"]
    config = load_config("mini", ["llm.name=quote", *settings])
    assert config.space().startswith("idefics2/idefics2_vision-mistral-32@")
    assert config.fingerprint() != plain.fingerprint()
    assert [one.role for one in config.checkpoints()].count("perceiver") == 1
    before, after = needs_of(plain, 0.1), needs_of(config, 0.1)
    assert after.index_weights > before.index_weights
    assert after.tokens == after.frames * QUERIES
