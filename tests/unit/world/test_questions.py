from __future__ import annotations

import numpy as np
import pytest

from longvid.models.mini_vocabulary import (
    BACKGROUNDS,
    COLORS,
    MOTIONS,
    NUMBERS,
    PLACES,
    PLURALS,
    SHAPES,
    SIGNS,
    unknown_words,
    vocabulary,
)
from longvid.world.prior import LIMIT_OPEN, LIMIT_TWO_WAY, TextGuesser, draw_questions
from longvid.world.questions import TYPES, YES_NO_TYPES, WorldQuestion, ask, view
from longvid.world.scene import CHANGES, Film, generator, make_film
from longvid.world.views import SIGN_SLOT


def many(num_shots: int, count: int) -> list[tuple[Film, WorldQuestion]]:
    rows = []
    for index in range(count):
        film = make_film(21, index, num_shots=num_shots)
        rows += [(film, q) for q in ask(view(film), generator(22, index), 12)]
    return rows


@pytest.fixture(scope="module")
def rows() -> list[tuple[Film, WorldQuestion]]:
    return many(1, 400) + many(6, 400)


def test_every_type_is_asked_and_every_word_is_known(
    rows: list[tuple[Film, WorldQuestion]],
) -> None:
    assert {question.type for _, question in rows} == set(TYPES)
    used = {w for _, q in rows for w in (*q.text.split(), *q.answer.split())}
    assert used <= set(vocabulary())
    assert all(not unknown_words(q.text) for _, q in rows)


def test_the_vocabulary_holds_no_word_that_is_never_used() -> None:
    used: set[str] = set()
    for num_shots in (1, 3, 8):
        for _, q in many(num_shots, 400):
            used |= {*q.text.split(), *q.answer.split()}
    assert set(vocabulary()) == used


def test_evidence_is_the_spans_of_the_named_shots(
    rows: list[tuple[Film, WorldQuestion]],
) -> None:
    for film, question in rows:
        assert question.shots
        assert question.evidence == tuple(film.span(i) for i in question.shots)
        for shot, number in question.things:
            assert shot in question.shots
            if number == SIGN_SLOT:
                assert film.shots[shot].sign >= 0
            else:
                assert number < len(film.shots[shot].things)


def test_the_things_of_a_question_are_the_ones_it_is_about(
    rows: list[tuple[Film, WorldQuestion]],
) -> None:
    for film, question in rows:
        if question.type in ("color", "shape", "where", "motion", "count", "who"):
            things = [film.shots[s].things[n] for s, n in question.things]
            if question.type == "color":
                assert [COLORS[t.color] for t in things] == [question.answer]
            elif question.type in ("shape", "who"):
                assert [SHAPES[t.shape] for t in things] == [question.answer]
            elif question.type == "where":
                assert [PLACES[t.place] for t in things] == [question.answer]
            elif question.type == "motion":
                assert [MOTIONS[t.motion] for t in things] == [question.answer]
            else:
                assert NUMBERS[len(things)] == question.answer


def test_answers_agree_with_the_film(rows: list[tuple[Film, WorldQuestion]]) -> None:
    """Answer again from the film alone, for the types whose text says all."""
    checked = set()
    for film, question in rows:
        words = question.text.split()
        things = [t for shot in film.shots for t in shot.things]
        answer = None
        if question.type == "exists":
            color, shape = COLORS.index(words[words.index("a") + 1]), words[words.index("a") + 2]
            pair = (SHAPES.index(shape), color)
            answer = "yes" if any((t.shape, t.color) == pair for t in things) else "no"
        elif question.type == "color":
            (shape,) = [w for w in words if w in SHAPES]
            (thing,) = [t for t in things if SHAPES[t.shape] == shape]
            answer = COLORS[thing.color]
        elif question.type == "count" and len(film.shots) == 1:
            noun = words[2]
            if noun in COLORS:
                answer = NUMBERS[sum(COLORS[t.color] == noun for t in things)]
            elif noun in PLURALS.values():
                answer = NUMBERS[sum(PLURALS[SHAPES[t.shape]] == noun for t in things)]
            else:
                answer = NUMBERS[len(things)]
        elif question.type == "times":
            color, shape = (w for w in words if w in (*SHAPES, *COLORS))
            pair = (SHAPES.index(shape), COLORS.index(color))
            shots = [any((t.shape, t.color) == pair for t in s.things) for s in film.shots]
            answer = NUMBERS[sum(shots)]
        elif question.type in ("before", "after") and "sign" in words and "background" in words:
            sign = SIGNS.index(words[words.index("sign") + 1])
            (at,) = [i for i, shot in enumerate(film.shots) if shot.sign == sign]
            other = film.shots[at + (1 if question.type == "after" else -1)]
            answer = BACKGROUNDS[other.background]
        if answer is not None:
            assert question.answer == answer, question
            checked.add(question.type)
    assert checked == {"exists", "color", "count", "times", "before", "after"}


def test_motion_is_not_asked_where_the_frames_cannot_show_it() -> None:
    for index in range(150):
        film = make_film(23, index)
        two = np.array([0.1, 0.2]) * film.duration_seconds
        asked = ask(view(film, two), generator(24, index), 12)
        kinds = {question.type for question in asked}
        assert not kinds & {"motion", "who", "yes_no_motion", "event", "become"}
        changing = {t.shape for t in film.shots[0].things if t.event == CHANGES}
        for question in asked:
            if question.type == "color":
                assert not any(SHAPES[s] in question.text.split() for s in changing)


@pytest.mark.parametrize(("num_shots", "num_frames"), [(1, 8), (6, 24)])
def test_text_alone_answers_little(num_shots: int, num_frames: int) -> None:
    guesser = TextGuesser(draw_questions(31, 1500, num_shots, num_frames))
    right: dict[str, list[bool]] = {}
    for q in draw_questions(131, 1500, num_shots, num_frames):
        right.setdefault(q.type, []).append(guesser.guess(q.text) == q.answer)
    for kind, marks in right.items():
        limit = LIMIT_TWO_WAY if kind in YES_NO_TYPES else LIMIT_OPEN
        noise = 2.5 * (limit * (1 - limit) / len(marks)) ** 0.5
        assert sum(marks) / len(marks) <= limit + noise, kind
