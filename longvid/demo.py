"""Show the whole path on real clips: index them, then ask and search, and print what came of it."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from longvid.answering import VideoQA
from longvid.api import index
from longvid.config import Config
from longvid.errors import ConfigError
from longvid.progress import index_progress
from longvid.types import Answer

__all__ = ["run_demo"]

_CLIPS = Path(__file__).parents[1] / "tests" / "data"

# Words that the shipped model knows; a model for real footage may be asked anything.
_QUESTIONS = (
    "how many objects are there?",
    "what color is the background?",
    "what happens first?",
)


def run_demo(videos: Sequence[str], store: str, config: Config, *, as_json: bool) -> int:
    """Index clips and ask about them.

    Args:
        videos: Files or folders; none takes the clips that the tests use.
        store: Folder of the demo's store; what it holds already is not indexed again.
        config: The whole configuration.
        as_json: Print one JSON document instead of text.

    Returns:
        The exit status: 0, or 3 when a clip failed.

    Raises:
        ConfigError: No clip is named and the source tree with its clips is not there.
    """
    if not videos and not _CLIPS.is_dir():
        raise ConfigError(
            "The demo's clips lie in longvid's source tree; name videos of your own: "
            "longvid demo VIDEO..."
        )
    say = _Teller(as_json)
    say(f"1. Index real clips into {store}")
    with index_progress(sys.stderr) as show:
        report = index(videos or [_CLIPS], store=store, config=config, on_progress=show)
    say(
        f"   {report.videos_indexed} indexed, {report.videos_skipped} already there, "
        f"{report.videos_failed} failed; {report.frames} frames became {report.tokens} tokens "
        f"in {report.seconds:.1f} s"
    )
    for failure in report.failures:
        say(f"   {failure.kind}: {failure.error}")

    say("2. Ask; nothing is decoded or encoded again")
    qa = VideoQA(store, config)
    answers = []
    for question in _QUESTIONS:
        answer = qa.ask(question)
        answers.append({"question": question, **dataclasses.asdict(answer)})
        _show(say, question, answer)
    if report.note or qa.llm.note:
        print(f"longvid: {report.note or qa.llm.note}", file=sys.stderr)
    say("3. Go on")
    say(f"   longvid status --store {store}")
    say(f"   longvid ask 'what is behind the red star?' --store {store}")
    say(f"   longvid search 'a white circle' --store {store}")
    say("   For real footage name a real model: longvid index VIDEOS --store S --config longvid")
    if as_json:
        print(json.dumps({"index": dataclasses.asdict(report), "answers": answers}, indent=1))
    return 3 if report.failures else 0


class _Teller:
    """Prints lines for a person, or nothing when a machine reads."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent

    def __call__(self, line: str) -> None:
        if not self._silent:
            print(line, flush=True)


def _show(say: _Teller, question: str, answer: Answer) -> None:
    rest = sum(answer.seconds.get(step, 0.0) for step in ("embed", "search", "load", "select"))
    say(f"   Q  {question}")
    say(f"   A  {answer.text}")
    for span in answer.evidence[:2]:
        say(
            f"      {os.path.basename(span.path)} {span.start_seconds:.1f}-"
            f"{span.end_seconds:.1f} s (score {span.score:.3f})"
        )
    say(
        f"      {answer.visual_tokens} visual tokens; language model "
        f"{answer.seconds['llm'] * 1000:.0f} ms, everything else {rest * 1000:.0f} ms"
    )
