"""When a line of text may take the place of a model's answer that is doubtful."""

from __future__ import annotations

from longvid.timed_text.words import names_source_alone
from longvid.types import Question, Selection


def asks_text_alone(question: Question) -> bool:
    """Tell whether no answer from pictures is one: the question asks for text and nothing else."""
    return names_source_alone(question.text) and not question.choices


def asks_for_line(question: Question, selection: Selection) -> bool:
    """Tell whether a line may answer: the question asks for text alone, or lines were found."""
    return asks_text_alone(question) or any(span.text for span in selection.evidence)
