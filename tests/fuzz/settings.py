"""Give longvid settings, TOML, lists, subtitle files, questions and arguments that are wrong.

python -m tests.fuzz.settings --cases 10000 --seed 1 --json FILE

Three kinds of fault are counted, and all should be 0:

    foreign errors    anything but a LongvidError came out
    long sentences    the error is more than one line, or more than 6,000 characters
    slow answers      a case took more than 5 s of processor time, or waited for a minute
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import itertools
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import longvid
from benchmarks.measurements import Row, write_json
from longvid.config import Config, load_config, load_layout, preset_names
from longvid.errors import LongvidError
from longvid.inputs import list_videos
from longvid.qa.video_qa import VideoQA
from longvid.registry import PARTS
from longvid.sample import try_plan_chunks
from longvid.timed_text.subtitle_formats import (
    SUFFIXES,
    in_time_order,
    parse_subtitles,
    read_sidecar,
)
from longvid.types import Question, TextLine, Video, Word

FAULTS = ("foreign errors", "long sentences", "slow answers")
_STOP_SECONDS = 60.0  # of waiting, after which a case counts as slow
_MOST_SECONDS, _MOST_CHARACTERS = 5.0, 6000  # a path may have 4,096

#: Values that a person, a script or a broken file could give.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 10**6, 10**24, -(10**24), 2**31, 2**63, 10**5000, 0.0,
    0.5,
    -0.5, 1e-308, 1e308, float("inf"), float("-inf"), float("nan"), "", " ", "a", "mini", "auto",
    "cuda:99", "none", "\0", "a\0b", "\ud800", "é" * 40, "x" * 100_000, "../..", "/", "/dev/zero",
    "/dev/null", "~", "*", "[", "@", "@@", "a:b", "os:system", "longvid.config:Config", b"bytes",
    [], [1], ["a"], ["a", "a"], [[]], [None], {}, {"a": 1}, {"name": "mini"}, (), object, 1j,
)  # fmt: skip
_PIECES = (
    "[", "]", "{", "}", "=", ".", ",", '"', "'", "#", "\n", "\0", "\ufeff", "é", "1", "9" * 5000,
    "inf", "nan", "a.b.c = 1\n", "[encoder]\n", "[[selectors]]\n", 'name = "mini"\n', "fps = ",
    'preset = "mini"\n', 'preset = "x"\n', "[" * 2000, "a." * 60_000, "0x" + "f" * 6000,
    "1970-01-01\n",
)  # fmt: skip
_NAMES = (
    "@", "", "a.mp4", "x" * 5000, "[", "**", "\0", "é", "file://", "@a", "https://", "foo://bar",
    "s3://", "http://169.254.169.254/a.mp4",
)  # fmt: skip
_TEXTS = (
    "1\n00:00:01,000 --> 00:00:02,000\nhello\n\n", "WEBVTT\n\n", "00:01.000 --> 00:02.000\nhi\n\n",
    "-->", "9" * 400 + ":00:00,000 --> 1:00:00,000\nx\n", "<" * 3000, "{\\" * 3000, "\0", "\ufeff",
    "[Script Info]\n", "[Events]\nFormat: Start, End, Text\nDialogue: 0:00:01.00,0:00:02.00,a\n",
    "<tt xmlns='http://www.w3.org/ns/ttml'><body><div><p begin='1s' end='2s'>a</p></div></body>",
    "{1}{25}hello\n", "&amp;" * 900, "\r", "-1:00:00,000 --> 0:00:00,000\nx\n", "é",
    "nan --> inf\n",
)  # fmt: skip
_WORDS = (
    "what", "color", "is", "the", "square", "circle", "?", "", " ", "\n", "<image>", "<video>",
    "<|im_end|>", "\0", "\ud800", "é", "日本", "x" * 5000, "0", "{", "}", "{question}", "%s", "\\",
    "first", "red", "snow", "\u202e", "\x1b[31m",
)  # fmt: skip


@dataclass
class Tally:
    """What became of the cases of one kind.

    Args:
        cases: How many were tried.
        seen: How many were accepted, and how many refused in a sentence.
        faults: How many showed each of FAULTS.
        examples: The first of each fault.
    """

    cases: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


class _TooSlow(BaseException):
    """Ends a case; no handler of the library takes it."""


Case = tuple[str, Callable[[], object]]


def _shown(value: object) -> str:
    try:
        return repr(value)[:120]
    except ValueError:  # an integer of thousands of digits
        return "a long integer"


def settings_case(random: random.Random, folder: Path, store: Path) -> Case:
    """One or two settings, as `--set` takes them; what is accepted is used to plan a video."""
    config = load_config(random.choice(preset_names()))
    names = [
        f"{section}.{item.name}"
        for section in ("sample", "decoder", "reducer", "encoder", "llm", "store", "ask", "run")
        for item in dataclasses.fields(getattr(config, section))
    ]
    names += [f"compressors.{i}.{name}" for i in (0, 1) for name in ("name", "ratio", "height")]
    names += [f"{kind}s.0.name" for kind in ("compressor", "selector", "text_source", "reranker")]
    names += ["decoder.name", "nothing.a", "ray.encode_gpus", "a", "", "sample.fps.x", "llm"]
    parts = [name for kind in PARTS.values() for name in kind]
    chosen = [
        f"{random.choice(names)}={_written(random.choice((*VALUES, *parts)))}"
        for _ in range(random.randint(1, 2))
    ]
    preset = random.choice(preset_names())

    def call() -> object:
        load_layout(preset, chosen)
        found = load_config(preset, chosen)
        assert Config.from_dict(found.to_dict()) == found
        video = Video("a.mp4", "0" * 32, 0.0, 60.0, 30.0, 1800, 90, 160)
        return try_plan_chunks(video, found.sample)

    return f"{preset} {chosen}", call


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return hex(value) if abs(value) > 10**4000 else str(value)
    return value if isinstance(value, str) else repr(value)


def toml_case(random: random.Random, folder: Path, store: Path) -> Case:
    """A configuration file of a preset's lines and other pieces, or of bytes."""
    preset = Path(longvid.__file__).parent / "presets" / f"{random.choice(preset_names())}.toml"
    lines = preset.read_text().splitlines(keepends=True)
    for _ in range(random.randint(1, 4)):
        lines.insert(random.randrange(len(lines) + 1), random.choice(_PIECES))
    data = "".join(lines).encode()
    if random.random() < 0.3:
        changed = bytearray(data)
        for _ in range(random.randint(1, 20)):
            changed[random.randrange(len(changed))] = random.randrange(256)
        data = bytes(changed)
    file = folder / "x.toml"
    file.write_bytes(data.replace(b'preset = "x"', f"preset = {str(file)!r}".encode()))
    return f"toml {data[:100]!r}", lambda: load_config(file)


def list_case(random: random.Random, folder: Path, store: Path) -> Case:
    """Names of videos and lists that name themselves, what is not there, or nothing."""
    file = folder / "list.txt"
    lines = [
        random.choice((f"@{file}", str(folder), *_NAMES))
        for _ in range(random.randint(0, 4))
    ]  # fmt: skip
    file.write_bytes("\n".join(lines).encode() + random.choice((b"", b"\xff\xfe", b"\0")))
    names = random.choice(([f"@{file}"], [f"@{folder}"], ["@/dev/null"], lines))
    return f"list {names} {lines}"[:200], lambda: list(itertools.islice(list_videos(names), 10_000))


def subtitle_case(random: random.Random, folder: Path, store: Path) -> Case:
    """A subtitle file of pieces of every format, or of bytes."""
    text = "".join(random.choice(_TEXTS) for _ in range(random.randint(1, 30)))
    text *= random.choice((1, 1, 1, 50))
    data = text.encode() if random.random() < 0.8 else random.randbytes(random.randint(0, 5000))
    file = folder / f"a{random.choice(SUFFIXES)}"
    file.write_bytes(data)

    def call() -> object:
        in_time_order(parse_subtitles(text))
        return read_sidecar(str(file))

    return f"{file.name} {data[:100]!r}", call


def question_case(random: random.Random, folder: Path, store: Path) -> Case:
    """A question of words that are in no vocabulary, hold control tokens, or are no text."""
    text = " ".join(random.choice(_WORDS) for _ in range(random.randint(0, 12)))
    choices = random.choice(((), ("red", "blue"), ("red", "red"), ("", "a"), tuple(_WORDS[:9])))
    video = random.choice((None, None, "bottles_40s.mp4", "", "nothing", "\0", "x" * 4000))
    budget = random.choice((None, None, 1, 16, 0, -1, 10**9))
    what = random.choice(("ask", "ask", "search", "ask_many"))

    def call() -> object:
        qa = _opened(store)
        if what == "search":
            return qa.search(text, video=video)
        if what == "ask_many":
            return qa.ask_many([Question(text, choices=choices)] * 2)
        return qa.ask(text, video=video, choices=choices, budget=budget)

    return f"{what} {text!r} {choices} {video!r} {budget}"[:300], call


_QA: dict[Path, VideoQA] = {}


def _opened(store: Path) -> VideoQA:
    if store not in _QA:
        _QA[store] = VideoQA(store)
    return _QA[store]


def argument_case(random: random.Random, folder: Path, store: Path) -> Case:
    """A public function with arguments of the wrong type or beyond sense."""

    def wrong() -> Any:
        return random.choice(VALUES)

    a, b, c = wrong(), wrong(), wrong()
    new = folder / "new_store"
    calls: dict[str, Callable[[], object]] = {
        "load_config(a)": lambda: load_config(a),
        "load_config(mini, [a])": lambda: load_config("mini", [a]),
        "Config.from_dict(a)": lambda: Config.from_dict(a),
        "from_dict(section=a)": lambda: Config.from_dict({**_MINI, random.choice(list(_MINI)): a}),
        "Question(a, b, c)": lambda: Question(a, b, c),
        "TextLine(a, b, c)": lambda: TextLine(a, b, c),
        "Word(a, b, c)": lambda: Word(a, b, c),
        "VideoQA(a)": lambda: VideoQA(a),
        "VideoQA(store, a)": lambda: VideoQA(store, a),
        "ask(a, store)": lambda: _opened(store).ask(a, video=b, budget=c),
        "ask(choices=a)": lambda: _opened(store).ask("what color is the square?", choices=a),
        "ask_many(a)": lambda: _opened(store).ask_many(a),
        "ask(span=a)": lambda: _opened(store).ask("what color is the square?", span=a),
        "ask(history=a)": lambda: _opened(store).ask("what color is the square?", history=a),
        "Question(span=a, history=b)": lambda: Question("what?", span=a, history=b),
        "select(a)": lambda: _opened(store).select(a),
        "search_text": lambda: _opened(store).search_text(a, video=b, top_k=c),
        "search(a, b, c)": lambda: _opened(store).search(a, video=b, top_k=c),
        "search_subtitles": lambda: _opened(store).search_subtitles(a, video=b, top_k=c),
        "longvid.ask": lambda: longvid.ask(a, store=b, video="nothing.mp4"),
        "longvid.search": lambda: longvid.search(a, store=b, video=c),
        "longvid.index([], a, b)": lambda: longvid.index([], store=a, config=b),
        "longvid.index(a)": lambda: longvid.index(
            a if a not in ("/", "../..", "*") else [], store=new
        ),
    }
    name = random.choice(list(calls))
    return f"{name} a={_shown(a)} b={_shown(b)} c={_shown(c)}", calls[name]


_MINI = load_config("mini").to_dict()
#: Each kind of case, and its share.
KINDS: dict[str, tuple[Callable[[random.Random, Path, Path], Case], int]] = {
    "settings": (settings_case, 40),
    "toml": (toml_case, 15),
    "lists": (list_case, 10),
    "subtitles": (subtitle_case, 10),
    "questions": (question_case, 5),
    "arguments": (argument_case, 20),
}


def make_store(folder: Path) -> Path:
    """Index one small clip, for the questions."""
    clip = Path(__file__).parents[1] / "data" / "bottles_40s.mp4"
    longvid.index([clip], store=folder / "store", config="mini")
    return folder / "store"


def fuzz(num_cases: int, seed: int, store: Path, folder: Path) -> Iterator[tuple[str, Tally]]:
    """Try cases one by one; each has a seed of its own, so that it can be tried alone.

    Yields:
        The kind of the case, and what became of it.
    """
    names = list(KINDS)
    shares = [share for _, share in KINDS.values()]
    before = Path.cwd()
    work = folder / "work"
    work.mkdir(exist_ok=True)
    os.chdir(work)
    try:
        for number in range(num_cases):
            drawn = random.Random(f"{seed}/{number}")
            name = drawn.choices(names, shares)[0]
            case, call = KINDS[name][0](drawn, folder, store)
            yield name, _tried(f"{name} {number}: {case}", call)
    finally:
        os.chdir(before)


def _tried(case: str, call: Callable[[], object]) -> Tally:
    tally = Tally(cases=1)
    fault, reason = "", ""

    def stop(signal_number: int, frame: object) -> None:
        raise _TooSlow

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _STOP_SECONDS)
    started = time.process_time()  # beside other programs the clock on the wall says little
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            call()
        tally.seen["accepted"] += 1
    except LongvidError as error:
        tally.seen["refused"] += 1
        if "\n" in str(error) or len(str(error)) > _MOST_CHARACTERS:
            fault, reason = "long sentences", str(error)[:300]
    except _TooSlow:
        fault, reason = "slow answers", "stopped"
    except Exception as error:  # noqa: BLE001  # what is looked for
        fault, reason = "foreign errors", f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    seconds = time.process_time() - started
    if not fault and seconds > _MOST_SECONDS:
        fault, reason = "slow answers", f"{seconds:.1f} s"
    if fault:
        tally.faults[fault] += 1
        tally.examples.append(f"{fault}: {case}: {reason}")
    return tally


def main(arguments: Sequence[str] | None = None) -> int:
    """Try cases; 0 if no fault was found, 1 otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    tallies = {name: Tally() for name in KINDS}
    with tempfile.TemporaryDirectory(prefix="settings") as folder:
        os.environ["LONGVID_HOME"] = folder
        store = make_store(Path(folder))
        for name, tried in fuzz(options.cases, options.seed, store, Path(folder)):
            tally = tallies[name]
            tally.cases += 1
            tally.seen += tried.seen
            tally.faults += tried.faults
            for example in tried.examples:
                print(example.encode(errors="replace").decode(), file=sys.stderr, flush=True)
    rows = [
        Row("settings and arguments", name, what, count, "", tally.cases)
        for name, tally in tallies.items()
        for what, count in [
            ("cases", tally.cases),
            *sorted(tally.seen.items()),
            *((fault, tally.faults[fault]) for fault in FAULTS),
        ]
    ]
    if options.json:
        write_json(options.json, rows, seed=options.seed, cases=options.cases)
    for name, tally in tallies.items():
        print(f"{name}: {tally.cases} cases, {dict(tally.seen)}, faults {dict(tally.faults)}")
    return 1 if any(tally.faults for tally in tallies.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
