"""Tokenizers: a prompt's own words may hold control tokens, text from outside never becomes one.

A question, an option or a subtitle may spell `<|im_end|>` or `<image>`. Tokenizers read such a
spelling as the control token wherever it stands, and the text would open a turn of its own or show
a second video. Here it is read letter by letter, as any other text.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from longvid.errors import ModelError, QuestionError, UnknownWordsError, shown
from longvid.models.checkpoint_errors import checkpoint_errors
from longvid.models.transformers_logging import quiet


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a prompt.

    Args:
        text: Its words.
        is_outside: Whether it comes from outside (a question, a subtitle), so that it holds no
            control tokens, whatever it spells.
    """

    text: str
    is_outside: bool = False


def outside(text: str) -> Span:
    """Return text from outside as a part of a prompt."""
    return Span(text, is_outside=True)


def split_spans(spans: Sequence[Span], token: str) -> list[tuple[Span, ...]]:
    """Split a prompt where its own words hold a token, which is left out.

    >>> split_spans([Span("USER: <v> "), outside("What is <v>?")], "<v>")[1]
    (Span(text=' ', is_outside=False), Span(text='What is <v>?', is_outside=True))
    """
    parts: list[list[Span]] = [[]]
    for span in spans:
        first, *others = [span.text] if span.is_outside else span.text.split(token)
        parts[-1].append(Span(first, span.is_outside))
        parts += [[Span(other)] for other in others]
    return [tuple(span for span in part if span.text) for part in parts]


def load_tokenizer(folder: Path, **settings: Any) -> Any:
    """Load the tokenizer of a checkpoint; code that the checkpoint brings is not run.

    Raises:
        ModelError: There is none, or it is damaged.
    """
    from transformers import AutoTokenizer

    with quiet(), checkpoint_errors(folder, "The tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **settings)
    # A prompt that is too long is refused by our own sentence, which says what to do.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    # Of some architectures transformers makes a tokenizer without any words where the file is gone.
    if tokenizer.vocab_size <= 1:
        raise ModelError(
            f"{folder} has no vocabulary (tokenizer.json, vocab.json or tokenizer.model); download "
            "the checkpoint again, with its tokenizer."
        )
    return tokenizer


class TextTokenizer:
    """Turns prompts into ids."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        marks = {
            token.content: token_id
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.content.strip() and (token.special or _is_markup(token.content))
        }
        # A word that the vocabulary lacks is rightly the unknown token.
        self._control = frozenset(marks.values()) - {tokenizer.unk_token_id}
        longest_first = sorted(marks, key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, longest_first))) if marks else None
        self._fixed_control = lru_cache(256)(self._control_in)

    @property
    def control_ids(self) -> frozenset[int]:
        """Ids that text from outside never gets."""
        return self._control

    def ids(self, spans: Sequence[Span], *, start: bool = False) -> tuple[int, ...]:
        """Tokenize a prompt as one text, so that words are joined across its parts.

        Args:
            spans: Parts of the prompt.
            start: Add the tokens with which every text of this tokenizer begins (and ends).

        Raises:
            QuestionError: Text from outside cannot be told from a control token.
        """
        return self._checked(
            spans, self._encode("".join(span.text for span in spans), start), start
        )

    def ids_of_each(self, texts: Sequence[Sequence[Span]]) -> list[tuple[int, ...]]:
        """Tokenize several texts as `ids` does, without tokens around them."""
        joined = ["".join(span.text for span in spans) for spans in texts]
        encoded = self._tokenizer(joined, add_special_tokens=False)["input_ids"]
        pairs = zip(texts, encoded, strict=True)
        return [self._checked(spans, tuple(ids), False) for spans, ids in pairs]

    def _checked(self, spans: Sequence[Span], ids: tuple[int, ...], start: bool) -> tuple[int, ...]:
        """Return the ids of a text if its own parts alone hold control tokens, else others."""
        if not any(span.is_outside for span in spans):
            return ids
        fixed = "".join(span.text for span in spans if not span.is_outside)
        wanted = self._fixed_control(fixed, start)
        if self._only_control(ids) == wanted:
            return ids
        # Something from outside spells a control token: each part is tokenized by itself.
        before, after = self._frame if start else ((), ())
        apart = list(before)
        for span in spans:
            apart += self.text_ids(span.text) if span.is_outside else self._encode(span.text, False)
        apart += after
        if self._only_control(apart) != wanted:
            raise QuestionError(
                "The question spells a control token of this model in a way that cannot be read "
                "as text; leave out the words in angle brackets."
            )
        return tuple(apart)

    def text_ids(self, text: str) -> tuple[int, ...]:
        """Tokenize text from outside, without tokens around it."""
        ids = self._encode(text, False)
        if self._control.isdisjoint(ids) and not (self._spelled and self._spelled.search(text)):
            return ids
        return tuple(token for piece in self._pieces(text) for token in self._literal(piece))

    def framed_ids(self, text: str, longest: int, *, keep_end: bool = False) -> list[int]:
        """Tokenize text from outside between the tokens that this tokenizer puts around a text.

        Args:
            text: From outside.
            longest: Most ids; what is more is cut off.
            keep_end: Cut at the start rather than at the end.
        """
        inside = self.text_ids(text)
        before, after = self._frame
        room = max(0, longest - len(before) - len(after))
        cut = inside[max(0, len(inside) - room) :] if keep_end else inside[:room]
        return [*before, *cut, *after]

    @cached_property
    def _frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What this tokenizer puts before and after a text."""
        ids = self._encode("a", True)
        is_control = [token in self._control for token in ids]
        num_before = is_control.index(False) if False in is_control else len(ids)
        num_after = is_control[::-1].index(False) if False in is_control else 0
        return ids[:num_before], ids[len(ids) - num_after :]

    def _encode(self, text: str, start: bool) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=start)["input_ids"])

    def _only_control(self, ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(token for token in ids if token in self._control)

    def _control_in(self, text: str, start: bool) -> tuple[int, ...]:
        return self._only_control(self._encode(text, start))

    def _pieces(self, text: str) -> list[str]:
        """Cut a text behind the first letter of every control token that it spells."""
        if self._spelled is None:
            return [text]
        cuts = [match.start() + 1 for match in self._spelled.finditer(text)]
        bounds = zip([0, *cuts], [*cuts, len(text)], strict=True)
        return [text[start:end] for start, end in bounds if start < end]

    def _literal(self, text: str) -> tuple[int, ...]:
        """Halve a text until no part is a control token (one may hide in capitals or accents)."""
        ids = self._encode(text, False)
        if self._control.isdisjoint(ids):
            return ids
        if len(text) == 1:
            return ()
        middle = len(text) // 2
        return self._literal(text[:middle]) + self._literal(text[middle:])


def _is_markup(content: str) -> bool:
    """Tell `<think>` or `[IMG]` from a word that was added to a vocabulary."""
    return not (content[0].isalnum() or content[-1].isalnum())


def unknown_words(tokenizer: Any, text: str, control_ids: Collection[int] = ()) -> tuple[str, ...]:
    """Return the words that a closed vocabulary does not have, in order, each once.

    A tokenizer that builds words of smaller pieces can read any text; then nothing is unknown.
    """
    from tokenizers.models import WordLevel

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not isinstance(backend.model, WordLevel):
        return ()
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    pairs = list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
    lacking = {tokenizer.unk_token_id, *control_ids}
    kept = {place for _, span in pairs for place in range(*span)}
    # A normaliser may drop what it cannot read, such as another script, and give it no token.
    lost = [span for span in _words(text) if not kept.issuperset(range(*span))]
    in_lost = {place for span in lost for place in range(*span)}
    unread = [span for token, span in pairs if token in lacking and span[0] not in in_lost]
    return tuple(dict.fromkeys(text[start:end] for start, end in sorted(unread + lost)))


def _words(text: str) -> list[tuple[int, int]]:
    """Return start and end of every run of characters that are neither space nor punctuation.

    >>> _words("red, green")
    [(0, 3), (5, 10)]
    """
    runs = itertools.groupby(range(len(text)), lambda place: _is_of_word(text[place]))
    places = [list(run) for is_word, run in runs if is_word]
    return [(run[0], run[-1] + 1) for run in places]


def _is_of_word(character: str) -> bool:
    category = unicodedata.category(character)
    is_control = category == "Cc" and not character.isspace()
    return category[0] in "LMN" or category == "So" or is_control


def require_known_words(
    text: str, reader: str, tokenizer: Any, control_ids: Collection[int]
) -> None:
    """Refuse a text with words that a closed vocabulary does not have.

    Args:
        text: From outside.
        reader: What reads it, for the sentence.
        tokenizer: Of transformers.
        control_ids: Ids that a text from outside never gets.

    Raises:
        QuestionError: The sentence names the words, and some that are known.
    """
    unknown = unknown_words(tokenizer, text, control_ids)
    if not unknown:
        return
    from longvid.models import mini_vocabulary

    words = ", ".join(map(shown, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
    vocabulary = tokenizer.get_vocab()
    examples = [
        word for word in (*mini_vocabulary.SHAPES, *mini_vocabulary.COLORS) if word in vocabulary
    ]
    examples = examples or sorted(word for word in vocabulary if word.isalpha())[:12]
    num_words = len(tokenizer) - len(tokenizer.all_special_tokens)
    raise UnknownWordsError(
        f"{reader} does not know {words}: it reads {num_words} words, such as "
        f"{', '.join(examples)}. For real footage use --config with a pretrained model, such as "
        "longvid."
    )
