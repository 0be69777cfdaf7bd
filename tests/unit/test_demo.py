"""The demo's questions follow the rule that its page states, whatever the answers are."""

from __future__ import annotations

from longvid import demo
from longvid.world.scene import make_film


def test_questions_follow_the_rule() -> None:
    questions = demo.demo_questions()
    assert len(questions) == 5
    assert len({question.type for question in questions}) == 5
    film = make_film(demo._FILM_SEED, 0, duration_seconds=600, num_needles=4)
    for question in questions:
        assert question.type in demo._QUESTION_TYPES
        [(start, end)] = question.evidence
        [shot] = question.shots
        assert end - start >= 8.0
        assert abs(film.duration_seconds - 600) < 30
        assert 0 <= start < end <= film.duration_seconds
        assert shot < len(film.shots)
    assert questions == demo.demo_questions()


def test_the_clip_travels_with_the_package() -> None:
    assert demo._CLIP.is_file()
    assert "tests" not in demo._CLIP.parts[demo._CLIP.parts.index("longvid") :]
