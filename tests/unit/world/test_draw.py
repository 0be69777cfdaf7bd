from __future__ import annotations

import numpy as np
import pytest
import torch

from longvid.models.mini_vocabulary import SIGNS
from longvid.world.atlas import GLYPH_ID, RANGE, SIDE, distance_fields, inside
from longvid.world.draw import Painter, pack, pose
from longvid.world.scene import CHANGES, VANISHES, make_film
from tests.reference.world_drawing import draw_one


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(64)


def test_distance_fields_agree_with_the_outlines() -> None:
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 * RANGE - RANGE
    y, x = np.meshgrid(axis, axis, indexing="ij")
    fields = distance_fields()
    assert fields.shape == (GLYPH_ID + len(SIGNS), SIDE, SIDE)
    for outline, field in enumerate(fields):
        assert ((field <= 0) == inside(outline, x, y)).all()


def test_outlines_are_all_different() -> None:
    fields = distance_fields()
    for i in range(len(fields)):
        for j in range(i):
            assert ((fields[i] < 0) != (fields[j] < 0)).mean() > 0.005, (i, j)


@pytest.mark.parametrize("size", [64, 128])
def test_painter_equals_its_slow_twin(size: int) -> None:
    shots = [make_film(11, index).shots[0] for index in range(24)]
    fraction = torch.linspace(0, 1, len(shots))
    drawn = Painter(size).draw(pack(shots), torch.arange(len(shots)), fraction)
    for index, shot in enumerate(shots):
        slow = draw_one(shot, float(fraction[index]), size)
        assert np.abs(slow.astype(int) - drawn[index].numpy().astype(int)).max() <= 1


def test_a_frame_does_not_depend_on_its_batch(painter: Painter) -> None:
    shots = [make_film(12, index).shots[0] for index in range(6)]
    table = pack(shots)
    index = torch.tensor([0, 3, 3, 5, 1, 0])
    fraction = torch.tensor([0.1, 0.2, 0.9, 0.5, 0.0, 1.0])
    together = painter.draw(table, index, fraction)
    for i in range(len(index)):
        alone = painter.draw(pack([shots[int(index[i])]]), torch.tensor([0]), fraction[i : i + 1])
        assert torch.equal(alone[0], together[i])


def test_events_show() -> None:
    shots = [make_film(13, index).shots[0] for index in range(300)]
    table = pack(shots)
    index = torch.arange(len(shots))
    early = pose(table, index, torch.full((len(shots),), 0.05))
    late = pose(table, index, torch.full((len(shots),), 0.95))
    seen = set()
    for i, shot in enumerate(shots):
        for slot, thing in enumerate(shot.things):
            changed = bool(early.color[i, slot] != late.color[i, slot])
            assert changed == (thing.event == CHANGES)
            assert bool(early.visible[i, slot] & ~late.visible[i, slot]) == (
                thing.event == VANISHES
            )
            seen.add(thing.event)
    assert seen == {0, 1, 2, 3, 4}
