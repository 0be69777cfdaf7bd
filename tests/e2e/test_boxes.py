"""`longvid boxes`: kept beside a store's pictures, gone on with, used by answers, removed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from longvid.cli import main
from longvid.errors import ConfigError, StoreError
from longvid.ground.open_vocabulary import OpenVocabulary
from longvid.indexing import picture_boxes
from longvid.methods.tracking import Detection
from longvid.store import Store
from longvid.store.detected_boxes import BOXES, detector_fingerprint, read_boxes
from longvid.world import grounder
from longvid.world.film import write_film
from longvid.world.grounder import DrawnShapes
from longvid.world.scene import make_film

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
    assert command(store, "--detector", "drawn_shapes", "--things", ", ".join(THINGS)) == 0
    capsys.readouterr()
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


def test_bad_input(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
