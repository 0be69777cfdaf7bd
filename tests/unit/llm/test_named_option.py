"""Which option a reply to multiple choice names."""

from __future__ import annotations

import pytest

from longvid.llm.named_option import named_option

COLORS = ("red", "blue")


@pytest.mark.parametrize(
    ("text", "choices", "option"),
    [
        ("A careful look shows that it is blue.", COLORS, 1),
        ("A red one is not there, so B", COLORS, 1),
        ("A red one is not there.", COLORS, None),
        ("A blue car", COLORS, 1),
        ("A red", COLORS, 0),
        ("A is the answer", COLORS, 0),
        ("A", COLORS, 0),
        ("(b)", COLORS, 1),
        ("(A) red", COLORS, 0),
        ("A. A careful look shows no blue.", COLORS, 0),
        ("The answer is A", COLORS, 0),
        ("It is not red.", COLORS, None),
        ("it isn't the red one", COLORS, None),
        ("I don't think it is red", COLORS, None),
        ("It is not red, it is blue.", COLORS, 1),
        ("It is blue, not red.", COLORS, 1),
        ("The answer is B, not A.", COLORS, 1),
        ("A is not right. B", COLORS, 1),
        ("not A", COLORS, None),
        ("Is it red? No\nA", ("blue", "red"), 0),
        ("It isn\u2019t red, but blue.", COLORS, 1),
        ("It was covered with blue paint", COLORS, 1),
        ("red or blue", COLORS, None),
        ("It looks dark blue", ("blue", "dark blue"), 1),
        ("a dog", ("a cat", "a dog"), 1),
        ("Two dogs", ("cat", "dog"), 1),
        ("I think it is B", tuple("123456789"), 1),
        ("", COLORS, None),
        ("答案是红色的", ("蓝色", "红色"), 1),
    ],
)
def test_the_named_option(text: str, choices: tuple[str, ...], option: int | None) -> None:
    assert named_option(text, choices) == option
