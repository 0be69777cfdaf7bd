"""Show the whole path: index real clips and a drawn film, ask, and say whether answers are right.

The shipped model knows the drawn world only, so its answers are checked there; on the real clips
the demo shows decoding, segments and search. The film comes from a seed that no training used.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longvid.api import index
from longvid.config import Config
from longvid.errors import ConfigError
from longvid.progress import index_progress
from longvid.qa.video_qa import VideoQA
from longvid.world.film import write_film
from longvid.world.questions import ask
from longvid.world.scene import generator, make_film
from longvid.world.views import WorldQuestion, view

__all__ = ["run_demo"]

_CLIPS = Path(__file__).parents[1] / "tests" / "data"

# Training draws its films from seeds below 1,000 (see the model card).
_FILM_SEED = 20_261_121
_FILM_MINUTES = 10
_QUESTION_TYPES = ("where", "background", "sign_read", "sign_ref", "shape", "motion")


def run_demo(videos: Sequence[str], folder: str, config: Config, *, as_json: bool) -> int:
    """Index clips and a drawn film, and ask about the film.

    Args:
        videos: Files or folders of real footage; none takes the clips that the tests use.
        folder: Where the film and the store go; what is there already is not made again.
        config: The whole configuration.
        as_json: Print one JSON document instead of text.

    Returns:
        The exit status 0: a broken clip is part of the show.

    Raises:
        ConfigError: No clip is named and the source tree with its clips is not there.
    """
    if not videos and not _CLIPS.is_dir():
        raise ConfigError(
            "The demo's clips lie in longvid's source tree; name videos of your own: "
            "longvid demo VIDEO..."
        )
    say = _Teller(as_json)
    say(f"1. Draw a film of {_FILM_MINUTES} minutes, and index it beside real clips")
    film, questions = _film(Path(folder))
    # Another model's demo lies beside it, rather than in the way.
    store = str(Path(folder) / f"store-{config.fingerprint()[:8]}")
    with index_progress(sys.stderr) as show:
        report = index(
            [film, *(videos or [str(_CLIPS)])], store=store, config=config, on_progress=show
        )
    say(
        f"   {report.videos_indexed} indexed, {report.videos_skipped} skipped, "
        f"{report.videos_failed} failed; {report.frames} frames became {report.tokens} tokens "
        f"in {report.seconds:.1f} s"
    )
    for failure in report.failures:
        say(f"   {failure.kind}: {failure.error}")

    say("\n2. Ask about the film; nothing is decoded or encoded again")
    qa = VideoQA(store, config)
    answers = [_ask(say, qa, film, question) for question in questions]
    right = sum(answer["right"] for answer in answers)
    say(f"\n   {right} of {len(answers)} right")
    note = report.note or qa.llm.note
    if note:
        print(f"longvid: {note}", file=sys.stderr)

    say("\n3. Search the real clips (the shipped model knows nothing of real footage)")
    found = [span for span in qa.search("a big white circle", top_k=200) if span.path != film]
    for span in found[:3]:
        say(
            f"   {os.path.basename(span.path)} {span.start_seconds:.1f}-{span.end_seconds:.1f} s "
            f"(score {span.score:.3f})"
        )
    say("\n4. Go on")
    say(f"   longvid status --store {store}")
    say(f"   longvid search 'a white circle' --store {store}")
    say("   For real footage name a real model: longvid index VIDEOS --store S --config longvid")
    if as_json:
        document = {"index": dataclasses.asdict(report), "right": right, "answers": answers}
        print(json.dumps(document, indent=1))
    return 0  # one of the clips is broken on purpose


def _film(folder: Path) -> tuple[str, list[WorldQuestion]]:
    """Draw the demo's film, once, and the questions about it."""
    film = make_film(_FILM_SEED, 0, duration_seconds=60 * _FILM_MINUTES, num_needles=4)
    path = folder / f"film-{_FILM_SEED}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.mp4")
        write_film(film, partial)
        partial.rename(path)
    weights = dict.fromkeys(_QUESTION_TYPES, 1.0)
    return str(path), ask(view(film), generator(_FILM_SEED + 1, 0), 5, weights)


def _ask(say: _Teller, qa: VideoQA, film: str, question: WorldQuestion) -> dict[str, Any]:
    """Ask one question and show the answer beside the truth."""
    answer = qa.ask(question.text, video=film)
    right = answer.text == question.answer
    rest = sum(answer.seconds.get(step, 0.0) for step in ("embed", "search", "load", "select"))
    (start, end), *_ = question.evidence
    say(f"\n   Q  {question.text}")
    say(f"   A  {answer.text}  ({'right' if right else f'wrong: {question.answer}'})")
    for span in answer.evidence[:2]:
        say(
            f"      evidence {span.start_seconds:.1f}-{span.end_seconds:.1f} s "
            f"(score {span.score:.3f})"
        )
    say(f"      the truth is seen at {start:.1f}-{end:.1f} s")
    say(
        f"      {answer.visual_tokens} visual tokens; language model "
        f"{answer.seconds['llm'] * 1000:.0f} ms, everything else {rest * 1000:.0f} ms"
    )
    return {**dataclasses.asdict(question), "right": right, "given": dataclasses.asdict(answer)}


class _Teller:
    """Prints lines for a person, or nothing when a machine reads."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent

    def __call__(self, line: str) -> None:
        if not self._silent:
            print(line, flush=True)
