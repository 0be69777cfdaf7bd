"""The encoder on mini: full grids, unit embeddings, one space, and only the towers it needs."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from longvid.encode.huggingface import HuggingFaceEncoder
from longvid.errors import ConfigError, ModelError
from longvid.models import mini
from longvid.models.families import family_of
from longvid.types import FrameBatch, FrameSize


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    mini.save(folder, seed=5)
    return folder


@pytest.fixture(scope="module")
def part(pair: Path) -> HuggingFaceEncoder:
    return HuggingFaceEncoder(model=str(pair))


def frames(count: int, side: int = 64, seed: int = 0) -> FrameBatch:
    generator = torch.Generator().manual_seed(seed)
    data = torch.randint(0, 256, (count, 3, side, side), generator=generator)
    return FrameBatch(
        video_id="v",
        segment_index=7,
        start_seconds=1.0,
        end_seconds=1.0 + count,
        data=data.to(torch.uint8),
        pts_seconds=1.0 + torch.arange(count, dtype=torch.float64),
        duration_seconds=torch.ones(count, dtype=torch.float64),
        slow=torch.arange(count) % 2 == 0,
    )


def test_a_segment_holds_full_grids_and_unit_embeddings(part: HuggingFaceEncoder) -> None:
    batch = frames(5)
    worker = part.setup()
    segment = worker(batch)
    assert segment.key == ("v", 7)
    assert (segment.start_seconds, segment.end_seconds) == (1.0, 6.0)
    assert torch.equal(segment.pts_seconds, batch.pts_seconds)
    assert torch.equal(segment.slow, batch.slow)
    assert segment.tokens.data.shape == (5 * 64, 192)
    assert segment.tokens.counts(5).tolist() == [64] * 5
    assert segment.frame_embeddings.shape == (5, worker.embedding_width)
    assert segment.frame_embeddings.dtype == torch.float32
    torch.testing.assert_close(segment.frame_embeddings.norm(dim=-1), torch.ones(5))
    assert segment.space == worker.space == part.space()
    assert not segment.tokens.data.is_inference()
    assert not segment.tokens.data.requires_grad


def test_a_shared_tower_may_keep_what_the_projector_has_not_seen(part: HuggingFaceEncoder) -> None:
    kept = dataclasses.replace(part, keep="tower")
    worker, batch = kept.setup(), frames(5)
    assert worker._shared is not None
    segment, projected = worker(batch), part.setup()(batch)
    assert segment.tokens.data.shape == (5 * 64, 128)
    assert segment.space == kept.space() != part.space()
    assert torch.equal(segment.frame_embeddings, projected.frame_embeddings)
    projector = family_of(kept._model_folder()).load_projector(
        kept._model_folder(), torch.float32, "cpu"
    )
    assert projector.tower_width == 128
    torch.testing.assert_close(
        projector(segment.tokens.data), projected.tokens.data, atol=1e-5, rtol=0
    )
    with pytest.raises(ConfigError, match=r"encoder\.keep is 'patches'; use projected or tower"):
        dataclasses.replace(part, keep="patches")


def test_the_shared_tower_equals_two_towers(part: HuggingFaceEncoder) -> None:
    fast = part.setup()
    slow = dataclasses.replace(part, share_tower=False).setup()
    assert fast._shared is not None
    assert slow._shared is None
    one, two = fast(frames(5)), slow(frames(5))
    assert torch.equal(one.tokens.data, two.tokens.data)
    assert torch.equal(one.frame_embeddings, two.frame_embeddings)


def test_towers_that_differ_are_not_shared(pair: Path, tmp_path: Path) -> None:
    mini.save(tmp_path, seed=6)
    part = HuggingFaceEncoder(model=str(pair), embedder=str(tmp_path / "embedder"))
    worker = part.setup()
    assert worker._shared is None
    own = HuggingFaceEncoder(model=str(pair)).setup()(frames(2))
    other = worker(frames(2))
    assert torch.equal(own.tokens.data, other.tokens.data)
    assert not torch.equal(own.frame_embeddings, other.frame_embeddings)


def test_a_segment_is_encoded_alike_in_any_company(part: HuggingFaceEncoder) -> None:
    worker = part.setup()
    alone = worker(frames(5))
    worker(frames(3, seed=1))
    again = worker(frames(5))
    assert torch.equal(alone.tokens.data, again.tokens.data)
    assert torch.equal(alone.frame_embeddings, again.frame_embeddings)


def test_batch_frames_changes_no_more_than_rounding(part: HuggingFaceEncoder) -> None:
    whole = part.setup()(frames(5))
    parts = dataclasses.replace(part, batch_frames=2).setup()(frames(5))
    torch.testing.assert_close(parts.tokens.data, whole.tokens.data, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(parts.frame_embeddings, whole.frame_embeddings, atol=1e-5, rtol=1e-4)


def test_frames_of_another_size_are_resized(part: HuggingFaceEncoder) -> None:
    assert len(part.setup()(frames(2, side=96)).tokens) == 2 * 64


def test_frame_size_serves_both_checkpoints(part: HuggingFaceEncoder) -> None:
    assert part.frame_size() == FrameSize(64, 64, "squash", (128, 128, 128))
    assert dataclasses.replace(part, fit="pad").frame_size().fit == "pad"


def test_text_and_frames_share_a_space(part: HuggingFaceEncoder) -> None:
    texts = ["what color is the star ?", "a red circle"]
    whole, text_only = part.setup(), part.setup_embedder()
    embedded = text_only.embed_text(texts)
    assert embedded.shape == (2, whole.embedding_width)
    assert text_only.embedding_width == whole.embedding_width
    assert text_only.space == whole.space
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(embedded, whole.embed_text(texts), atol=1e-6, rtol=0)
    assert not torch.allclose(embedded[0], embedded[1], atol=1e-3)


def test_a_text_is_embedded_alike_in_any_company(part: HuggingFaceEncoder) -> None:
    """Padding is to the tower's full length, so a long neighbour changes nothing."""
    worker = part.setup_embedder()
    alone = worker.embed_text(["red star"])
    company = worker.embed_text(["red star", "what color is the big star in the top left ?"])
    torch.testing.assert_close(alone[0], company[0], atol=1e-6, rtol=0)


def test_a_long_text_is_cut_to_the_tower(part: HuggingFaceEncoder) -> None:
    assert part.setup_embedder().embed_text(["red star " * 100]).shape[0] == 1


def test_a_question_loads_no_vision_tower(part: HuggingFaceEncoder) -> None:
    worker = part.setup_embedder()
    names = [name for name, _ in worker._embedder.module.named_parameters()]
    assert names
    assert not any("vision" in name for name in names)
    with pytest.raises(ModelError, match="text only"):
        worker(frames(1))


def test_identity_is_of_both_weights(part: HuggingFaceEncoder, pair: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(pair, tmp_path / "moved"))
    assert HuggingFaceEncoder(model=str(moved)).identity() == part.identity()
    assert HuggingFaceEncoder(model=str(moved)).space() == part.space()
    mini.save(moved, seed=6)
    assert HuggingFaceEncoder(model=str(moved)).identity() != part.identity()
    mixed = HuggingFaceEncoder(model=str(pair), embedder=str(moved / "embedder"))
    assert mixed.identity() != part.identity()
    assert mixed.space() == part.space()


def test_a_model_without_embedder_asks_for_one(pair: Path) -> None:
    with pytest.raises(ModelError, match=r"set encoder\.embedder"):
        HuggingFaceEncoder(model=str(pair / "vlm")).frame_size()


def test_an_embedder_must_be_one(pair: Path) -> None:
    part = HuggingFaceEncoder(model=str(pair), embedder=str(pair / "vlm"))
    with pytest.raises(ModelError, match="siglip, clip"):
        part.setup_embedder()


@pytest.mark.parametrize("change", [{"fit": "stretch"}, {"grid": "half"}, {"batch_frames": 0}])
def test_settings_are_checked(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        HuggingFaceEncoder(**change)


def test_dtypes(part: HuggingFaceEncoder) -> None:
    half = dataclasses.replace(part, dtype="bfloat16").setup()(frames(2))
    assert half.tokens.data.dtype == torch.bfloat16
    assert half.frame_embeddings.dtype == torch.float32
    with pytest.raises(ModelError, match="use auto, float32"):
        dataclasses.replace(part, dtype="int8").setup()


def test_missing_weights_are_an_error(pair: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(pair, tmp_path / "pair"))
    file = folder / "vlm" / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "linear_1.weight" in name)
    del weights[name]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights.*linear_1\.weight"):
        HuggingFaceEncoder(model=str(folder)).setup()


def test_merging_inside_the_towers_keeps_every_grid(pair: Path) -> None:
    """mini's one tower serves tokens and embeddings; both stay near what they were."""
    plain = HuggingFaceEncoder(model=str(pair)).setup()(frames(3))
    merged = HuggingFaceEncoder(model=str(pair), merge_r=6).setup()(frames(3))
    assert merged.tokens.data.shape == plain.tokens.data.shape
    assert not torch.equal(merged.tokens.data, plain.tokens.data)
    assert len(merged.tokens.data.unique(dim=0)) < len(plain.tokens.data.unique(dim=0))
    assert (merged.frame_embeddings * plain.frame_embeddings).sum(-1).min() > 0.9


@pytest.mark.parametrize("change", [{"merge_r": -1}, {"merge_r": 4, "merge_inflect": 1.5}])
def test_a_schedule_of_merging_is_checked(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Merging needs"):
        HuggingFaceEncoder(**change)
