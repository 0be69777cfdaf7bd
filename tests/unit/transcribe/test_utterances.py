"""What nobody can have said is dropped; words and lines are on the clock of the video."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from longvid.decode.audio_decoder import AudioReader
from longvid.transcribe import recogniser
from longvid.transcribe.recogniser import SAMPLE_RATE, SpeechReader
from longvid.transcribe.utterances import (
    Utterance,
    compression_ratio,
    is_hallucination,
    is_loop,
    lines_of,
    without_silence,
)
from longvid.transcribe.voice_activity import VoiceActivity, spans_of
from longvid.types import Audio


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("so so so so so so", True),
        ("we go on and we go on and we go on and we go on and we go on and", True),
        ("it was the best of times it was the worst of times it was the age of wisdom", False),
        ("no no no", False),
        ("", False),
    ],
)
def test_loops(text: str, loop: bool) -> None:
    assert is_loop(text) is loop


def test_hallucinations() -> None:
    assert compression_ratio("") == 0.0
    assert is_hallucination(Utterance(0, 9, "thanks for watching and subscribing " * 9))
    assert is_hallucination(Utterance(0, 1, "Bye.", log_probability=-1.4, no_speech=0.7))
    assert not is_hallucination(Utterance(0, 1, "Bye.", log_probability=-0.2, no_speech=0.7))
    assert not is_hallucination(Utterance(0, 1, "Bye.", log_probability=-1.4, no_speech=0.1))


def test_lines_are_cut_and_placed() -> None:
    words = tuple((float(k), k + 0.5, f"w{k}") for k in range(3))
    later = tuple((10 + 0.4 * k, 10.3 + 0.4 * k, f" v{k}") for k in range(20))
    utterance = Utterance(0.0, 99.0, "all", words + later, math.log(0.25), language="en")
    lines = list(lines_of([utterance, Utterance(0, 1, "  ")], 100.0, 117.0))
    assert [line.text for line in lines] == [
        "w0 w1 w2",
        " ".join(f"v{k}" for k in range(10)),
        " ".join(f"v{k}" for k in range(10, 20)),
    ]
    assert (lines[0].start_seconds, lines[0].end_seconds) == (100.0, 102.5)
    assert lines[-1].end_seconds == 117.0  # no line leaves the span that was recognised
    assert lines[0].words[1].start_seconds == 101.0
    assert (lines[0].confidence, lines[0].language, lines[0].source) == (0.25, "en", "speech")
    [plain] = lines_of([Utterance(1.0, 2.0, "no words")], 5.0, 6.5, "de")
    assert (plain.start_seconds, plain.end_seconds, plain.language) == (6.0, 6.5, "de")


def test_words_begin_where_they_are_heard() -> None:
    samples = np.zeros(2 * SAMPLE_RATE, np.float32)
    for start, end in ((0.5, 0.8), (1.2, 1.5)):
        samples[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)] = 0.3
    words = ((0.1, 0.9, "one"), (0.9, 1.7, "two"), (1.7, 1.9, "silent"), (1.9, 2.5, "late"))
    moved = without_silence(Utterance(0.0, 2.0, "", words), samples, SAMPLE_RATE)
    times = [(start, end) for start, end, _ in moved.words]
    assert times[0] == pytest.approx((0.5, 0.8), abs=0.011)
    assert times[1] == pytest.approx((1.2, 1.5), abs=0.011)
    assert times[2:] == [(1.7, 1.9), (1.9, 2.5)]


@pytest.mark.parametrize(
    ("words", "times"),
    [
        ([(0.55, 0.75)], [(0.5, 0.8)]),  # both ends were cut off
        ([(0.5, 0.65), (0.65, 0.8)], [(0.5, 0.65), (0.65, 0.8)]),  # no sound between them is free
        ([(0.5, 0.6), (0.7, 0.75)], [(0.5, 0.7), (0.7, 0.8)]),
        ([(1.5, 1.6)], [(1.35, 1.75)]),  # sound without an end is not the word's alone
    ],
)
def test_words_take_the_sound_that_goes_on(
    words: list[tuple[float, float]], times: list[tuple[float, float]]
) -> None:
    samples = np.zeros(2 * SAMPLE_RATE, np.float32)
    for start, end in ((0.5, 0.8), (1.0, 2.0)):
        samples[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)] = 0.3
    spoken = Utterance(0.0, 2.0, "", tuple((*span, "w") for span in words))
    moved = without_silence(spoken, samples, SAMPLE_RATE).words
    for (start, end, _), expected in zip(moved, times, strict=True):
        assert (start, end) == pytest.approx(expected, abs=0.011)


def test_spans_of_speech() -> None:
    step = 512 / SAMPLE_RATE
    speech, pause, click = [0.9] * 20, [0.1] * 10, [0.1] * 40 + [0.9] * 3
    probabilities = [0.1] * 10 + speech + pause + speech + click
    [(start, end)] = spans_of(probabilities, len(probabilities) * step)
    assert start == pytest.approx(10 * step - 0.2)
    assert end == pytest.approx(60 * step + 0.2)
    assert spans_of([0.9] * 20, 0.5) == [(0.0, 0.5)]
    assert spans_of([], 0.0) == []


def test_only_speech_reaches_the_recogniser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recogniser, "VoiceActivity", lambda: lambda samples: [(1.0, 2.0)])
    heard: list[int] = []

    def recognise(samples: np.ndarray) -> list[Utterance]:
        heard.append(len(samples))
        return [Utterance(0.25, 0.5, "hello")]

    blocks = [Audio("v", start, SAMPLE_RATE, torch.zeros(3 * SAMPLE_RATE)) for start in (7.0, 60.0)]
    lines = list(SpeechReader(recognise, "en")(blocks))
    assert heard == [SAMPLE_RATE, SAMPLE_RATE]
    assert [line.start_seconds for line in lines] == [8.25, 61.25]


def test_music_is_no_speech(data: Path) -> None:
    """Chords over a drum for a minute, and the sound of real clips in which nobody speaks."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("silero_vad")
    voice = VoiceActivity()
    seconds = np.arange(30 * SAMPLE_RATE) / SAMPLE_RATE
    chords = np.zeros_like(seconds)
    for number, root in enumerate((220.0, 174.6, 261.6, 196.0)):
        inside = (seconds // 2) % 4 == number
        for ratio in (1.0, 1.25, 1.5, 2.0):
            chords += inside * 0.08 * np.sin(2 * np.pi * root * ratio * seconds)
    drum = np.exp(-30 * (seconds % 0.5)) * np.random.default_rng(0).normal(0, 0.3, len(seconds))
    assert voice((chords + drum).astype(np.float32)) == []
    with AudioReader() as reader:
        for name in ("bbb_bird_vfr.mp4", "cars_overhead_30s.mp4", "flower_bloom.mp4"):
            blocks = list(reader.blocks(str(data / name)))
            assert blocks
            assert all(voice(block.data.numpy()) == [] for block in blocks)


def test_tones_and_noise_are_no_speech() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("silero_vad")
    voice = VoiceActivity()
    seconds = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    tone = (0.3 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.1, len(seconds)).astype(np.float32)
    for samples in (tone, noise, np.zeros_like(tone), tone[:0], tone[:100]):
        assert voice(samples) == []
