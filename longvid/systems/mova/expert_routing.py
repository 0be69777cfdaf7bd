"""From a model's reply to the experts that run, and their maps to one grid."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from longvid.errors import OpError
from longvid.lazy_import import F

if TYPE_CHECKING:
    from torch import Tensor

#: Letters of the published experts, in the order of their routing bits.
EXPERTS = "ABCDEFG"
_MOST = 3


def chosen_experts(
    reply: str, experts: str = EXPERTS, *, strict: bool = False, most: int = _MOST
) -> tuple[bool, ...]:
    """Read which experts a model's reply names.

    Args:
        reply: Such as "B, F".
        experts: A letter each.
        strict: By the original's rule: an expert is chosen where its letter occurs anywhere in
            the first `most` pieces between commas, so that "Answer: F" chooses A too. Else only
            letters that stand alone count, the first `most` of them.
        most: At most that many pieces, or experts.

    Returns:
        One flag an expert, all False for a reply that names none.
    """
    if strict:
        head = reply.split(",")[:most]
        return tuple(any(letter in piece for piece in head) for letter in experts)
    alone = re.findall(rf"\b[{re.escape(experts)}]\b", reply)
    named = list(dict.fromkeys(alone))[:most]
    return tuple(letter in named for letter in experts)


def align_tokens(tokens: Tensor, count: int) -> Tensor:
    """Resize a square grid of tokens to another: bilinear in float32, (B, count, C).

    Args:
        tokens: (B, N, C) in reading order.
        count: Tokens wanted.

    Raises:
        OpError: One of the two is no square.

    Source: MoVA, `feature_align`.
    """
    side, wanted = _side(tokens.shape[1]), _side(count)
    if side == wanted:
        return tokens
    grid = tokens.mT.reshape(len(tokens), -1, side, side).float()
    resized = F.interpolate(grid, size=(wanted, wanted), mode="bilinear")
    return resized.flatten(2).mT.to(tokens.dtype)


def pool_tokens(tokens: Tensor, count: int) -> Tensor:
    """Take the mean of a square grid of tokens over a coarser one, for the routing pass.

    Args:
        tokens: (N, C) in reading order.
        count: Tokens wanted; the original takes 144 of 576.

    Returns:
        (count, C).

    Raises:
        OpError: One of the two is no square.
    """
    side, wanted = _side(tokens.shape[0]), _side(count)
    grid = tokens.T.reshape(-1, side, side).float()
    pooled = F.adaptive_avg_pool2d(grid, wanted)
    return pooled.flatten(1).T.to(tokens.dtype)


def question_text(questions: Sequence[str]) -> str:
    """Join the questions of a conversation as the adapter's text encoder reads them."""
    return "".join(
        f"question {number}: {question.lower()}\n\n" for number, question in enumerate(questions)
    )


def _side(count: int) -> int:
    side = math.isqrt(count)
    if side * side != count or not count:
        raise OpError(f"MoVA aligns square grids of tokens, got {count} tokens.")
    return side
