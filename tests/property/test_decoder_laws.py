"""Laws of every registered decoder, on real clips of several kinds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longvid.decode.decord_engine import why_no_decord
from longvid.decode.torchcodec_engine import why_no_torchcodec
from longvid.errors import LawError
from longvid.registry import PARTS, find
from longvid.testing import check_decoder
from longvid.types import FrameBatch, FrameSize

ABSENT = {"decord": why_no_decord, "torchcodec": why_no_torchcodec}
SIZES = [FrameSize(48, 64), FrameSize(40, 40, "pad"), FrameSize(fit="native")]


@pytest.mark.parametrize("name", PARTS["decoder"])
def test_laws(name: str, data: Path) -> None:
    if name in ABSENT and (why := ABSENT[name]()):
        pytest.skip(why)
    for size in SIZES:
        part: Any = find("decoder", name)(size=size)
        check_decoder(part, data / "sign_book_640x480.mkv")


class Late:
    """A decoder whose frames say that they are later than they are."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def decode(self, chunk: Any) -> Any:
        for item in self.inner.decode(chunk):
            is_batch = isinstance(item, FrameBatch)
            yield replace(item, pts_seconds=item.pts_seconds + 1) if is_batch else item


def test_a_broken_law_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part: Any = find("decoder", "pyav")(size=FrameSize(48, 64))
    sound = part.setup
    monkeypatch.setattr(type(part), "setup", lambda self, device="cpu": Late(sound()))
    with pytest.raises(LawError, match="takes the frame on display, but none of"):
        check_decoder(part, data / "sign_book_640x480.mkv")
