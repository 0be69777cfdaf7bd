"""SAM 2 as a tracker: the loop of transformers, boxes of masks, and what goes wrong."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from longvid.errors import ConfigError, ModelError
from longvid.ground.open_vocabulary import OpenVocabulary
from longvid.methods.mask_tracks import Corners, Masks, box_of_mask, follow
from longvid.methods.run_lengths import decode_mask
from longvid.models.detection_pixels import resized_pixels
from longvid.models.mask_tracker import load_mask_tracker
from longvid.testing import check_grounder
from longvid.types import Box, Mask, Picture, Track
from tests.unit.ground.tiny_detectors import save_owlv2, save_sam2

BOX = (0.25, 0.125, 0.75, 0.625)


def picture(seconds: float, video_id: str = "a") -> Picture:
    rng = np.random.default_rng(round(10 * seconds))
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(file, "JPEG")
    return Picture(video_id, seconds, file.getvalue(), 40, 60)


def track(phrase: str, *boxes: tuple[float, Corners, float]) -> Track:
    return Track(phrase, tuple(Box("a", at, xyxy, score) for at, xyxy, score in boxes))


def test_masks_are_those_of_transformers_own_loop(tmp_path: Path) -> None:
    save_sam2(tmp_path)
    rng = np.random.default_rng(3)
    frames = [rng.integers(0, 256, (40, 60, 3), np.uint8) for _ in range(4)]
    boxes = [BOX, (0.0, 0.5, 0.5, 1.0)]
    found = load_mask_tracker(str(tmp_path))(frames, 1, boxes)

    model = transformers.Sam2VideoModel.from_pretrained(tmp_path).eval()
    session = Sam2VideoInferenceSession(
        video=torch.cat([resized_pixels(frame, 64, 64) for frame in frames]),
        video_height=64,
        video_width=64,
        dtype=torch.float32,
    )
    for number, box in enumerate(boxes):
        corners = (64 * torch.tensor(box)).reshape(1, 1, 2, 2)
        labels = torch.tensor([[[2, 3]]], dtype=torch.int32)
        place = session.obj_id_to_idx(number)
        session.add_point_inputs(place, 1, {"point_coords": corners, "point_labels": labels})
    session.obj_with_new_inputs = [0, 1]
    outputs = {}
    with torch.no_grad():
        model(inference_session=session, frame_idx=1)
        for reverse in (False, True):
            for out in model.propagate_in_video_iterator(session, 1, reverse=reverse):
                outputs[out.frame_idx] = out
    assert len(found) == len(outputs) == 4
    for frame, masks in enumerate(found):
        logits = torch.nn.functional.interpolate(
            outputs[frame].pred_masks, (40, 60), mode="bilinear"
        )
        scores = outputs[frame].object_score_logits.sigmoid().flatten().tolist()
        for thing, mask in enumerate(masks):
            assert (mask.mask == (logits[thing, 0] > 0).numpy()).all()
            assert mask.score == pytest.approx(scores[thing], abs=1e-6)


def test_a_tracker_without_weights_or_of_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        load_mask_tracker(str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    with pytest.raises(ModelError, match=r"'sam'.*sam2_video"):
        load_mask_tracker(str(tmp_path))


def test_the_grounder_with_a_tracker_keeps_the_laws(tmp_path: Path) -> None:
    save_owlv2(tmp_path / "owl")
    save_sam2(tmp_path / "sam")
    for masks in (False, True):
        part = OpenVocabulary(
            str(tmp_path / "owl"), threshold=1e-6, tracker=str(tmp_path / "sam"), masks=masks
        )
        assert [one.role for one in part.checkpoints()] == ["grounder", "tracker"]
        check_grounder(part)


def test_the_box_of_a_mask() -> None:
    mask = np.zeros((10, 20), bool)
    assert box_of_mask(mask) is None
    mask[2:5, 4:8] = True
    assert box_of_mask(mask) == pytest.approx((0.2, 0.2, 0.4, 0.5))


def moving(steps: Sequence[float | None], scores: Sequence[float] | None = None) -> object:
    """Return a tracker whose mask is `step` of the width to the right in each frame."""

    def propagate(
        frames: Sequence[np.ndarray], start: int, boxes: Sequence[Corners]
    ) -> list[list[Masks]]:
        found = []
        for place in range(len(frames)):
            mask = np.zeros((10, 10), bool)
            left = steps[place]
            if left is not None:
                mask[2:6, round(10 * left) : round(10 * left) + 4] = True
            found.append([Masks(mask, 0.9 if scores is None else scores[place])] * len(boxes))
        return found

    return propagate


def test_the_best_box_is_followed_both_ways_and_a_thing_may_come_back() -> None:
    pictures = [picture(float(second)) for second in range(5)]
    given = track("dog", (1.0, BOX, 0.5), (2.0, BOX, 0.8))
    tracker = moving([0.1, 0.2, 0.3, None, 0.5])
    (found,) = follow([given], pictures, tracker)  # type: ignore[arg-type]
    assert [box.pts_seconds for box in found.boxes] == [0.0, 1.0, 2.0, 4.0]
    assert found.boxes[2].score == 0.8
    assert found.boxes[3].xyxy == pytest.approx((0.5, 0.2, 0.9, 0.6))


def test_boxes_carry_the_masks_that_they_are_of() -> None:
    pictures = [picture(0.0), picture(1.0)]
    given = track("dog", (0.0, BOX, 0.5))
    tracker = moving([0.1, 0.2])
    (plain,) = follow([given], pictures, tracker)  # type: ignore[arg-type]
    (found,) = follow([given], pictures, tracker, masks=True)  # type: ignore[arg-type]
    assert [box.mask for box in plain.boxes] == [None, None]
    # Rows 2 to 5 of the columns 1 to 4 of ten: 12, then 4 and 6 in turn, and 54 at the end.
    assert found.boxes[0].mask == Mask((10, 10), "<4600000`1")
    for box in found.boxes:
        assert box.mask is not None
        assert box_of_mask(decode_mask(box.mask)) == box.xyxy


def test_masks_need_a_tracker() -> None:
    with pytest.raises(ConfigError, match=r"grounder\.tracker"):
        OpenVocabulary(masks=True)


def test_an_empty_mask_leaves_the_detectors_track() -> None:
    given = track("dog", (1.0, BOX, 0.5))
    assert follow([given], [picture(1.0), picture(2.0)], moving([None, 0.1])) == (given,)  # type: ignore[arg-type]


def test_a_thing_that_is_lost_is_not_looked_for_and_a_cut_ends_it() -> None:
    """After a cut the model says that the thing is absent, whatever its mask shows."""
    pictures = [picture(float(second)) for second in range(12)]
    scores = [0.9, 0.9, *[0.1] * 9, 0.9]
    given = track("dog", (0.0, BOX, 0.5))
    (found,) = follow([given], pictures, moving([0.1] * 12, scores))  # type: ignore[arg-type]
    assert [box.pts_seconds for box in found.boxes] == [0.0, 1.0]


def test_pictures_far_apart_and_of_other_videos_are_followed_apart() -> None:
    pictures = [picture(0.0), picture(1.0), picture(30.0), picture(1.0, "b")]
    given = track("dog", (0.0, BOX, 0.5), (30.0, BOX, 0.4))
    (found,) = follow([given], pictures, moving([0.1, 0.2]))  # type: ignore[arg-type]
    assert [(box.video_id, box.pts_seconds) for box in found.boxes] == [
        ("a", 0.0),
        ("a", 1.0),
        ("a", 30.0),
    ]


def test_two_tracks_of_one_thing_become_one() -> None:
    pictures = [picture(0.0), picture(1.0)]
    given = [
        track("dog", (0.0, BOX, 0.5)),
        track("dog", (1.0, BOX, 0.7)),
        track("cat", (1.0, BOX, 0.1)),
    ]
    found = follow(given, pictures, moving([0.1, 0.2]))  # type: ignore[arg-type]
    assert [one.phrase for one in found] == ["dog", "cat"]
    assert found[0].boxes[1].score == 0.7
