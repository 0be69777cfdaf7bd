"""The language model names which of several boxes an answer means; else the scores decide."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from longvid.errors import QuestionError
from longvid.protocols import Generation
from longvid.qa.candidate_choice import best_of_each_picture, choose_tracks
from longvid.types import Answer, Box, Picture, Question, Selection, Track

LEFT, RIGHT = (0.1, 0.1, 0.3, 0.3), (0.6, 0.6, 0.9, 0.9)
QUESTION = Question("who barks?")
ANSWER = Answer("the dog on the right", (), 0, 0, 0, {})
NOTHING = Selection((), (), 0)


def picture(seconds: float) -> Picture:
    file = io.BytesIO()
    Image.new("RGB", (80, 60), (90, 90, 90)).save(file, "JPEG")
    return Picture("a", seconds, file.getvalue(), 60, 80)


def track(phrase: str, xyxy: tuple[float, ...], score: float, *, candidate: bool = True) -> Track:
    boxes = tuple(Box("a", seconds, xyxy, score) for seconds in (1.0, 2.0))
    return Track(phrase, boxes, (4, 7), candidate)


class Replies:
    """A language model that replies with one text, and keeps what it was shown."""

    def __init__(self, reply: str | QuestionError) -> None:
        self.reply, self.asked = reply, list[tuple[Question, Selection]]()

    def answer(self, question: Question, selection: Selection) -> Generation:
        self.asked.append((question, selection))
        if isinstance(self.reply, QuestionError):
            raise self.reply
        return Generation(self.reply, 1, 1, {})


TRACKS = [
    track("dog", LEFT, 0.8),
    track("dog", RIGHT, 0.6),
    track("cat", LEFT, 0.5),
    track("cars", RIGHT, 0.4, candidate=False),
]


def choose(llm: Any, *, reads_pictures: bool = False) -> tuple[tuple[Track, ...], str]:
    pictures = [picture(1.0), picture(2.0)]
    return choose_tracks(
        TRACKS, QUESTION, ANSWER, NOTHING, pictures, llm, reads_pictures=reads_pictures
    )


def test_the_named_one_is_kept_and_no_candidate_is_left() -> None:
    llm = Replies("Number 2.")
    found, note = choose(llm)
    assert [(one.phrase, one.boxes[0].xyxy) for one in found] == [
        ("dog", RIGHT),
        ("cat", LEFT),
        ("cars", RIGHT),
    ]
    assert not note
    assert not any(one.is_candidate for one in found)
    [(question, selection)] = llm.asked  # one call for all phrases
    assert "2: dog, bottom right [60, 60, 90, 90], from 00:01 to 00:02" in question.text
    assert "cars" not in question.text
    assert not selection.pictures


def test_numbers_are_drawn_for_a_model_that_reads_pictures() -> None:
    llm = Replies("1")
    choose(llm, reads_pictures=True)
    [(_, selection)] = llm.asked
    with Image.open(io.BytesIO(selection.pictures[-1].jpeg)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (60, 80, 3)
    assert (pixels[..., 0] - pixels[..., 1] > 80).sum() > 20  # red lines


@pytest.mark.parametrize("reply", ["I cannot tell", "99", QuestionError("No such word.")])
def test_the_detectors_score_decides_where_no_number_is_named(reply: Any) -> None:
    found, note = choose(Replies(reply))
    assert [one.boxes[0].xyxy for one in found if one.phrase == "dog"] == [LEFT]
    assert "The detector chose among 2 boxes" in note


def test_one_candidate_is_no_question() -> None:
    llm = Replies("1")
    pictures = [picture(1.0)]
    only = [track("dog", LEFT, 0.8)]
    found, note = choose_tracks(
        only,
        QUESTION,
        ANSWER,
        NOTHING,
        pictures,
        llm,
        reads_pictures=False,  # type: ignore[arg-type]
    )
    assert (len(found), note, llm.asked) == (1, "", [])


def test_best_of_each_picture_leaves_each_time_one_box() -> None:
    first = Track("dog", (Box("a", 1.0, LEFT, 0.9), Box("a", 2.0, LEFT, 0.2)))
    second = Track("dog", (Box("a", 2.0, RIGHT, 0.5), Box("a", 3.0, RIGHT, 0.5)))
    found = best_of_each_picture([first, second])
    assert [[box.pts_seconds for box in one.boxes] for one in found] == [[2.0, 3.0], [1.0]]
