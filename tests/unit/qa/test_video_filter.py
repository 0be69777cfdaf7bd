"""A pattern of paths knows one special character."""

from __future__ import annotations

from pathlib import Path

import pytest

from longvid.errors import QuestionError
from longvid.qa.video_filter import chosen_ids
from longvid.store import Store
from tests.unit.store.synthetic import WIDTH, add_video

PATHS = ("/br/clip[1].mp4", "/br/clip1.mp4", "/br/clip?.mp4", "/br/a*b\nc.mp4")
IDS = [letter * 32 for letter in "abcd"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/br/clip[1].mp4", "a"),
        ("*clip[1]*", "a"),
        ("/br/clip1.mp4", "b"),
        ("/br/clip?.mp4", "c"),
        ("*/clip*.mp4", "abc"),
        ("*a*b*", "d"),
        ("*", "abcd"),
        ("*[!x]*", ""),
        ("clip1.mp4", ""),
    ],
)
def test_a_star_alone_stands_for_other_characters(tmp_path: Path, pattern: str, found: str) -> None:
    store = Store.create(
        tmp_path / "store", fingerprint="f", config={}, space="test-space", embedding_width=WIDTH
    )
    for video_id, path in zip(IDS, PATHS, strict=True):
        add_video(store, video_id, path=path)
    if found:
        assert sorted(chosen_ids(store, paths=pattern)) == [letter * 32 for letter in found]
    else:
        with pytest.raises(QuestionError, match="has a path like"):
            chosen_ids(store, paths=pattern)
