"""Boxes written for a model and read back, and what models write that is no box."""

from __future__ import annotations

import random

import pytest
from transformers.models.kosmos2 import processing_kosmos2 as original

from longvid.errors import ConfigError
from longvid.methods.box_text import CODECS, kosmos2_corners, kosmos2_pair

BOXES = ((0.1, 0.2, 0.55, 0.9), (0.5, 0.0, 1.0, 0.25))
STEP = {"kosmos2": 1 / 32, "shikra": 0.001, "qwen": 0.001, "florence2": 0.001}


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("boxes", [BOXES, BOXES[:1]], ids=["two", "one"])
def test_what_is_written_is_read(name: str, boxes: tuple[tuple[float, ...], ...]) -> None:
    codec = CODECS[name]
    text, (mention,) = codec.read(f"I see {codec.write('a red car', boxes)}.")  # type: ignore[arg-type]
    assert text == "I see a red car."
    start, end = mention.span
    assert text[start:end] == mention.phrase
    assert mention.phrase.endswith("a red car")
    for found, box in zip(mention.boxes, boxes, strict=True):
        assert max(abs(a - b) for a, b in zip(found, box, strict=True)) <= STEP[name]


@pytest.mark.parametrize("name", CODECS)
def test_the_same_phrase_twice_has_two_spans(name: str) -> None:
    codec = CODECS[name]
    once = codec.write("a dog", BOXES[:1])
    text, mentions = codec.read(f"{once} and {once}")
    assert text == "a dog and a dog"
    assert [text[slice(*mention.span)] for mention in mentions] == ["a dog", "a dog"]
    assert mentions[0].span[1] <= mentions[1].span[0]


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("text", ["", "nothing here", "a [b, c] (1,2) <box>", "<loc_1><loc_2>"])
def test_text_without_boxes_has_no_mention(name: str, text: str) -> None:
    assert CODECS[name].read(text)[1] == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shikra", "a cat[0.900,0.200,0.100,0.400]"),
        ("qwen", "<ref>a cat</ref><box>(900,200),(1200,400)</box>"),
        ("florence2", "a cat<loc_900><loc_1><loc_2><loc_3>"),
    ],
)
def test_a_box_that_is_turned_or_outside_is_left_out(name: str, text: str) -> None:
    assert CODECS[name].read(text) == ("a cat", ())


def test_the_tags_of_later_qwens_are_read() -> None:
    written = (
        "<|object_ref_start|>the dog<|object_ref_end|><|box_start|>(10,20),(500,900)<|box_end|>"
    )
    text, (mention,) = CODECS["qwen"].read(f"There: {written}")
    assert (text, mention.phrase) == ("There: the dog", "the dog")
    assert mention.boxes == ((0.01, 0.02, 0.5, 0.9),)


def test_kosmos2_equals_transformers() -> None:
    rng = random.Random(0)
    for _ in range(200):
        x, y = sorted(rng.sample(range(101), 2)), sorted(rng.sample(range(101), 2))
        box = (x[0] / 100, y[0] / 100, x[1] / 100, y[1] / 100)
        pair = original.coordinate_to_patch_index(box, 32)
        assert kosmos2_pair(box) == pair
        assert kosmos2_corners(*pair) == original.patch_index_to_coordinate(*pair, 32)
    cell = "<object><patch_index_0001><patch_index_0099></object>"
    for text in (
        f"<grounding>  two<phrase> big dogs </phrase>{cell} run.",
        f"<phrase>a</phrase>{cell}<phrase>b</phrase>{cell}",
        "<phrase>alone</phrase> and no box",
    ):
        plain, entities = original.clean_text_and_extract_entities_with_bboxes(text)
        found, mentions = CODECS["kosmos2"].read(text)
        assert found == plain
        assert [(m.phrase, m.span, list(m.boxes)) for m in mentions] == entities


def test_a_box_without_area_is_refused_for_kosmos2() -> None:
    with pytest.raises(ConfigError, match="width and a height"):
        kosmos2_pair((0.5, 0.1, 0.5, 0.9))
