"""What there is in the world: things, shots and films, drawn from a seed.

Places and lengths are fractions of the frame (x to the right, y down), time inside a shot is a
fraction of it. Nothing here knows pixels. The same (seed, index) gives the same film on any
machine: each film has its own counter-based generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longvid.models.mini_vocabulary import BACKGROUNDS, COLORS, EVENTS, MOTIONS, SHAPES, SIGNS

STILL, LEFT, RIGHT, UP, DOWN, AROUND, BOUNCE, GROW, SHRINK, SPIN = range(len(MOTIONS))
NOTHING, APPEARS, VANISHES, CHANGES, COLLIDES = range(len(EVENTS))
ROUND_SHAPES = (SHAPES.index("circle"), SHAPES.index("ring"))
"""Shapes whose spin nobody can see."""

CELLS = tuple((column, row) for row in range(3) for column in range(3))
CENTERS = (0.2, 0.5, 0.8)
ORBIT_RADIUS = 0.14
BOUNCE_HEIGHT = 0.3
SIGN_RADIUS = 0.14


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a shot: what it is, where it goes and what happens to it.

    `x, y` is where it starts (the centre of an orbit, the floor of a bounce) and `to_x, to_y` where
    a straight path ends. `turns` counts turns or bounces in the shot; `place` is its cell of the
    3x3 grid, -1 for a thing that does not keep one. The size word is told only where `sized`.
    """

    shape: int
    color: int
    size: int
    radius: float
    x: float
    y: float
    to_x: float
    to_y: float
    motion: int
    turns: float
    phase: float
    event: int
    event_at: float
    color_after: int
    place: int

    @property
    def sized(self) -> bool:
        """Tell whether one size word holds for the whole shot."""
        return self.motion not in (GROW, SHRINK)

    @property
    def moves_plainly(self) -> bool:
        """Tell whether one motion word holds for the whole shot and no event disturbs it."""
        return self.event == NOTHING


@dataclass(frozen=True, slots=True)
class Shot:
    """One shot: a background, one to four things and perhaps a sign (`sign` is -1 for none)."""

    duration_seconds: float
    background: int
    texture: tuple[float, float, float]
    things: tuple[Thing, ...]
    sign: int
    sign_x: float
    sign_y: float


@dataclass(frozen=True, slots=True)
class Film:
    """A sequence of shots; shot i is seen in [starts_seconds[i], starts_seconds[i + 1])."""

    shots: tuple[Shot, ...]
    starts_seconds: tuple[float, ...]

    @property
    def duration_seconds(self) -> float:
        return self.starts_seconds[-1]

    def span(self, index: int) -> tuple[float, float]:
        """Return the start and end of one shot, in seconds."""
        return self.starts_seconds[index], self.starts_seconds[index + 1]

    def locate(self, pts_seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each time, the shot shown (int64) and the fraction of it that has passed."""
        starts = np.asarray(self.starts_seconds)
        index = np.clip(
            np.searchsorted(starts, pts_seconds, side="right") - 1, 0, len(self.shots) - 1
        )
        fraction = (pts_seconds - starts[index]) / (starts[index + 1] - starts[index])
        return index, np.clip(fraction, 0.0, 1.0)


def generator(seed: int, index: int) -> np.random.Generator:
    """Return the generator of one film: a function of (seed, index) and nothing else."""
    return np.random.Generator(np.random.Philox(key=[seed, index]))


def make_shot(
    rng: np.random.Generator,
    num_things: int,
    *,
    sign: int = -1,
    duration_seconds: float | None = None,
    background: int | None = None,
    event_rate: float = 0.35,
    twin_rate: float = 0.35,
    wanted: tuple[int, int] | None = None,
) -> Shot:
    """Draw one shot.

    Args:
        num_things: how many things are wanted; fewer come where the grid has no room left.
        sign: index into `SIGNS`, -1 for no sign.
        event_rate: share of the things to which something happens.
        twin_rate: chance that a thing takes the shape or colour of the one before it, which makes
            counting and telling apart worth asking.
        wanted: shape and colour of the first thing.
    """
    pick = rng.random
    free = set(range(9))
    sign_x = sign_y = 0.5
    if sign >= 0:
        cell = int(pick() * 9)
        free.discard(cell)
        column, row = CELLS[cell]
        sign_x, sign_y = _jitter(rng, column, row, 0.03)
    things: list[Thing] = []
    while len(things) < num_things:
        shape, color = int(pick() * len(SHAPES)), int(pick() * len(COLORS))
        if wanted is not None and not things:
            shape, color = wanted
        elif things and pick() < twin_rate:
            if pick() < 0.5:
                shape = things[-1].shape
            else:
                color = things[-1].color
        if pick() < event_rate:
            added = _eventful(rng, shape, color, free, num_things - len(things))
        else:
            added = _moving(rng, shape, color, free)
        if not added:
            break
        things.extend(added)
    return Shot(
        duration_seconds=float(4.0 + 16.0 * pick() ** 1.5)
        if duration_seconds is None
        else duration_seconds,
        background=int(pick() * len(BACKGROUNDS)) if background is None else background,
        texture=(float(pick()), float(pick()), float(pick())),
        things=tuple(things),
        sign=sign,
        sign_x=sign_x,
        sign_y=sign_y,
    )


def _jitter(rng: np.random.Generator, column: int, row: int, amount: float) -> tuple[float, float]:
    dx, dy = rng.random(2)
    return CENTERS[column] + amount * (2 * dx - 1), CENTERS[row] + amount * (2 * dy - 1)


def _radius(rng: np.random.Generator, size: int) -> float:
    return float((0.112, 0.172)[size] + 0.016 * rng.random())


def _moving(rng: np.random.Generator, shape: int, color: int, free: set[int]) -> list[Thing]:
    """Draw a thing with a motion and no event; its cells leave `free`."""
    size = int(rng.random() * 2)
    motion = int(rng.random() * len(MOTIONS))
    if motion == SPIN and shape in ROUND_SHAPES:
        motion = (LEFT, RIGHT, UP, DOWN)[int(rng.random() * 4)]
    tracks = [track for track in _TRACKS[motion] if free.issuperset(track)]
    if not tracks and motion not in (STILL, GROW, SHRINK, SPIN):
        motion = (STILL, GROW, SHRINK)[int(rng.random() * 3)]
        tracks = [track for track in _TRACKS[motion] if free.issuperset(track)]
    if not tracks:
        return []
    track = tracks[int(rng.random() * len(tracks))]
    free.difference_update(track)
    column, row = CELLS[track[0]]
    x, y = _jitter(rng, column, row, 0.04)
    to_x, to_y = x, y
    radius = _radius(rng, 1 if motion in (GROW, SHRINK) else size)
    turns = phase = 0.0
    place = track[0] if len(track) == 1 else -1
    if motion in (LEFT, RIGHT):
        to_x = 1.0 - x + 0.04 * (2 * rng.random() - 1)
    elif motion in (UP, DOWN):
        to_y = 1.0 - y + 0.04 * (2 * rng.random() - 1)
    elif motion == AROUND:
        last_column, last_row = CELLS[track[-1]]
        x = (CENTERS[column] + CENTERS[last_column]) / 2
        y = (CENTERS[row] + CENTERS[last_row]) / 2
        to_x, to_y = x, y
        turns, phase = 0.9 + 0.5 * rng.random(), rng.random()
        turns = float(turns if rng.random() < 0.5 else -turns)
    elif motion == BOUNCE:
        turns, phase = 1.3 + 0.5 * rng.random(), rng.random()
    elif motion == SPIN:
        turns, phase = 0.8 + 0.6 * rng.random(), rng.random()
    return [
        Thing(
            shape, color, size, radius, x, y, to_x, to_y, motion, float(turns), float(phase),
            NOTHING, 0.5, color, place,
        )
    ]  # fmt: skip


_TRACKS: dict[int, tuple[tuple[int, ...], ...]] = {
    STILL: tuple((cell,) for cell in range(9)),
    GROW: tuple((cell,) for cell in range(9)),
    SHRINK: tuple((cell,) for cell in range(9)),
    SPIN: tuple((cell,) for cell in range(9)),
    RIGHT: tuple((3 * row, 3 * row + 1, 3 * row + 2) for row in range(3)),
    LEFT: tuple((3 * row + 2, 3 * row + 1, 3 * row) for row in range(3)),
    DOWN: tuple((column, column + 3, column + 6) for column in range(3)),
    UP: tuple((column + 6, column + 3, column) for column in range(3)),
    AROUND: tuple((corner, corner + 1, corner + 3, corner + 4) for corner in (0, 1, 3, 4)),
    BOUNCE: tuple((cell, cell - 3) for cell in range(3, 9)),
}
"""Cells each motion needs, the starting cell first."""


def _eventful(
    rng: np.random.Generator, shape: int, color: int, free: set[int], room: int
) -> list[Thing]:
    """Draw a thing to which something happens; a collision brings a second thing that it hits."""
    event = APPEARS + int(rng.random() * 4)
    size = int(rng.random() * 2)
    event_at = float(0.4 + 0.2 * rng.random())
    if event == COLLIDES:
        rows = [
            (cells[::step], step)
            for row in range(3)
            for step in (1, -1)
            for cells in ((3 * row, 3 * row + 1, 3 * row + 2),)
            if free.issuperset(cells)
        ]
        if room < 2 or not rows:
            event = APPEARS + int(rng.random() * 3)
        else:
            cells, step = rows[int(rng.random() * len(rows))]
            free.difference_update(cells)
            return _collision(rng, shape, color, CELLS[cells[0]], CELLS[cells[2]], step, event_at)
    cells_left = sorted(free)
    if not cells_left:
        return []
    place = cells_left[int(rng.random() * len(cells_left))]
    free.discard(place)
    x, y = _jitter(rng, *CELLS[place], 0.04)
    after = color
    if event == CHANGES:
        after = (color + 1 + int(rng.random() * (len(COLORS) - 1))) % len(COLORS)
    radius = _radius(rng, size)
    return [
        Thing(
            shape, color, size, radius, x, y, x, y, STILL, 0.0, 0.0, event, event_at, after, place
        )
    ]


def _collision(
    rng: np.random.Generator,
    shape: int,
    color: int,
    start: tuple[int, int],
    end: tuple[int, int],
    step: int,
    event_at: float,
) -> list[Thing]:
    """Draw a thing that runs into a still one and comes back."""
    x, y = _jitter(rng, *start, 0.03)
    hit_x, hit_y = CENTERS[end[0]], y
    size, other_size = int(rng.random() * 2), int(rng.random() * 2)
    radius, other_radius = _radius(rng, size), _radius(rng, other_size)
    other_shape = (shape + 1 + int(rng.random() * (len(SHAPES) - 1))) % len(SHAPES)
    other_color = (color + 1 + int(rng.random() * (len(COLORS) - 1))) % len(COLORS)
    touch_x = hit_x - step * 0.9 * (radius + other_radius)
    return [
        Thing(
            shape, color, size, radius, x, y, touch_x, y, STILL, 0.0, 0.0, COLLIDES, event_at,
            color, -1,
        ),
        Thing(
            other_shape, other_color, other_size, other_radius, hit_x, hit_y, hit_x, hit_y, STILL,
            0.0, 0.0, COLLIDES, event_at, other_color, -1,
        ),
    ]  # fmt: skip


def make_film(
    seed: int,
    index: int,
    *,
    num_shots: int | None = None,
    duration_seconds: float | None = None,
    sign_rate: float = 0.6,
    num_needles: int = 0,
) -> Film:
    """Draw a film of a number of shots, or of at least a duration; the default is one shot.

    A film of several shots repeats things: a theme (a shape and a colour) comes back in one to four
    shots, so that "how many times" has an answer. Signs come back only after every sign was shown;
    with needles, that many signs are set aside and each is shown in exactly one shot.
    """
    rng = generator(seed, index)
    lengths: list[float] = []
    if num_shots is None and duration_seconds is None:
        num_shots = 1
    while len(lengths) < (num_shots or 1) or (
        num_shots is None and sum(lengths) < (duration_seconds or 0)
    ):
        lengths.append(float(4.0 + 16.0 * rng.random() ** 1.5))
    total = len(lengths)
    theme = (int(rng.random() * len(SHAPES)), int(rng.random() * len(COLORS)))
    num_theme = 1 + int(rng.random() * min(4, total))
    theme_at = {int(i) for i in rng.permutation(total)[:num_theme]} if total > 1 else set()
    order = [int(i) for i in rng.permutation(len(SIGNS))]
    needles, common = order[:num_needles], order[num_needles:]
    needle_at = dict(zip((int(i) for i in rng.permutation(total)), needles, strict=False))
    deck: list[int] = []
    shots: list[Shot] = []
    for position, length in enumerate(lengths):
        sign = needle_at.get(position, -1)
        if sign < 0 and rng.random() < sign_rate:
            if not deck:
                deck = [common[int(i)] for i in rng.permutation(len(common))]
            sign = deck.pop()
        choices = (1, 2, 3, 4) if total == 1 else (1, 1, 1, 1, 2, 2, 3, 4)
        shots.append(
            make_shot(
                rng,
                choices[int(rng.random() * len(choices))],
                sign=sign,
                duration_seconds=length,
                twin_rate=(0.0, 0.3, 0.9)[int(rng.random() * 3)],
                wanted=theme if position in theme_at else None,
            )
        )
    starts = np.concatenate([[0.0], np.cumsum(lengths)])
    return Film(tuple(shots), tuple(float(start) for start in starts))
