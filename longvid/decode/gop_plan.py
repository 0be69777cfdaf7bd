"""Decide which packets to decode for the wanted frames: pure functions of a packet table.

A run starts at a keyframe and ends at the last packet that is needed, so only groups of pictures
with a wanted frame are decoded, and none past its last wanted frame. Where `index_entries` would
give decoding times, everything here is presentation time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longvid.decode.packet_table import FrameTimes, PacketTable

#: Wanted times are floating-point sums, presentation times are ratios: a frame counts as begun
#: this long before its time. Frames are a thousand times longer.
SLACK_SECONDS = 1e-6


def on_display(times: FrameTimes, wanted_seconds: Sequence[float]) -> list[int]:
    """Return for each wanted time the rank of the frame on display.

    That is the frame with the greatest presentation time not after it; before the first frame, the
    first.

    Args:
        times: At least one frame.
        wanted_seconds: Any order.
    """
    wanted = np.asarray(wanted_seconds, np.float64) + SLACK_SECONDS
    ranks = np.searchsorted(times.all_seconds, wanted, side="right") - 1
    clipped: list[int] = np.maximum(ranks, 0).tolist()
    return clipped


def nearest_allowed(
    times: FrameTimes, ranks: Sequence[int], allowed: Sequence[int], tolerance_seconds: float
) -> list[int]:
    """Replace each frame by the nearest allowed one, where that is within the tolerance.

    Args:
        times: The frames shown.
        ranks: Exact frames.
        allowed: Ranks that may stand in for them, increasing.
        tolerance_seconds: Largest difference of presentation times; ties go to the earlier frame.
    """
    if not len(allowed):
        return list(ranks)
    candidates = np.asarray(allowed)
    limit = tolerance_seconds + SLACK_SECONDS
    seconds = times.all_seconds
    chosen = []
    for rank in ranks:
        after = int(np.searchsorted(candidates, rank))
        around = candidates[max(0, after - 1) : after + 1]
        distance = np.abs(seconds[around] - seconds[rank])
        best = int(np.argmin(distance))
        chosen.append(int(around[best]) if distance[best] <= limit else rank)
    return chosen


@dataclass(frozen=True, slots=True)
class Run:
    """One stretch of packets to decode.

    Args:
        start: The keyframe packet at which decoding starts.
        stop: The last packet needed.
        ranks: The frames wanted from it, in order of display.
    """

    start: int
    stop: int
    ranks: tuple[int, ...]


def start_packet(table: PacketTable, rank: int) -> int:
    """Return the keyframe packet at which decoding must start for a frame.

    The last keyframe at or before its packet that is also shown no later. A leading picture of an
    open group follows the group's keyframe in the file and is shown before it: it refers to the
    group before.
    """
    packet = int(table.packet_of[rank])
    place = int(np.searchsorted(table.keys, packet, side="right")) - 1
    while place >= 0 and table.pts[table.keys[place]] > table.pts[packet]:
        place -= 1
    return int(table.keys[place]) if place >= 0 else 0


def plan_runs(table: PacketTable, ranks: Sequence[int]) -> list[Run]:
    """Group wanted frames into runs, in order of display.

    Args:
        table: Must be reliable.
        ranks: Increasing and unique.
    """
    runs: list[Run] = []
    for rank in ranks:
        start, packet = start_packet(table, rank), int(table.packet_of[rank])
        last = runs[-1] if runs else None
        # A run that already reads past this start holds everything that is needed.
        if last is not None and last.start <= start <= last.stop:
            runs[-1] = Run(last.start, max(last.stop, packet), (*last.ranks, rank))
        else:
            runs.append(Run(start, packet, (rank,)))
    return runs
