"""Pictures of frames: their times, sizes and number, what they cost answers (nothing), damage."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import longvid
from longvid.config import load_config
from longvid.errors import ConfigError, StoreError
from longvid.store import Store
from longvid.store.pictures import PICTURES, picture_times, read_pictures

CLIP = Path(__file__).parents[2] / "data" / "stream_title_vfr_vp8.webm"


def indexed(folder: Path, pictures: str) -> Store:
    config = load_config("mini", [f"store.pictures={pictures}"])
    longvid.index([CLIP], store=folder, config=config)
    return Store.open(folder)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    folder = tmp_path_factory.mktemp("pictures")
    return {kind: indexed(folder / kind, kind) for kind in ("none", "segment", "frame")}


def test_one_a_segment_or_one_a_frame(stores: dict[str, Store]) -> None:
    [video] = stores["none"].videos()
    video_id = video.video.video_id
    numbers = {
        kind: len(picture_times(store.annotations, video_id)) for kind, store in stores.items()
    }
    segments = stores["none"].load([(video_id, i) for i in range(video.num_segments)])
    assert numbers["none"] == 0
    assert numbers["segment"] == video.num_segments
    assert numbers["frame"] >= sum(segment.num_frames for segment in segments)


def test_tokens_and_the_digest_do_not_depend_on_pictures(stores: dict[str, Store]) -> None:
    assert len({store.digest() for store in stores.values()}) == 1
    assert len({store.fingerprint for store in stores.values()}) == 1


def test_the_nearest_picture_shows_its_moment(stores: dict[str, Store]) -> None:
    import av

    store = stores["frame"]
    [video] = store.videos()
    times = picture_times(store.annotations, video.video.video_id)
    middle = times[len(times) // 2]
    [picture] = read_pictures(store.annotations, video.video.video_id, [middle + 1e-3, middle])
    assert picture.pts_seconds == middle
    shown = np.asarray(Image.open(io.BytesIO(picture.jpeg)).convert("RGB"), float)
    assert shown.shape == (picture.height, picture.width, 3) == (216, 384, 3)
    with av.open(str(CLIP)) as container:
        frames = {round(f.time, 3): f for f in container.decode(video=0)}
    exact = frames[round(middle, 3)].to_ndarray(format="rgb24", width=384, height=216)
    assert np.abs(shown - exact).mean() < 4.0  # JPEG and the scaler
    other = frames[min(frames)].to_ndarray(format="rgb24", width=384, height=216)
    assert np.abs(shown - other).mean() > 20.0


def test_a_store_without_pictures_says_what_to_do(stores: dict[str, Store]) -> None:
    store = stores["none"]
    [video] = store.videos()
    with pytest.raises(StoreError, match=r"no pictures .* store\.pictures = segment"):
        read_pictures(store.annotations, video.video.video_id, [0.0])
    with pytest.raises(ConfigError, match="none, segment or frame"):
        load_config("mini", ["store.pictures=all"])


def test_damage_is_found_and_removal_takes_them_along(tmp_path: Path) -> None:
    store = indexed(tmp_path / "store", "segment")
    [video] = store.videos()
    [part] = (tmp_path / "store").rglob(f"{PICTURES}/*/*.part")
    data = bytearray(part.read_bytes())
    data[100] ^= 255
    part.write_bytes(data)
    with pytest.raises(StoreError, match="checksum"):
        read_pictures(store.annotations, video.video.video_id, [0.0])
    assert [finding.name for finding in store.verify() if PICTURES in finding.name]
    store.remove([video.video.video_id])
    assert not list((tmp_path / "store").rglob("*.part"))
