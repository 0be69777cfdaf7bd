"""Sections as one HTML page that holds everything, and as Markdown: no script, no network."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from benchmarks.report.section import Section

_TEMPLATES = Path(__file__).parent / "templates"


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=lambda name: name is not None and not name.endswith(".md.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: object) -> Markup:
    """Fill a template; what is filled in is escaped unless it was rendered itself."""
    return Markup(_environment().get_template(template).render(**values))


def html_page(title: str, sections: Sequence[Section]) -> str:
    """Return a page; the first section is its head."""
    style = Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return str(render("page.html.j2", title=title, sections=sections, style=style))


def markdown(sections: Sequence[Section]) -> str:
    """Return the sections without what is drawn, tables with columns of one width."""
    tables = []
    for section in sections:
        table = [section.header, *section.rows] if section.header and section.rows else []
        cells = [[str(cell).replace("|", "\\|") for cell in row] for row in table]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if cells else []
        tables.append(
            [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
        )
    return str(render("report.md.j2", pairs=list(zip(sections, tables, strict=True))))
