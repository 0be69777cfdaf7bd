"""What a report consists of: headings with sentences, a table and perhaps something drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table that is more than its text.

    Args:
        text: Shown.
        style: Class of the style sheet: "good", "bad", "soft", "wide".
        heat: From 0 to 1, how strongly it is shaded.
        note: Shown when it is pointed at.
    """

    text: str
    style: str = ""
    heat: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with sentences and at most one table.

    Args:
        title: Heading.
        lines: Sentences.
        header, rows: Table.
        short: Also shown in a terminal.
        drawn: HTML below the table, on a page only.
        folded: Opened by the reader of a page.
    """

    title: str
    lines: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str | Cell]] = ()
    short: bool = False
    drawn: str = ""
    folded: bool = False
