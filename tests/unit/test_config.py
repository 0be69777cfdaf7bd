"""Configurations: presets load, survive a round trip, and refuse what they do not know."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from longvid import registry
from longvid.config import Config, change, load_config, preset_names, torch_device
from longvid.errors import ConfigError
from longvid.qa.video_qa import VideoQA


@pytest.fixture
def mini() -> Config:
    return load_config("mini")


def test_the_number_after_the_last_adds_a_part(mini: Config) -> None:
    longer = load_config("mini", ["compressors.1.name=tome", "compressors.1.protected=2"])
    assert longer.compressors[:1] == mini.compressors
    assert longer.compressors[1] == registry.find("compressor", "tome")(protected=2)
    with pytest.raises(ConfigError, match=r"has 1 parts, .*compressors\.1\.name=\.\.\. adds one"):
        load_config("mini", ["compressors.1.protected=2"])


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_survives_a_round_trip_through_toml(name: str) -> None:
    config = load_config(name)
    assert Config.from_dict(tomllib.loads(tomli_w.dumps(config.to_dict()))) == config


def test_there_is_a_preset_for_each_published_system() -> None:
    assert {"slowfast_llava", "llama_vid", "longvu", "mg_llava", "instructblip"} < set(
        preset_names()
    )
    for name in ("slowfast_llava", "llama_vid", "longvu"):
        config = load_config(name)
        assert registry.name_of("llm", config.llm) == name
        # Where a video goes and which model answers is said in both halves alike.
        assert config.encoder.model == config.llm.model
        assert config.ask.num_segments == 0


def test_a_file_says_only_where_it_differs(tmp_path: Path, mini: Config) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('preset = "mini"\n[sample]\nfps = 3\n')
    assert load_config(path) == replace(mini, sample=replace(mini.sample, fps=3.0))


def test_naming_another_part_drops_the_fields_of_the_old_one(mini: Config) -> None:
    config = load_config("mini", ["reducer.name=longvu_temporal", "selectors.0.name=uniform"])
    assert registry.name_of("reducer", config.reducer) == "longvu_temporal"
    assert registry.name_of("selector", config.selectors[0]) == "uniform"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("sample.fsp=2", "Unknown setting of .sample. 'fsp'; known are .*fps"),
        ("smaple.fps=2", "Unknown section 'smaple'"),
        ("sample.fps=fast", "sample.fps must be float, got 'fast'"),
        ("sample.fps=-1", "sample.fps must be above 0"),
        ("sample", "takes section.field=value"),
        ("encoder.name=clip9", "No encoder is named 'clip9'; known are"),
        ("selectors.7.name=uniform", "numbered from 0"),
        ("selectors.name=uniform", "name the part too"),
        ("ask.budget=true", "ask.budget must be int, got True"),
    ],
)
def test_a_wrong_setting_is_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config("mini", [override])


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"presets are .*mini"):
        load_config("nothing")


def test_broken_toml_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[sample\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(path)


def test_change_leaves_the_original_alone(mini: Config) -> None:
    tables = mini.to_dict()
    changed = change(tables, ["ask.budget=7"])
    assert changed["ask"]["budget"] == 7
    assert Config.from_dict(tables) == mini


@pytest.mark.parametrize("same", ["run.decode_workers=3", "ask.budget=9", "ray.encode_actors=2"])
def test_what_changes_no_stored_byte_keeps_the_fingerprint(same: str, mini: Config) -> None:
    assert load_config("mini", [same]).fingerprint() == mini.fingerprint()


@pytest.mark.parametrize("other", ["sample.fps=7", "store.tokens=int8", "compressors.0.height=2"])
def test_what_changes_the_store_changes_the_fingerprint(other: str, mini: Config) -> None:
    assert load_config("mini", [other]).fingerprint() != mini.fingerprint()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cuda:99", r"run\.device is 'cuda:99', and torch sees \d+ GPUs here; use auto or cpu"),
        ("tpu", r"run\.device is 'tpu'; use auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(
    name: str, says: str, small_store: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        torch_device(name)
    with pytest.raises(ConfigError, match=says):
        VideoQA(small_store, load_config("mini", [f"run.device={name}"]))
    with pytest.raises(ConfigError, match=says):
        VideoQA(small_store, device=name)


OLD_NAMES = {
    "neighbours": "context_segments",
    "least_score": "min_score",
    "shot_frames": "max_shot_frames",
    "beside_frames": "max_neighbor_shot_frames",
}


def test_old_names_of_settings_stay_readable(tmp_path: Path, mini: Config) -> None:
    """In a file, on the command line, and in the header of a store that was written then."""
    lines = "".join(f"{old} = 1\n" for old in OLD_NAMES)
    (tmp_path / "own.toml").write_text(f'preset = "mini"\n[ask]\n{lines}')
    ones = [f"ask.{new}=1" for new in OLD_NAMES.values()]
    expected = load_config("mini", ones)
    assert load_config(tmp_path / "own.toml") == expected
    assert load_config("mini", [f"ask.{old}=1" for old in OLD_NAMES]) == expected
    tables = expected.to_dict()
    tables["ask"] = {
        next((old for old, new in OLD_NAMES.items() if new == name), name): value
        for name, value in tables["ask"].items()
    }
    assert set(OLD_NAMES) <= set(tables["ask"])
    assert Config.from_dict(tables) == expected
    assert Config.from_dict(change(tables, ["ask.min_score=0.5"])).ask.min_score == 0.5
    assert expected.fingerprint() == mini.fingerprint()


def test_a_setting_by_both_of_its_names_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('preset = "mini"\n[ask]\nmin_score = 0\nleast_score = 1\n')
    with pytest.raises(ConfigError, match=r"^\[ask\] sets min_score twice"):
        load_config(tmp_path / "own.toml")
