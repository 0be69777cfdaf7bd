"""Show the whole path: index a drawn film and real clips, ask, and check the answers.

The shipped model knows the drawn world only, so its answers are checked there; on the real clips
the demo shows decoding, failures as data, and search. The film comes from a seed that no training
used. What is asked was fixed before any answer was seen:

- kinds of question that the model card reports at 0.98 or better for places of a film, and that
  one shot answers;
- about a shot of at least 8 seconds, so that its middle is 4 seconds from every cut;
- the first five such questions, no kind twice, that the film's own stream of questions gives.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from longvid.api import index
from longvid.cli.output import dump, say, warn
from longvid.config import Config
from longvid.errors import counted
from longvid.progress import busy, index_progress
from longvid.qa.video_qa import VideoQA
from longvid.text_demo import show_text
from longvid.world.film import write_film
from longvid.world.questions import ask
from longvid.world.scene import generator, make_film
from longvid.world.views import WorldQuestion, view

#: Of the source tree; they do not travel with the package.
_TEXT_CLIPS = Path(__file__).parents[1] / "tests" / "data"
_CLIP = Path(__file__).parent / "assets" / "demo" / "brook.webm"

# Training draws its films from seeds below 1,000 (see the model card).
_FILM_SEED = 20_261_121
_FILM_MINUTES = 10
_QUESTION_TYPES = (
    *("shape", "color", "where", "become", "yes_no_motion", "sign_read", "background", "sign_ref"),
)
_NUM_QUESTIONS = 5
_SHORTEST_SHOT_SECONDS = 8.0
_QUESTIONS_DRAWN = 200


def run_demo(videos: Sequence[str], folder: str, config: Config, *, as_json: bool) -> int:
    """Index clips and a drawn film, and ask about the film.

    Args:
        videos: Files or folders of real footage; none takes a clip that travels with longvid, and
            a copy of it that is cut off.
        folder: Where the film and the store go; what is there already is not made again.
        config: The whole configuration.
        as_json: Print one JSON document instead of text.

    Returns:
        The exit status 0: a broken clip is part of the show.
    """
    tell: Callable[[str], None] = _silent if as_json else say
    tell(f"1. Draw a film of {_FILM_MINUTES} minutes, and index it beside real clips")
    with busy(sys.stderr, "drawing the film"):
        film, questions = draw_demo_film(Path(folder)), demo_questions()
    # Another model's demo lies beside it, rather than in the way.
    store = str(Path(folder) / f"store-{config.fingerprint()[:8]}")
    with index_progress(sys.stderr) as show:
        report = index(
            [film, *(videos or _clips(Path(folder)))], store=store, config=config, on_progress=show
        )
    tell(
        f"   {report.outcome}; {counted(report.frames, 'frame')} became "
        f"{counted(report.tokens, 'token')} "
        f"in {report.seconds:.1f} s"
    )
    for failure in report.failures:
        tell(f"   {failure.kind}: {failure.error}")

    tell("\n2. Ask about the film; nothing is decoded or encoded again")
    qa = VideoQA(store, config)
    answers = [_ask(tell, qa, film, question) for question in questions]
    right = sum(answer["right"] for answer in answers)
    tell(f"\n   {right} of {len(answers)} right")
    warn(report.note or qa.llm.note)

    tell("\n3. Search the real clips (the shipped model knows nothing of real footage)")
    drawn = os.path.basename(film)  # a store holds whole paths
    found = [
        span
        for span in qa.search("a big white circle", top_k=200)
        if os.path.basename(span.path) != drawn
    ]
    for span in found[:3]:
        tell(
            f"   {os.path.basename(span.path)} {span.start_seconds:.1f}-{span.end_seconds:.1f} s "
            f"(score {span.score:.3f})"
        )
    tell("\n4. Read and hear real clips; lines are quoted, not understood")
    text = show_text(tell, _TEXT_CLIPS, Path(folder), config)

    tell("\n5. Try next")
    # As it was started: `make demo` runs .venv/bin/longvid.
    command = sys.argv[0] if Path(sys.argv[0]).name == "longvid" else "longvid"
    tell(f"   {command} ask '{questions[0].text}' --store {store}")
    tell(f"   {command} search 'a white circle' --store {store}")
    tell(f"   {command} failures --store {store}")
    tell(f"   {command} index YOUR_VIDEOS --store S --config longvid    # real footage, real model")
    tell(f"   {command} models                                          # which models are here")
    tell(f"   {command} serve --store {store}    # the page, with longvid[server]")
    if as_json:
        document = {
            "index": dataclasses.asdict(report),
            "right": right,
            "answers": answers,
            "text": text,
        }
        dump(document)
    return 0  # one of the clips is cut off on purpose


def demo_questions() -> list[WorldQuestion]:
    """Return the questions about the demo's film, chosen by the rule above."""
    film = make_film(_FILM_SEED, 0, duration_seconds=60 * _FILM_MINUTES, num_needles=4)
    weights = dict.fromkeys(_QUESTION_TYPES, 1.0)
    chosen: dict[str, WorldQuestion] = {}
    for question in ask(view(film), generator(_FILM_SEED + 1, 0), _QUESTIONS_DRAWN, weights):
        [(start, end), *others] = question.evidence
        if not others and end - start >= _SHORTEST_SHOT_SECONDS:
            chosen.setdefault(question.type, question)
    return list(chosen.values())[:_NUM_QUESTIONS]


def draw_demo_film(folder: Path) -> str:
    """Draw the demo's film, once."""
    path = folder / f"film-{_FILM_SEED}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        film = make_film(_FILM_SEED, 0, duration_seconds=60 * _FILM_MINUTES, num_needles=4)
        partial = path.with_suffix(".part.mp4")
        write_film(film, partial)
        partial.rename(path)
    return str(path)


def _clips(folder: Path) -> list[str]:
    """Return the clip that travels with longvid, and a copy of it without its second half."""
    cut_off = folder / f"cut_off_{_CLIP.name}"
    data = _CLIP.read_bytes()
    cut_off.write_bytes(data[: len(data) // 2])
    return [str(_CLIP), str(cut_off)]


def _ask(
    tell: Callable[[str], None], qa: VideoQA, film: str, question: WorldQuestion
) -> dict[str, Any]:
    """Ask one question and show the answer beside the truth."""
    with busy(sys.stderr, "asking"):
        answer = qa.ask(question.text, video=film)
    right = answer.text == question.answer
    rest = sum(answer.seconds.get(step, 0.0) for step in ("embed", "search", "load", "select"))
    (start, end), *_ = question.evidence
    tell(f"\n   Q  {question.text}")
    tell(f"   A  {answer.text}  ({'right' if right else f'wrong: {question.answer}'})")
    for span in answer.evidence[:2]:
        tell(
            f"      evidence {span.start_seconds:.1f}-{span.end_seconds:.1f} s "
            f"(score {span.score:.3f})"
        )
    tell(f"      the truth is seen at {start:.1f}-{end:.1f} s")
    tell(
        f"      {answer.visual_tokens} visual tokens; language model "
        f"{answer.seconds['llm'] * 1000:.0f} ms, everything else {rest * 1000:.0f} ms"
    )
    return {**dataclasses.asdict(question), "right": right, "given": dataclasses.asdict(answer)}


def _silent(line: str) -> None:
    """Print nothing: a machine reads the result."""
