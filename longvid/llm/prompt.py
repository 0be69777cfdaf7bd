"""Lay out a video and a question as the text that a checkpoint was trained to read.

This module knows templates and token ids; it computes nothing with a model.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longvid.errors import ModelError, QuestionError
from longvid.models.families.protocol import Family, Prompt

__all__ = ["letters", "list_choices", "prompt_of", "render", "split_at_video", "unknown_words"]

_FIELD = re.compile(r"\{(video|question|choices)\}")


def prompt_of(folder: Path, family: Family, tokenizer: Any) -> Prompt:
    """Return the prompt of a checkpoint.

    A `prompt.json` beside the weights says it in longvid's own terms (mini has one). Else the
    checkpoint's chat template is rendered once with a video and a question, if it knows videos;
    else the family's published prompt counts.

    Raises:
        ModelError: prompt.json has fields that are not known.
    """
    path = folder / "prompt.json"
    if path.is_file():
        known = {field.name for field in dataclasses.fields(Prompt)}
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            return Prompt(**table)
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"{path} is not a prompt ({error}); its fields are {', '.join(sorted(known))}."
            ) from error
    rendered = _chat_template(folder, family, tokenizer)
    return dataclasses.replace(family.prompt, template=rendered) if rendered else family.prompt


def _chat_template(folder: Path, family: Family, tokenizer: Any) -> str | None:
    """Render the checkpoint's chat template around fields; None if it does not show a video."""
    from jinja2.exceptions import TemplateError

    template = tokenizer.chat_template
    path = folder / "chat_template.json"
    if path.is_file():
        try:
            template = json.loads(path.read_text(encoding="utf-8"))["chat_template"]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{path} holds no chat_template ({error}); download it again."
            ) from error
    if not isinstance(template, str):
        return None
    content = [{"type": family.content_type}, {"type": "text", "text": "{question}{choices}"}]
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
        )
    except (TemplateError, TypeError, ValueError):
        return None  # a template for text, which refuses a list of contents
    fits = text.count(family.placeholder) == 1 and text.count("{question}{choices}") == 1
    return text if fits else None


def render(template: str, placeholder: str, question: str, choices: str) -> str:
    """Fill a template in one pass, so that braces in a question stay what they are.

    >>> render("{video} Q: {question}{choices} A:", "<image>", "Is {video} a field?", "")
    '<image> Q: Is {video} a field? A:'

    Raises:
        QuestionError: The question or a choice holds the placeholder itself.
    """
    if placeholder in question or placeholder in choices:
        raise QuestionError(
            f"The question holds {placeholder!r}, which this model reads as a video; leave it out."
        )
    values = {"video": placeholder, "question": question.strip(), "choices": choices}
    return _FIELD.sub(lambda match: values[match[1]], template)


def letters(count: int) -> tuple[str, ...]:
    """Return the letters that name choices: A, B, C, ...

    Raises:
        QuestionError: There are more choices than letters.
    """
    if count > 26:
        raise QuestionError(f"The question has {count} choices; at most 26 can be lettered.")
    return tuple(chr(ord("A") + index) for index in range(count))


def list_choices(choices: Sequence[str], *, lettered: bool) -> str:
    """Return the choices as the lines that follow a question; "" if there are none.

    >>> list_choices(("red", "blue"), lettered=True)
    "\\nA. red\\nB. blue\\nAnswer with the option's letter from the given choices directly."
    """
    if not choices:
        return ""
    if lettered:
        lines = [f"{letter}. {c}" for letter, c in zip(letters(len(choices)), choices, strict=True)]
        lines.append("Answer with the option's letter from the given choices directly.")
    else:
        lines = ["Options:", *choices, "Answer with one of the options."]
    return "\n" + "\n".join(lines)


def split_at_video(
    ids: Sequence[int], placeholder_id: int, template: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids before and after the one placeholder of the video.

    Raises:
        ModelError: The prompt does not hold the placeholder exactly once.
    """
    places = [index for index, token in enumerate(ids) if token == placeholder_id]
    if len(places) != 1:
        raise ModelError(
            f"The prompt template must hold the video exactly once, but it holds it {len(places)} "
            f"times as this tokenizer reads it: {template!r}; write {{video}} once in llm.template."
        )
    return tuple(ids[: places[0]]), tuple(ids[places[0] + 1 :])


def unknown_words(tokenizer: Any, text: str) -> tuple[str, ...]:
    """Return the words that a closed vocabulary does not have, in order, each once.

    A tokenizer that builds words of smaller pieces can read any text; then nothing is unknown.
    """
    from tokenizers.models import WordLevel

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not isinstance(backend.model, WordLevel):
        return ()
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    unknown = (text[start:end] for token, (start, end) in pairs if token == tokenizer.unk_token_id)
    return tuple(dict.fromkeys(unknown))
