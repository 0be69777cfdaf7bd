"""Detectors: pixels as their processors make them, boxes of the picture as it is given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.image_transforms import center_to_corners_format
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import (
    GroundingDinoImageProcessorPil,
)
from transformers.models.omdet_turbo.processing_omdet_turbo import compute_score
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

from longvid.errors import ConfigError, ModelError
from longvid.ground.open_vocabulary import OpenVocabulary
from longvid.methods.phrases import noun_phrases
from longvid.methods.tracking import suppress
from longvid.models.detection_pixels import (
    grounding_dino_pixels,
    owlv2_pixels,
    resized_pixels,
)
from longvid.models.detectors import _detections, load_detector
from longvid.testing import check_grounder
from tests.unit.ground.tiny_detectors import (
    save_grounding_dino,
    save_mm_grounding_dino,
    save_omdet_turbo,
    save_owlv2,
)

SIZES = [(48, 90), (120, 77), (64, 64), (200, 31)]
SAVED = {
    "owlv2": save_owlv2,
    "grounding-dino": save_grounding_dino,
    "mm-grounding-dino": save_mm_grounding_dino,
    "omdet-turbo": save_omdet_turbo,
}


def picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [32, 128])
def test_owlv2_pixels_are_those_of_its_processor(size: tuple[int, int], side: int) -> None:
    pytest.importorskip("scipy", reason="the processor needs scipy")
    processor = Owlv2ImageProcessorPil(size={"height": side, "width": side})
    given = picture(*size)
    expected = processor(images=Image.fromarray(given), return_tensors="pt").pixel_values
    torch.testing.assert_close(owlv2_pixels(given, side), expected.float(), atol=2e-5, rtol=0)


@pytest.mark.parametrize("size", [*SIZES, (37, 1000)])
def test_grounding_dino_pixels_are_those_of_its_processor(size: tuple[int, int]) -> None:
    edges = {"shortest_edge": 80, "longest_edge": 133}
    processor = GroundingDinoImageProcessorPil(size=edges)
    given = picture(*size)
    expected = processor(images=Image.fromarray(given), return_tensors="pt").pixel_values
    found = grounding_dino_pixels(given, 80, 133)
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_omdet_turbo_pixels_are_those_of_its_processor(size: tuple[int, int]) -> None:
    # As the published checkpoint's preprocessor_config.json: no rescaling, a mean of 255ths.
    processor = DetrImageProcessorPil(
        size={"height": 48, "width": 64},
        do_rescale=False,
        do_pad=False,
        image_mean=[123.675, 116.28, 103.53],
        image_std=[58.395, 57.12, 57.375],
    )
    given = picture(*size)
    expected = processor(images=Image.fromarray(given), return_tensors="pt").pixel_values
    torch.testing.assert_close(resized_pixels(given, 48, 64), expected.float(), atol=1e-5, rtol=0)


@pytest.fixture(params=list(SAVED))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    SAVED[request.param](tmp_path)
    return tmp_path


@pytest.mark.parametrize("size", [(60, 100), (100, 40)])
def test_boxes_are_in_the_picture_and_carry_a_phrase(folder: Path, size: tuple[int, int]) -> None:
    detect = load_detector(str(folder), threshold=1e-6)
    found = detect(picture(*size), ["red car", "dog"])
    assert found
    for one in found:
        left, top, right, bottom = one.xyxy
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        assert one.label in ("red car", "dog")
    assert [one.score for one in found] == sorted((o.score for o in found), reverse=True)
    assert detect(picture(*size), []) == []
    above = (found[0].score + 1) / 2
    assert load_detector(str(folder), threshold=above)(picture(*size), ["dog", "red car"]) == []


def test_owlv2_scores_and_boxes_are_its_own(tmp_path: Path) -> None:
    save_owlv2(tmp_path)
    given = picture(64, 96)
    found = load_detector(str(tmp_path), threshold=1e-6)(given, ["dog"])
    model = transformers.Owlv2ForObjectDetection.from_pretrained(tmp_path).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path)(
        ["a photo of dog"], padding="max_length", max_length=8, return_tensors="pt"
    )
    with torch.no_grad():
        out = model(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            pixel_values=owlv2_pixels(given, 64),
        )
    result = Owlv2ImageProcessorPil().post_process_object_detection(
        out, threshold=1e-6, target_sizes=[(64, 96)]
    )[0]
    best = int(result["scores"].argmax())
    scale = torch.tensor([96, 64, 96, 64])
    expected = (result["boxes"][best] / scale).clamp(0, 1)
    torch.testing.assert_close(torch.tensor(found[0].xyxy), expected, atol=1e-5, rtol=0)
    assert found[0].score == pytest.approx(float(result["scores"][best]), abs=1e-6)


def test_omdet_turbo_scores_and_boxes_are_its_own(tmp_path: Path) -> None:
    save_omdet_turbo(tmp_path)
    given, names = picture(64, 96), ["dog", "red car"]
    found = load_detector(str(tmp_path), threshold=1e-6)(given, names)
    model = transformers.OmDetTurboForObjectDetection.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    padded = {"padding": "max_length", "max_length": 16, "return_tensors": "pt"}
    classes, task = tokenizer(names, **padded), tokenizer(["Detect dog, red car."], **padded)
    with torch.no_grad():
        out = model(
            pixel_values=resized_pixels(given, 64, 64),
            classes_input_ids=classes["input_ids"],
            classes_attention_mask=classes["attention_mask"],
            tasks_input_ids=task["input_ids"],
            tasks_attention_mask=task["attention_mask"],
            classes_structure=torch.tensor([2]),
        )
    scores, labels = compute_score(out.decoder_class_logits)
    flat = scores[0].flatten()
    best = int(flat.argmax())
    corners = center_to_corners_format(out.decoder_coord_logits[0])[best // 2].clamp(0, 1)
    torch.testing.assert_close(torch.tensor(found[0].xyxy), corners, atol=1e-5, rtol=0)
    assert found[0].label == names[int(labels[best])]
    assert found[0].score == pytest.approx(float(flat[best]), abs=1e-6)


def test_a_tower_of_timm_is_named_where_timm_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_omdet_turbo(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["backbone_config"] = {"model_type": "timm_backbone"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install timm"):
        load_detector(str(tmp_path))


def test_boxes_outside_and_of_no_size_are_left_out_and_others_are_cut() -> None:
    boxes = torch.tensor(
        [[-0.2, 0.1, 0.3, 1.4], [1.1, 0.0, 1.3, 0.5], [0.4, 0.4, 0.4, 0.6], [-0.5, 0.0, 0.0, 0.2]]
    )
    found = _detections(torch.full((4, 1), 0.9), boxes, ["dog"], 0.5)
    assert [one.xyxy for one in found] == [pytest.approx((0.0, 0.1, 0.3, 1.0))]


def test_three_hundred_boxes_of_one_phrase_are_kept_at_most_eight() -> None:
    rng = np.random.default_rng(3)
    corners = torch.from_numpy(rng.random((300, 2)) * 0.9).float()
    boxes = torch.cat([corners, corners + 0.05], dim=1)
    found = _detections(torch.from_numpy(rng.random((300, 1))).float(), boxes, ["dogs"], 0.0)
    assert len(found) == 300
    kept = suppress(found)
    assert len(kept) == 8
    assert kept[0].score == max(one.score for one in found)


def test_another_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(ModelError, match=r"'detr'.*owlv2"):
        load_detector(str(tmp_path))
    with pytest.raises(ConfigError, match="threshold"):
        OpenVocabulary(threshold=1.0)


def test_the_grounder_keeps_the_laws(folder: Path) -> None:
    check_grounder(OpenVocabulary(str(folder), threshold=1e-6))


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("A man in a red jacket opens the door.", ["man", "red jacket", "door"]),
        ("Two dogs, then the dog's owner", ["dogs", "dog's owner"]),
        ("yes", []),
        ("", []),
        ("The video shows a traffic light; 3 cars", ["traffic light", "cars"]),
    ],
)
def test_phrases(text: str, phrases: list[str]) -> None:
    found = noun_phrases(text)
    assert [phrase.text for phrase in found] == phrases
    for phrase in found:
        assert text[slice(*phrase.span)].lower() == phrase.text
    assert len(noun_phrases("dog, " * 3 + "cat, cow, hen, fox, owl, ape, bee")) == 6
