"""The reply of a model as plain text: thinking, markup and chat tokens taken away.

What a model wrote inside `<think>` is a draft and never an answer, closed or not.
"""

from __future__ import annotations

import re
import unicodedata

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´ʼ", "'"),
        **dict.fromkeys("“”„‟″«»「」『』《》〈〉", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("【〔［", "["),
        **dict.fromkeys("】〕］", "]"),
        **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufe0f\u00ad", None),
        "\u00a0": " ",
    }
)

_THINKING = "think|thinking|thought|thoughts|reasoning|reason|analysis|scratchpad|reflection|plan"
_OPENED = re.compile(rf"(?:<|◁|\[)({_THINKING})\b[^>▷\]\n]*(?:>|▷|\])", re.IGNORECASE)
_CLOSED = re.compile(rf"(?:<|◁|\[)/({_THINKING})\s*(?:>|▷|\])", re.IGNORECASE)
_THOUGHT_TOKENS = re.compile(r"<\|begin_of_thought\|>.*?(?:<\|end_of_thought\|>|$)", re.DOTALL)
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)\s*<\|message\|>")
_CHAT_TOKEN = re.compile(
    r"<\|[^|>\n]{1,40}\|>|</?s>|<eos>|<bos>|<pad>|<end_of_turn>|<start_of_turn>|\[/?INST\]|<0x0A>",
    re.IGNORECASE,
)
_ROLE = re.compile(
    r"^\s*(?:assistant|gpt|bot|model|ai|###\s*(?:assistant|response))\s*:?\s*(?=\W|\n)",
    re.IGNORECASE,
)
#: The models of the first chat formats go on with a next question of their own invention.
_NEXT_TURN = re.compile(
    r"\n\s*(?:#+\s*)?(?:question|user|human|q|instruction|example)\s*\d*\s*[:.](?=\s)",
    re.IGNORECASE,
)
_ECHOED_TURN = re.compile(
    r"^(\s*(?:q|question|user|human)\s*:.*\n)\s*(?:a|assistant|model)\s*:",
    re.DOTALL | re.IGNORECASE,
)
_LATEX_WORD = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathsf|mathit|rm|bf|operatorname)"
                         r"\s*\{([^{}]*)\}")  # fmt: skip
_TABLE_RULE = re.compile(r"^[ \t]*\|[ \t|:\-]*\|[ \t]*$", re.MULTILINE)
_TABLE_ROW = re.compile(r"^[ \t]*\|(.*)\|[ \t]*$", re.MULTILINE)
_BLANKS = re.compile(r"\s{9,}")
_STRUCK = re.compile(r"~~.*?~~|<(del|strike)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:b|i|u|em|strong|p|br|span|div|code|pre|li|ul|ol|h\d)\s*/?>", re.IGNORECASE
)


def canonical(text: str) -> str:
    """Return a text with one sign for each kind of quote, dash and space, letters composed.

    >>> canonical("caf\\u0065\\u0301 “Ｂ”")
    'café "B"'
    """
    text = unicodedata.normalize("NFKC", text.translate(_CHARACTERS)).translate(_CHARACTERS)
    # Patterns that begin with blanks would take the square of a long run's length.
    return _BLANKS.sub(lambda run: "\n" if "\n" in run[0] else " ", text)


def after_thinking(text: str) -> str:
    """Return what is left when drafts are taken away.

    >>> after_thinking("<think>maybe (B)</think>A"), after_thinking("<think>maybe (B)")
    ('A', '')
    """
    text = _THOUGHT_TOKENS.sub(" ", text)
    channels = list(_CHANNEL.finditer(text))
    if channels:
        final = [channel for channel in channels if channel[1].lower() == "final"]
        text = text[final[-1].end() :] if final else ""
    kept: list[str] = []
    position = 0
    while True:
        closed = _CLOSED.search(text, position)
        opened = _OPENED.search(text, position)
        if closed is not None and (opened is None or closed.start() < opened.start()):
            kept.clear()  # the beginning of the draft was part of the prompt
            position = closed.end()
            continue
        if opened is None:
            kept.append(text[position:])
            break
        kept.append(text[position : opened.start()])
        if closed is None:
            break
        # Drafts may hold the words "<think>" themselves; the draft ends at its last end.
        position = closed.end()
    return " ".join(kept)


def plain(text: str) -> str:
    """Return a reply without drafts, chat tokens, struck text and marks of Markdown and LaTeX."""
    text = _CHAT_TOKEN.sub(" ", after_thinking(canonical(text)))
    text = _ROLE.sub("", _STRUCK.sub(" ", text))
    text = _ECHOED_TURN.sub(r"\1Answer:", text)
    text = _TAG.sub(" ", text)
    text = re.sub(r"\[\s\](?=\s*\S)", " not ", re.sub(r"\[[xX✓✔]\](?=\s*\S)", " ", text))
    while (simpler := _LATEX_WORD.sub(r"\1", text)) != text:
        text = simpler
    text = _TABLE_RULE.sub("", text)
    text = _TABLE_ROW.sub(lambda row: row[1].replace("|", ":"), text)
    text = re.sub(r"\\[()\[\]]|\${1,2}(?!\d[\d.,]*\b(?!\$))|\\,|\\;|\\!|\\quad", " ", text)
    text = re.sub(r"\*+|(?<!\w)_{1,3}|_{1,3}(?!\w)|^\s*(?:#{1,6}|>+|[-•·+])\s+", " ", text,
                  flags=re.MULTILINE)  # fmt: skip
    return text.replace("```", "\n").strip()


def stated(text: str) -> list[str]:
    """Return the readings of a reply to try: up to the first invented next turn, then all.

    >>> stated("B\\n\\nQuestion: what else?\\nAnswer: C")[0]
    'B'
    """
    found = _NEXT_TURN.search(text)
    if found is None or not text[: found.start()].strip():
        return [text]
    return [text[: found.start()].strip(), text]
