"""`longvid boxes --embed` and `longvid search --objects`: the frame with an object, and where."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longvid.cli import main
from longvid.errors import QuestionError, StoreError
from longvid.indexing import object_embedder
from longvid.indexing.object_embedder import ObjectEmbedder, region_of
from longvid.models import mini
from longvid.models.mini_vocabulary import COLORS, SHAPES
from longvid.qa.video_qa import VideoQA
from longvid.store import Store
from longvid.store.detected_boxes import BOXES, OBJECTS
from longvid.store.object_vectors import boxes_without_vectors, read_objects
from longvid.store.pictures import read_pictures
from longvid.types import FrameSize
from longvid.world.draw import COLOR_RGB
from longvid.world.film import write_film
from longvid.world.scene import make_film

SEED = 20_261_372  # a white star and a red heart among others


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a store of a drawn film whose shapes have boxes, their colours unnamed."""
    root = tmp_path_factory.mktemp("objects")
    film = root / "film.mp4"
    write_film(make_film(SEED, 0, duration_seconds=24), film, fps=5)
    folder = str(root / "store")
    assert main(["index", str(film), "--store", folder, "--set", "store.pictures=frame"]) == 0
    shapes = ",".join(SHAPES)
    assert main(["boxes", "--store", folder, "--detector", "drawn_shapes", "--things", shapes]) == 0
    return folder


def colour_in(store: Store, video_id: str, seconds: float, xyxy: tuple[float, ...]) -> str:
    """Name the world's colour nearest to the pixels in the middle of a box."""
    (picture,) = read_pictures(store.annotations, video_id, [seconds])
    with Image.open(io.BytesIO(picture.jpeg)) as image:
        pixels = np.asarray(image.convert("RGB")) / 255
    height, width = pixels.shape[:2]
    x, y = (xyxy[0] + xyxy[2]) / 2 * width, (xyxy[1] + xyxy[3]) / 2 * height
    middle = pixels[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].mean(axis=(0, 1))
    return COLORS[int(np.linalg.norm(np.asarray(COLOR_RGB) - middle, axis=1).argmin())]


def test_a_text_finds_the_frame_and_the_box(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(made)
    before = store.digest()
    capsys.readouterr()
    assert main(["search", "white star", "--store", made, "--objects"]) == 1
    hint = capsys.readouterr().err
    assert "longvid boxes --embed" in hint
    assert "--detector NAME" in hint
    assert main(["boxes", "--store", made, "--embed", "--json"]) == 0
    num_vectors = json.loads(capsys.readouterr().out)["vectors"]
    (video,) = store.videos()
    video_id = video.video.video_id
    assert num_vectors == sum(len(one.boxes) for one in read_objects(store, video_id)) > 0
    assert main(["boxes", "--store", made, "--embed"]) == 0
    assert "0 new vectors" in capsys.readouterr().out
    assert store.digest() != before
    assert not store.verify()

    assert main(["search", "white star", "--store", made, "--objects", "--json"]) == 0
    said = capsys.readouterr()
    assert not said.err
    found = json.loads(said.out)
    assert len({one["seconds"] for one in found}) == len(found) == 5
    assert [one["score"] for one in found] == sorted((o["score"] for o in found), reverse=True)
    best = found[0]
    assert best["thing"] == "star"
    assert colour_in(store, video_id, best["seconds"], best["xyxy"]) == "white"
    assert main(["search", "white star", "--store", made, "--objects", "--top-k", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3

    by_python = VideoQA(made).search_objects("white star", video="film.mp4", top_k=1)
    assert [one.seconds for one in by_python] == [best["seconds"]]


def test_boxes_get_no_vectors_of_other_weights(
    made: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mini.save(tmp_path / "other", seed=3)
    before = Store.open(made).digest()
    other = f"encoder.model={tmp_path / 'other'}"
    assert main(["boxes", "--store", made, "--embed", "--set", other]) == 1
    assert "made with other weights" in capsys.readouterr().err
    assert Store.open(made).digest() == before


def test_a_run_that_was_killed_goes_on(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(made)
    (video,) = store.videos()
    video_id = video.video.video_id
    for key in store.annotations.list_keys(video_id, OBJECTS):
        store.annotations.remove(video_id, OBJECTS, key.fingerprint)
    monkeypatch.setattr(object_embedder, "_PART", 3)
    embedder = ObjectEmbedder(VideoQA(made).config, "cpu")
    ((_, rows),) = boxes_without_vectors(store, video_id)
    encode, calls = embedder._encode, 0

    def dies(batch: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return encode(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(embedder, "_encode", dies)
    with pytest.raises(KeyboardInterrupt):
        embedder.embed(store, video_id)
    ((_, left),) = boxes_without_vectors(store, video_id)
    assert 0 < len(left) < len(rows)
    monkeypatch.setattr(embedder, "_encode", encode)
    assert embedder.embed(store, video_id) == sum(map(len, left.values()))
    assert not list(boxes_without_vectors(store, video_id))


def test_bad_input(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(made)
    (video,) = store.videos()
    video_id = video.video.video_id
    for key in store.annotations.list_keys(video_id, OBJECTS):
        store.annotations.remove(video_id, OBJECTS, key.fingerprint)
    main(["boxes", "--store", made, "--embed"])
    for words, sentence in (
        (["search", "star", "--store", made, "--objects", "--text"], "--objects"),
        (["search", "star", "--store", made, "--objects", "--after", "3"], "and of --text"),
        (["search", "xylophone", "--store", made, "--objects"], "xylophone"),
        (["boxes", "--store", made, "--remove", "--embed"], "--remove"),
    ):
        capsys.readouterr()
        assert main(words) == 1
        assert sentence in capsys.readouterr().err
    (key,) = store.annotations.list_keys(video_id, BOXES)
    whole = store.annotations.read(video_id, OBJECTS, key.fingerprint)
    assert whole is not None
    for name, data in (("000000.f32", b"\0" * 12), ("000000.json", b"[[0.0, 1]]")):
        store.annotations.write(video_id, OBJECTS, key.fingerprint, {**whole, name: data})
        with pytest.raises(StoreError, match=r"do not fit .* longvid boxes --embed"):
            read_objects(store, video_id)
        # Vectors can be made again of boxes and pictures, and are.
        assert main(["boxes", "--store", made, "--embed"]) == 0
        assert store.annotations.read(video_id, OBJECTS, key.fingerprint) == whole
    folder = Path(made) / "videos" / video_id / "annotations" / OBJECTS / key.fingerprint
    (part,) = folder.glob("*.part")
    before = store.digest()
    data = part.read_bytes()
    part.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    capsys.readouterr()
    assert main(["search", "star", "--store", made, "--objects"]) == 1
    assert "longvid boxes --embed" in capsys.readouterr().err
    assert main(["boxes", "--store", made, "--embed"]) == 0
    assert (part.read_bytes(), store.digest()) == (data, before)
    assert main(["boxes", "--store", made, "--remove"]) == 0
    assert not store.annotations.list_keys(video_id)[1:]
    with pytest.raises(QuestionError, match="No box"):
        VideoQA(made).search_objects("white star")
    capsys.readouterr()
    assert main(["boxes", "--store", made, "--embed"]) == 0
    said = capsys.readouterr()
    assert "No boxes are stored; look for some with --detector NAME" in said.err
    assert "0 new vectors" in said.out


def test_what_is_found_in_real_footage_carries_the_caveat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = Path(__file__).parents[1] / "data" / "flower_bloom.mp4"
    folder = str(tmp_path / "store")
    assert main(["index", str(clip), "--store", folder, "--set", "store.pictures=segment"]) == 0
    capsys.readouterr()
    find = ["boxes", "--store", folder, "--detector", "drawn_shapes", "--things", "object"]
    assert main([*find, "--embed"]) == 0
    assert "do not look like the drawn world" in capsys.readouterr().err
    assert main(["search", "a white star", "--store", folder, "--objects"]) == 0
    said = capsys.readouterr().err
    assert "do not look like the drawn world" in said
    assert "Nothing was found that fits" in said


def test_a_box_is_shown_alone_in_the_middle_of_a_frame() -> None:
    picture = np.full((90, 160, 3), 60, dtype=np.uint8)
    picture[30:60, 0:60] = 255  # at the edge, where there is no margin
    picture[:5] = 200  # something else
    box = (0.0, 30 / 90, 60 / 160, 60 / 90)
    for size in (FrameSize(height=128, width=128), FrameSize(height=128, width=200)):
        shown = region_of(picture, box, size)
        assert shown.shape == (size.height, size.width, 3)
        assert not bool((shown == 200).any())
        assert bool((shown[0] == 60).all())
        rows, columns = (np.flatnonzero((shown[..., 0] > 150).any(axis=a)) for a in (1, 0))
        assert abs(rows.mean() - (size.height - 1) / 2) <= 1
        assert abs(columns.mean() - (size.width - 1) / 2) <= 4  # the margin is on one side
        assert abs(len(columns) / len(rows) - 2) < 0.1
        assert 56 <= len(columns) <= 64
    native = region_of(picture, box, FrameSize(fit="native"))
    assert native.shape == (132, 132, 3)  # 60 pixels and a margin of 6, twice
    for edge in ((1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0)):
        assert region_of(picture, edge, FrameSize(fit="native")).shape == (32, 32, 3)
    assert region_of(picture, (0.0, 0.0, 1.0, 1.0), FrameSize(height=32, width=48)).any()
