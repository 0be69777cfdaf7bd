"""Laws of language models, checked on a selection of yours."""

from __future__ import annotations

import dataclasses
import math

from longvid.errors import ModelError
from longvid.laws import require_law
from longvid.protocols import Generation, LanguageModel, LanguageModelPart
from longvid.testing.part_laws import check_part
from longvid.types import Question, Selection


def check_language_model(
    part: LanguageModelPart, selection: Selection, question: Question, device: str = "cpu"
) -> None:
    """Check the laws of a language model; its checkpoint must be on this machine.

    It names the spaces that it reads without loading weights; gives the same answer twice, alone
    and among others; counts its tokens; chooses one of the choices; and refuses tokens of another
    space.

    Args:
        part: With settings under which it decodes greedily.
        selection: Of the tokens, or the pictures, that it reads.
        question: Open, of words that it knows, and with at least two choices.
        device: Where it runs.
    """
    check_part("llm", part)
    spaces = part.spaces()
    worker = part.setup(device)
    require_law(not spaces or worker.space in spaces, part, "reads a space that it states")
    asked = dataclasses.replace(question, choices=())
    answer = worker.answer(asked, selection)
    require_law(answer.prompt_tokens >= 0, part, "counts the tokens of its prompt")
    require_law(answer.output_tokens >= 0, part, "counts the tokens of its answer")
    again = worker.answer(asked, selection)
    require_law(again.text == answer.text, part, "gives the same answer twice", f"{again.text!r}")
    both = worker.answer_many([(asked, selection), (question, selection)])
    require_law(len(both) == 2, part, "gives one entry a question", f"{len(both)}")
    for one in both:
        require_law(isinstance(one, Generation), part, "answers among others", f"{one!r}")
    texts = [one.text for one in both if isinstance(one, Generation)]
    require_law(texts[0] == answer.text, part, "answers alone as among others", f"{texts[0]!r}")
    _check_choice(part, worker, selection, question)
    if selection.segments and spaces:
        _check_space(part, worker, selection, asked)


def _check_choice(
    part: LanguageModelPart, worker: LanguageModel, selection: Selection, question: Question
) -> None:
    chosen = worker.answer(question, selection)
    if chosen.choice is None:  # a server, or a rule, may find none that fits
        require_law(bool(chosen.text), part, "says why it chooses none")
        return
    index = chosen.choice
    require_law(0 <= index < len(question.choices), part, "chooses one of the choices", f"{index}")
    named = chosen.text == question.choices[index]
    require_law(named, part, "answers with the text of its choice", f"{chosen.text!r}")
    scores = chosen.choice_scores
    if scores:
        finite = len(scores) == len(question.choices) and all(map(math.isfinite, scores))
        require_law(finite, part, "scores every choice", f"{scores}")
        require_law(scores[index] == max(scores), part, "chooses the best choice", f"{scores}")


def _check_space(
    part: LanguageModelPart, worker: LanguageModel, selection: Selection, question: Question
) -> None:
    other = tuple(
        dataclasses.replace(segment, space="of another model") for segment in selection.segments
    )
    refused = False
    try:
        worker.answer(question, dataclasses.replace(selection, segments=other))
    except ModelError:
        refused = True
    require_law(refused, part, "refuses tokens of another space with a ModelError")
