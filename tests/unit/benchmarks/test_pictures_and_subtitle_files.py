"""What benchmarks circulate beside videos: folders of pictures, and what is said as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.asker import Asker, Protocol, index_videos
from benchmarks.harness.errors import AnnotationError
from benchmarks.harness.record import Record
from benchmarks.harness.subtitle_files import read_subtitles
from benchmarks.harness.video_folder import VideoFolder
from longvid.config import load_config
from longvid.timed_text.alignment import align_to_covering_frame
from longvid.types import TextLine


def draw(folder: Path, count: int = 12, first: int = 1) -> list[Path]:
    """Make pictures of a bar that moves, with numbers that are not all of one length."""
    folder.mkdir(parents=True)
    paths = []
    for index in range(count):
        image = np.full((96, 160, 3), (40, 90, 160), np.uint8)
        image[:, 10 * index : 10 * index + 20] = 255
        paths.append(folder / f"{first + index}.jpg")
        Image.fromarray(image).save(paths[-1], quality=92, subsampling=0)
    return paths


def test_a_folder_of_pictures_is_a_video_of_the_same_pictures(tmp_path: Path) -> None:
    paths = draw(tmp_path / "videos" / "tvqa" / "frames_fps3_hq" / "clip_00")
    (tmp_path / "videos" / "tvqa" / "notes").mkdir()
    videos = VideoFolder(tmp_path / "videos", 3.0, tmp_path / "made")
    assert len(videos) == 1
    found = videos.find(["frames_fps3_hq/clip_00"])
    assert found is not None
    with av.open(found) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [bytes(packet) for packet in packets] == [path.read_bytes() for path in paths]
        times = [float(packet.pts * packet.time_base) for packet in packets]  # type: ignore[operator]  # known
    assert times == pytest.approx([index / 3 for index in range(12)])
    with av.open(found) as container:
        for frame, path in zip(container.decode(video=0), paths, strict=True):
            seen = frame.to_ndarray(format="rgb24").astype(int)
            assert np.abs(seen - np.asarray(Image.open(path)).astype(int)).max() <= 3
    # The same pictures are one file; changed pictures are another.
    assert VideoFolder(tmp_path / "videos", 3.0, tmp_path / "made").find(["clip_00"]) == found
    paths[3].write_bytes(paths[4].read_bytes() + b"\0")
    assert videos.find(["clip_00"]) != found
    assert videos.find(["clip_01"]) is None
    with pytest.raises(AnnotationError, match="holds no video"):
        VideoFolder(tmp_path / "videos")


def test_pictures_go_the_way_of_every_video(tmp_path: Path) -> None:
    paths = draw(tmp_path / "videos" / "whole")
    draw(tmp_path / "videos" / "broken")[0].parent.joinpath("1.jpg").write_bytes(b"no picture")
    for path in draw(tmp_path / "videos" / "dead", 3):
        path.write_bytes(b"no picture")
    videos = VideoFolder(tmp_path / "videos", 3.0, tmp_path / "made")
    config, store = load_config("mini"), str(tmp_path / "store")
    rows = []
    for name in ("whole", "broken", "dead"):
        found = videos.find([name])
        assert found is not None
        rows.append((Record(name, (name,), "what shape is red ?", ("star",)), found))
    index_videos([path for _, path in rows], store, config, "local")
    told = list(Asker(store, config, Protocol()).ask(rows))
    assert [row["status"] for row in told] == ["ok", "ok", "decode_error"]
    assert told[0]["frames"][0] == 0
    assert len(paths) / 3 - 1.1 < told[0]["frames"][-1] < len(paths) / 3
    assert "dead" in told[2]["error"]


def test_two_forms_of_json_lines_are_moved_to_the_time_of_the_clip(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    first = [
        {"start": "00:01:02.500", "end": "00:01:04,000", "line": "<i>hello</i> there"},
        {"start": "00:00:10.000", "end": "00:00:12.000", "line": "before the clip"},
    ]
    path.write_text(json.dumps(first))
    assert read_subtitles(path, 60.0) == (TextLine(2.5, 4.0, "hello there"),)
    second = [
        {"timestamp": [7, None], "text": "to the end"},
        {"timestamp": [1.0, 2.5], "text": "hi"},
    ]
    path.write_text(json.dumps(second))
    assert read_subtitles(path, 0.0, 9.0) == (TextLine(1, 2.5, "hi"), TextLine(7, 9, "to the end"))
    (tmp_path / "a.srt").write_text("1\n00:00:07,000 --> 00:00:08,000\nyes\n")
    assert read_subtitles(tmp_path / "a.srt", 5.0) == (TextLine(2.0, 3.0, "yes"),)


@pytest.mark.parametrize(
    "text", ["", "{", '{"a": 1}', "[1]", '[{"start": "1:2", "end": "1:3", "line": "a"}]', "[{}]"]
)
def test_a_file_that_holds_no_lines_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(AnnotationError, match="is not a list of lines"):
        read_subtitles(tmp_path / "a.json")
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_subtitles(tmp_path / "none.json")


def test_lines_that_cover_a_shown_frame_stand_after_it() -> None:
    lines = [
        TextLine(0.4, 0.6, "short, near the first"),
        TextLine(2.0, 6.0, "over two frames"),
        TextLine(6.0, 9.0, "between frames"),
        TextLine(9.5, 12.0, "after the last middle"),
    ]
    assert align_to_covering_frame(lines, [0.1, 3.0, 5.0, 10.0]) == (
        "short, near the first",
        "over two frames",
        "",
        "after the last middle",
    )
    assert align_to_covering_frame(lines[:1], [0.8]) == ("short, near the first",)
    assert align_to_covering_frame(lines, []) == ()


def walk_frame_by_frame(lines: list[TextLine], times: list[float]) -> list[str]:
    """Interleave as LongVideoBench describes it: a list of frames ("|") and lines."""
    laid: list[str] = []
    shown = 0
    for line in lines:
        start, end = line.start_seconds, line.end_seconds
        middle = (start + end) / 2
        while shown < len(times) and times[shown] <= middle:
            laid.append("|")
            shown += 1
        if end - start < 1:
            start, end = middle - 0.5, middle + 0.5
        if any(start < seconds < end for seconds in times):
            laid.append(line.text)
    return laid + ["|"] * (len(times) - shown)


def test_the_fast_walk_is_the_walk_frame_by_frame() -> None:
    random = np.random.default_rng(5)
    for _ in range(30):
        times = np.sort(random.uniform(0, 60, 12)).tolist()
        starts, lasts = np.sort(random.uniform(0, 60, 30)), random.uniform(0.1, 8, 30)
        lines = [
            TextLine(float(start), float(start + last), f"w{i}")
            for i, (start, last) in enumerate(zip(starts, lasts, strict=True))
        ]
        laid = " ".join(walk_frame_by_frame(lines, times)).split("|")
        # What stands before the first frame there stands after it here.
        expected = [f"{laid[0]} {laid[1]}", *laid[2:]]
        said = list(align_to_covering_frame(lines, times))
        assert [text.split() for text in said] == [text.split() for text in expected]
