"""Times that people see are those of a player, wherever a stream's own clock begins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame

import longvid
from longvid.cli import main
from longvid.decode import PyAVDecoder
from longvid.decode.clips import cut_clip, remux
from longvid.mcp.video_library import VideoLibrary
from longvid.qa.video_qa import VideoQA
from longvid.store import (
    Store,
    read_subtitles,
    stored_picture_times,
    stored_pictures,
    stored_subtitles,
)
from longvid.store.pictures import picture_times
from longvid.store.timed_text import TextWriter, read_text
from longvid.store_report import store_page
from longvid.types import Question, TextLine, Word
from tests.unit.decode.footage import encode, picture

NUM_FRAMES, RATE = 75, 25
SECONDS = NUM_FRAMES / RATE
SUBTITLES = "1\n00:00:00,500 --> 00:00:01,250\na red star\n"
#: What an MPEG-TS muxer begins with, a clock that wraps within the first second, a late start.
STARTS = {"plain": 0.0, "wrapped": 2**33 / 90_000 - 1.5, "hour": 3600.0}


def transport_stream(path: Path, offset: float, sound_first: float = 0.0) -> Path:
    """Write a clip with its sound, which may begin earlier than the pictures."""
    options = {"output_ts_offset": str(offset)}
    with av.open(str(path), "w", format="mpegts", container_options=options) as output:
        stream = output.add_stream("libx264", rate=RATE, options={"g": "25", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        audio = output.add_stream("aac", rate=16_000, layout="mono")
        for index in range(round((SECONDS + sound_first) * 16_000 / 1024)):
            samples = np.zeros((1, 1024), np.float32)
            sound = AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 16_000, index * 1024
            sound.time_base = Fraction(1, 16_000)
            output.mux(audio.encode(sound))
        output.mux(audio.encode(None))
        for index in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            frame.pts += round(sound_first * RATE)
            output.mux(stream.encode(frame.reformat(format="yuv420p")))
        output.mux(stream.encode(None))
    return path


def stream_pictures(path: Path | str) -> list[tuple[float, np.ndarray[Any, Any]]]:
    """Return every picture with its time, also one before 0: (H, W, 3) uint8."""
    with av.open(str(path)) as container:
        decoded = container.decode(video=0)
        return [(float(frame.time or 0), frame.to_ndarray(format="rgb24")) for frame in decoded]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    for name, offset in STARTS.items():
        transport_stream(folder / f"{name}.ts", offset)
        (folder / f"{name}.srt").write_text(SUBTITLES)
    transport_stream(folder / "sound_first.ts", 0.0, sound_first=0.8)
    return folder


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    uri = tmp_path_factory.mktemp("player") / "store"
    settings = ["sample.fps=5", "sample.segment_frames=4", "store.pictures=frame"]
    report = longvid.index([folder], store=uri, config=longvid.load_config("mini", settings))
    assert (report.videos_indexed, report.failures) == (4, ())
    return Store.open(uri)


@pytest.fixture(scope="module")
def qa(store: Store) -> Iterator[VideoQA]:
    with VideoQA(store.uri) as qa:
        yield qa


@pytest.mark.parametrize("name", STARTS)
def test_a_store_keeps_one_clock_and_gives_another(store: Store, folder: Path, name: str) -> None:
    video_id = store.find(f"{name}.ts")
    [stored] = [one for one in store.videos() if one.video.video_id == video_id]
    first = stream_pictures(folder / f"{name}.ts")[0][0]
    assert stored.video.start_seconds == first != 0
    manifest = json.loads((Path(store.uri) / "videos" / video_id / "manifest.json").read_bytes())
    assert manifest["video"]["start_seconds"] == first
    start = store.clock_start_seconds(video_id)
    assert 0 <= stored.video.player_seconds(first) < 0.1
    segments = store.load([(video_id, 0), (video_id, 1)])
    assert segments[0].start_seconds == segments[0].pts_seconds[0] == round(first - start, 9)
    assert segments[1].start_seconds == pytest.approx(segments[0].start_seconds + 0.8)
    [subtitle] = stored_subtitles(store, video_id)
    assert (subtitle.start_seconds, subtitle.end_seconds) == (0.5, 1.25)
    assert read_subtitles(store.objects, video_id)[0].start_seconds == pytest.approx(start + 0.5)
    times = stored_picture_times(store, video_id)
    assert len(times) == 15
    assert times[0] == pytest.approx(first - start, abs=1e-6)
    assert picture_times(store.annotations, video_id)[0] == pytest.approx(first, abs=1e-6)
    [picture] = stored_pictures(store, video_id, [1.0])
    assert picture.pts_seconds == pytest.approx(1.0, abs=0.11)


def test_sound_that_begins_first_is_where_a_player_begins(store: Store) -> None:
    video_id = store.find("sound_first.ts")
    [segment] = store.load([(video_id, 0)])
    assert segment.start_seconds == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("name", STARTS)
def test_answers_searches_and_spans(qa: VideoQA, store: Store, name: str) -> None:
    video = store.find(f"{name}.ts")
    answer = qa.ask("what color is the star?", video=video)
    for span in [*qa.search_all("a star", video=video), *answer.evidence]:
        assert 0 <= span.start_seconds < span.end_seconds <= SECONDS + 0.2
    assert qa.search_subtitles("star", video=video)[0].start_seconds == 0.5
    late = Question("what color is the star?", video_ids=(video,), span=(2.5, 3.0))
    shown = qa.select(late).segments
    assert {segment.segment_index for segment in shown} <= {3}
    assert all(2.3 < seconds < 3.1 for segment in shown for seconds in segment.pts_seconds.tolist())


def test_lines_of_a_source_are_kept_in_the_time_of_the_stream(store: Store) -> None:
    video = store.find("hour.ts")
    start = store.clock_start_seconds(video)
    word = Word(start + 1, start + 1.5, "hello")
    line = TextLine(start + 1, start + 2, "hello", "speech", words=(word,))
    TextWriter(store, video, "speech", "0" * 16).add([line], start + 3)
    [_, heard] = read_text(store, video)
    assert (heard.start_seconds, heard.words[0].end_seconds) == (1.0, 1.5)
    library = VideoLibrary(store.uri, "mini", [])
    told = library.transcript(video, 0, 3)["lines"]
    assert [(line["start_seconds"], line["source"]) for line in told] == [
        (0.5, "subtitle"),
        (1.0, "speech"),
    ]
    assert library.transcript(video, 0, 3, "speech")["lines"] == told[1:]


@pytest.mark.parametrize("name", STARTS)
def test_commands(
    folder: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = str(folder / f"{name}.ts")
    assert main(["search", "a star", "--video", path, "--store", store.uri, "--json"]) == 0
    spans = json.loads(capsys.readouterr().out)
    assert spans
    assert all(0 <= span["start_seconds"] < SECONDS + 0.2 for span in spans)
    clip = tmp_path / "clip.mp4"
    words = ["clip", path, "1", "2", "--output", str(clip), "--json"]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["num_frames"] == 25
    assert set(facts) == {
        *("clip", "num_frames", "start_seconds", "end_seconds", "ends_early", "width", "height")
    }
    assert_same_pictures(clip, path, first=round((1 - _first(path, store)) * RATE + 0.49))


def _first(path: str, store: Store) -> float:
    return store.load([(store.find(path), 0)])[0].start_seconds


def assert_same_pictures(clip: Path, path: str, first: int) -> None:
    ours = stream_pictures(clip)[0][1]
    every = [rgb for _, rgb in stream_pictures(path)]
    off = [np.abs(ours.astype(int) - rgb.astype(int)).mean() for rgb in every]
    assert len(every) == NUM_FRAMES
    assert int(np.argmin(off)) == first


def test_repackaged_videos_begin_where_a_player_begins(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "remuxed.mp4"
    for name in STARTS:
        path = folder / f"{name}.ts"
        remux(str(path), target)
        video = PyAVDecoder(isolate=False).setup()
        source = video.probe(str(path), "source")
        assert stream_pictures(target)[0][0] == pytest.approx(
            source.player_seconds(source.start_seconds), abs=0.002
        )
        with av.open(str(target)) as container:
            assert len(container.streams.audio) == 1
            assert 0 <= (container.start_time or 0) < 30_000


def test_agents_and_reports(store: Store) -> None:
    library = VideoLibrary(store.uri, "mini", [])
    video = store.find("hour.ts")
    assert library.transcript(video, 0, 1)["lines"][0]["start_seconds"] == 0.5
    assert library.frames(video, [2.0])[0].pts_seconds == pytest.approx(2.0, abs=0.11)
    found = library.search("a star", video, 3)["results"]
    assert all(0 <= span["start_seconds"] < SECONDS + 0.2 for span in found)
    page = store_page(store)
    assert "1:00:0" not in page  # an hour into the stream


def test_a_clip_behind_a_restart_of_the_clock_is_cut_on_the_clock_that_goes_on(
    data: Path, tmp_path: Path
) -> None:
    path = data / "cases" / "ts_concat_restart.ts"
    clip = tmp_path / "clip.mp4"
    facts: dict[str, Any] = cut_clip(str(path), 4.0, 5.0, clip)
    assert (facts["num_frames"], facts["start_seconds"]) == (25, 4.0)


def test_containers_that_count_from_0_themselves_are_left_alone(tmp_path: Path) -> None:
    late = encode(tmp_path / "late.mkv", pts=[8_000 + 100 * index for index in range(50)])
    video = PyAVDecoder(isolate=False).setup().probe(str(late), "late")
    assert (video.start_seconds, video.clock_start_seconds) == (pytest.approx(3.2), 0.0)
