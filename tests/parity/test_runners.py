"""The local runner and the Ray runner write the same store, bit for bit."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import longvid
from longvid.config import Config, RayResources, load_config
from longvid.errors import ConfigError
from tests.conftest import require

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two CPUs, which is where careless resource shares wait for ever."""
    try:
        import ray
    except ImportError:
        require("ray", "Ray is not installed")
    ray.init(
        "local",
        num_cpus=2,
        log_to_driver=False,
        include_dashboard=False,
        logging_level=logging.WARNING,
    )
    yield
    ray.shutdown()


def objects(store: Path) -> dict[str, bytes]:
    """Return what a store holds, without the caches that are rebuilt from it."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.parts[len(store.parts)] in ("videos", "store.json")
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_both_runners_write_the_same_bytes(
    cluster: None, few_clips: Path, small_store: Path, tmp_path: Path
) -> None:
    from longvid.cluster.ray_runner import index

    report = index([few_clips], store=tmp_path / "store", config="mini")
    assert (report.videos_indexed, report.videos_skipped) == (3, 1)
    assert not report.failures
    assert objects(tmp_path / "store") == objects(small_store)

    again = index([few_clips], store=tmp_path / "store", config="mini")
    assert (again.videos_indexed, again.videos_skipped, again.frames) == (0, 4, 0)

    # Text sources run in tasks of the cluster; here they add to a store that has its segments.
    tables = load_config("mini").to_dict()
    tables["text_sources"] = [{"name": "tests.e2e.fake_text_sources:FakeScreen"}]
    config = Config.from_dict(tables)
    assert not index([few_clips], store=tmp_path / "store", config=config).failures
    local = shutil.copytree(small_store, tmp_path / "local")
    assert not longvid.index([few_clips], store=local, config=config).failures
    assert objects(tmp_path / "store") == objects(local)
    assert any("annotations/screen" in name for name in objects(local))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_files_that_cannot_be_read_or_planned_do_not_stop_a_job(
    cluster: None, few_clips: Path, tmp_path: Path
) -> None:
    from longvid.cluster.ray_runner import index

    broken = tmp_path / "broken.mp4"
    broken.write_text("this is not a video\n")
    report = index(
        [broken, few_clips / "bottles_40s.mp4", few_clips / "sign_book_640x480.mkv"],
        store=tmp_path / "store",
        config=load_config("mini", ["sample.max_frames=20"]),
    )
    assert (report.videos_indexed, report.videos_failed) == (1, 2)
    assert {(Path(one.path).name, one.stage, one.kind) for one in report.failures} == {
        ("broken.mp4", "probe", "unsupported"),
        ("bottles_40s.mp4", "probe", "too-large"),  # at 40 frames
    }
    status = longvid.VideoQA(tmp_path / "store").store.status()
    assert (status.num_videos, status.num_failures) == (1, 2)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_decoder_that_cannot_be_used_leaves_no_store(
    cluster: None, few_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longvid.cluster.ray_runner import index

    monkeypatch.setattr("longvid.decode.torchcodec.why_no_torchcodec", lambda: "No torchcodec.")
    config = load_config("mini", ["decoder.name=torchcodec"])
    with pytest.raises(ConfigError, match=r"^No torchcodec\.$"):
        index(few_clips, store=tmp_path / "store", config=config)
    assert not (tmp_path / "store").exists()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_a_process_of_the_cluster_raises_is_one_sentence(
    cluster: None, tmp_path: Path
) -> None:
    from longvid.cluster.ray_runner import index

    # More names than the driver looks at, so that they are read beside it.
    names = [f"{tmp_path}/{number}.mp4" for number in range(20)]
    (tmp_path / "list.txt").write_text("\n".join([*names, f"@{tmp_path}/no.txt"]))
    with pytest.raises(ConfigError, match=r"^The list .*no\.txt cannot be read: no such file"):
        index([f"@{tmp_path}/list.txt"], store=tmp_path / "store", config="mini")


@pytest.mark.parametrize(
    ("resources", "cpus", "expected"),
    [
        (RayResources(), 2.0, 2),
        (RayResources(), 8.0, 14),
        (RayResources(decode_actors=3), 8.0, 3),
        (RayResources(decode_cpus=1.0, encode_cpus=1.0, probe_cpus=1.0), 4.0, 2),
    ],
)
def test_decoders_fill_what_the_other_stages_leave(
    resources: RayResources, cpus: float, expected: int
) -> None:
    from longvid.cluster.ray_runner import plan_decoders

    assert plan_decoders(resources, {"CPU": cpus}) == expected


@pytest.mark.parametrize(
    "resources",
    [
        RayResources(decode_cpus=1.0, encode_cpus=1.0),
        RayResources(decode_actors=9),
        RayResources(encode_gpus=1.0),
    ],
)
def test_a_plan_that_would_wait_for_ever_is_refused_with_the_sum(resources: RayResources) -> None:
    from longvid.cluster.ray_runner import plan_decoders

    with pytest.raises(ConfigError, match="The plan needs"):
        plan_decoders(resources, {"CPU": 2.0})
