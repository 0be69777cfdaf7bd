"""LongVU from a folder under its authors' names, on the public path.

The other side of each comparison is an array made by the original code, or the numerics that those
arrays prove, fed by the model library's own longvu_towers.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import Dinov2Model, PreTrainedTokenizerFast, SiglipModel

import longvid
from longvid.config import Config, load_config
from longvid.errors import ModelError
from longvid.methods.longvu_config import LongVUConfig
from longvid.methods.temporal_reduction import select_frames, select_marked
from longvid.qa.video_qa import VideoQA
from longvid.safetensors_conversion import convert
from longvid.systems.longvu import encoder as encoding
from longvid.systems.longvu.checkpoint import load_aggregator, read_settings
from longvid.systems.longvu.padded_grid import resolution
from tests.parity import published_checkpoints as tiny
from tests.parity.golden_file import GoldenFile
from tests.parity.llama_vid_folder import Recorder, Table
from tests.parity.test_golden import DIRECTORY
from tests.parity.test_published_slowfast import CLIP, frames_of
from tests.reference.longvu_composition import LongVU, ReferenceConfig, VisualBlock

NEW_TOKENS = 6
IMAGE = -200


@pytest.fixture(scope="module")
def longvu_towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("towers")
    return {
        "siglip": tiny.write_siglip(folder / "siglip"),
        "dino": tiny.write_dino(folder / "dino"),
    }


def configured(folder: Path, longvu_towers: dict[str, Path], *settings: str) -> Config:
    return load_config(
        "longvu",
        [
            f"encoder.model={folder}",
            f"encoder.siglip={longvu_towers['siglip']}",
            f"encoder.dino={longvu_towers['dino']}",
            "encoder.dino_side=28",
            f"llm.model={folder}",
            f"llm.max_new_tokens={NEW_TOKENS}",
            "store.tokens=float32",
            *settings,
        ],
    )


GOLDEN = sorted(DIRECTORY.glob("longvu_pipe_sva_*.npz"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_longvu_arrays_from_a_folder_through_store_and_question(
    path: Path, tmp_path: Path, longvu_towers: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = GoldenFile(path)
    if golden.flag("is_image"):
        pytest.skip("a still picture, which is not indexed")
    siglip, dino = golden.tensor("siglip"), golden.tensor("dino")
    settings = {
        name.removeprefix("cfg/"): golden.array(name).tolist()
        for name in golden.keys("cfg/")
        if name not in ("cfg/hidden_size", "cfg/model_type")
    }
    folder = tmp_path / "model"
    tiny.write_longvu(
        folder,
        golden.weights() | {"image_newline": golden.tensor("image_newline")},
        model_type=golden.text("cfg/model_type"),
        embed_tokens=golden.tensor("embed_tokens"),
        query_num_list=[golden.number("query_num")],
        mm_vision_tower_aux_token_len_list=[siglip.shape[1], dino.shape[1]],
        **settings,
    )
    table = Table(siglip)
    nowhere = F.normalize(torch.ones(len(siglip), 16), dim=-1)
    monkeypatch.setattr(
        encoding.Worker, "siglip", lambda self, frames: (table(frames), nowhere[: len(frames)])
    )
    monkeypatch.setattr(encoding.dino, "load", lambda *_, **__: Table(dino))
    ids = golden.tensor("input_ids")[0].tolist()
    place = ids.index(IMAGE)
    before, after = (" ".join(f"w{i}" for i in part) for part in (ids[:place], ids[place + 1 :]))
    config = configured(
        folder,
        longvu_towers,
        "sample.fps=25.0",
        "sample.chunk_segments=100",  # one chunk, so the tables are read in order
        f"llm.template={before}{{video}}{{question}}",
    )
    height, width = golden.array("image_size").tolist()  # as callers of videos pass it
    film = tiny.write_video(tmp_path / "film.mp4", len(siglip), height, width)
    store = tmp_path / "store"
    assert not longvid.index([film], store=store, config=config).failures
    qa = VideoQA(store, config)
    recorder = Recorder(qa)
    answer = qa.ask(after)
    torch.testing.assert_close(
        recorder.spliced.inputs_embeds, golden.tensor("embeds"), atol=1e-5, rtol=0.0
    )
    assert answer.visual_tokens == golden.number("n_visual_tokens")


def original_towers(
    longvu_towers: dict[str, Path], frames: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Show frames to the library's own longvu_towers, padded and resized as the original does."""
    seen = []
    for name, model_class, side in (("siglip", SiglipModel, 32), ("dino", Dinov2Model, 28)):
        model = model_class.from_pretrained(longvu_towers[name]).eval()
        table = json.loads((longvu_towers[name] / "preprocessor_config.json").read_text())
        mean, std = (
            torch.tensor(table[key]).view(1, 3, 1, 1) for key in ("image_mean", "image_std")
        )
        height, width = frames.shape[2:]
        colour = torch.tensor([int(255 * x) for x in table["image_mean"]], dtype=torch.uint8)
        square = colour.view(1, 3, 1, 1).repeat(len(frames), 1, width, width)
        top = (width - height) // 2
        square[:, :, top : top + height] = frames
        resized = F.interpolate(square, size=(side, side), mode="bicubic", antialias=True)
        pixels = (resized.float() / 255 - mean) / std
        with torch.no_grad():
            if name == "siglip":
                x = model.vision_model.embeddings(pixels)
                for layer in model.vision_model.encoder.layers:  # no norm after the last one
                    x = layer(x, None)
            else:
                x = model(pixel_values=pixels).last_hidden_state[:, 1:]
        grid = round(x.shape[1] ** 0.5)
        x = x.transpose(1, 2).reshape(len(x), -1, grid, grid)
        x = F.interpolate(x, size=(12, 12), mode="bilinear", align_corners=False)
        seen.append(x.flatten(2).transpose(1, 2))
    return seen[0], seen[1]


@pytest.mark.parametrize(
    ("fps", "max_length", "model_type", "faithful", "shown_at"),
    [
        (1.0, 8192, "cambrian_qwen", True, "high"),
        (12.0, 2300, "cambrian_qwen", True, "mixed"),
        (12.0, 2300, "cambrian_qwen", False, "mixed"),
        (12.0, 700, "cambrian_llama", True, "over"),
    ],
)
def test_a_video_is_answered_as_by_the_proven_numerics(
    fps: float,
    max_length: int,
    model_type: str,
    faithful: bool,
    shown_at: str,
    longvu_towers: dict[str, Path],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "model"
    text = tiny.write_longvu(
        folder,
        tiny.random_connector((16, 12), llm_width=24),
        model_type=model_type,
        tokenizer_model_max_length=max_length,
        dino_threshold=0.99,
    )
    config = configured(
        folder,
        longvu_towers,
        f"sample.fps={fps}",
        f"encoder.faithful={str(faithful).lower()}",
    )
    store = tmp_path / "store"
    assert not longvid.index([CLIP], store=store, config=config).failures
    qa = VideoQA(store, config)
    recorder = Recorder(qa)
    answer = qa.ask("What does the rabbit do?")

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    llama = model_type == "cambrian_llama"
    before = (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful "
        "assistant.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        if llama
        else "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    )
    after = "\nWhat does the rabbit do?" + (
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        if llama
        else "<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = [
        *tokenizer(before).input_ids,
        IMAGE,
        *tokenizer(after, add_special_tokens=False).input_ids,
    ]
    frames = frames_of(config, CLIP)
    siglip, dino = original_towers(longvu_towers, frames)
    aggregator = load_aggregator(folder, torch.float32, "cpu")
    embed = text.get_input_embeddings()
    settings = read_settings(folder, orientation="hw" if faithful else "wh")
    model = LongVU(
        ReferenceConfig(**dataclasses.asdict(settings)),
        aggregator.aggregate,
        aggregator.project,
        torch.load(folder / "pytorch_model.bin")["model.image_newline"],
        embed,
    )
    block = VisualBlock((siglip, dino), height=frames.shape[2], width=frames.shape[3])
    with torch.no_grad():
        prepared = model.prepare_inputs(torch.tensor([ids]), [block])
        torch.testing.assert_close(
            recorder.spliced.inputs_embeds, prepared.embeds, atol=1e-5, rtol=0.0
        )
        output = text.generate(
            inputs_embeds=prepared.embeds,
            attention_mask=torch.ones(prepared.embeds.shape[:2], dtype=torch.long),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
        )[0]
    assert resolution(len(prepared.frames[0]), len(ids), settings) == shown_at
    assert (len(prepared.frames[0]) < len(frames)) == (shown_at == "over")
    assert answer.text == tokenizer.decode(output, skip_special_tokens=True).strip()


def test_alike_frames_may_go_when_indexing(longvu_towers: dict[str, Path], tmp_path: Path) -> None:
    folder, converted = tmp_path / "model", tmp_path / "converted"
    connector = tiny.random_connector((16, 12), 24)
    tiny.write_longvu(folder, connector, tokenizer_model_max_length=700, dino_threshold=0.99)
    convert(str(folder), converted)
    segments = []
    for place, drop in ((folder, "false"), (converted, "true")):
        config = configured(place, longvu_towers, "sample.fps=6.0", f"encoder.drop_alike={drop}")
        store = tmp_path / drop
        assert not longvid.index([CLIP], store=store, config=config).failures
        qa = VideoQA(store, config)
        (video,) = qa.store.videos()
        keys = [(video.video.video_id, index) for index in range(video.num_segments)]
        segments.append(qa.store.load(keys))
        recorder = Recorder(qa)
        qa.ask("What does the rabbit do?")
        segments.append(recorder.spliced.inputs_embeds)
    marked, shown, dropped, shown_again = segments
    for whole, less in zip(marked, dropped, strict=True):
        assert torch.equal(whole.pts_seconds[whole.slow], less.pts_seconds)
        keep = whole.slow[whole.tokens.frame.long()]
        torch.testing.assert_close(whole.tokens.data[keep], less.tokens.data, atol=1e-5, rtol=0.0)
        assert bool(less.slow.all())
    # The video is too long for its context, so the question drops what indexing may drop.
    torch.testing.assert_close(shown, shown_again, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("num_frames", [3, 15, 16, 40, 430])
def test_marks_made_when_indexing_give_the_frames_that_the_whole_video_gives(
    num_frames: int,
) -> None:
    generator = torch.Generator().manual_seed(num_frames)
    dino = torch.randn(num_frames, 4, 6, generator=generator) + 1.5
    for max_length in (64, 4000):
        settings = LongVUConfig(image_token_len=36, lowres_side=4, max_length=max_length)
        always = LongVUConfig(always_reduce=True, max_frames=0)
        marked = torch.zeros(num_frames, dtype=torch.bool)
        for first in range(0, num_frames, 16):
            marked[first + select_frames(dino[first : first + 16], 0, always)] = True
        kept = select_marked(marked, 13, settings)
        assert torch.equal(kept, select_frames(dino, 13, settings))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"without": "model.vision_query"}, "model.vision_query"),
        ({"without": "model.image_newline"}, "model.image_newline"),
        ({"without": "model.layers.0.mlp.up_proj.weight"}, "layers.0.mlp.up_proj"),
        ({"extra": {"model.vision_sampler_0.mystery": torch.ones(1)}}, "vision_sampler_0.mystery"),
        ({"extra": {"model.vision_sampler_layers.0.x": torch.ones(1)}}, "vision_sampler_layers"),
        ({"query_num_list": [144], "image_token_len": 144}, "for still images"),
        ({"frame_pos": True}, "frame_pos"),
    ],
)
def test_a_folder_that_does_not_fit_says_why(
    change: dict[str, Any], sentence: str, longvu_towers: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    tiny.write_longvu(folder, tiny.random_connector((16, 12), 24), **change)
    with pytest.raises(ModelError, match=sentence):
        configured(folder, longvu_towers).llm.setup()


def test_an_image_checkpoint_is_refused_before_a_frame_is_encoded(
    longvu_towers: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    connector = tiny.random_connector((16, 12), 24)
    tiny.write_longvu(folder, connector, query_num_list=[144], image_token_len=144)
    with pytest.raises(ModelError, match="for still images"):
        configured(folder, longvu_towers).encoder.setup()


def test_the_longvu_preset_is_what_was_released() -> None:
    config = load_config("longvu")
    assert (config.sample.grid, config.sample.fps, config.sample.segment_frames) == ("step", 1, 16)
    assert config.encoder.faithful
    assert not config.encoder.drop_alike
    assert config.encoder.frame_size().fit == "native"
    assert (config.llm.temperature, config.llm.max_new_tokens, config.llm.rope) == (0.0, 128, "")
    assert config.compressors == config.selectors == ()
