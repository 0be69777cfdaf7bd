"""Text is added with indexing and later, survives kills, is searched, shown and quoted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import longvid
from longvid.cli import main
from longvid.config import Config, load_config
from longvid.errors import ConfigError
from longvid.indexing.text_reader import TextReader
from longvid.store import Store
from longvid.store.timed_text import TextWriter, read_recognised, read_text
from longvid.types import TextLine
from tests.e2e import fake_text_sources as fakes
from tests.unit.decode.sound import tone_file

SPEECH = "tests.e2e.fake_text_sources:FakeSpeech"
SCREEN = "tests.e2e.fake_text_sources:FakeScreen"


def config(*sources: str, **settings: Any) -> Config:
    tables = load_config("mini").to_dict()
    tables["text_sources"] = [{"name": source, **settings} for source in sources]
    return Config.from_dict(tables)


@pytest.fixture(autouse=True)
def counts() -> None:
    fakes.CALLS.clear()
    fakes.FAIL.clear()


@pytest.fixture
def clip(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(data / "bbb_rabbit_5s.mp4", tmp_path / "rabbit.mp4"))


def test_text_is_read_while_indexing(clip: Path, tmp_path: Path) -> None:
    plain, both = tmp_path / "plain", tmp_path / "both"
    longvid.index([clip], store=plain, config="mini")
    report = longvid.index([clip], store=both, config=config(SPEECH, SCREEN))
    assert not report.failures
    store = Store.open(both)
    assert store.fingerprint == Store.open(plain).fingerprint  # text is no part of it
    lines = read_text(store, store.find("rabbit.mp4"))
    assert [line.text for line in lines if line.source == "speech"] == ["the harbor opens at nine"]
    assert [line.start_seconds for line in lines if line.source == "screen"] == [0.0, 4.0]
    assert store.verify() == []
    again = longvid.index([clip], store=both, config=config(SPEECH, SCREEN))
    assert again.videos_skipped == 1
    assert fakes.CALLS["speech blocks"] == 1


def test_no_text_is_taken_from_a_file_that_has_changed(
    clip: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "store"
    longvid.index([clip], store=path, config="mini")
    digest = Store.open(path).digest()
    shutil.copy(data / "flower_bloom.mp4", clip)
    capsys.readouterr()
    for source in (SPEECH, SCREEN):
        assert main(["text", "--store", str(path), "--source", source]) == 3
        told = capsys.readouterr()
        assert "has changed since it was indexed; index it again" in told.out + told.err
    assert Store.open(path).digest() == digest


def test_text_is_added_later_and_nothing_is_encoded_again(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "store"
    longvid.index([clip], store=path, config="mini")
    store = Store.open(path)
    chunks = {file: file.stat().st_mtime_ns for file in path.rglob("*.safetensors")}
    before = store.digest()
    assert main(["text", "--store", str(path), "--source", SPEECH]) == 0
    assert "1 line of speech" in capsys.readouterr().out
    assert Store.open(path).digest() != before
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*.safetensors")} == chunks
    assert main(["text", "--store", str(path), "--json"]) == 0
    [line] = json.loads(capsys.readouterr().out)
    assert (line["source"], line["text"]) == ("speech", "the harbor opens at nine")
    # Another setting is said, and done on request.
    other = ["--source", SPEECH, "--set", "text_sources.0.sentence=closed"]
    assert main(["text", "--store", str(path), "--again"]) == 1
    assert "name what reads it with --source" in capsys.readouterr().err
    assert main(["text", "--store", str(path), *other]) == 0
    assert "--again" in capsys.readouterr().err
    assert main(["text", "--store", str(path), *other, "--again"]) == 0
    video = store.find("rabbit.mp4")
    assert [one.text for one in read_recognised(store, video, "speech")] == ["closed"]
    remove = ["text", "--store", str(path), "--remove", "speech"]
    for beside in (["--again"], ["--source", SPEECH], ["--set", "text_sources.0.model=x"]):
        assert main([*remove, *beside]) == 1
    assert main(remove) == 0
    assert Store.open(path).digest() == before
    assert store.verify() == []


add_lines = TextWriter.add


def killed(self: TextWriter, lines: Sequence[TextLine], done_seconds: float) -> None:
    """Die after a third of the video is written."""
    add_lines(self, lines, done_seconds)
    if done_seconds > 9:
        raise KeyboardInterrupt


def test_a_run_killed_between_parts_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longvid.indexing.text_reader._PART_SECONDS", 2.0)
    video = shutil.copy(data / "cars_overhead_30s.mp4", tmp_path / "cars.mp4")
    digests = []
    for name in ("whole", "killed"):
        longvid.index([video], store=tmp_path / name, config="mini")
        store = Store.open(tmp_path / name)
        [stored] = store.videos()
        if name == "killed":
            fakes.CALLS.clear()

            with monkeypatch.context() as patch, TextReader(config(SCREEN)) as reader:
                patch.setattr(TextWriter, "add", killed)
                with pytest.raises(KeyboardInterrupt):
                    reader.read(store, stored.video)
            before = fakes.CALLS["screen frames"]
        with TextReader(config(SCREEN)) as reader:
            result = reader.read(store, stored.video)
        assert not result.failures
        digests.append(store.digest())
    assert digests[0] == digests[1]
    assert fakes.CALLS["screen frames"] == 16  # no frame was read twice
    assert 0 < before < 16


def test_what_cannot_be_read_is_a_failure_and_the_video_stays(clip: Path, tmp_path: Path) -> None:
    from longvid.errors import ModelError

    store = tmp_path / "store"
    fakes.FAIL.append(ModelError("The server is away."))
    report = longvid.index([clip], store=store, config=config(SPEECH))
    assert (report.videos_indexed, report.videos_failed) == (1, 0)
    [failure] = report.failures
    assert (failure.stage, failure.kind) == ("text", "model")
    assert "The server is away." in failure.error
    assert Store.open(store).failures() == [failure]
    again = longvid.index([clip], store=store, config=config(SPEECH))
    assert (again.videos_skipped, again.failures) == (1, ())
    assert read_text(Store.open(store), failure.video_id)
    assert Store.open(store).failures() == []


def test_no_sound_is_no_failure_and_a_broken_track_leaves_the_video(
    data: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    silent = shutil.copy(data / "sign_book_640x480.mkv", tmp_path / "silent.mkv")
    broken = tone_file(tmp_path / "broken.avi", [0.5], codec="adpcm_yamaha", rate=16_000)
    report = longvid.index([silent, broken], store=store, config=config(SPEECH))
    assert (report.videos_indexed, report.videos_failed) == (2, 0)
    [failure] = report.failures
    assert (failure.stage, failure.kind) == ("text", "unsupported")
    assert "adpcm_yamaha" in failure.error
    assert read_text(Store.open(store), Store.open(store).find("silent.mkv")) == ()


def test_text_that_failed_is_read_by_retry_or_by_the_command_that_it_names(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from longvid.errors import ModelError

    store = tmp_path / "store"
    fakes.FAIL.append(ModelError("The server is away."))
    longvid.index([clip], store=store, config=config(SPEECH))
    [failure] = Store.open(store).failures()
    assert failure.decoder == SPEECH
    assert main(["retry", "--store", str(store)]) == 0
    assert Store.open(store).failures() == []

    store = tmp_path / "without"
    longvid.index([clip], store=store, config="mini")
    fakes.FAIL.append(ModelError("The server is away."))
    later = ["text", "--store", str(store), "--source", SPEECH]
    assert main(later) == 3
    capsys.readouterr()
    assert main(["retry", "--store", str(store)]) == 0  # the store's configuration has no such part
    said = capsys.readouterr().err
    assert f"longvid text --store {store} --source {SPEECH}" in said
    assert "Nothing else to retry." in said
    assert len(Store.open(store).failures()) == 1
    assert main(later) == 0
    assert Store.open(store).failures() == []


def test_two_sources_of_one_kind_and_missing_packages(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two of one kind"):
        longvid.index([clip], store=tmp_path / "store", config=config(SPEECH, SPEECH))
