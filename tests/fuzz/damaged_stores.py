"""Damage one object of a store, run a command, and look at what it says and does.

python -m tests.fuzz.damaged_stores --commands 2000 --seed 1 --json FILE

Every kind of object is damaged in every way of `DAMAGES`, and every command of `COMMANDS` runs on
each; with fewer commands they are drawn by the seed. A command's answer is right if it equals the
undamaged store's, or if a sentence says what is wrong. Four kinds of fault are counted, and all
should be 0:

    tracebacks    anything but an exit status came out of a command, or more than one line for one
                  error
    wrong         another answer than the undamaged store's, and nothing said
    losses        a sound object, or a file outside of the store, was changed or removed
    hangs         a command ran for more than five minutes

An object that is absent altogether, or whole but another one, is a state that a store may have: a
video without a manifest is not in the store. There only tracebacks, losses and hangs count.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.measurements import Row, write_json
from longvid.api import index
from longvid.cli import main as longvid
from longvid.store import Store
from tests.e2e.clips import make_clip
from tests.fuzz.byte_damages import DAMAGES

FAULTS = ("tracebacks", "wrong", "losses", "hangs")
COMMANDS = (
    *("status", "search", "ask", "verify", "rebuild"),
    *("clean", "failures", "remove", "index"),
)
#: Wall time, on a machine that may be busy; most commands take less than one second.
_DEADLINE_SECONDS = 300
_HUGE = 20 << 30
_QUESTION = "what color is the circle?"

#: Kinds of objects, and the names that each has in the store of `make_store`; V is a video.
KINDS = {
    "header": "store.json",
    "header seal": "store.seal",
    "catalog": "catalog.parquet",
    "index": "vectors/*.faiss",
    "index table": "vectors/*.parquet",
    "failures": "failures/*.parquet",
    "run": "runs/*.json",
    "manifest": "videos/V/manifest.json",
    "seals": "videos/V/seal-*.json",
    "chunk": "videos/V/segments-*.safetensors",
    "name": "videos/V/paths/*.json",
    "subtitles": "videos/V/subtitles.json",
    "annotation index": "videos/V/annotations/*/*.json",
    "annotation part": "videos/V/annotations/*/*/*.part",
}


#: After these the object is absent, or another whole one: see above.
_STATES = ("missing", "other")


@dataclass(frozen=True, slots=True)
class Trial:
    """One command on one damaged store."""

    kind: str
    damage: str
    command: str
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}, {self.damage}, {self.command}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did: exit status, JSON or None, and what it printed on stderr."""

    status: int
    result: Any
    remarks: str


class _LateError(Exception):
    """A command took too long."""


class Bench:
    """An undamaged store, and what every command says of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.videos = folder / "videos"
        self.base = folder / "base"
        self.outside = folder / "outside"
        make_store(self.videos, self.base)
        self.outside.mkdir()
        (self.outside / "0123456789abcdef").write_bytes(b"mine")
        (self.outside / "manifest.json").write_bytes(b"{}")
        opened = Store.open(self.base)
        self.damaged, self.other = (stored.video.video_id for stored in opened.videos()[:2])
        self.expected = {}
        for command in COMMANDS:
            outcome, _ = self._run(command, self._copy())
            assert isinstance(outcome, Outcome)
            assert outcome.status == (3 if command == "index" else 0), outcome
            self.expected[command] = outcome

    def try_one(self, trial: Trial) -> tuple[str, str]:
        """Return the fault, "" for none, and how the command ended."""
        store = self._copy()
        draw = random.Random(trial.seed)
        names = sorted(store.glob(KINDS[trial.kind].replace("V", self.damaged)))
        target = draw.choice(names)
        self._damage(target, trial.damage, draw)
        before = _sound_objects(store, {target})
        outcome, error = self._run(trial.command, store)
        if error:
            return ("hangs" if "_LateError" in error else "tracebacks"), error
        assert outcome is not None
        lost = self._losses(trial.command, store, before)
        if lost:
            return "losses", lost
        if outcome.status == 1 and outcome.result is None:
            lines = outcome.remarks.strip().splitlines()
            single = len(lines) >= 1 and lines[-1].startswith("longvid: ")
            return ("" if single else "tracebacks"), f"refused: {outcome.remarks.strip()}"
        if _comparable(trial.command, outcome) == _comparable(
            trial.command, self.expected[trial.command]
        ):
            silent = trial.command == "verify" and trial.damage not in _STATES
            return ("wrong" if silent else ""), "equal"
        if trial.damage in _STATES:
            return "", "state"
        said = self._says_why(trial.command, outcome)
        return ("" if said else "wrong"), f"said: {outcome.remarks.strip() or outcome.result}"

    def _says_why(self, command: str, outcome: Outcome) -> bool:
        if command == "verify":
            return bool(outcome.result)
        if command == "status":
            return bool(outcome.result["damaged"])
        if command == "clean":  # the leftovers of the damage were removed, and are named
            return bool(outcome.result["removed"])
        if command == "index":  # the damaged video was indexed again
            return outcome.result["videos_indexed"] == 1 or "damaged" in outcome.remarks
        return any(
            word in outcome.remarks
            for word in ("damaged", "no whole", "no regular file", "follows none")
        )

    def _copy(self) -> Path:
        store = self.folder / "store"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.base, store)
        return store

    def _damage(self, target: Path, damage: str, draw: random.Random) -> None:
        change = DAMAGES[damage]
        data = target.read_bytes()
        if change is not None:
            target.write_bytes(change(data, draw))
        elif damage == "sparse":
            os.truncate(target, _HUGE)
        else:
            target.unlink()
            if damage == "link":
                target.symlink_to(self.outside / "manifest.json")
            elif damage == "pipe":
                os.mkfifo(target)
            elif damage == "other":
                target.write_bytes(self._another(target, data))

    def _another(self, target: Path, data: bytes) -> bytes:
        """Return another object of the same kind, or the object itself where there is one only."""
        place = target.relative_to(self.folder / "store").parent
        folder = self.base / str(place).replace(self.damaged, self.other)
        found = [path.read_bytes() for path in sorted(folder.glob(f"*{target.suffix}"))]
        return next((content for content in found if content != data), data)

    def _run(self, command: str, store: Path) -> tuple[Outcome | None, str]:
        words = {
            "search": ["search", "a red circle"],
            "ask": ["ask", _QUESTION],
            "remove": ["remove", self.other],
            "index": ["index", str(self.videos)],
            "verify": ["store", "verify"],
            "rebuild": ["store", "rebuild"],
            "clean": ["store", "clean"],
        }.get(command, [command])
        out, err = io.StringIO(), io.StringIO()
        try:
            with _deadline(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = longvid([*words, "--store", str(store), "--json"])
        except (Exception, SystemExit):  # noqa: BLE001  # whatever it is, it is what we look for
            return None, traceback.format_exc()
        text = out.getvalue()
        return Outcome(status, json.loads(text) if text else None, err.getvalue()), ""

    def _losses(self, command: str, store: Path, before: dict[str, bytes]) -> str:
        """Return the sound objects that the command should have kept and did not."""
        kept = {p.name: p.read_bytes() for p in self.outside.iterdir()}
        if kept != {"0123456789abcdef": b"mine", "manifest.json": b"{}"}:
            return "a file outside of the store"
        after = _sound_objects(store, set())
        lost = [name for name, data in before.items() if after.get(name) != data]
        if command == "remove":
            lost = [name for name in lost if self.other not in name]
        if command == "index":  # the damaged video may have been made again, to the same bytes
            lost = [name for name in lost if self.damaged not in name]
        if command == "clean":  # what the damage took out of its video is an orphan
            lost = [name for name in lost if self.damaged not in name]
        return ", ".join(lost)


def make_store(videos: Path, store: Path) -> None:
    """Index three small clips and a broken one, with subtitles and an annotation."""
    videos.mkdir(parents=True)
    for number in range(3):
        make_clip(videos / f"{number}.mp4", 9, number)
        (videos / f"{number}.srt").write_text(f"1\n00:00:01,000 --> 00:00:02,000\nred {number}\n")
    (videos / "broken.mp4").write_text("no video\n")
    index([str(videos)], store=str(store), config="mini")
    opened = Store.open(store)
    for number, stored in enumerate(opened.videos()):
        data = f"[[0.0, 1.0, 0.1, {number}]]".encode()
        opened.annotations.write(stored.video.video_id, "boxes", "f1", {"boxes.json": data})
    opened.refresh()


def _sound_objects(store: Path, without: set[Path]) -> dict[str, bytes]:
    """Return the objects that no command but those which say so may change."""
    paths = [*sorted(store.glob("videos/**/*")), *sorted(store.glob("store.*"))]
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in paths
        if path not in without
        and path.is_file()
        and not path.is_symlink()
        and path.stat().st_size < _HUGE
    }


def _comparable(command: str, outcome: Outcome) -> Any:
    """Return what must be equal to the undamaged store's: no sizes, no seconds."""
    result = outcome.result
    if command == "status":
        columns = ("path", "video_id", "duration_seconds", "num_segments", "num_tokens")
        rows = [[video[name] for name in columns] for video in result["videos"]]
        return rows, result["num_failures"]
    if command == "ask":
        return result["text"], result["evidence"]
    if command == "index":
        counts = ("videos_indexed", "videos_skipped", "videos_failed")
        return [result[name] for name in counts]
    if command == "failures":
        return [[row["path"], row["kind"], row["error"]] for row in result]
    return result


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    def late(_: int, frame: FrameType | None) -> None:
        raise _LateError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_DEADLINE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def trials(
    count: int, seed: int, commands: Sequence[str] = COMMANDS, kinds: Sequence[str] = tuple(KINDS)
) -> list[Trial]:
    """Draw trials: all combinations once before any comes again."""
    every = list(itertools.product(kinds, DAMAGES, commands))
    drawn: list[Trial] = []
    round_ = 0
    while len(drawn) < count:
        random.Random(seed + round_).shuffle(every)
        drawn += [Trial(*each, seed=seed + round_) for each in every]
        round_ += 1
    return drawn[:count]


def _rows(counts: Counter[tuple[str, str]]) -> list[Row]:
    rows = []
    for command in (*COMMANDS, "all"):
        chosen: Counter[str] = Counter()
        for (name, ending), number in counts.items():
            if command in (name, "all"):
                chosen[ending] += number
        rows.append(Row("damaged stores", command, "commands", chosen.total(), "", chosen.total()))
        rows += [
            Row("damaged stores", command, ending, chosen[ending], "", chosen.total())
            for ending in (*FAULTS, "equal", "refused", "said", "state")
        ]
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for as long as asked; 0 if no fault was found, 1 otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commands", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--only", default=",".join(COMMANDS), metavar="A,B", help="commands")
    parser.add_argument("--kinds", default=",".join(KINDS), metavar="A,B", help="kinds of objects")
    parser.add_argument("--seconds", type=float, default=float("inf"), metavar="S")
    parser.add_argument("--json", metavar="FILE", help="write the rows, as they come")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    counts: Counter[tuple[str, str]] = Counter()
    chosen = trials(
        options.commands, options.seed, options.only.split(","), options.kinds.split(",")
    )
    with tempfile.TemporaryDirectory(prefix="stores") as folder:
        bench = Bench(Path(folder))
        until = time.monotonic() + options.seconds
        for number, trial in enumerate(chosen, 1):
            fault, ending = bench.try_one(trial)
            counts[trial.command, fault or ending.partition(":")[0]] += 1
            if fault:
                print(f"{fault}: {trial}\n{ending}", flush=True)
            if number % 50 == 0 or number == len(chosen) or time.monotonic() > until:
                print(f"{number} commands", file=sys.stderr, flush=True)
                if options.json:
                    write_json(options.json, _rows(counts), seed=options.seed)
            if time.monotonic() > until:
                break
    faults = {fault: sum(n for (_, e), n in counts.items() if e == fault) for fault in FAULTS}
    print(f"{counts.total()} commands: {faults}")
    return 1 if any(faults.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
