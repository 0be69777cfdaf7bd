"""The part of the demo that reads and hears real clips: titles, and a narrator of NASA's.

No language model that can be shipped understands such footage, so lines are quoted. The questions
and what a right answer must hold are fixed here; the true spans were read off the clips.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longvid.api import index
from longvid.config import Config
from longvid.errors import ConfigError
from longvid.progress import busy, index_progress
from longvid.qa.video_qa import VideoQA
from longvid.timed_text.words import clock

_SOURCES = ("screen_text", "pocketsphinx")


@dataclass(frozen=True, slots=True)
class TextQuestion:
    """A question about one clip, with what its answer must hold and where that is."""

    clip: str
    text: str
    answer: str
    start_seconds: float
    end_seconds: float


_NASA, _SINTEL = "nasa_webb_speech_13s.mp4", "sintel_title_11s.mp4"
_BUNNY, _BROOK = "bbb_title_vp8.webm", "stream_title_vfr_vp8.webm"
_PEACH = "THE PEACH OPEN MOVIE PROJECT / PRESENTS"
_BLENDER = "THE BLENDER FOUNDATION / presents"

QUESTIONS = (
    TextQuestion(_NASA, "Which space telescope is it about?", "webb space telescope", 2.5, 5.5),
    TextQuestion(_NASA, "When does the narrator mention clean rooms?", "clean rooms", 5.0, 8.0),
    TextQuestion(_NASA, "Which space flight center is it?", "goddard space flight", 8.0, 11.0),
    TextQuestion(_SINTEL, "Which foundation presents the film?", _BLENDER, 7.7, 9.5),
    TextQuestion(_BUNNY, "Whose open movie project is it?", _PEACH, 0.0, 2.0),
    TextQuestion(_BROOK, "What does the title say?", "Audioless Video", 0.1, 1.3),
)


def show_text(
    tell: Callable[[str], None], clips: Path, folder: Path, config: Config
) -> list[dict[str, Any]]:
    """Read and hear the clips, and ask about them.

    Args:
        tell: Prints a line.
        clips: Where the clips are, at any depth.
        folder: Where the store goes.
        config: Of the demo; its text sources and its language model are replaced.

    Returns:
        One entry a question: what was asked, the answer, and whether it is right and in time;
        none where the clips or the packages are not here, which is said.
    """
    named = {question.clip for question in QUESTIONS}
    found = {path.name: path for path in clips.rglob("*") if path.name in named}
    if len(found) < len(named):
        tell("   the clips are in longvid's source tree; run the demo there")
        return []
    tables = config.to_dict()
    tables["text_sources"] = [{"name": name} for name in _SOURCES]
    tables["llm"] = {"name": "quote"}
    # NASA's clip has subtitles too; what is shown is what was heard and read.
    tables["ask"] = {**tables["ask"], "text_sources": ["speech", "screen"]}
    reading = Config.from_dict(tables)
    store = str(folder / f"store-text-{config.fingerprint()[:8]}")
    try:
        with index_progress(sys.stderr) as show:
            index(sorted(found.values()), store=store, config=reading, on_progress=show)
    except ConfigError as error:  # a package is not installed
        tell(f"   left out: {error}")
        return []
    qa = VideoQA(store, reading)
    answers = [_ask(tell, qa, question) for question in QUESTIONS]
    tell(f"\n   {sum(one['right'] for one in answers)} of {len(answers)} right")
    return answers


def _ask(tell: Callable[[str], None], qa: VideoQA, question: TextQuestion) -> dict[str, Any]:
    with busy(sys.stderr, "asking"):
        answer = qa.ask(question.text, video=question.clip)
    line = next((span for span in answer.evidence if span.text and span.text in answer.text), None)
    in_time = (
        line is not None
        and line.start_seconds < question.end_seconds
        and line.end_seconds > question.start_seconds
    )
    right = question.answer in answer.text and in_time
    tell(f"\n   Q  {question.text}")
    tell(f"   A  {answer.text}  ({'right' if right else f'wrong: {question.answer}'})")
    if line is not None:
        where = f"{clock(line.start_seconds)}-{clock(line.end_seconds)}"
        tell(f"      {line.source} of {os.path.basename(line.path)} at {where}, {answer.note}")
    return {**asdict(question), "given": asdict(answer), "right": right}
