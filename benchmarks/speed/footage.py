"""Make long footage out of short by repeating its packets: nothing is decoded or encoded."""

from __future__ import annotations

from pathlib import Path

import av
from av.container import InputContainer

from longvid.errors import ConfigError

#: A clip of the tests that is repeated where no other footage is named.
CLIP = Path(__file__).parents[2] / "tests" / "data" / "cars_overhead_30s.mp4"
#: Questions in words that `mini` knows, whatever is seen.
QUESTIONS = (
    "what shape is the sign?",
    "where is the star?",
    "what color is the circle?",
    "how many circles are there?",
)


def loop_clip(source: str, target: str, seconds: float) -> str:
    """Write `source` again and again until the result lasts at least `seconds`.

    Every repetition begins with the clip's first key frame, so the result decodes like any film.
    An existing target of that make is kept.

    Args:
        source: A clip with a video stream that starts on a key frame.
        target: Where the long video goes; its ending decides the container.
        seconds: Least duration.

    Returns:
        The target.

    Raises:
        ConfigError: The source cannot be read, or has no video stream.
    """
    if Path(target).exists():
        return target
    partial = f"{target}.part{Path(target).suffix}"
    with _opened(source) as given:
        if not given.streams.video:
            raise ConfigError(f"{source} has no video stream to repeat.")
        stream = given.streams.video[0]
        time_base = stream.time_base
        packets = [
            (packet, packet.pts, packet.dts)
            for packet in given.demux(stream)
            if packet.pts is not None and packet.dts is not None
        ]
        if not packets or time_base is None:
            raise ConfigError(f"{source} has no packet with a time to repeat.")
        first = min(pts for _, pts, _ in packets)
        length = max(pts + (packet.duration or 1) for packet, pts, _ in packets) - first
        repeats = max(1, -(-int(seconds / time_base) // length))
        with av.open(partial, "w") as made:
            copy = made.add_stream_from_template(stream)
            for repeat in range(repeats):
                later = repeat * length - first
                for packet, pts, dts in packets:
                    packet.stream = copy
                    packet.time_base = time_base
                    packet.pts = pts + later
                    packet.dts = dts + later
                    made.mux(packet)
    Path(partial).rename(target)
    return target


def _opened(source: str) -> InputContainer:
    try:
        return av.open(source)
    except (OSError, av.error.FFmpegError) as error:
        raise ConfigError(f"{source} cannot be read as a video: {error.strerror}.") from error
