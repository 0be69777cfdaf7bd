"""Mini, end to end: ten questions about a film it has never seen, by command line and by Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import longvid
from longvid.cli import main
from longvid.world.film import write_film
from longvid.world.questions import ask, view
from longvid.world.scene import generator, make_film
from longvid.world.views import WorldQuestion

# Training draws its films from seeds below 1,000, the model card from 900,001.
SEED = 61_000_003
NUM_QUESTIONS = 10
NEEDED = 8
TYPES = ("shape", "color", "where", "size", "who", "exists", "sign_read", "background", "sign_ref")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, list[WorldQuestion]]:
    """A film of some shots as a file, its store, and the questions."""
    folder = tmp_path_factory.mktemp("mini")
    film = make_film(SEED, 0, num_shots=4)
    path = folder / "film.mp4"
    write_film(film, path, fps=10, size=128)
    store = folder / "store"
    assert main(["index", str(path), "--store", str(store), "--config", "mini"]) == 0
    weights = dict.fromkeys(TYPES, 1.0)
    questions = ask(view(film), generator(SEED + 1, 0), NUM_QUESTIONS, weights)
    assert len(questions) == NUM_QUESTIONS
    assert len({question.type for question in questions}) >= 5
    return str(path), str(store), questions


def test_the_command_line_answers_at_least_eight_of_ten(
    asked: tuple[str, str, list[WorldQuestion]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, store, questions = asked
    capsys.readouterr()
    given = []
    for question in questions:
        words = ["ask", question.text, "--store", store, "--video", Path(path).name, "--json"]
        assert main(words) == 0
        given.append(json.loads(capsys.readouterr().out)["text"])
    right = sum(text == question.answer for text, question in zip(given, questions, strict=True))
    assert right >= NEEDED, list(zip((q.text for q in questions), given, strict=True))


def test_python_gives_the_same_answers_with_evidence_that_shows_them(
    asked: tuple[str, str, list[WorldQuestion]],
) -> None:
    path, store, questions = asked
    qa = longvid.VideoQA(store)
    answers = [qa.ask(question.text, video=path) for question in questions]
    right = [a.text == q.answer for a, q in zip(answers, questions, strict=True)]
    assert sum(right) >= NEEDED
    shown = 0
    for answer, question in zip(answers, questions, strict=True):
        assert 0 < answer.visual_tokens <= qa.config.ask.budget
        assert all(span.path == path for span in answer.evidence)
        shown += any(
            span.start_seconds < end and span.end_seconds > start
            for span in answer.evidence
            for start, end in question.evidence
        )
    assert shown >= NEEDED


def test_a_question_in_words_that_mini_does_not_know_is_refused_in_one_sentence(
    asked: tuple[str, str, list[WorldQuestion]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, store, _ = asked
    capsys.readouterr()
    assert main(["ask", "who is driving the car?", "--store", store]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "'driving', 'car'" in captured.err
    assert "--config" in captured.err
    assert "circle" in captured.err
