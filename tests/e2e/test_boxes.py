"""`longvid boxes`: kept beside a store's pictures, gone on with, used by answers, removed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from longvid import progress
from longvid.cli import main
from longvid.config import load_config
from longvid.errors import ConfigError, StoreError
from longvid.ground.open_vocabulary import OpenVocabulary
from longvid.indexing import picture_boxes
from longvid.methods.grounding_metrics import box_overlap
from longvid.methods.mask_tracks import box_of_mask
from longvid.methods.run_lengths import decode_mask
from longvid.methods.tracking import Detection
from longvid.models.mini_vocabulary import COLORS, SHAPES
from longvid.qa.video_qa import VideoQA
from longvid.store import Store
from longvid.store.detected_boxes import BOXES, detector_fingerprint, read_boxes
from longvid.types import Mask, Question
from longvid.world import grounder
from longvid.world.draw import Painter
from longvid.world.film import frames, write_film
from longvid.world.grounder import DrawnShapes
from longvid.world.scene import make_film
from longvid.world.truth import true_boxes
from tests.unit.ground.tiny_detectors import save_owlv2, save_sam2

SEED = 20_261_372  # a white star at the bottom left, in its last shot
THINGS = ["white star", "red heart"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store of one drawn film with its pictures."""
    film = tmp_path / "film.mp4"
    write_film(make_film(SEED, 0, duration_seconds=24), film, fps=5)
    folder = str(tmp_path / "store")
    assert main(["index", str(film), "--store", folder, "--set", "store.pictures=frame"]) == 0
    return Store.open(folder)


def command(store: Store, *words: str) -> int:
    return main(["boxes", "--store", store.uri, *words])


def nothing(picture: np.ndarray, names: Sequence[str]) -> list[Detection]:
    raise AssertionError(f"{names} were looked for again")


def test_boxes_are_kept_and_used(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["ask", "where is the white star?", "--store", store.uri, "--ground", "drawn_shapes"]
    capsys.readouterr()
    assert main([*ask, "--json"]) == 0
    before = json.loads(capsys.readouterr().out)["tracks"]
    assert before
    with monkeypatch.context() as patched:
        shown_at_once = partial(progress.index_progress, interval_seconds=0.0)
        patched.setattr(progress, "index_progress", shown_at_once)
        assert command(store, "--detector", "drawn_shapes", "--things", ", ".join(THINGS)) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "1 running" in line]
    assert len(lines) > 3
    assert all(
        re.fullmatch(r"0 of 1 video, 1 running, [\d.]+x .*film.mp4", line) for line in lines[1:]
    )
    assert command(store, "--json") == 0
    listed = {row["thing"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(THINGS)
    assert 0 < listed["white star"]["boxes"] <= listed["white star"]["pictures"]
    assert not store.verify()

    # Nothing is looked for twice, neither by the command nor by an answer.
    monkeypatch.setattr(grounder, "_detect", nothing)
    assert command(store, "--detector", "drawn_shapes", "--things", "red heart,White  star") == 0
    assert "0 new pictures" in capsys.readouterr().out
    assert main([*ask, "--json"]) == 0
    after = json.loads(capsys.readouterr().out)["tracks"]
    assert [track["phrase"] for track in after] == [track["phrase"] for track in before]
    for one, other in zip(after, before, strict=True):
        for box, same in zip(one["boxes"], other["boxes"], strict=True):
            assert box["xyxy"] == pytest.approx(same["xyxy"], abs=1e-5)

    # Frames that are decoded again are looked at themselves, and give their own boxes.
    monkeypatch.undo()
    decoded = [*ask, "--ground-frames", "decoded", "--json"]
    assert main(decoded) == 0
    captured = capsys.readouterr()
    again = json.loads(captured.out)["tracks"]
    for one, other in zip(again, before, strict=True):
        assert [box["pts_seconds"] for box in one["boxes"]] == [
            box["pts_seconds"] for box in other["boxes"]
        ]
        for box, near in zip(one["boxes"], other["boxes"], strict=True):
            assert box["xyxy"] == pytest.approx(near["xyxy"], abs=0.02)
    assert "in place of decoded frames" not in captured.err
    film = Path(store.videos()[0].video.path)
    film.rename(film.with_name("elsewhere.mp4"))
    assert main(decoded) == 0
    assert "is not at its place" in capsys.readouterr().err
    film.write_bytes(film.with_name("elsewhere.mp4").read_bytes()[:-1])  # another film, same name
    assert main(decoded) == 0
    assert "not as it was indexed" in capsys.readouterr().err
    assert main([*ask[:4], "--ground-frames", "decoded"]) == 1
    assert "give both" in capsys.readouterr().err

    monkeypatch.setattr(grounder, "_detect", nothing)
    assert command(store, "--remove") == 0
    assert "1 video" in capsys.readouterr().out
    (video,) = store.videos()
    assert not store.annotations.list_keys(video.video.video_id, BOXES)
    with pytest.raises(AssertionError, match="looked for again"):
        main(ask)


def test_a_run_that_was_killed_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_boxes, "_PART", 4)
    (video,) = store.videos()
    whole = picture_boxes.BoxFinder(DrawnShapes(), THINGS, "cpu")
    detect, looked = grounder._detect, 0

    def dies(picture: np.ndarray, names: Sequence[str]) -> list[Detection]:
        nonlocal looked
        looked += 1
        if looked == 7:
            raise KeyboardInterrupt
        return detect(picture, names)

    monkeypatch.setattr(grounder, "_detect", dies)
    with pytest.raises(KeyboardInterrupt):
        picture_boxes.BoxFinder(DrawnShapes(), THINGS, "cpu").find(store, video.video.video_id)
    kept = read_boxes(store, video.video.video_id)
    assert len(kept) == 4
    seen, _ = whole.find(store, video.video.video_id)
    found = read_boxes(store, video.video.video_id, detector_fingerprint(DrawnShapes()))
    assert len(found) == seen + 4
    assert all(found[seconds] == boxes for seconds, boxes in kept.items())
    assert not read_boxes(store, video.video.video_id, "another")
    assert whole.find(store, video.video.video_id) == (0, 0)


def unanswered(*_: object) -> None:
    raise AssertionError("The question was answered before the grounder was found missing.")


def test_bad_input(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, sentence in (
        (["--things", "dog"], "No detector is named"),
        (["--detector", "drawn_shapes"], "--things"),
        (["--detector", "drawn_shapes", "--things", " , "], "--things"),
        (["--detector", "none_such", "--things", "dog"], "none_such"),
        (["--remove", "--things", "dog"], "--remove"),
        (["--detector", "open_vocabulary", "--things", "dog"], "hf download"),
    ):
        capsys.readouterr()
        assert command(store, *words) == 1
        assert sentence in capsys.readouterr().err
    monkeypatch.setattr(VideoQA, "_answered", unanswered)
    ask = ["ask", "where is the star?", "--store", store.uri, "--ground", "open_vocabulary"]
    capsys.readouterr()
    assert main(ask) == 1
    assert "hf download" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="finds boxes of answers only"):
        picture_boxes.BoxFinder(_Answering(), ["dog"], "cpu")
    (video,) = store.videos()
    video_id = video.video.video_id
    store.annotations.write(video_id, BOXES, "0" * 16, {"000000.json": b"{}"})
    with pytest.raises(StoreError, match="cannot be read"):
        read_boxes(store, video_id)
    assert OpenVocabulary().checkpoints()


class _Answering:
    """A grounder without a detector."""

    def checkpoints(self) -> tuple[()]:
        return ()

    def setup(self, device: str = "cpu") -> DrawnShapes:
        return DrawnShapes()


def test_boxes_of_a_rotated_wide_video_are_of_the_upright_frame(tmp_path: Path) -> None:
    """The film is at the right of a wide picture, which the file stores lying on its side."""
    film, side, margin = make_film(SEED, 0, duration_seconds=24), 128, 96
    times = np.arange(round(2 * film.duration_seconds)) / 2
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = side, side + margin, "yuv420p"
        stream.set_display_rotation(90)
        for image in frames(film, times, Painter(side)):
            wide = np.pad(image, ((0, 0), (margin, 0), (0, 0)), constant_values=120)
            lying = np.ascontiguousarray(np.rot90(wide, k=-1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
        container.mux(stream.encode(None))
    folder = str(tmp_path / "store")
    index = ["index", str(tmp_path / "film.mp4"), "--store", folder]
    assert main([*index, "--set", "store.pictures=frame"]) == 0
    store = Store.open(folder)
    assert command(store, "--detector", "drawn_shapes", "--things", "white star") == 0

    (stored,) = store.videos()
    assert (stored.video.height, stored.video.width) == (side, side + margin)
    found = read_boxes(store, stored.video.video_id)
    color, shape = COLORS.index("white"), SHAPES.index("star")
    things = [
        (number, slot)
        for number, shot in enumerate(film.shots)
        for slot, thing in enumerate(shot.things)
        if (thing.color, thing.shape) == (color, shape)
    ]
    overlaps = []
    for boxes in true_boxes(film, things, list(found)).values():
        for place, (left, top, right, bottom) in boxes.items():
            x = [(margin + side * edge) / (side + margin) for edge in (left, right)]
            true = (x[0], top, x[1], bottom)
            here = [box.xyxy for of in list(found.values())[place] for _, box in of.boxes]
            overlaps.append(max((box_overlap(box, true) for box in here), default=0.0))
    assert len(overlaps) > 3
    assert np.mean(overlaps) > 0.7


def test_boxes_are_an_expert_for_questions_about_places(store: Store) -> None:
    assert command(store, "--detector", "drawn_shapes", "--things", ", ".join(THINGS)) == 0
    qa = VideoQA(store.uri, load_config("mini", ["ask.experts=rules"]))
    asked = Question("where is the white star?")
    prepared = qa._prepare(asked, None)
    assert prepared.selection.experts == ("pictures", "boxes")
    lines = prepared.question.text.splitlines()[1:-1]
    assert 0 < len(lines) <= 16
    for line in lines:
        assert re.fullmatch(r"\[\d\d:\d\d\] boxes: white star \[\d+, \d+, \d+, \d+\]", line)
    assert prepared.selection.text_tokens >= 5 * len(lines)
    # mini cannot read them, and answers from its pictures.
    assert qa.ask(asked.text).text.strip() == "bottom left"
    # Nothing of the question was looked for, or nothing of it is about a place.
    assert qa.select(Question("where is the green ring?")).experts == ("pictures",)
    assert qa.select(Question("is the white star big or small ?")).experts == ("pictures",)
    all_shown = VideoQA(store.uri, load_config("mini")).select(asked)
    assert (all_shown.experts, all_shown.text_tokens) == ((), 0)


def test_answers_carry_masks_and_the_overlay_shows_them(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_owlv2(tmp_path / "owl")
    save_sam2(tmp_path / "sam")
    ask = ["ask", "where is the white star?", "--store", store.uri, "--ground", "open_vocabulary"]
    settings = [
        f"grounder.model={tmp_path / 'owl'}",
        f"grounder.tracker={tmp_path / 'sam'}",
        "grounder.threshold=0.000001",
        "grounder.most=1",
    ]
    found = {}
    for masks in ("false", "true"):
        capsys.readouterr()
        folder = tmp_path / masks
        words = [*ask, "--json", "--overlay", str(folder)]
        for setting in (*settings, f"grounder.masks={masks}"):
            words += ["--set", setting]
        assert main(words) == 0
        tracks = json.loads(capsys.readouterr().out)["tracks"]
        found[masks] = [box for track in tracks for box in track["boxes"]]
        pictures = sorted(folder.glob("*.jpg"))
        assert pictures
    assert [box["mask"] for box in found["false"]] == [None] * len(found["false"])
    carried = [box for box in found["true"] if box["mask"]]
    assert carried, "the tracker followed nothing"
    for box in carried:
        mask = decode_mask(Mask(tuple(box["mask"]["size"]), box["mask"]["counts"]))
        assert box_of_mask(mask) == pytest.approx(tuple(box["xyxy"]))
    # The same boxes; where a mask is, the picture is tinted.
    assert [{**box, "mask": None} for box in found["true"]] == found["false"]
    differences = []
    for picture in pictures:
        plain, tinted = (np.asarray(Image.open(tmp_path / one / picture.name)) for one in found)
        differences.append(int(np.abs(plain.astype(int) - tinted).max()))
    assert max(differences) > 60
