"""What a compressor and a selector may return: checked where their results enter the path.

A part from outside can break these laws without noticing, and a store would then hold what no
question can use. The checks read shapes and types, so they cost nothing beside the work. All laws
of all kinds, with the expensive ones, are in `longvid.testing`.
"""

from __future__ import annotations

from collections.abc import Sequence

from longvid.errors import LawError
from longvid.protocols import LearnedCompressorPart
from longvid.types import Segment


def require_law(holds: bool, part: object, law: str, found: str = "") -> None:
    """Raise LawError unless a law holds.

    Args:
        holds: Whether it does.
        part: The part in question.
        law: The law, such as "never adds tokens".
        found: What was found instead.
    """
    if not holds:
        place = f"{type(part).__module__}:{type(part).__qualname__}"
        detail = f", but {found}" if found else ""
        raise LawError(f"{place} breaks the law that a part {law}{detail}.")


def require_compressed(part: object, given: Segment, returned: object) -> Segment:
    """Return what a compressor returned, if it may return that.

    One with weights of its own may make tokens of another width and space.

    Raises:
        LawError: It is no segment, or has more tokens, or tokens of another type or width.
    """
    learned = isinstance(part, LearnedCompressorPart)
    got = type(returned).__name__
    require_law(isinstance(returned, Segment), part, "returns a Segment", f"it returned {got}")
    assert isinstance(returned, Segment)  # for mypy; said above for people
    before, after = given.tokens.data, returned.tokens.data
    require_law(
        len(after) <= len(before),
        part,
        "never adds tokens",
        f"it made {len(after)} of {len(before)}",
    )
    require_law(
        after.dtype == before.dtype and (learned or after.shape[1] == before.shape[1]),
        part,
        "keeps the type and width of tokens",
        f"{tuple(before.shape)} {before.dtype} became {tuple(after.shape)} {after.dtype}",
    )
    same = (given.key, given.start_seconds, given.end_seconds, given.num_frames) == (
        returned.key,
        returned.start_seconds,
        returned.end_seconds,
        returned.num_frames,
    )
    same = same and (learned or returned.space == given.space)
    require_law(same, part, "changes nothing but the tokens of a segment")
    return returned


def require_selected(
    part: object, given: Sequence[Segment], returned: object, budget: int
) -> Sequence[Segment]:
    """Return what a selector returned, if it may return that.

    Raises:
        LawError: They are no segments, over the budget, out of order, or were not given.
    """
    segments = isinstance(returned, Sequence) and all(
        isinstance(segment, Segment) for segment in returned
    )
    require_law(segments, part, "returns segments", f"it returned {type(returned).__name__}")
    assert isinstance(returned, Sequence)  # for mypy; said above for people
    num_tokens = sum(len(segment.tokens) for segment in returned)
    require_law(
        num_tokens <= budget,
        part,
        "keeps to its budget",
        f"it returned {num_tokens} tokens for a budget of {budget}",
    )
    keys = [segment.key for segment in returned]
    require_law(keys == sorted(set(keys)), part, "returns each segment once, in time order")
    known = {segment.key for segment in given}
    require_law(known.issuperset(keys), part, "returns only segments that it was given")
    return returned
