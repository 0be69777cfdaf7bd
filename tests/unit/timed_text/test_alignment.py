"""Lines of text at the frames that are shown."""

from __future__ import annotations

import torch

from longvid.timed_text.alignment import align_to_preceding_frame, list_at_frames
from longvid.types import TextLine
from tests.parity.llama_vid_subtitles import interleave_subtitles

SAID = (
    TextLine(1.0, 3.5, "the red star"),
    TextLine(20.0, 26.0, "the blue circle"),
    TextLine(30.0, 31.0, "[Music]"),
)


def test_listing_takes_the_first_line_at_each_frame_once() -> None:
    assert list_at_frames(SAID, [0.0, 2.0, 3.0, 22.0, 30.5, 40.0]) == [
        "the red star",
        "the blue circle",
    ]
    many = [TextLine(float(i), i + 0.5, " ".join([f"w{i}"] * 10)) for i in range(1000)]
    assert len(list_at_frames(many, [float(i) for i in range(1000)])) == 200


def test_words_after_frames() -> None:
    assert align_to_preceding_frame(SAID, [0.0, 10.0, 25.0]) == (
        "the red star",
        "",
        "the blue circle [Music]",
    )
    assert align_to_preceding_frame(SAID[:1], [5.0, 6.0]) == ("the red star", "")
    assert align_to_preceding_frame((), [1.0]) == ("",)


def test_words_after_frames_are_those_of_llama_vid() -> None:
    """The golden walk of the published code, over lines that end out of order too."""
    random = torch.Generator().manual_seed(4)
    times = (torch.rand(9, generator=random) * 60).sort().values.tolist()
    starts = (torch.rand(40, generator=random) * 60).sort().values.tolist()
    lasts = (torch.rand(40, generator=random) * 9).tolist()
    spans = enumerate(zip(starts, lasts, strict=True))
    lines = [TextLine(start, start + last, f"w{i}") for i, (start, last) in spans]
    ends, texts = [line.end_seconds for line in lines], [line.text for line in lines]
    expected = interleave_subtitles(ends, texts, times).split("<image>")[1:]
    assert list(align_to_preceding_frame(lines, times)) == expected
