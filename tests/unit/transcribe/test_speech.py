"""Recognisers of speech: a real narrator, tiny checkpoints of the true kinds, a loopback server."""

from __future__ import annotations

import http.server
import json
import sys
import threading
import types
import wave
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from longvid.errors import ConfigError, ModelError
from longvid.transcribe import recogniser
from longvid.transcribe.faster_whisper import FasterWhisper
from longvid.transcribe.pocketsphinx import PocketSphinx
from longvid.transcribe.remote import RemoteSpeech
from longvid.transcribe.whisper import Whisper
from longvid.types import Audio

RATE = recogniser.SAMPLE_RATE
BLOCK = Audio("v", 10.0, RATE, torch.zeros(2 * RATE))


@pytest.fixture
def all_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recogniser, "VoiceActivity", lambda: lambda s: [(0.0, len(s) / RATE)])


def tiny_whisper(folder: Path) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizerFast,
    )

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>"]
    special += ["<|translate|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    special += ["<|notimestamps|>", *(f"<|{i * 0.02:.2f}|>" for i in range(1501))]
    plain = PreTrainedTokenizerFast(tokenizer_object=backend)
    plain.add_special_tokens({"additional_special_tokens": special})
    plain.save_pretrained(folder)
    tokenizer = WhisperTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )
    tokenizer.save_pretrained(folder)
    ids = {name: plain.convert_tokens_to_ids(name) for name in special}
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(plain),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=80,
        max_length=20,
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        begin_suppress_tokens=[],
    )
    model = WhisperForConditionalGeneration(config)
    generation = model.generation_config
    generation._from_model_config = False
    generation.is_multilingual = True
    generation.lang_to_id = {"<|en|>": ids["<|en|>"]}
    generation.task_to_id = {"transcribe": ids["<|transcribe|>"]}
    generation.no_timestamps_token_id = ids["<|notimestamps|>"]
    generation.alignment_heads = [[0, 0]]
    generation.max_initial_timestamp_index = 50
    generation.max_length = 20
    generation.begin_suppress_tokens = None
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


@pytest.mark.usefixtures("all_is_speech")
@pytest.mark.filterwarnings("ignore")
def test_whisper_of_transformers(tmp_path: Path) -> None:
    """Random weights of the true architecture: what they write is noise, and placed in time."""
    part = Whisper(str(tiny_whisper(tmp_path / "whisper")), language="en")
    read = part.setup()
    noise = torch.randn(2 * RATE, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    lines = list(read([Audio("v", 10.0, RATE, noise)]))
    assert any(line.words for line in lines)
    for line in lines:
        assert 10.0 <= line.start_seconds <= line.end_seconds <= 12.0
        assert (line.source, line.language) == ("speech", "en")
    pytest.importorskip("silero_vad")
    assert part.identity() == Whisper(str(tmp_path / "whisper")).identity()


@pytest.mark.usefixtures("all_is_speech")
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_that_times_letters_only(tmp_path: Path) -> None:
    """Wav2Vec2 with a CTC head: another kind of checkpoint through the same part."""
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
    )

    folder = tmp_path / "ctc"
    folder.mkdir()
    vocabulary = {name: i for i, name in enumerate(["<pad>", "<unk>", "|", "A", "B", "C"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(
        str(tmp_path / "vocab.json"), bos_token=None, eos_token=None
    ).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    noise = torch.randn(2 * RATE, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    lines = list(Whisper(str(folder)).setup()([Audio("v", 10.0, RATE, noise)]))
    assert all(10.0 <= line.start_seconds <= line.end_seconds <= 12.0 for line in lines)


def test_a_folder_that_recognises_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        Whisper(str(tmp_path / "nowhere")).identity()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError):
        Whisper(str(tmp_path)).setup()
    with pytest.raises(ModelError, match=r"model\.bin"):
        FasterWhisper(str(tmp_path)).setup()


def test_faster_whisper_by_its_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls and fields of faster-whisper 1.2, by a module in its place."""
    asked: dict[str, Any] = {}

    class Model:
        def __init__(self, folder: str, **options: Any) -> None:
            asked["folder"], asked["options"] = folder, options

        def transcribe(self, samples: np.ndarray, **options: Any) -> tuple[Any, Any]:
            asked["transcribe"] = options
            assert samples.dtype == np.float32
            word = types.SimpleNamespace(start=0.5, end=0.75, word=" Hello", probability=0.9)
            segment = types.SimpleNamespace(
                start=0.5,
                end=0.75,
                text=" Hello",
                words=[word],
                avg_logprob=-0.1,
                no_speech_prob=0.01,
            )
            return iter([segment]), types.SimpleNamespace(language="en")

    module = types.ModuleType("faster_whisper")
    module.WhisperModel = Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    (tmp_path / "model.bin").write_bytes(b"weights")
    part = FasterWhisper(str(tmp_path), language="en", compute_type="int8")
    [line] = part.setup("cuda:1")([BLOCK])
    assert (line.start_seconds, line.end_seconds, line.text) == (10.5, 10.75, "Hello")
    assert asked["options"]["device"] == "cuda"
    assert asked["options"]["device_index"] == 1
    assert asked["options"]["compute_type"] == "int8"
    assert asked["transcribe"]["condition_on_previous_text"] is False
    assert asked["transcribe"]["vad_filter"] is True


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as an OpenAI-compatible server; `script` holds (status, body) for each request."""

    script: ClassVar[list[tuple[int, bytes]]] = []
    seen: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, dict(self.headers), body))
        status, answer = self.script.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("longvid.transcribe.remote.time.sleep", lambda _: None)
    Server.script, Server.seen = [], []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/v1"
        serving.shutdown()
        thread.join()


VERBOSE = {
    "text": "Hello there.",
    "language": "english",
    "words": [
        {"word": "Hello", "start": 0.2, "end": 0.5},
        {"word": "there.", "start": 0.5, "end": 0.9},
    ],
    "segments": [
        {"start": 0.2, "end": 0.9, "text": "Hello there.", "avg_logprob": -0.2},
        {"start": 1.0, "end": 1.9, "text": "la " * 30, "no_speech_prob": 0.9},
    ],
}


@pytest.mark.usefixtures("all_is_speech")
def test_a_server(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    part = RemoteSpeech(server, "whisper-1", "en", key_variable="MY_KEY")
    Server.script = [(503, b""), (200, json.dumps(VERBOSE).encode())]
    [line] = part.setup()([BLOCK])
    assert (line.start_seconds, line.end_seconds) == (10.2, 10.9)
    assert (line.text, line.language, len(line.words)) == ("Hello there.", "en", 2)
    path, headers, body = Server.seen[1]
    assert path == "/v1/audio/transcriptions"
    assert headers["Authorization"] == "Bearer secret"
    for field in (b'name="model"\r\n\r\nwhisper-1', b"verbose_json", b'name="language"\r\n\r\nen'):
        assert field in body
    sound = body[body.index(b"RIFF") : body.rindex(b"\r\n--")]
    with wave.open(BytesIO(sound)) as file:
        assert (file.getframerate(), file.getnchannels()) == (RATE, 1)
        assert file.getnframes() == 2 * RATE


@pytest.mark.usefixtures("all_is_speech")
def test_a_server_without_times(server: str) -> None:
    Server.script = [(200, b'{"text": "only text"}')]
    [line] = RemoteSpeech(server).setup()([BLOCK])
    assert (line.start_seconds, line.end_seconds, line.text) == (10.0, 12.0, "only text")


@pytest.mark.usefixtures("all_is_speech")
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([(401, b"")], "status 401"),
        ([(500, b"")] * 3, "status 500"),
        ([(200, b"<html>")] * 3, "gave no transcription"),
        ([(200, b"[]")] * 3, "no JSON object"),
        ([(200, b'{"segments": [{"start": "x"}]}')], "verbose_json"),
    ],
)
def test_a_server_that_fails(script: list[tuple[int, bytes]], words: str, server: str) -> None:
    Server.script = list(script)
    with pytest.raises(ModelError, match=words):
        list(RemoteSpeech(server).setup()([BLOCK]))
    assert Server.script == []


def test_a_url_that_is_none() -> None:
    with pytest.raises(ConfigError, match="http"):
        RemoteSpeech("file:///etc/passwd")


@pytest.mark.parametrize("part", [PocketSphinx(), Whisper(), FasterWhisper()])
def test_a_missing_package_is_one_sentence(
    part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    (tmp_path / "model.bin").write_bytes(b"w")
    monkeypatch.setattr("longvid.models.checkpoint_files.locate", lambda _: tmp_path)
    monkeypatch.setattr("longvid.models.checkpoint_files.identity", lambda _: "x")
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda n: real(n) if n == "transformers" else missing(n)
    )
    with pytest.raises(ConfigError, match="is not installed; install"):
        part.identity()
