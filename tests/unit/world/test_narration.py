"""A film of the drawn world shows its signs and says its sentences when it should."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tasks.world.text_channels import line_scores, plan_of
from longvid.decode.audio_decoder import AudioReader
from longvid.decode.pyav import PyAVDecoder
from longvid.types import Chunk, FrameBatch, FrameSize, SegmentPlan, TextLine
from longvid.world.draw import Painter
from longvid.world.film import write_film
from longvid.world.narration import SAMPLE_RATE, Sign, Spoken, draw_signs, speak
from longvid.world.scene import make_film

SIGN = Sign("HARBOR", 2.0, 4.0, 0.1, 0.5, 20)


def test_signs_and_sound_are_where_they_should_be(tmp_path: Path) -> None:
    film = make_film(7, 0, duration_seconds=6.0)
    tone = np.full(SAMPLE_RATE // 2, 0.5, np.float32)
    tone[::2] *= -1
    spoken = [Spoken("one", 1.0, tone), Spoken("two", 3.25, tone)]
    path = tmp_path / "film.mp4"
    write_film(film, path, fps=4, size=128, painter=Painter(64), signs=[SIGN], spoken=spoken)
    with AudioReader() as reader:
        [block] = reader.blocks(str(path))
    loud = np.abs(block.data.numpy()) > 0.1
    begins = [block.start_seconds + at / SAMPLE_RATE for at in np.flatnonzero(loud)]
    assert begins[0] == pytest.approx(1.0, abs=0.05)
    assert min(time for time in begins if time > 2) == pytest.approx(3.25, abs=0.05)
    times = (0.0, 1.5, 2.0, 3.5, 4.0, 5.0)
    with PyAVDecoder(size=FrameSize(128, 128)).setup() as decoder:
        video = decoder.probe(str(path))
        assert (video.height, video.width) == (128, 128)
        plan = SegmentPlan(0, 0.0, video.end_seconds, times, (False,) * len(times))
        [batch] = [b for b in decoder.decode(Chunk(video, (plan,))) if isinstance(b, FrameBatch)]
    panel = batch.data[:, :, 68:76, 8:11].float().mean(dim=(1, 2, 3)) > 200
    assert panel.tolist() == [False, False, True, True, False, False]


def test_a_picture_without_a_sign_is_itself() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    assert draw_signs(picture, [SIGN], 1.0) is picture
    assert draw_signs(picture, [SIGN], 2.0).max() > 200


def test_espeak_speaks() -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    samples = speak("the harbor opens at seven")
    assert 1.0 < len(samples) / SAMPLE_RATE < 5.0
    assert np.abs(samples).max() > 0.1


def test_clues_of_every_channel_with_one_answer() -> None:
    plan = plan_of(20.0, 8)
    channels = [clue.channel for clue in plan.clues]
    assert {name: channels.count(name) for name in set(channels)}["speech"] == 16
    assert set(channels) == {"pictures", "speech", "screen", "both"}
    texts = [clue.question for clue in plan.clues]
    assert len(texts) == len(set(texts))
    starts = [at for at, _ in plan.said]
    assert starts == sorted(starts)
    assert min(np.diff(starts)) >= 3.0  # one sentence at a time
    assert plan == plan_of(20.0, 8)


def test_scores_of_lines() -> None:
    true = [SIGN.line(), TextLine(6.0, 8.0, "MUSEUM", "screen")]
    signs = [SIGN, Sign("MUSEUM", 6.0, 8.0, 0.1, 0.1, 12)]
    read = [TextLine(2.0, 3.0, "Harbor", "screen"), TextLine(9.0, 9.5, "junk", "screen")]
    found = {(row.subject, row.metric): row.value for row in line_scores(true, read, signs)}
    assert found["20 pixels", "recall"] == 1.0
    assert found["20 pixels", "span IoU"] == pytest.approx(0.5)
    assert found["12 pixels", "recall"] == 0.0
    assert found["all", "precision"] == 0.5
