"""Clues in the channels of one drawn film: pictures, narration, signs, and pictures with narration.

Every question has its clue in one channel; those of the last ask what is seen while something is
spoken of. Four arms answer all of them: from pictures alone, by quoting text alone, with both, as
`ask` does by default, and with what `ask.experts=rules` chooses. Tokens are those shown, of frames
and of lines together; a choice is right that is exactly the channel of the clue. Signs are burnt
into the film and read from it. Narration is a subtitle track, or is spoken by espeak-ng and heard
by a text source.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measurements import Row
from benchmarks.tasks.world.suites import SUITES, draw_film, draw_questions
from longvid.api import index
from longvid.config import Config, load_config
from longvid.models.mini_vocabulary import BACKGROUNDS, COLORS, SHAPES
from longvid.qa.moment_of_line import split_at_moment
from longvid.qa.video_qa import VideoQA
from longvid.store import Store
from longvid.store.timed_text import read_text
from longvid.timed_text.words import words_of
from longvid.types import Answer, Failure, Question, TextLine
from longvid.world.draw import Painter
from longvid.world.film import write_film
from longvid.world.narration import Sign, Spoken, speak
from longvid.world.scene import CHANGES, Film

#: Of the film that figures are reported on, and of one that rules were chosen by.
TEXT_SEEDS = {"test": 20_261_129, "tuning": 41_000_129}
#: Questions about pictures that say all they need; those about neighbouring shots are hardest.
_TYPES = ("where", "size", "motion", "sign_read", "background", "sign_ref")
_SIZES = (12, 16, 20, 28, 40)
_PAINTED, _FILE, _FPS = 128, 512, 2
_PLACES = (
    *("harbor", "museum", "station", "library", "bakery", "garden", "school", "market"),
    *("theater", "hospital", "airport", "castle", "factory", "hotel", "bridge", "stadium"),
)
_NAMES = (
    *("Keller", "Morris", "Olsen", "Santos", "Weber", "Parker", "Turner", "Wilson"),
    *("Bailey", "Cooper", "Dawson", "Foster", "Graham", "Hudson", "Jordan", "Miller"),
)
_TOPICS = (
    *("ferry", "elephant", "violin", "glacier", "compass", "lantern", "penguin", "volcano"),
    *("orchard", "satellite", "windmill", "cathedral", "submarine", "tornado", "pyramid", "desert"),
)
_FILLERS = tuple(
    " ".join(words)
    for words in itertools.product(
        ("the crew", "our guide", "the professor", "everybody", "a diver"),
        ("talked about", "looked at", "waited for", "dreamed of"),
        ("the weather", "the next day", "the long winter", "fish for dinner", "the old road"),
    )
)
_ARMS = {
    "pictures only": ["ask.text=none", "ask.text_sources=[]"],
    "text only": ["llm.name=quote"],
    "both": [],
    "chosen by rules": ["ask.experts=rules"],
}
_EXPERTS = {
    "pictures": {"pictures"},
    "speech": {"speech"},
    "screen": {"screen"},
    "both": {"pictures", "speech"},
}
#: So long a line of the subtitle track is shown.
_LINE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Clue:
    """A question, its answer, and where the clue is: pictures, speech, screen or both."""

    channel: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A film with what it says and writes, and what is asked about it."""

    film: Film
    clues: tuple[Clue, ...]
    said: tuple[tuple[float, str], ...]
    signs: tuple[Sign, ...]


def plan_of(minutes: float, num_pictures: int, seed: int = TEXT_SEEDS["test"]) -> Plan:
    """Draw a film and put clues into it, evenly over its length."""
    suite = dataclasses.replace(
        SUITES["1 h"], seconds=60 * minutes, questions_per_film=num_pictures, types=_TYPES
    )
    film = draw_film(suite, seed, 0)
    seen = draw_questions(suite, seed, 0, film)
    clues = [Clue("pictures", one.text, one.answer) for one in seen]
    said = list(_spoken_of(film, clues))
    step = film.duration_seconds / (2 * len(_PLACES))
    signs: list[Sign] = []
    random = np.random.default_rng(seed)
    for number, (place, name) in enumerate(zip(_PLACES, _NAMES, strict=True)):
        hour = number % 12 + 8
        said.append(_free(said, 2 * number * step, f"doctor {name} waits at the {place}"))
        clues.append(Clue("speech", f"Who waits at the {place}?", name))
        text = f"{place.upper()} OPENS {hour}:15"
        start = (2 * number + 1) * step
        x, y = random.uniform(0.02, 0.06), random.uniform(0.02, 0.88)
        pixels = _SIZES[number % len(_SIZES)]
        signs.append(Sign(text, start, start + random.uniform(4, 8), x, y, pixels))
        question = f"When does the {place} open, says the sign?"
        clues.append(Clue("screen", question, f"{hour}:15"))
    fillers = itertools.cycle(_FILLERS)
    for at in np.arange(5.0, film.duration_seconds - 5, 30.0):
        said.append(_free(said, float(at), next(fillers)))
    return Plan(film, tuple(clues), tuple(sorted(said)), tuple(signs))


def _spoken_of(film: Film, clues: list[Clue]) -> Iterator[tuple[float, str]]:
    """Yield a line beside a shot for each topic, and add the question about it."""
    topics = iter(_TOPICS)
    step = max(1, len(film.shots) // (len(_TOPICS) + 1))
    for number in range(2, len(film.shots) - 2):
        shot = film.shots[number]
        shapes = [thing.shape for thing in shot.things]
        around = (*film.shots[number - 2 : number], *film.shots[number + 1 : number + 3])
        beside = {thing.shape for other in around for thing in other.things}
        plain = len(shapes) == 1 and shot.things[0].event != CHANGES and shapes[0] not in beside
        if shot.duration_seconds < 7 or not plain or number < step * (1 + _used(clues)):
            continue
        topic = next(topics, None)
        if topic is None:
            return
        shape, asked = SHAPES[shapes[0]], _used(clues) % 2
        what = ("What color is the {}", "What is behind the {}")[asked].format(shape)
        gold = (COLORS[shot.things[0].color], BACKGROUNDS[shot.background])[asked]
        clues.append(Clue("both", f"{what} when the {topic} is mentioned?", gold))
        yield film.span(number)[0] + 2.0, f"and here we speak of the {topic}"


def _used(clues: Sequence[Clue]) -> int:
    return sum(clue.channel == "both" for clue in clues)


def _free(said: Sequence[tuple[float, str]], at: float, text: str) -> tuple[float, str]:
    """Place a sentence at the first time from `at` on at which nobody speaks."""
    while any(abs(at - start) < _LINE_SECONDS + 1 for start, _ in said):
        at += 1.0
    return at, text


def run_text(
    minutes: float,
    num_pictures: int,
    heard: Sequence[Mapping[str, str]] = (),
    seed: int = TEXT_SEEDS["test"],
) -> list[Row]:
    """Write the film, read it, and ask every question of every arm.

    Args:
        minutes: Of the film.
        num_pictures: Questions about pictures alone.
        heard: The text source that hears narration spoken by espeak-ng, as a table of a
            configuration; none takes a subtitle track.
        seed: Of the film and its clues.
    """
    plan = plan_of(minutes, num_pictures, seed)
    tables = load_config("mini").to_dict()
    tables["text_sources"] = [*heard, {"name": "screen_text", "every_seconds": 2.0}]
    with tempfile.TemporaryDirectory(prefix="longvid-text-") as folder:
        path = Path(folder) / "film.mp4"
        spoken = None
        if heard:
            spoken = [Spoken(text, start, speak(text)) for start, text in plan.said]
            true = [one.line() for one in spoken]
        else:
            true = [TextLine(at, at + _LINE_SECONDS, text) for at, text in plan.said]
            path.with_suffix(".srt").write_text(_srt(true), encoding="utf-8")
        painter = Painter(_PAINTED)
        write_film(
            plan.film,
            path,
            fps=_FPS,
            size=_FILE,
            painter=painter,
            signs=plan.signs,
            spoken=spoken,
        )
        _say(f"film written: {len(plan.film.shots)} shots, {len(plan.clues)} questions")
        index([path], store=f"{folder}/store", config=Config.from_dict(tables))
        _say("indexed, read" + (" and heard" if heard else ""))
        store = Store.open(f"{folder}/store")
        lines = read_text(store, store.find("film.mp4"))
        rows = [
            *line_scores([sign.line() for sign in plan.signs], lines, plan.signs),
            *(_heard(true, lines) if heard else ()),
        ]
        for arm, settings in _ARMS.items():
            rows += _asked(f"{folder}/store", arm, settings, plan.clues)
            _say(f"asked: {arm}")
    return rows


def _asked(store: str, arm: str, settings: list[str], clues: Sequence[Clue]) -> list[Row]:
    """Ask every question of one arm."""
    texts = [clue.question for clue in clues]
    if arm == "pictures only":  # what is said then tells it nothing
        texts = [(split_at_moment(text) or (text,))[0] for text in texts]
    qa = VideoQA(store, load_config("mini", settings))
    answers = qa.ask_many([Question(text) for text in texts])
    right: dict[str, list[bool]] = {}
    for clue, answer in zip(clues, answers, strict=True):
        is_right = _is_right(answer, clue.answer)
        right.setdefault(clue.channel, []).append(is_right)
        right.setdefault("all", []).append(is_right)
        if not is_right:
            said = answer.error if isinstance(answer, Failure) else answer.text
            _say(f"  {arm}: {clue.channel}: {clue.question} {clue.answer!r}, not {said[:100]!r}")
    return [
        *(
            Row("right answers", arm, channel, sum(of) / len(of), "", len(of))
            for channel, of in right.items()
        ),
        *_shown(qa, arm, [clue.channel for clue in clues], texts),
    ]


def _shown(qa: VideoQA, arm: str, channels: Sequence[str], texts: Sequence[str]) -> list[Row]:
    """Count the tokens that each channel's questions are shown, and the choices that are right."""
    tokens: dict[str, list[float]] = {}
    chosen: dict[str, list[float]] = {}
    for channel, text in zip(channels, texts, strict=True):
        selection = qa.select(Question(text))
        is_right = set(selection.experts) == _EXPERTS[channel]
        if selection.experts and not is_right:
            _say(f"  {arm}: {channel}: {text} is shown {selection.experts}")
        for name in (channel, "all"):
            tokens.setdefault(name, []).append(selection.num_tokens + selection.text_tokens)
            if selection.experts:
                chosen.setdefault(name, []).append(float(is_right))
    return [
        Row(what, arm, name, sum(values) / len(values), unit, len(values))
        for what, unit, of in (("tokens shown", "tokens", tokens), ("experts right", "", chosen))
        for name, values in of.items()
    ]


def _is_right(answer: Answer | Failure, gold: str) -> bool:
    said = [] if isinstance(answer, Failure) else words_of(answer.text)
    return all(word in said for word in words_of(gold))


def line_scores(
    true: Sequence[TextLine], read: Sequence[TextLine], signs: Sequence[Sign]
) -> list[Row]:
    """Compare the lines that were read on the screen with the signs, by size of the font."""
    found = [line for line in read if line.source == "screen"]
    known = {_letters(line.text) for line in true}
    rows = []
    for pixels in sorted({sign.pixels for sign in signs}):
        overlaps = [
            max((_iou(line, other) for other in found if _same(line, other)), default=0.0)
            for line, sign in zip(true, signs, strict=True)
            if sign.pixels == pixels
        ]
        subject, read_at_all = f"{pixels} pixels", [one for one in overlaps if one > 0]
        mean = float(np.mean(read_at_all)) if read_at_all else 0.0
        share = len(read_at_all) / len(overlaps)
        rows += [
            Row("signs read", subject, "recall", share, "", len(overlaps)),
            Row("signs read", subject, "span IoU", mean, "", len(read_at_all)),
        ]
    right = sum(_letters(line.text) in known for line in found)
    wrong = len(found) - right
    return [
        *rows,
        Row("signs read", "all", "precision", right / max(1, len(found)), "", len(found)),
        Row("signs read", "all", "wrong lines", wrong, "", len(found)),
    ]


def _heard(true: Sequence[TextLine], read: Sequence[TextLine]) -> list[Row]:
    """Say which share of the spoken words is among those heard within two seconds."""
    heard = [line for line in read if line.source == "speech"]
    held = total = 0
    for line in true:
        near = [
            word
            for other in heard
            if other.start_seconds < line.end_seconds + 2
            and other.end_seconds > line.start_seconds - 2
            for word in words_of(other.text)
        ]
        words = words_of(line.text)
        held += sum(word in near for word in words)
        total += len(words)
    return [Row("narration heard", "espeak-ng", "words", held / total, "", total)]


def _same(one: TextLine, other: TextLine) -> bool:
    return _letters(one.text) == _letters(other.text)


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _iou(one: TextLine, other: TextLine) -> float:
    both = min(one.end_seconds, other.end_seconds) - max(one.start_seconds, other.start_seconds)
    either = max(one.end_seconds, other.end_seconds) - min(one.start_seconds, other.start_seconds)
    return max(0.0, both) / either


def _srt(lines: Sequence[TextLine]) -> str:
    def stamp(seconds: float) -> str:
        whole, rest = divmod(round(seconds * 1000), 1000)
        return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{rest:03d}"

    return "\n".join(
        f"{number}\n{stamp(line.start_seconds)} --> {stamp(line.end_seconds)}\n{line.text}\n"
        for number, line in enumerate(lines, start=1)
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
