"""Laws of compressors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from longvid.errors import LongvidError, OpError
from longvid.laws import require_compressed, require_law
from longvid.lazy_import import torch
from longvid.protocols import CompressorPart, LearnedCompressorPart
from longvid.testing.part_laws import check_part
from longvid.testing.synthetic import fingerprint, make_segment, outcome
from longvid.types import Segment, Tokens

#: Frames, rows and columns of grids that every compressor takes.
_SQUARE_GRIDS = ((6, 8, 8), (1, 8, 8), (5, 9, 9), (16, 12, 12))


def check_compressor(part: CompressorPart, segments: Iterable[Segment] | None = None) -> None:
    """Check the laws of a compressor.

    It never adds tokens; keeps time order, type and width; returns finite tokens with sizes above 0
    and positions in [0, 1]; conserves sizes if it declares so; changes nothing else; returns the
    same bits twice; refuses a grid that does not fit it with an OpError that says so, and never a
    square one; passes a segment without tokens on; and refuses tokens that are not finite.

    One with weights of its own states the space of what it makes, keeps one width, and need not
    make zeros of zeros.

    Args:
        part: With settings of your choice.
        segments: Checked one by one; None checks made ones with the awkward shapes that occur.
    """
    declared = getattr(type(part), "conserves_size", None)
    require_law(
        isinstance(declared, bool), part, "declares conserves_size: ClassVar[bool] = True or False"
    )
    if segments is not None:
        for segment in segments:
            _check(part, segment)
        return
    check_part("compressor", part)
    for segment in _awkward():
        _check(part, segment)
    for shape in _SQUARE_GRIDS:
        segment = make_segment(*shape, seed=7, slow_every=4)
        result = outcome(lambda: part.setup()(segment))  # noqa: B023  # called at once
        if isinstance(result, LongvidError):
            require_law(False, part, f"takes the square grid {shape}", f"it said: {result}")
        else:
            require_well_compressed(part, segment, result)
    empty = make_segment(4, 8, 8, keep=0.0)
    num_made = len(part.setup()(empty).tokens)
    require_law(num_made == 0, part, "passes a segment without tokens on", f"it made {num_made}")
    if isinstance(part, LearnedCompressorPart):
        _check_learned(part, empty)
    else:
        zeros = Tokens.from_grid(torch.zeros(4, 8, 8, empty.tokens.data.shape[1]))
        made = part.setup()(empty.with_tokens(zeros)).tokens.data
        require_law(bool((made == 0).all()), part, "makes zeros of zeros")
    for value in (float("nan"), float("inf")):
        _check_not_finite(part, value)


def _awkward() -> list[Segment]:
    """Make segments with ragged, repeated, few and no frames, in every type of token."""
    return [
        make_segment(0, 4, 4),
        make_segment(1, 1, 1),
        make_segment(5, 3, 7, seed=1, keep=0.6),
        make_segment(9, 8, 8, seed=2, dtype=torch.float16, repeated=True),
        make_segment(7, 8, 8, seed=3, dtype=torch.bfloat16, slow_every=1),
        make_segment(8, 6, 6, seed=4, slow_every=4, keep=0.6, repeated=True),
    ]


def _check(part: CompressorPart, segment: Segment) -> None:
    before = fingerprint(segment)
    worker = part.setup()
    result = outcome(lambda: worker(segment))
    again = outcome(lambda: part.setup()(segment))
    require_law(fingerprint(segment) == before, part, "leaves what it is given as it is")
    if isinstance(result, LongvidError) or isinstance(again, LongvidError):
        refused = isinstance(result, OpError) and "grid" in str(result)
        require_law(refused, part, "refuses only grids, with an OpError", f"it said: {result}")
        require_law(str(again) == str(result), part, "refuses the same way every time")
        return
    require_well_compressed(part, segment, result)
    require_law(fingerprint(again) == fingerprint(result), part, "returns the same bits twice")


def require_well_compressed(part: CompressorPart, segment: Segment, result: Segment) -> None:
    """Check everything that a compressed segment must be, given the one it was made of.

    Raises:
        LawError: The sentence names the law that is broken.
    """
    tokens = require_compressed(part, segment, result).tokens
    for law, holds in (
        ("keeps tokens in time order", bool((tokens.frame.diff() >= 0).all())),
        ("returns finite tokens", bool(tokens.data.isfinite().all())),
        ("returns sizes above 0", bool((tokens.size > 0).all())),
        (
            "returns positions in [0, 1]",
            bool(((tokens.position >= 0) & (tokens.position <= 1)).all()),
        ),
        (
            "returns positions and sizes in float32",
            tokens.position.dtype == tokens.size.dtype == torch.float32,
        ),
        (
            "changes nothing but the tokens of a segment",
            fingerprint(replace(result, tokens=segment.tokens, space=segment.space))
            == fingerprint(segment),
        ),
    ):
        require_law(holds, part, law)
    if type(part).conserves_size:
        before, after = float(segment.tokens.size.sum()), float(tokens.size.sum())
        require_law(
            abs(after - before) <= 1e-6 * max(before, 1),
            part,
            "conserves sizes, as conserves_size says",
            f"{before} became {after}",
        )


def _check_learned(part: LearnedCompressorPart, empty: Segment) -> None:
    """Check what only compressors with weights must do, given a segment without tokens."""
    full = make_segment(6, 8, 8, seed=7, slow_every=4)
    made, of_none, outlined = part.setup()(full), part.setup()(empty), part.outline()(full)
    spaces = {made.space, of_none.space, part.space()}
    require_law(len(spaces) == 1, part, "works in the space that it states", f"{spaces}")
    widths = {one.tokens.data.shape[1] for one in (made, of_none)}
    require_law(len(widths) == 1, part, "makes tokens of one width", f"{widths}")
    counts = len(made.tokens), len(outlined.tokens)
    require_law(counts[0] == counts[1], part, "outlines as many tokens as it makes", f"{counts}")
    require_law(bool(part.identity()), part, "names its weights")


def _check_not_finite(part: CompressorPart, value: float) -> None:
    """Check that such a value is refused, or passed on by a part that computes nothing."""
    segment = make_segment(4, 8, 8)
    data = segment.tokens.data.clone()
    data[70, 3] = value
    spoilt = segment.with_tokens(
        Tokens(data, segment.tokens.frame, segment.tokens.position, segment.tokens.size)
    )
    result = outcome(lambda: part.setup()(spoilt))
    law = "refuses tokens that are not finite with an OpError that says where, or passes them on"
    if isinstance(result, LongvidError):
        wanted = ("NaN or infinity", "frame 1", "(256, 24)")
        said = isinstance(result, OpError) and all(words in str(result) for words in wanted)
        require_law(said, part, law, f"it said: {result}")
    else:
        num_spoilt = int((~result.tokens.data.isfinite()).any(dim=1).sum())
        require_law(num_spoilt <= 1, part, law, f"{num_spoilt} of its tokens are not finite")
