"""Laws of selectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from longvid.errors import BudgetError, LongvidError, OpError
from longvid.laws import require_law, require_selected
from longvid.lazy_import import torch
from longvid.protocols import SelectorPart
from longvid.testing.part_laws import check_part
from longvid.testing.synthetic import fingerprint, make_query, make_segment, outcome
from longvid.types import Query, Segment

Case = tuple[Query, Sequence[Segment], int]


def check_selector(part: SelectorPart, cases: Iterable[Case] | None = None) -> None:
    """Check the laws of a selector.

    It keeps to its budget and shows all that fits; returns each segment once, in time order, with
    frames and no more tokens than it was given; shows at least one frame where one fits, and says
    BudgetError where none does; returns the same bits twice and for candidates in another order;
    and refuses repeated candidates and embeddings that are not finite.

    Args:
        part: With settings of your choice.
        cases: Query, candidates and budget, checked one by one; None checks made ones.
    """
    if cases is not None:
        for query, segments, budget in cases:
            _check(part, query, segments, budget)
        return
    check_part("selector", part)
    for query, segments, budget in _awkward():
        _check(part, query, segments, budget)
    query = make_query()
    empty = make_segment(3, 4, 4, keep=0.0)
    for none in ([], [empty]):
        found = part.setup()(query, none, 10)
        require_law(len(found) == 0, part, "finds nothing in nothing", f"it found {len(found)}")
    segment = make_segment(6, 4, 4)
    for budget in (0, -5):
        said = outcome(lambda: part.setup()(query, [segment], budget))  # noqa: B023  # at once
        refused = isinstance(said, BudgetError) and "raise ask.budget" in str(said)
        require_law(refused, part, f"refuses a budget of {budget}", f"it returned {said!r}")
    spoilt = dataclasses.replace(
        segment, frame_embeddings=torch.full_like(segment.frame_embeddings, float("nan"))
    )
    narrow = dataclasses.replace(segment, segment_index=1, frame_embeddings=torch.zeros(6, 3))
    for law, segments, words in (
        ("refuses a candidate given twice", [segment, segment], "given twice"),
        ("refuses embeddings that are not finite", [spoilt], "NaN"),
        ("refuses embeddings of two widths", [segment, narrow], "width"),
    ):
        said = outcome(lambda: part.setup()(query, segments, 20))  # noqa: B023  # at once
        refused = isinstance(said, LongvidError) and words in str(said)
        require_law(refused, part, law, f"it returned {said!r}")


def _awkward() -> list[Case]:
    """Make candidates that repeat each other, are ragged, or come in any order."""
    videos: list[Segment] = [
        make_segment(6, 4, 4, seed=i, video_id=video, segment_index=i, keep=keep)
        for i, (video, keep) in enumerate([("b", 1.0), ("a", 0.5), ("c", 0.1), ("a", 1.0)])
    ]
    alike = [make_segment(8, 4, 4, segment_index=i, repeated=True) for i in range(3)]
    full = [make_segment(8, 4, 4, seed=i, segment_index=i) for i in range(3)]
    cases: list[Case] = [(make_query(1), videos, budget) for budget in (1, 17, 100, 400)]
    cases += [(make_query(2), alike, budget) for budget in (16, 100)]
    cases += [(make_query(), full, budget) for budget in (16, 17, 47, 48, 100, 383)]
    return cases


def _check(part: SelectorPart, query: Query, segments: Sequence[Segment], budget: int) -> None:
    before = [fingerprint(segment) for segment in segments]
    smallest = _smallest_frame(segments)
    chosen = outcome(lambda: part.setup()(query, segments, budget))
    unchanged = [fingerprint(segment) for segment in segments] == before
    require_law(unchanged, part, "leaves what it is given as it is")
    if isinstance(chosen, BudgetError):
        law = "refuses a budget only where no frame fits it, and names it"
        short = smallest is not None and budget < smallest
        said = f"budget of {budget} visual tokens" in str(chosen)
        require_law(short and said, part, law, f"it said: {chosen}")
        return
    if isinstance(chosen, LongvidError):
        refused = isinstance(chosen, OpError) and "grid" in str(chosen)
        require_law(refused, part, "refuses only grids, with an OpError", f"it said: {chosen}")
        return
    require_well_selected(part, segments, chosen, budget)
    num_shown = sum(len(segment.tokens) for segment in chosen)
    num_given = sum(len(segment.tokens) for segment in segments)
    require_law(num_shown >= bool(smallest), part, "shows a frame where one fits")
    whole = num_given > budget or num_shown == num_given
    require_law(whole, part, "shows all that fits", f"it showed {num_shown} of {num_given}")
    again = part.setup()(query, list(segments)[::-1], budget)
    same = [fingerprint(one) for one in again] == [fingerprint(one) for one in chosen]
    require_law(same, part, "returns the same bits twice, in whatever order candidates come")


def require_well_selected(
    part: SelectorPart, segments: Sequence[Segment], chosen: Sequence[Segment], budget: int
) -> None:
    """Check everything that selected segments must be, given the candidates.

    Raises:
        LawError: The sentence names the law that is broken.
    """
    require_selected(part, segments, chosen, budget)
    given = {segment.key: segment for segment in segments}
    for segment in chosen:
        source = given[segment.key]
        in_order = bool((segment.pts_seconds.diff() > 0).all())
        require_law(in_order, part, "keeps frames in time order")
        frames = torch.searchsorted(source.pts_seconds, segment.pts_seconds)
        unchanged = segment.space == source.space and all(
            torch.equal(getattr(source, name)[frames], getattr(segment, name))
            for name in ("pts_seconds", "slow", "frame_embeddings")
        )
        require_law(unchanged, part, "returns frames that it was given, unchanged")
        counts = segment.tokens.counts(segment.num_frames)
        most = source.tokens.counts(source.num_frames)[frames]
        fits = bool((counts > 0).all()) and bool((counts <= most).all())
        require_law(fits, part, "shows no frame without tokens and adds none to a frame")


def _smallest_frame(segments: Sequence[Segment]) -> int | None:
    counts = [
        count
        for segment in segments
        for count in segment.tokens.counts(segment.num_frames).tolist()
        if count
    ]
    return min(counts, default=None)
