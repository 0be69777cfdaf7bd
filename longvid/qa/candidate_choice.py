"""The language model chooses among numbered candidates which things an answer means.

A detector scores how well a box fits a phrase, not whether it is the one that was asked about. The
candidates are numbered, written with their places and times, and drawn on a picture where the
model reads pictures; its reply names numbers.

Source: Groma (Ma et al. 2024), whose language model points at the index of a proposal.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image, ImageDraw

from longvid.errors import LongvidError
from longvid.protocols import LanguageModel
from longvid.timed_text.words import clock
from longvid.types import Answer, Box, Picture, Question, Selection, Track

#: Numbers that are offered; more are not told apart in one picture.
_MOST = 12
_COLOR = (255, 40, 40)


def choose_tracks(
    tracks: Sequence[Track],
    question: Question,
    answer: Answer,
    selection: Selection,
    pictures: Sequence[Picture],
    llm: LanguageModel,
    *,
    reads_pictures: bool,
) -> tuple[tuple[Track, ...], str]:
    """Keep those candidates that the language model names, in one call for all phrases.

    Where it names none, or cannot be asked, each phrase keeps the best box of each picture.

    Args:
        tracks: Those that are no candidates are kept as they are.
        question, answer: What was asked and answered.
        selection: What the model was shown.
        pictures: Those that the boxes are in.
        llm: The model that answered.
        reads_pictures: Whether it is shown pictures; else it reads the places alone.

    Returns:
        The tracks, and a caveat where the detector's scores decided.
    """
    phrases = dict.fromkeys(track.phrase for track in tracks if track.is_candidate)
    open_ones = [
        track
        for phrase in phrases
        if len(of := [one for one in tracks if one.is_candidate and one.phrase == phrase]) > 1
        for track in of
    ]
    settled = [replace(track, is_candidate=False) for track in tracks if track not in open_ones]
    if not open_ones:
        return tuple(settled), ""
    # The likeliest are numbered; the others cannot be named.
    offered = sorted(open_ones, key=lambda track: -_score(track))[:_MOST]
    prompt = _prompt(offered, question, answer)
    shown = selection
    if reads_pictures and (marked := _marked(offered, pictures)):
        shown = replace(selection, pictures=(*selection.pictures, marked))
        prompt = f"The last picture has their numbers drawn.\n{prompt}"
    try:
        reply = llm.answer(Question(prompt), shown).text
        why = f"its reply names none ({reply[:60]!r})"
    except LongvidError as error:
        reply, why = "", f"it could not be asked ({error})"
    named = {int(number) for number in re.findall(r"\b\d{1,2}\b", reply)}
    chosen = [track for number, track in enumerate(offered, 1) if number in named]
    # A phrase none of whose numbers were named has the detector's best.
    missing = [track for track in open_ones if track.phrase not in {one.phrase for one in chosen}]
    kept = [*settled, *(replace(one, is_candidate=False) for one in chosen)]
    kept += best_of_each_picture(missing)
    order = list(dict.fromkeys(track.phrase for track in tracks))
    note = (
        ""
        if chosen
        else f"The detector chose among {len(open_ones)} boxes, not the language model: {why}."
    )
    return tuple(sorted(kept, key=lambda track: order.index(track.phrase))), note


def best_of_each_picture(candidates: Sequence[Track]) -> list[Track]:
    """Return candidates without the boxes that another of their phrase exceeds in a picture."""
    best: dict[tuple[str, str, float], Box] = {}
    for track in candidates:
        for box in track.boxes:
            key = (track.phrase, box.video_id, box.pts_seconds)
            if key not in best or box.score > best[key].score:
                best[key] = box
    kept = [
        replace(
            track,
            is_candidate=False,
            boxes=tuple(
                box
                for box in track.boxes
                if best[track.phrase, box.video_id, box.pts_seconds] is box
            ),
        )
        for track in candidates
    ]
    return sorted((one for one in kept if one.boxes), key=lambda track: -len(track.boxes))


def _score(track: Track) -> float:
    return max(box.score for box in track.boxes)


def _prompt(offered: Sequence[Track], question: Question, answer: Answer) -> str:
    lines = [
        f"{number}: {track.phrase}, {_place(track)}" for number, track in enumerate(offered, 1)
    ]
    return "\n".join(
        [
            f"Question: {question.text}",
            f"Answer: {answer.text}",
            "Which of these things does the answer mean?",
            *lines,
            "Reply with their numbers alone.",
        ]
    )


def _place(track: Track) -> str:
    """Write where and when a thing is, in words and hundredths of the frame."""
    best = max(track.boxes, key=lambda box: box.score)
    left, top, right, bottom = best.xyxy
    across = ("left", "center", "right")[min(2, int(1.5 * (left + right)))]
    down = ("top", "middle", "bottom")[min(2, int(1.5 * (top + bottom)))]
    corners = ", ".join(str(round(100 * side)) for side in best.xyxy)
    first, last = track.boxes[0].pts_seconds, track.boxes[-1].pts_seconds
    return f"{down} {across} [{corners}], from {clock(first)} to {clock(last)}"


def _marked(offered: Sequence[Track], pictures: Sequence[Picture]) -> Picture | None:
    """Return the picture with most of the candidates in it, their numbers drawn; None for none."""
    boxes: dict[tuple[str, float], list[tuple[int, Box]]] = {}
    for number, track in enumerate(offered, 1):
        for box in track.boxes:
            boxes.setdefault((box.video_id, box.pts_seconds), []).append((number, box))
    known = {(picture.video_id, picture.pts_seconds): picture for picture in pictures}
    places = [place for place in boxes if place in known]
    if not places:
        return None
    place = max(places, key=lambda one: len(boxes[one]))
    picture = known[place]
    with Image.open(io.BytesIO(picture.jpeg)) as image:
        drawn = image.convert("RGB")
    canvas = ImageDraw.Draw(drawn)
    for number, box in boxes[place]:
        left, top, right, bottom = (
            side * edge for side, edge in zip(box.xyxy, drawn.size * 2, strict=True)
        )
        canvas.rectangle((left, top, right, bottom), outline=_COLOR, width=2)
        span = canvas.textbbox((left + 3, top + 2), str(number))
        canvas.rectangle(span, fill=_COLOR)
        canvas.text((left + 3, top + 2), str(number), fill="white")
    file = io.BytesIO()
    drawn.save(file, "JPEG", quality=92)
    return replace(picture, jpeg=file.getvalue(), found=())
