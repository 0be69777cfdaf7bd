"""Laws of reducers."""

from __future__ import annotations

from collections.abc import Iterable

from longvid.laws import require_law
from longvid.lazy_import import torch
from longvid.protocols import ReducerPart
from longvid.testing.part_laws import check_part
from longvid.testing.synthetic import make_frames
from longvid.types import FrameBatch


def check_reducer(part: ReducerPart, batches: Iterable[FrameBatch] | None = None) -> None:
    """Check the laws of a reducer: it keeps at least one frame, invents none and changes none.

    Args:
        part: With settings of your choice.
        batches: Checked one by one; None checks made ones.
    """
    if batches is None:
        check_part("reducer", part)
        batches = [
            make_frames(1),
            make_frames(2, seed=1),
            make_frames(20, seed=2),
            make_frames(17, seed=3, repeated=True),
        ]
    for batch in batches:
        before = batch.data.clone()
        reduced, again = part.setup()(batch), part.setup()(batch)
        got = f"{len(reduced)} of {len(batch)} were left"
        require_law(1 <= len(reduced) <= len(batch), part, "keeps at least one frame", got)
        require_law(torch.equal(batch.data, before), part, "leaves what it is given as it is")
        same = torch.equal(again.pts_seconds, reduced.pts_seconds)
        require_law(same, part, "keeps the same frames twice")
        kept = torch.isin(batch.pts_seconds, reduced.pts_seconds).nonzero().flatten()
        expected = batch.keep(kept)
        unchanged = all(
            torch.equal(getattr(reduced, name), getattr(expected, name))
            for name in ("data", "pts_seconds", "duration_seconds", "slow")
        )
        require_law(unchanged, part, "returns frames that it was given, unchanged, in order")
        named = (reduced.video_id, reduced.segment_index) == (batch.video_id, batch.segment_index)
        require_law(named, part, "keeps the names of video and segment")
