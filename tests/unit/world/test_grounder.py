"""The drawn world's boxes: their truth, what the matcher finds, what questions name."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from longvid.errors import StoreError
from longvid.methods.grounding_metrics import box_overlap, video_iou
from longvid.methods.phrase_tracks import pixels_of
from longvid.methods.tracking import Detection
from longvid.models.mini_vocabulary import COLORS, SHAPES, SIGNS
from longvid.testing import check_grounder
from longvid.types import Answer, Picture, Question
from longvid.world.draw import Painter
from longvid.world.film import frames
from longvid.world.grounder import DrawnShapes, shape_phrases
from longvid.world.scene import NOTHING, STILL, Film, Thing, make_film
from longvid.world.shape_matcher import find_shapes
from longvid.world.truth import outline_extents, true_boxes
from longvid.world.views import SIGN_SLOT


def pictures(film: Film, times: np.ndarray, size: int = 128) -> list[Picture]:
    found = []
    for time, image in zip(times.tolist(), frames(film, times, Painter(size)), strict=True):
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=85)
        found.append(Picture("a", time, file.getvalue(), size, size))
    return found


def test_extents_of_outlines() -> None:
    circle, square = SHAPES.index("circle"), SHAPES.index("square")
    assert outline_extents(circle, 0.0) == pytest.approx((-0.92, -0.92, 0.92, 0.92), abs=0.02)
    turned = outline_extents(square, np.pi / 4)
    assert turned == pytest.approx([-1.13, -1.13, 1.13, 1.13], abs=0.02)


def test_the_true_box_of_a_thing_is_where_it_is_painted() -> None:
    film = make_film(3, 1, num_shots=1)
    things = [(0, slot) for slot in range(len(film.shots[0].things))]
    times = np.linspace(0.1, film.duration_seconds - 0.1, 4)
    (with_all,) = [list(frames(film, times, Painter(128)))]
    for thing in things:
        for frame, box in true_boxes(film, [thing], times.tolist())[thing].items():
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            found = find_shapes(with_all[frame])
            assert any(one.xyxy[0] < x < one.xyxy[2] for one in found), (thing, frame, y)


def test_a_sign_has_a_box_in_its_shot_only() -> None:
    film = make_film(5, 0, num_shots=6)
    shot = next(i for i, one in enumerate(film.shots) if one.sign >= 0)
    middles = [sum(film.span(i)) / 2 for i in range(6)]
    boxes = true_boxes(film, [(shot, SIGN_SLOT)], middles)[shot, SIGN_SLOT]
    assert list(boxes) == [shot]


@pytest.mark.parametrize(("size", "least"), [(64, 0.75), (128, 0.9)])
def test_the_matcher_finds_what_is_drawn(size: int, least: float) -> None:
    overlaps = []
    for index in range(3):
        film = make_film(7, index, num_shots=1)
        times = np.linspace(0.2, film.duration_seconds - 0.2, 3)
        for slot, thing in enumerate(film.shots[0].things):
            if thing.event != NOTHING:
                continue
            truth = true_boxes(film, [(0, slot)], times.tolist())[0, slot]
            label = f"{COLORS[thing.color]} {SHAPES[thing.shape]}"
            for frame, image in enumerate(frames(film, times, Painter(size))):
                found = [one.xyxy for one in find_shapes(image) if one.label == label]
                overlaps.append(max((box_overlap(box, truth[frame]) for box in found), default=0))
    assert np.mean(np.array(overlaps) >= 0.7) >= least


def drawn(things: list[Thing], size: int, sign: int = -1) -> np.ndarray:
    """Draw one frame of things that keep still, with a sign in its middle, and store it."""
    shot = dataclasses.replace(
        make_film(7, 0, num_shots=1).shots[0],
        things=tuple(things),
        sign=sign,
        sign_x=0.5,
        sign_y=0.5,
    )
    film = Film((shot,), (0.0, shot.duration_seconds))
    return pixels_of(pictures(film, np.array([1.0]), size)[0])


def still(shape: str, color: str, x: float, y: float, radius: float) -> Thing:
    thing = make_film(7, 0, num_shots=1).shots[0].things[0]
    return dataclasses.replace(
        thing,
        shape=SHAPES.index(shape),
        color=COLORS.index(color),
        color_after=COLORS.index(color),
        x=x,
        to_x=x,
        y=y,
        to_y=y,
        radius=radius,
        motion=STILL,
        event=NOTHING,
    )


def best(found: list[Detection], label: str, thing: Thing) -> float:
    """Return the overlap of the best box of a label with a thing's true box."""
    edges = outline_extents(thing.shape, 0.0)
    true = tuple(
        place + thing.radius * edge
        for place, edge in zip((thing.x, thing.y) * 2, edges, strict=True)
    )
    return max((box_overlap(one.xyxy, true) for one in found if one.label == label), default=0.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_small_shapes_in_small_pictures(shape: str) -> None:
    thing = still(shape, "red", 0.31, 0.62, 0.09)
    assert best(find_shapes(drawn([thing], 64)), f"red {shape}", thing) >= 0.7


@pytest.mark.parametrize("shape", ["square", "cross", "star", "heart"])
def test_a_shape_that_is_partly_behind_a_sign(shape: str) -> None:
    thing = still(shape, "blue", 0.36, 0.5, 0.15)
    picture = drawn([thing], 128, sign=0)
    assert best(find_shapes(picture), f"blue {shape}", thing) >= 0.7


def test_two_of_one_colour_that_touch() -> None:
    things = [still("circle", "green", 0.35, 0.5, 0.12), still("square", "green", 0.56, 0.5, 0.12)]
    found = find_shapes(drawn(things, 64))
    assert best(found, "green circle", things[0]) >= 0.7
    assert best(found, "green square", things[1]) >= 0.7


def test_a_sign_is_no_white_square() -> None:
    thing = still("square", "white", 0.2, 0.2, 0.15)
    for sign in range(len(SIGNS)):
        found = find_shapes(drawn([thing], 64, sign))
        assert [one.label for one in found] == ["white square"], SIGNS[sign]
        assert best(found, "white square", thing) >= 0.7


def test_only_shapes_of_the_colours_named() -> None:
    things = [still("circle", "green", 0.3, 0.5, 0.12), still("square", "red", 0.7, 0.5, 0.12)]
    found = find_shapes(drawn(things, 128), ["red"])
    assert [one.label for one in found] == ["red square"]


@pytest.mark.parametrize(
    ("question", "answer", "phrases"),
    [
        ("where is the red star ?", "left", ["red star"]),
        ("what shape is the red object ?", "star", ["red star"]),
        ("what color is the star ?", "red", ["red star"]),
        ("what color does the star become ?", "red", ["star"]),
        ("how many stars are there ?", "two", ["star"]),
        ("what is behind the white heart ?", "a blue ring", ["blue ring"]),
        ("which sign comes first ?", "m", []),
    ],
)
def test_phrases(question: str, answer: str, phrases: list[str]) -> None:
    found = shape_phrases(question, answer)
    assert [phrase.text for phrase in found] == phrases
    for phrase in found:
        start, end = phrase.span
        assert answer[start:end] in answer[start:end] + phrase.text


def test_the_same_phrase_twice_is_one_track_with_its_first_span() -> None:
    film = make_film(7, 3, num_shots=1)
    thing = film.shots[0].things[0]
    name = f"{COLORS[thing.color]} {SHAPES[thing.shape]}"
    times = np.linspace(0.3, film.duration_seconds - 0.3, 5)
    answer = Answer(f"a {name} and a {name}", (), 0, 0, 0, {})
    given = pictures(film, times)
    tracks = DrawnShapes()(Question("what is there ?"), answer, given[::-1])
    assert {track.answer_span for track in tracks} == {(2, 2 + len(name))}
    assert len(tracks[0].boxes) >= len(times) - 1
    truth = true_boxes(film, [(0, 0)], times.tolist())[0, 0]
    found = {times.tolist().index(box.pts_seconds): box.xyxy for box in tracks[0].boxes}
    assert video_iou(found, truth) >= 0.6


def test_of_several_the_first_and_the_last_come_first() -> None:
    film = make_film(7, 3, num_shots=1)
    name = SHAPES[film.shots[0].things[0].shape]
    answer, given = Answer(name, (), 0, 0, 0, {}), pictures(film, np.array([0.5, 1.0]))
    apart = [*given, *(dataclasses.replace(p, pts_seconds=p.pts_seconds + 60) for p in given)]
    for word, seconds in (("first", 0.5), ("last", 60.5)):
        tracks = DrawnShapes()(Question(f"what is the {word} shape ?"), answer, apart)
        assert tracks[0].boxes[0].pts_seconds == seconds


def test_nothing_found_and_a_picture_that_is_none() -> None:
    gray = Image.new("RGB", (90, 160), (120, 120, 118))
    file = io.BytesIO()
    gray.save(file, "JPEG")
    picture = Picture("a", 0.0, file.getvalue(), 160, 90)
    answer = Answer("red star", (), 0, 0, 0, {})
    assert DrawnShapes()(Question("where ?"), answer, [picture]) == ()
    with pytest.raises(StoreError, match="index the video again"):
        pixels_of(Picture("a", 0.0, b"no picture", 160, 90))


def test_laws() -> None:
    check_grounder(DrawnShapes())
