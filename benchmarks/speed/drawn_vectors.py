"""Vectors that a seed stands for, drawn block by block: more of them than memory holds.

Topics are random directions, 40 scenes a topic turn away from it (0.8 of a random direction), 16
frames a scene turn away from that (0.6 of noise that is uniform in every dimension, which is drawn
ten times as fast), and everything lies in a cone of pictures: 0.6 of one direction and 0.4 of what
is in the frame. Each block has a seed of its own, so no more than one is held. A store keeps
embeddings as int8 rows with a scale, so vectors are given as they come back from there; `drawn`
returns them as they were before.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from longvid.store.index_rows import Rows
from longvid.store.int8_rows import to_int8

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

_PER_SCENE, _SCENES_PER_TOPIC = 16, 40
_CONE = 0.6
_AT_ONCE = 512
#: Vectors of a block: whole topics, so that it needs no other.
BLOCK = _PER_SCENE * _SCENES_PER_TOPIC * 64


@dataclass(slots=True)
class DrawnVectors:
    """Some of the vectors of a seed, as a `VectorSource`.

    Args:
        first, count: Which.
        width: E.
        seed: Of all of them.
        seconds, processor_seconds: Add up what drawing took, on the clock and of all processors.
    """

    first: int
    count: int
    width: int
    seed: int
    seconds: float = 0.0
    processor_seconds: float = 0.0
    _kept: tuple[int, Floats] | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        return self.count, self.width

    def take(self, rows: Places) -> Floats:
        """Return the vectors of some sorted rows as a store gives them, (K, E) float32."""
        found = np.empty((len(rows), self.width), np.float32)
        places = rows + self.first
        bounds = np.flatnonzero(np.diff(places // BLOCK)) + 1
        first = 0
        for piece in np.split(places, bounds):
            number = int(piece[0]) // BLOCK
            found[first : first + len(piece)] = self._block(number)[piece - number * BLOCK]
            first += len(piece)
        return found

    def _block(self, number: int) -> Floats:
        if self._kept is None or self._kept[0] != number:
            started, used = time.perf_counter(), time.process_time()
            codes, scales = to_int8(drawn(self.width, self.seed, number))
            self._kept = number, codes.astype(np.float32) * scales[:, None]
            self.seconds += time.perf_counter() - started
            self.processor_seconds += time.process_time() - used
        return self._kept[1]


def drawn(width: int, seed: int, number: int) -> Floats:
    """Draw a block of vectors, (BLOCK, E) float32 of unit norm."""
    return _block(width, seed, number)[0]


def _directions(random: np.random.Generator, count: int, width: int) -> Floats:
    return unit(random.standard_normal((count, width), dtype=np.float32))


def unit(vectors: Floats) -> Floats:
    """Bring vectors to length 1, in place."""
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors


def _block(width: int, seed: int, number: int) -> tuple[Floats, Floats]:
    """Draw a block of vectors and the scenes that they belong to."""
    pictures, _ = _directions(np.random.default_rng(seed), 2, width)
    random = np.random.default_rng([seed, number])
    num_scenes = BLOCK // _PER_SCENE
    topics = _directions(random, num_scenes // _SCENES_PER_TOPIC, width)
    scenes = topics.repeat(_SCENES_PER_TOPIC, axis=0)
    scenes = unit(scenes + 0.8 * _directions(random, num_scenes, width))
    vectors = np.empty((BLOCK, width), np.float32)
    for first in range(0, BLOCK, _AT_ONCE):  # what the processor's own memory holds
        some = vectors[first : first + _AT_ONCE]
        noise = np.frombuffer(random.bytes(some.size), np.uint8).reshape(some.shape)
        np.subtract(noise, np.float32(127.5), out=some)
        some *= np.float32(0.6 / np.sqrt(width * (256**2 - 1) / 12))  # of norm 0.6 on average
        of_scene = some.reshape(-1, _PER_SCENE, width)
        of_scene += scenes[first // _PER_SCENE : (first + _AT_ONCE) // _PER_SCENE, None]
        some *= ((1 - _CONE) / _lengths(some))[:, None]
        some += _CONE * pictures
        some *= (1 / _lengths(some))[:, None]
    return vectors, scenes


def _lengths(vectors: Floats) -> Floats:
    found: Floats = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return found


def questions(count: int, width: int, number: int, seed: int) -> dict[str, Floats]:
    """Draw questions about vectors in all blocks: texts, and frames turned away.

    Texts lie in a cone of their own and turn 1.2 of a random direction away from a scene; frames
    are vectors turned 1.0 of one away.

    Args:
        count: Vectors.
        width: E.
        number: Questions of each kind.
        seed: Of the vectors.

    Returns:
        By kind, (number, E) float32 of unit norm.
    """
    random = np.random.default_rng([seed, 1 << 40])
    _, texts = _directions(np.random.default_rng(seed), 2, width)
    about, seen = [], []
    for row in np.sort(random.choice(count, min(number, count), replace=False)).tolist():
        vectors, scenes = _block(width, seed, row // BLOCK)
        about.append(scenes[row % BLOCK // _PER_SCENE].copy())
        seen.append(vectors[row % BLOCK].copy())
    content = unit(np.array(about) + 1.2 * _directions(random, len(about), width))
    return {
        "text": unit(_CONE * texts + (1 - _CONE) * content),
        "frame": unit(np.array(seen) + _directions(random, len(seen), width)),
    }


def rows_of_videos(first: int, count: int, per_video: int) -> Rows:
    """Say that so many vectors each are a video, of segments of a second.

    Args:
        first: The first vector; a video's id is the place of its own first.
        count: Of vectors.
        per_video: Segments of a video; the last may have fewer.
    """
    places = np.arange(count)
    number = -(-count // per_video)
    return Rows(
        video_ids=tuple(f"{first + k * per_video:032x}" for k in range(number)),
        digests=("",) * number,
        video=(places // per_video).astype(np.int32),
        segment_index=(places % per_video).astype(np.int32),
        start_seconds=(places % per_video).astype(np.float64),
        end_seconds=(places % per_video + 1).astype(np.float64),
    )
