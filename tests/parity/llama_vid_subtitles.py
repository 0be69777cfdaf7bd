"""How LLaMA-VID's own code writes subtitles between frames: the twin of our alignment."""

from __future__ import annotations

from collections.abc import Sequence


def interleave_subtitles(
    end_seconds: Sequence[float],
    texts: Sequence[str],
    pts_seconds: Sequence[float],
    *,
    faithful: bool = False,
) -> str:
    """Write a placeholder for every frame, each followed by the subtitles spoken during it.

    A subtitle belongs to the last sampled frame before its end. The walk through the frames never
    goes back, so a subtitle that ends before its predecessor stays at the predecessor's frame.

    >>> interleave_subtitles([1.5, 1.9], ["hello", "there"], [0.0, 1.0, 2.0])
    '<image><image>hello there<image>'

    Args:
        end_seconds: End of each subtitle, in the order in which they are spoken.
        texts: The subtitles.
        pts_seconds: Presentation time of each sampled frame, increasing.
        faithful: Attach a subtitle that ends before the first frame to the LAST frame, as the
            original does by an index of -1; otherwise to the first.

    Source: LLaMA-VID, `extract_video_features_subtitles.py` load_video_input.
    """
    spoken: list[list[str]] = [[] for _ in pts_seconds]
    num_before = 0  # frames that begin before the end of the current subtitle
    for end, text in zip(end_seconds, texts, strict=True):
        while num_before < len(pts_seconds) and pts_seconds[num_before] < end:
            num_before += 1
        spoken[num_before - 1 if faithful else max(0, num_before - 1)].append(text)
    return "".join("<image>" + " ".join(texts) for texts in spoken)
