"""Whether a file has lost its end, told by its first bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from longvid.decode.truncated import is_cut
from tests.unit.decode.footage import encode


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mkv", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4")]
)
def test_cut_and_whole(tmp_path: Path, suffix: str, codec: str) -> None:
    path = encode(tmp_path / f"clip.{suffix}", 10, codec=codec)
    assert not is_cut(str(path))
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert is_cut(str(path))
    path.write_bytes(content + b"more")
    assert not is_cut(str(path))


def test_files_that_do_not_say(tmp_path: Path) -> None:
    live = encode(tmp_path / "live.mkv", 10, container_options={"live": "1"})
    live.write_bytes(live.read_bytes()[:-100])
    assert not is_cut(str(live))
    for content in (b"", b"RIFF", b"\x1aE\xdf\xa3", b"\x1aE\xdf\xa3\0\0\0\0", b"x" * 5000):
        other = tmp_path / "other"
        other.write_bytes(content)
        assert not is_cut(str(other))
