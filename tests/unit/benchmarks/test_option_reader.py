"""Replies to multiple-choice questions: none is read wrongly, nearly every clear one is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness.option_reader import chosen_option

FORMS = Path(__file__).parent / "reply_forms.txt"
TEMPLATES = Path(__file__).parent / "reply_templates.txt"
OPTIONS = (
    ("red", "blue", "green", "yellow"),
    ("He opens the door.", "He closes the window.", "He sits down.", "He leaves the room."),
    ("a man", "a woman", "a child", "a dog"),
    ("2", "3", "4", "5"),
    ("Playing guitar", "Playing piano", "Singing", "Dancing", "Playing the guitar and singing"),
    ("yes", "no", "not sure"),
)


def unescaped(text: str) -> str:
    return text.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")


Form = tuple[str, tuple[str, ...], str, int | None]


def forms() -> Iterator[Form]:
    """Yield (family, options, reply, index of the option that is stated)."""
    family: str = ""
    options: tuple[str, ...] = ()
    for line in FORMS.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            family = line[3:]
        elif line.startswith("options: "):
            options = tuple(option.strip() for option in line[9:].split("|"))
        elif line and not line.startswith("# "):
            yield (
                family,
                options,
                unescaped(line[2:]),
                None if line[0] == "-" else ord(line[0]) - ord("A"),
            )


FAMILIES = sorted({family for family, *_ in forms()})


def test_the_table_is_large_enough() -> None:
    assert len(list(forms())) >= 300
    assert len(FAMILIES) >= 16


@pytest.mark.parametrize("family", FAMILIES)
def test_no_reply_is_read_wrongly_and_clear_ones_are_read(family: str) -> None:
    rows = [row for row in forms() if row[0] == family]
    wrong, unread = [], []
    for _, options, reply, expected in rows:
        found = chosen_option(reply, options)
        if found != expected:
            (wrong if found is not None else unread).append((reply, found))
    assert not wrong
    clear = [row for row in rows if row[3] is not None]
    assert len(unread) <= 0.05 * len(clear), unread


def templated(wanted: str) -> Iterator[Form]:
    """Yield every template with every option of every set."""
    section = ""
    for template in TEMPLATES.read_text(encoding="utf-8").splitlines():
        if template.startswith("## "):
            section = template[3:]
        elif section == wanted and template:
            for options in OPTIONS:
                for index in range(len(options)):
                    yield template, options, filled(template, options, index), index


def filled(template: str, options: tuple[str, ...], index: int) -> str:
    letters = "ABCDE"
    other = (index + 1) % len(options)
    pairs = list(zip(letters, options, strict=False))
    return unescaped(template).format(
        L=letters[index],
        l=letters[index].lower(),
        T=options[index].rstrip("."),
        O=letters[other],
        OT=options[other],
        ECHO=" ".join(f"{letter}. {text}" for letter, text in pairs),
        ECHOL="\n".join(f"{letter}. {text}" for letter, text in pairs),
        ECHOP=" ".join(f"({letter}) {text}" for letter, text in pairs),
        TALL=", ".join(options),
    )


def test_thousands_of_clear_replies() -> None:
    wrong, unread, count = [], [], 0
    for template, options, reply, index in templated("clear"):
        count += 1
        found = chosen_option(reply, options)
        if found != index:
            (unread if found is None else wrong).append((template, reply, found))
    assert count > 8000
    assert not wrong
    assert len(unread) <= 0.05 * count, unread[:20]


def test_thousands_of_replies_that_state_nothing() -> None:
    read = [
        (reply, chosen_option(reply, options))
        for _, options, reply, _ in templated("none")
        if chosen_option(reply, options) is not None
    ]
    assert not read


@pytest.mark.parametrize(
    "reply",
    [
        "B" * 100_000,
        "(" * 50_000,
        "A or " * 20_000,
        "<think>" * 9_999,
        "\n" * 100_000,
        " \t" * 50_000,
    ],
)
def test_a_reply_of_any_length_is_read(reply: str) -> None:
    assert chosen_option(reply, ("red", "blue")) is None


def test_an_answer_after_a_long_explanation_is_read() -> None:
    assert chosen_option("The car stops. " * 1000 + "\nThe answer is B.", ("red", "blue")) == 1


_PREFIXES = re.compile(r"(?:The )?(?:best|correct)? ?(?:answer|option)(?: is|:)", re.IGNORECASE)


def first_capital(reply: str, options: tuple[str, ...]) -> int | None:
    """Read as lmms-eval does for Video-MME and MLVU, restated: leave out words such as "The answer
    is" and take the first capital letter of an option anywhere, even in a word.
    """
    letters = "ABCDEFGH"[: len(options)]
    found = re.search(f"[{letters}]", _PREFIXES.sub("", reply.strip()))
    return None if found is None else letters.index(found[0])


def agreement() -> dict[str, tuple[int, int, int, int]]:
    """Return by family: replies, how many both read alike, and of the other rule's how many wrong
    and how many clear ones unread.
    """
    table: dict[str, tuple[int, int, int, int]] = {}
    for family, options, reply, expected in forms():
        ours, theirs = chosen_option(reply, options), first_capital(reply, options)
        count, same, wrong, unread = table.get(family, (0, 0, 0, 0))
        table[family] = (
            count + 1,
            same + (ours == theirs),
            wrong + (theirs is not None and theirs != expected),
            unread + (theirs is None and expected is not None),
        )
    return table


def test_the_readme_states_how_often_lmms_eval_reads_otherwise() -> None:
    text = (Path(__file__).parents[3] / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for family, (count, same, wrong, unread) in agreement().items():
        assert f"| {family} | {count} | {same} | {wrong} | {unread} |" in text
