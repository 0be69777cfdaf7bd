"""Give each stored box a vector: what the store's embedder makes of the picture around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from longvid.config import Config, torch_device
from longvid.indexing.report import OnPicture, ignore
from longvid.lazy_import import torch
from longvid.methods.phrase_tracks import pixels_of
from longvid.models.transformers_logging import loading
from longvid.store import Store
from longvid.store.object_vectors import ObjectWriter, boxes_without_vectors
from longvid.store.pictures import read_pictures
from longvid.types import Box, FrameBatch, FrameSize

if TYPE_CHECKING:
    import numpy.typing as npt

#: Pictures a part: a run that is killed repeats no more than these.
_PART = 64
#: What is shown of the surroundings, in sizes of the box, and how much of a frame the box fills.
_MARGIN, _SHARE = 0.1, 0.5
#: Pixels of a side of the smallest frame.
_LEAST = 32


class ObjectEmbedder:
    """Embeds boxes with the embedder that made a store's frame embeddings.

    Raises:
        ModelError: A checkpoint of the encoder is missing.
    """

    def __init__(self, config: Config, device: str = "auto") -> None:
        self._size = config.encoder.frame_size()
        with loading():
            self._encode = config.encoder.setup(torch_device(device))

    def embed(self, store: Store, video_id: str, on_picture: OnPicture = ignore) -> int:
        """Embed the boxes of a video that have no vector yet; return how many.

        Args:
            store: Keeps the boxes, and gets the vectors.
            video_id: Of the video.
            on_picture: Called with the presentation time of each picture whose boxes are embedded.

        Raises:
            StoreError: Boxes or pictures are damaged, or the store refuses.
        """
        num_boxes = 0
        for key, rows in boxes_without_vectors(store, video_id):
            writer = ObjectWriter(store, key)
            times = list(rows)
            for first in range(0, len(times), _PART):
                batch = times[first : first + _PART]
                done = []
                for picture in read_pictures(store.annotations, video_id, batch):
                    boxes = [box for _, box in rows[picture.pts_seconds]]
                    done.append((picture.pts_seconds, self._vectors(pixels_of(picture), boxes)))
                    num_boxes += len(boxes)
                    on_picture(picture.pts_seconds)
                writer.add(done)
        return num_boxes

    def _vectors(self, picture: npt.NDArray[np.uint8], boxes: list[Box]) -> npt.NDArray[np.float32]:
        """Return the unit vectors of the boxes of one picture, (n, E)."""
        found = []
        for box in boxes:
            region = region_of(picture, box.xyxy, self._size)
            # One at a time: some embedders make one vector of all frames that they are given.
            frame = FrameBatch(
                video_id=box.video_id,
                segment_index=0,
                start_seconds=0.0,
                end_seconds=1.0,
                data=torch.from_numpy(region).permute(2, 0, 1)[None].contiguous(),
                pts_seconds=torch.zeros(1, dtype=torch.float64),
                duration_seconds=torch.ones(1, dtype=torch.float64),
                slow=torch.ones(1, dtype=torch.bool),
            )
            found.append(self._encode(frame).frame_embeddings[0].float().numpy())
        vectors: npt.NDArray[np.float32] = np.stack(found)
        return vectors


def region_of(
    picture: npt.NDArray[np.uint8], xyxy: tuple[float, ...], size: FrameSize
) -> npt.NDArray[np.uint8]:
    """Show what is in a box alone, in the middle of a frame, at one scale whatever its size.

    Around it is the picture's median colour, so that the vector is of the object and not of its
    surroundings.

    Args:
        picture: (H, W, 3).
        xyxy: Of the box, in [0, 1].
        size: That the encoder wants; "native" is a square in which the object keeps its pixels.

    Returns:
        (height, width, 3) uint8.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    left, right = _widened(xyxy[0] * width, xyxy[2] * width, width)
    top, bottom = _widened(xyxy[1] * height, xyxy[3] * height, height)
    longest = max(right - left, bottom - top)
    native = max(_LEAST, round(longest / _SHARE))
    frame = (native, native) if size.fit == "native" else (size.width, size.height)
    scale = _SHARE * min(frame) / longest
    across, down = (max(1, round(edge * scale)) for edge in (right - left, bottom - top))
    shown = Image.fromarray(picture).resize(
        (across, down), Image.Resampling.BICUBIC, box=(left, top, right, bottom)
    )
    around = np.median(picture.reshape(-1, 3), axis=0).astype(np.uint8)
    canvas = np.empty((frame[1], frame[0], 3), dtype=np.uint8)
    canvas[:] = around
    y, x = (frame[1] - down) // 2, (frame[0] - across) // 2
    canvas[y : y + down, x : x + across] = np.asarray(shown)
    return canvas


def _widened(low: float, high: float, most: int) -> tuple[float, float]:
    """Add a margin to an edge of a box, inside a picture; at least a pixel."""
    margin = _MARGIN * (high - low)
    low, high = max(0.0, low - margin), min(float(most), high + margin)
    if high - low < 1:
        low = min(max(0.0, (low + high - 1) / 2), most - 1.0)
        high = low + 1
    return low, high
