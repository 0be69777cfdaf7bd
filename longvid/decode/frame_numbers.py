"""Tell from the numbers of H.264 pictures whether one that others refer to is lost.

A decoder says nothing of a picture that never came: it puts an earlier one in its place. But each
picture carries `frame_num`, which goes up by one behind each reference picture (H.264 §7.4.3), so a
step of more is a loss: a packet that a recorder dropped, or that a damaged container hides.

Not looked at are streams that may leave numbers out (`gaps_in_frame_num_value_allowed_flag`), and
pictures of I-slices, where recordings may be joined; and since a picture may set the numbers back
(memory_management_control_operation 5), 0 and 1 are always right.
"""

from __future__ import annotations

from longvid.decode.h264_headers import SliceReader


class FrameNumbers:
    """Says of each packet whether a picture is missing before it. Must see all from a keyframe on.

    Args:
        extradata: The stream's parameter sets: avcC, or Annex B, or nothing.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self._reader = SliceReader(extradata)
        self._last: int | None = None  # the number of the last reference picture

    def __call__(self, data: memoryview) -> bool:
        """Return True if a picture that this one may refer to is missing."""
        first = next(self._reader.slices(data), None)
        if first is None or not self._reader.numbers_are_complete:
            return False
        last, number = self._last, first.number
        if first.is_reference:
            self._last = number
        if last is None or first.is_idr or first.is_intra:
            return False
        return number not in (0, 1, last, (last + 1) % self._reader.num_numbers)
