"""Configurations that are hostile, absurd or name themselves: one sentence, at once."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from longvid.config import Config, change, load_config
from longvid.errors import ConfigError
from longvid.inputs import list_videos
from tests.fuzz import settings


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'preset = "SELF"', "starts from itself"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"{b=" * 5000, "nested too deeply"),
        (b"a = \xff", "is not UTF-8 at byte 4"),
        (b'preset = "mini"\n[sample]\nfps = ' + b"9" * 5000, "is not valid TOML"),
        (b".".join([b"a"] * 50_000) + b" = 1", "more than 200 dots in line 1"),
        (b'preset = "mini"\n[encoder]\nmodel = "a\\u0000b"', "NUL character"),
        (b"preset = 3", "named by a preset or a path, got 3"),
        (b'preset = "mini"\nselectors = 3', "must be a list of tables"),
        (b"#" * 2_000_000, "larger than 1 MiB"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(content.replace(b"SELF", str(file).encode()))
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_name_each_other_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text(f"preset = {str(second)!r}")
    second.write_text(f"preset = {str(first)!r}")
    with pytest.raises(ConfigError, match=r"a\.toml -> .*b\.toml -> .*a\.toml"):
        load_config(first)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("sample.fps=1e308", "2\\*\\*53"),
        ("sample.fps=1e-308", "sample.fps must be above 0"),
        ("sample.num_slow=1000000000000000000000000", "at most 2"),
        ("sample.num_slow=100000000", "sample.num_slow must be from 0 to"),
        ("decoder.deadline_seconds=inf", "at most 2"),
        ("decoder.deadline_seconds=1e12", "must be at most 1e"),
        ("run.decode_workers=nan", "at most 2|must be int"),
        ("run.decode_workers=0x" + "f" * 6000, "at most 2"),
        ("run.decode_workers=" + "9" * 5000, "Exceeds the limit"),
        ("decoder.name=0x" + "f" * 6000, "decoder.name must be text, got an integer of thousands"),
        ("encoder.name=1", "encoder.name must be text, got 1"),
        ("llm.model=a\0b", "NUL character"),
        ("sample.grid=" + "x" * 100_000, r"sample.grid is 'xxx.*\.\.\.; use .*midpoints"),
        ("a" * 9000 + ".b=1", "Unknown section 'aaa"),
        ("no equals", "takes section.field=value"),
        ("encoder." + "a." * 60_000 + "b=1", "takes section.field=value"),
    ],
)
def test_a_bad_setting_is_refused_in_one_sentence(setting: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_config("mini", [setting])
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("given", [None, 3, b"mini", object()])
def test_what_is_no_name_is_refused(given: object) -> None:
    with pytest.raises(ConfigError):
        load_config(given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="A setting is text"):
        change({}, [given])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="a table of sections"):
        Config.from_dict(given)  # type: ignore[arg-type]


def test_a_list_that_names_itself_is_refused(tmp_path: Path) -> None:
    lists = [tmp_path / name for name in ("a.txt", "b.txt")]
    for one, other in itertools.pairwise([*lists, lists[0]]):
        one.write_text(f"@{other}\n")
    with pytest.raises(ConfigError, match="named by itself"):
        list(list_videos([f"@{lists[0]}"]))
    with pytest.raises(ConfigError, match="not a regular file"):
        list(list_videos(["@/dev/zero"]))
    with pytest.raises(ConfigError, match="no such name"):
        list(list_videos(["@a\0b"]))


def test_random_cases_end_in_an_answer_or_a_sentence(small_store: Path, tmp_path: Path) -> None:
    seed, faults, seen = 20, Counter[str](), Counter[str]()
    examples: list[str] = []
    for name, tried in settings.fuzz(250, seed, small_store, tmp_path):
        seen[name] += 1
        faults += tried.faults
        examples += tried.examples
    print(f"seed {seed}")
    assert set(seen) == set(settings.KINDS)
    # How long a case takes depends on how busy the machine is.
    del faults["slow answers"]
    assert not faults, "\n".join(examples)
