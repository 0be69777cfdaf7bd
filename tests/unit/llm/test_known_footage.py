"""Answers about footage that mini cannot know carry a caveat, those about drawn films do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import longvid
from longvid.errors import ModelError
from longvid.llm.known_footage import KnownFootage, frame_features
from longvid.models.checkpoint_files import MINI, VLM, locate, part_of
from longvid.types import Segment, Selection, Tokens

FOLDER = part_of(locate(MINI), VLM)
CAVEAT = "do not look like the drawn world"


def selection(token: float) -> Selection:
    """Two frames of two tokens, and one of none, which is not shown."""
    segment = Segment(
        video_id="v",
        segment_index=0,
        start_seconds=0.0,
        end_seconds=3.0,
        pts_seconds=torch.arange(3, dtype=torch.float64),
        slow=torch.ones(3, dtype=torch.bool),
        frame_embeddings=torch.zeros(3, 2),
        tokens=Tokens(
            data=torch.tensor([[token], [3 * token], [token], [3 * token]]),
            frame=torch.tensor([0, 0, 2, 2], dtype=torch.int32),
            position=torch.zeros(4, 2),
            size=torch.ones(4),
        ),
        space="s",
    )
    return Selection((segment,), (), 10)


def test_a_frame_is_its_mean_token() -> None:
    assert frame_features(selection(1.0)).tolist() == [[2.0]] * 2
    assert frame_features(Selection((), (), 1)).shape == (0, 0)


def test_a_low_score_is_a_caveat(tmp_path: Path) -> None:
    table = {"weights": [1.0], "bias": -1.0, "threshold": 0.0, "sentence": "Unknown."}
    (tmp_path / "known_footage.json").write_text(json.dumps(table))
    known = KnownFootage.read(tmp_path)
    assert known is not None
    assert known.note(selection(1.0)) == ""
    assert known.note(selection(0.0)) == "Unknown."
    assert known.note(Selection((), (), 1)) == ""


def test_a_checkpoint_may_say_nothing_or_be_damaged(tmp_path: Path) -> None:
    assert KnownFootage.read(tmp_path) is None
    (tmp_path / "known_footage.json").write_text("{}")
    with pytest.raises(ModelError, match="is damaged"):
        KnownFootage.read(tmp_path)


def test_the_shipped_scores_are_as_good_as_they_say() -> None:
    measured = json.loads((FOLDER / "known_footage.json").read_text())["measured"]
    for name, least in (("real_videos", 1.0), ("real_answers", 0.98), ("drawn_answers", 0.94)):
        right, of = measured[name]
        assert right / of >= least


def test_an_answer_about_real_footage_carries_the_caveat(small_store: Path) -> None:
    with longvid.VideoQA(small_store) as qa:
        for video in ("bottles_40s.mp4", "stream_title_vfr_vp8.webm"):
            assert CAVEAT in qa.ask("where is the star?", video=video).note
        [answer] = qa.ask_many([longvid.Question("where is the star?")])
        assert isinstance(answer, longvid.Answer)
        assert CAVEAT in answer.note
        with pytest.raises(longvid.QuestionError, match="does not know 'flower'"):
            qa.search("a red flower")


class _Heard:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def selected(self, index: int, selection: Selection) -> None:
        pass

    def text(self, index: int, text: str) -> None:
        self.texts.append(text)

    def stopped(self, index: int) -> bool:
        return len(self.texts) > 1


def test_a_doubtful_answer_is_not_told_before_it_is_whole(small_store: Path) -> None:
    """A line may stand in its place in the end; a chat cannot take back what it has sent."""
    heard = _Heard()
    with longvid.VideoQA(small_store) as qa:
        [answer] = qa.ask_many([longvid.Question("what is the sign ?")], listener=heard)
    assert isinstance(answer, longvid.Answer)
    assert "does not know these words or this footage" in answer.note
    assert heard.texts
    assert not any(heard.texts)


def test_a_search_in_real_footage_carries_the_caveat(small_store: Path) -> None:
    with longvid.VideoQA(small_store) as qa:
        found, notes = qa.search_noted("a red circle", top_k=3)
        assert found == qa.search("a red circle", top_k=3)
        assert any(CAVEAT in note for note in notes)


def test_nothing_that_fits_is_said(small_store: Path) -> None:
    config = longvid.load_config("mini", ["ask.min_score=0.99"])
    with longvid.VideoQA(small_store, config) as qa:
        everywhere = qa.ask("where is the star?")
        one = qa.ask("where is the star?", video="bottles_40s.mp4")
        whole = qa.ask("what comes first?", video="bottles_40s.mp4")
    assert "Nothing was found that fits: the best score is" in everywhere.note
    assert "Nothing was found that fits: the best score is" in one.note
    assert "Nothing was found" not in whole.note  # it names no place of the video
