"""From names to paths: folders, globs, lists, and names taken at their word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from longvid.errors import ConfigError
from longvid.inputs import input_names, list_videos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MKV", "notes.txt", "deep/c.webm"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def names(paths: list[str], folder: Path) -> list[str]:
    return [str(Path(path).relative_to(folder)) for path in paths]


def test_a_folder_gives_its_videos_in_order(folder: Path) -> None:
    found = names(list(list_videos([str(folder)])), folder)
    assert found == ["a.MKV", "b.mp4", "deep/c.webm"]


def test_a_glob_gives_its_matches(folder: Path) -> None:
    assert names(list(list_videos([f"{folder}/*.mp4"])), folder) == ["b.mp4"]


def test_a_list_gives_a_path_a_line(folder: Path) -> None:
    (folder / "list.txt").write_text(f"{folder}/b.mp4\n\n{folder}/deep\n")
    found = names(list(list_videos([f"@{folder}/list.txt"])), folder)
    assert found == ["b.mp4", "deep/c.webm"]


def test_a_name_is_taken_at_its_word_and_once(folder: Path) -> None:
    assert list(list_videos(["missing.mp4", "missing.mp4"])) == [os.path.abspath("missing.mp4")]
    assert names(list(list_videos([f"{folder}/notes.txt"])), folder) == ["notes.txt"]


def test_a_file_with_brackets_in_its_name_is_a_file(folder: Path) -> None:
    odd = folder / "clip [1080p].mp4"
    odd.touch()
    assert list(list_videos([str(odd)])) == [str(odd)]


def test_a_missing_list_is_one_sentence(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        list(list_videos([f"@{folder}/none.txt"]))


@pytest.mark.parametrize("name", ["film.mp4", ".", Path("film.mp4")])
def test_one_name_by_itself_is_one_video(name: str | Path) -> None:
    assert input_names(name) == [str(name)]
    assert input_names([name, name]) == [str(name)] * 2


@pytest.mark.parametrize("given", [None, 3, b"film.mp4", [b"film.mp4"], [None], "", ["a.mp4", ""]])
def test_what_is_no_name_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="named by strings or Paths"):
        input_names(given)  # type: ignore[arg-type]  # the point
