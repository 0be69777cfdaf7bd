"""From names to paths: folders, globs, lists, and names taken at their word."""

from __future__ import annotations

import codecs
import os
from pathlib import Path
from typing import Any

import pytest

from longvid.errors import ConfigError
from longvid.inputs import Listing, input_names, list_videos


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


def test_what_may_not_be_fetched_ends_no_list(tmp_path: Path) -> None:
    refused = ["simplecache::file:///etc/passwd", "ftp://host/folder", "github://a/*.mp4"]
    (tmp_path / "list.txt").write_text("\n".join([*refused, "/b.mp4"]))
    assert list(Listing([f"@{tmp_path}/list.txt"])) == [*refused, "/b.mp4"]


def test_what_is_left_out_of_a_folder_is_counted(folder: Path) -> None:
    for name in ("a.txt", "b.PDF", "deep/c.txt", "README", "b.srt"):
        (folder / name).touch()
    listing = Listing([str(folder)])
    assert names(list(listing), folder) == ["a.MKV", "b.mp4", "deep/c.webm"]
    assert listing.skipped == {".txt": 3, ".pdf": 1, "without ending": 1}
    assert listing.notes() == (
        "5 files left out, no video by name: 3 .txt, 1 .pdf, 1 without ending.",
    )


def test_a_folder_gives_what_the_decoder_can_open(tmp_path: Path) -> None:
    names = ["a.mxf", "b.dv", "c.y4m", "d.apng", "e.ivf", "f.h264", "g.hevc", "h.mjpeg", "i.265"]
    for name in names:
        (tmp_path / name).touch()
    listing = Listing([str(tmp_path)])
    assert [Path(path).name for path in listing] == names
    assert listing.notes() == ()


@pytest.mark.parametrize("name", ["index.ts", "config.mts", "go.mod"])
@pytest.mark.parametrize(
    ("content", "is_video"),
    [
        (b"export const film = 1;\n" * 100, False),
        ("// ein Größenmaß ".encode() * 100, False),
        (b"", False),
        (b"\x47\x40\x00\x10\x00" * 100, True),
        (b"\x00\x00\x01\xba", True),
        (b"\xff\xfe\x00", True),
    ],
)
def test_first_bytes_decide_where_an_ending_says_too_little(
    name: str, content: bytes, is_video: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    listing = Listing([str(tmp_path)])
    assert list(listing) == [str(tmp_path / name)] * is_video
    assert listing.skipped.total() == (not is_video)
    # A name that is given is taken at its word.
    assert list(Listing([str(tmp_path / name)])) == [str(tmp_path / name)]


def test_links_to_folders_are_followed_without_loops(tmp_path: Path) -> None:
    for name in ("films/b.mp4", "films/deep/c.mp4", "elsewhere/d.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "films" / "a_link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "films" / "deep" / "up").symlink_to(tmp_path / "films")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "films" / "deep")
    (tmp_path / "films" / "gone").symlink_to(tmp_path / "nothing")
    found = names(list(Listing([str(tmp_path / "films")])), tmp_path)
    assert found == ["films/b.mp4", "films/deep/c.mp4", "films/a_link/d.mp4"]
    (tmp_path / "link").symlink_to(tmp_path / "films")
    assert len(list(Listing([str(tmp_path / "link")]))) == 3


def test_a_folder_that_cannot_be_read_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = Listing([str(folder)])
    assert names(list(listing), folder) == ["a.MKV", "b.mp4"]
    assert listing.notes()[0] == f"The folder {folder}/deep cannot be read: permission denied."


def test_a_list_may_begin_with_a_mark_and_name_files_of_any_bytes(folder: Path) -> None:
    odd = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4")
    Path(odd).touch()
    lines = [f"{folder}/b.mp4".encode(), os.fsencode(odd), b"", b"  "]
    (folder / "list.txt").write_bytes(codecs.BOM_UTF8 + b"\r\n".join(lines))
    assert list(list_videos([f"@{folder}/list.txt"])) == [f"{folder}/b.mp4", odd]


@pytest.mark.parametrize(
    ("content", "why"),
    [("a.mp4\n".encode("utf-16"), "is UTF-16"), (b"\0" * 100_000, "a line of more than 32,768")],
)
def test_what_is_no_list_is_one_sentence(folder: Path, content: bytes, why: str) -> None:
    (folder / "list.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        list(list_videos([f"@{folder}/list.txt"]))
