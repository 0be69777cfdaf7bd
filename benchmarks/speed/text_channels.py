"""Clues in three channels of one drawn film: pictures, speech, text on the screen.

Each question has its clue in one channel. Three arms answer all of them: from pictures alone, by
quoting text alone, and with both as `ask` does by default. The lines have their true spans:
recognition is measured elsewhere. It is no yardstick of the model, whose questions about pictures
are those that its card reports as easy.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.measurements import Row
from longvid.api import index
from longvid.config import load_config
from longvid.qa.video_qa import VideoQA
from longvid.store import Store
from longvid.store.timed_text import TextWriter
from longvid.timed_text.words import words_of
from longvid.types import Failure, Question, TextLine
from longvid.types.text_line import TextSourceName
from longvid.world.film import write_film
from longvid.world.questions import ask
from longvid.world.scene import generator, make_film
from longvid.world.views import view

__all__ = ["add_arguments", "run"]

_SEED = 20_261_129
_TYPES = ("shape", "color", "where", "background", "sign_read")
_PLACES = ("harbor", "museum", "station", "library", "bakery", "garden", "school", "market")
_NAMES = ("Almeida", "Keller", "Nakamura", "Olsen", "Kowalski", "Moreau", "Santos", "Weber")
_ARMS = {
    "pictures only": ["ask.text=none"],
    "text only": ["llm.name=quote"],
    "both": [],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this measurement's options."""
    parser.add_argument("--minutes", type=int, default=10, help="of the film")
    parser.add_argument("--pictures", type=int, default=16, help="questions about pictures")


def run(options: argparse.Namespace) -> list[Row]:
    """Draw a film, write its lines, and ask every question of every arm."""
    film = make_film(_SEED, 0, duration_seconds=60 * options.minutes, num_needles=4)
    weights = dict.fromkeys(_TYPES, 1.0)
    seen = ask(view(film), generator(_SEED + 1, 0), options.pictures, weights)
    questions = [("pictures", one.text, one.answer) for one in seen]
    lines: dict[TextSourceName, list[TextLine]] = {"speech": [], "screen": []}
    step = 60 * options.minutes / (2 * len(_PLACES))
    for number, (place, name) in enumerate(zip(_PLACES, _NAMES, strict=True)):
        at = 2 * number * step
        spoken = f"doctor {name} waits for you at the {place}"
        written = f"{place.upper()} OPENS AT {number + 8} AM"
        lines["speech"].append(TextLine(at, at + 3, spoken, "speech"))
        lines["screen"].append(TextLine(at + step, at + step + 3, written, "screen"))
        questions.append(("speech", f"Who waits at the {place}?", name))
        questions.append(("screen", f"When does the {place} open, says the sign?", f"{number + 8}"))
    rows = []
    with tempfile.TemporaryDirectory(prefix="longvid-channels-") as folder:
        path = Path(folder) / "film.mp4"
        write_film(film, path)
        index([path], store=f"{folder}/store", config="mini")
        store = Store.open(f"{folder}/store")
        video = store.find("film.mp4")
        for source, of_source in lines.items():
            writer = TextWriter(store, video, source, "true")
            writer.add(of_source, 60.0 * options.minutes)
            writer.finish()
        asked = [Question(text, video_ids=(video,)) for _, text, _ in questions]
        for arm, settings in _ARMS.items():
            answers = VideoQA(f"{folder}/store", load_config("mini", settings)).ask_many(asked)
            right: dict[str, list[bool]] = {}
            for (channel, _, gold), answer in zip(questions, answers, strict=True):
                said = [] if isinstance(answer, Failure) else words_of(answer.text)
                wanted = words_of(gold)
                held = all(word in said for word in wanted)
                right.setdefault(channel, []).append(held)
                right.setdefault("all", []).append(held)
            rows += [
                Row("right answers", arm, channel, sum(of) / len(of), "")
                for channel, of in right.items()
            ]
    return rows
