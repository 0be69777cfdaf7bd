"""The words that longvid-mini reads and says, its prompt and its tokenizer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "moon", "heart")
PLURALS = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "cross": "crosses",
    "ring": "rings",
    "moon": "moons",
    "heart": "hearts",
}
COLORS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
BACKGROUNDS = ("grass", "water", "sand", "brick", "stone", "snow")
SIZES = ("small", "big")
# Left out because they look like, or are, another word: A I (articles), O Q D G, S, Z, B, N, U.
SIGNS = tuple("cefhjklmprtvwxy23456789")
PLACES = (
    "top left",
    "top",
    "top right",
    "left",
    "middle",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
MOTIONS = ("still", "left", "right", "up", "down", "around", "bounce", "grow", "shrink", "spin")
MOTION_VERBS = {  # "what ... ?"
    "still": "stays still",
    "left": "moves left",
    "right": "moves right",
    "up": "moves up",
    "down": "moves down",
    "around": "moves around",
    "bounce": "bounces",
    "grow": "grows",
    "shrink": "shrinks",
    "spin": "spins",
}
MOTION_BASE = {  # "does the star ... ?"
    "still": "stay still",
    "left": "move left",
    "right": "move right",
    "up": "move up",
    "down": "move down",
    "around": "move around",
    "bounce": "bounce",
    "grow": "grow",
    "shrink": "shrink",
    "spin": "spin",
}
EVENTS = ("nothing", "appears", "vanishes", "changes", "collides")
NUMBERS = ("zero", "one", "two", "three", "four")
_FUNCTION_WORDS = (
    "what which who where how many is are does do the a in on with there or you see can shape "
    "color colour sign letter digit object objects thing things background behind shot shots "
    "video first last before after right comes happens to say read show become turn into times "
    "appear move have size yes no ?"
)
VIDEO_TOKEN = "<video>"
FRAME_TOKEN = "<frame>"
ANSWER_TOKEN = "<answer>"
SPECIAL_TOKENS = (
    "<pad>",
    "<unk>",
    "<bos>",
    "<eos>",
    VIDEO_TOKEN,
    "<image>",
    FRAME_TOKEN,
    ANSWER_TOKEN,
)


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How frames and a question are laid out for the decoder, the same in training and in use.

    `<video>` is replaced by the visual tokens in time order. Each frame's tokens, however many a
    compressor left, are preceded by the embedding of `frame_prefix`: one separator, which tells the
    decoder where a frame begins when frames hold different counts. The decoder was trained with
    separators and, on a part of its samples, without.
    """

    template: str = f"{VIDEO_TOKEN} {{question}} {ANSWER_TOKEN}"
    frame_prefix: str = FRAME_TOKEN
    max_new_tokens: int = 6


PROMPT = PromptFormat()


_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}<video> "
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    " <answer>"
    "{% else %} {{ message['content'] }} <eos>{% endif %}"
    "{% endfor %}"
)


def prompt(question: str, format: PromptFormat = PROMPT) -> str:
    """Return the text around the visual tokens for a question.

    >>> prompt("What color is the star?")
    '<video> what color is the star ? <answer>'
    """
    return format.template.format(question=" ".join(words(question)))


def words(text: str) -> list[str]:
    """Split a text into lower-case words and question marks, as the tokenizer does.

    >>> words("Where's the RED star?")
    ['where', 'is', 'the', 'red', 'star', '?']
    """
    plain = text.lower().replace("\u2019", "'").replace("'s", " is")
    return re.findall(r"[a-z0-9]+|[?]", plain)


def vocabulary() -> tuple[str, ...]:
    """Return every word mini can read or say, sorted."""
    world: set[str] = {*SHAPES, *PLURALS.values(), *COLORS, *BACKGROUNDS, *SIZES, *SIGNS, *MOTIONS}
    world |= {*EVENTS, *NUMBERS, *_FUNCTION_WORDS.split()}
    for phrase in (*PLACES, *MOTION_VERBS.values(), *MOTION_BASE.values()):
        world |= set(phrase.split())
    return tuple(sorted(world))


def unknown_words(text: str) -> tuple[str, ...]:
    """Return the words of a text that mini does not know, in order, each once.

    >>> unknown_words("What color is the car?")
    ('car',)
    """
    known = set(vocabulary())
    return tuple(dict.fromkeys(word for word in words(text) if word not in known))


def build_tokenizer(model_max_length: int = 4096) -> PreTrainedTokenizerFast:
    """Make the word-level fast tokenizer; a word outside `vocabulary()` becomes `<unk>`."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *vocabulary()))}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace("\u2019", "'"),
            normalizers.Replace("'s", " is"),
            normalizers.Replace(Regex(r"[^a-z0-9?<>\s]"), " "),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("?", "isolated")]
    )
    make: Any = PreTrainedTokenizerFast  # its constructor is untyped
    tokenizer: PreTrainedTokenizerFast = make(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=[VIDEO_TOKEN, "<image>", FRAME_TOKEN, ANSWER_TOKEN],
        model_max_length=model_max_length,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer
