"""Sound is placed by presentation time: bursts are where the file says, within 10 ms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from longvid.decode.audio_clock import SoundClock
from longvid.decode.audio_decoder import SAMPLE_RATE, AudioReader
from longvid.decode.audio_engine import _blocks, quietest
from longvid.decode.pyav import PyAVDecoder
from longvid.errors import VideoError
from tests.unit.decode.sound import onsets, tone_file

BURSTS = (0.5, 1.0, 2.0, 3.5)


@pytest.fixture(scope="module")
def reader() -> Iterator[AudioReader]:
    with AudioReader() as reader:
        yield reader


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("plain.mp4", {}),
        ("late.mp4", {"offset": 0.5}),
        ("late.mkv", {"offset": 0.5, "codec": "libopus"}),
        ("hole.mkv", {"hole": (1.4, 1.6)}),
        ("hole.mp4", {"hole": (1.4, 1.6), "offset": 0.5}),
        ("eight.mp4", {"rate": 8000}),
        ("six.mp4", {"layout": "5.1", "rate": 44_100}),
        ("pcm.mov", {"codec": "pcm_s16le"}),
        ("edit.mp4", {"offset": 0.25, "options": {"use_editlist": "1"}}),
        ("ends.mp4", {"still_seconds": 3.0}),
        ("ends.mkv", {"still_seconds": 3.0, "offset": 1.5}),
        ("moved.mov", {"offset": 0.75, "options": {"movflags": "faststart"}}),
    ],
)
def test_bursts_are_where_the_file_says(
    name: str, how: dict[str, object], reader: AudioReader, tmp_path: Path
) -> None:
    path = tone_file(tmp_path / name, BURSTS, **how)  # type: ignore[arg-type]
    found = onsets(list(reader.blocks(str(path))))
    offset = float(how.get("offset", 0.0))  # type: ignore[arg-type]
    assert found == pytest.approx([burst + offset for burst in BURSTS], abs=0.01)


def test_a_later_start_gives_the_same_sound(reader: AudioReader, tmp_path: Path) -> None:
    path = tone_file(tmp_path / "a.mp4", BURSTS, offset=0.5)
    found = list(reader.blocks(str(path), start_seconds=2.2))
    assert found[0].start_seconds == pytest.approx(2.2, abs=1e-3)
    assert onsets(found) == pytest.approx([2.5, 4.0], abs=0.01)
    found = list(reader.blocks(str(path), "v", 0.0, 2.2))
    assert found[-1].end_seconds == pytest.approx(2.2, abs=1e-3)
    assert onsets(found) == pytest.approx([1.0, 1.5], abs=0.01)


def test_a_track_is_chosen_by_its_language(tmp_path: Path) -> None:
    path = str(tone_file(tmp_path / "a.mkv", BURSTS, languages=("eng", "ger", "swe")))
    peaks = {}
    for language in ("", "en", "de", "swe"):
        with AudioReader(language) as reader:
            peaks[language] = max(float(b.data.max()) for b in reader.blocks(path))
    assert peaks[""] == pytest.approx(0.3, abs=0.05)
    assert peaks["en"] == peaks[""]
    assert peaks["de"] == pytest.approx(0.6, abs=0.05)
    assert peaks["swe"] == pytest.approx(0.9, abs=0.05)
    with AudioReader("fr") as reader, pytest.raises(VideoError, match=r"eng, ger, swe.*fr"):
        list(reader.blocks(path))


def test_files_without_sound_and_files_that_are_none(
    reader: AudioReader, data: Path, tmp_path: Path
) -> None:
    silent = str(data / "bottles_40s.mp4")
    assert list(reader.blocks(silent)) == []
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(VideoError, match="cannot be opened") as caught:
        list(reader.blocks(str(broken)))
    assert caught.value.stage == "text"


def test_damaged_sound_leaves_a_gap(reader: AudioReader, tmp_path: Path) -> None:
    path = tone_file(tmp_path / "a.mkv", BURSTS, codec="libopus")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(data)
    found = onsets(list(reader.blocks(str(path))))
    assert found[0] == pytest.approx(0.5, abs=0.01)
    assert found[-1] == pytest.approx(3.5, abs=0.01)


def test_real_clips_begin_where_their_sound_does(reader: AudioReader, data: Path) -> None:
    [block] = reader.blocks(str(data / "bbb_bird_vfr.mp4"))
    assert block.start_seconds == pytest.approx(0.023, abs=0.002)


def test_blocks_are_cut_where_it_is_quiet() -> None:
    """Memory is bounded by the longest block, and the joined blocks are the whole sound."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 90 * SAMPLE_RATE).astype(np.float32)
    noise[int(27.3 * SAMPLE_RATE) : int(27.6 * SAMPLE_RATE)] *= 0.01
    pieces = ((i / SAMPLE_RATE, noise[i : i + 1000]) for i in range(0, len(noise), 1000))
    blocks = list(_blocks(pieces, 0.0, 1e12))
    assert 27.3 < len(blocks[0][1]) / SAMPLE_RATE < 27.6
    assert all(len(samples) <= 30 * SAMPLE_RATE for _, samples in blocks)
    assert np.array_equal(np.concatenate([samples for _, samples in blocks]), noise)
    ends = [start + len(samples) / SAMPLE_RATE for start, samples in blocks]
    assert [start for start, _ in blocks[1:]] == pytest.approx(ends[:-1])
    assert quietest(noise[: 30 * SAMPLE_RATE]) == len(blocks[0][1])


def test_a_clock_that_starts_again_is_carried_on(reader: AudioReader, tmp_path: Path) -> None:
    """`cat a.ts b.ts`: the second part goes on after the first, where its pictures do."""
    one, two = (tone_file(tmp_path / f"{name}.ts", BURSTS) for name in "ab")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    with PyAVDecoder().setup() as decoder:
        video = decoder.probe(str(joined))
    start = onsets(list(reader.blocks(str(one))))[0] - BURSTS[0]
    [(join, _)] = video.clock_jumps
    later = join - video.start_seconds
    assert later == pytest.approx(4.0, abs=0.15)
    expected = [start + burst for burst in (*BURSTS, *(later + burst for burst in BURSTS))]
    assert onsets(list(reader.blocks(str(joined)))) == pytest.approx(expected, abs=0.02)
    resumed = list(reader.blocks(str(joined), start_seconds=start + later + 1.5))
    assert onsets(resumed) == pytest.approx(expected[-2:], abs=0.02)


def test_sound_whose_clock_alone_starts_again_goes_on() -> None:
    clock = SoundClock((), longest_gap=10.0)
    assert [clock.advance(step) for step in (0.0, -0.1, 9.0, -3.0, 0.02)] == [0, 0, 0, 3, 3]
    assert clock.advance(20.0) == -17


def test_a_long_gap_is_not_filled() -> None:
    """A hostile file may claim a gap of days: it ends a block and takes no memory."""
    second = np.ones(SAMPLE_RATE, np.float32)
    pieces = iter([(0.0, second), (1.5, second), (1e6, second), (5.0, second)])
    blocks = list(_blocks(pieces, 0.0, 1e12))
    assert [(start, len(samples)) for start, samples in blocks] == [
        (0.0, int(2.5 * SAMPLE_RATE)),
        (1e6, SAMPLE_RATE),
    ]
