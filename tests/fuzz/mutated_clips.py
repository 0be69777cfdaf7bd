"""Damage clips at random, decode each by the plan, and compare with decoding in sequence.

python -m tests.fuzz.mutated_clips --mutants 10000 --seed 1 --json FILE

Each mutant is a small clip of one of the pairs of `clip_pairs` with bits flipped, bytes
overwritten, removed, doubled or zeroed, or the end cut off. Four kinds of fault are counted, and
all should be 0:

    wrong pictures    the plan's picture for a time is neither that of decoding in sequence nor that
                      of the sound clip, and no gap covers it. (Decoding in sequence may carry
                      damage into a sound group of pictures: of the frame that it shows, the sound
                      clip's picture is right, too.)
    hangs             a request ran into its deadline
    child errors      the child died, or raised what nobody foresaw
    parent errors     anything but a Failure or a VideoError, or times that do not increase
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.measurements import Row, write_json
from longvid.decode import PyAVDecoder
from longvid.decode.decoder import InProcessDecoder, RunningDecoder
from longvid.errors import VideoError
from longvid.sample import Sampling, plan_chunks
from longvid.types import Chunk, Failure, FrameSize, SegmentPlan
from tests.fuzz.clip_pairs import PAIRS, Pair

FAULTS = ("wrong pictures", "hangs", "child errors", "parent errors")

_SIZE = FrameSize(24, 32)
_CHUNK_FRAMES = 8
_SAMPLING = Sampling(fps=12.5, segment_frames=4, chunk_segments=2, max_frames=2_000)
_MOST_FRAMES = 120  # a mutant whose times became days is looked at in part
_STALL_SECONDS, _DEADLINE_SECONDS = 20.0, 60.0
_BATCH = 20

Pixels = npt.NDArray[np.uint8]


@dataclass
class Tally:
    """What became of the mutants of one pair.

    Args:
        faults: Of each kind, how many.
        seen: How many mutants were refused, gave frames, or gave frames and gaps.
        examples: Seeds of the faults, for a rerun.
    """

    mutants: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another tally of the same pair."""
        self.mutants += other.mutants
        self.faults += other.faults
        self.seen += other.seen
        self.examples += other.examples


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Damage the content of a file once to three times."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if not data:
            break
        # A third of the damage goes to the head, where the container's own data are.
        end = len(data) if chance.random() < 0.67 else max(1, len(data) // 16)
        at = chance.randrange(end)
        length = min(len(data) - at, chance.choice((1, 1, 4, 16, 64, 256, 1024)))
        match chance.choice(("flip", "flip", "flip", "noise", "zero", "remove", "double", "cut")):
            case "flip":
                data[at] ^= 1 << chance.randrange(8)
            case "noise":
                data[at : at + length] = chance.randbytes(length)
            case "zero":
                data[at : at + length] = bytes(length)
            case "remove":
                del data[at : at + length]
            case "double":
                data[at:at] = data[at : at + length]
            case "cut":
                del data[chance.randrange(len(data)) :]
    return bytes(data)


def base_clips(folder: Path, pairs: Sequence[Pair] = PAIRS) -> dict[str, Path]:
    """Make a sound clip of each pair."""
    folder.mkdir(parents=True, exist_ok=True)
    return {pair.name: pair.make(folder, 6 if max(pair.size) > 500 else 26) for pair in pairs}


class _Comparer:
    """Decodes mutants by the plan and in sequence, each in a child of its own."""

    def __init__(self) -> None:
        limits = {"stall_seconds": _STALL_SECONDS, "deadline_seconds": _DEADLINE_SECONDS}
        self._planned = PyAVDecoder(size=_SIZE, **limits).setup()
        self._in_sequence = PyAVDecoder(size=_SIZE, plan=False, **limits).setup()

    def close(self) -> None:
        self._planned.close()
        self._in_sequence.close()

    def every_frame(self, path: str) -> dict[float, Pixels]:
        """Decode a sound clip in sequence."""
        video = self._in_sequence.probe(path, "sound")
        times = (video.start_seconds + np.arange(video.num_frames) / video.average_fps).tolist()
        slow = (True,) * len(times)
        plan = SegmentPlan(0, video.start_seconds, video.end_seconds, tuple(times), slow)
        return _decoded(self._in_sequence, Chunk(video, (plan,)))[0]

    def compare(self, path: str, sound: dict[float, Pixels]) -> tuple[Counter[str], str]:
        """Return the faults of a file by kind, and what was seen of it.

        Args:
            path: The mutant.
            sound: The frames of the clip that it was made from.
        """
        faults: Counter[str] = Counter()
        try:
            video = self._planned.probe(path, "mutant")
            chunks = plan_chunks(video, _SAMPLING)
        except VideoError as error:
            return _faults_of_kind(error.kind), f"refused: {error.kind}"
        frames, failures = 0, 0
        for chunk in chunks[: _MOST_FRAMES // _CHUNK_FRAMES]:
            found, gaps, wrong_times = _decoded(self._planned, chunk)
            faults["parent errors"] += wrong_times
            for gap in gaps:
                faults += _faults_of_kind(gap.kind)
            frames, failures = frames + len(found), failures + len(gaps)
            wanted = [
                at
                for plan in chunk.segments
                for at in plan.sample_seconds
                if not any(_covers(gap, at) for gap in gaps)
            ]
            expected, in_sequence, _ = _decoded(self._in_sequence, chunk)
            for gap in in_sequence:
                faults += _faults_of_kind(gap.kind)
            for at in wanted:
                pts, ours = _on_display(found, at)
                their_pts, theirs = _on_display(expected, at)
                right = [theirs, _on_display(sound, at)[1]]
                if pts == their_pts:
                    right.append(sound.get(pts))
                faults["wrong pictures"] += not any(_same(ours, each) for each in right)
        seen = "frames and gaps" if frames and failures else "frames" if frames else "gaps"
        return +faults, seen


def _decoded(
    decoder: RunningDecoder | InProcessDecoder, chunk: Chunk
) -> tuple[dict[float, Pixels], list[Failure], int]:
    """Return the frames of a chunk by their time, the failures, and how many batches have times
    that do not increase."""
    found: dict[float, Pixels] = {}
    failures: list[Failure] = []
    wrong_times = 0
    for item in decoder.decode(chunk):
        if isinstance(item, Failure):
            failures.append(item)
            continue
        times = item.pts_seconds.tolist()
        wrong_times += not all(math.isfinite(at) for at in times) or times != sorted(set(times))
        found |= dict(zip(times, item.data.numpy(), strict=True))
    return found, failures, wrong_times


def _on_display(found: dict[float, Pixels], at: float) -> tuple[float, Pixels | None]:
    """Return the frame that is shown at a time, and its own time; NaN and None if there is none."""
    if not found:
        return math.nan, None
    pts = max((pts for pts in found if pts <= at + 1e-6), default=min(found))
    return pts, found[pts]


def _same(ours: Pixels | None, theirs: Pixels | None) -> bool:
    return ours is not None and theirs is not None and bool((ours == theirs).all())


def _covers(gap: Failure, at: float) -> bool:
    start, end = gap.start_seconds or 0.0, gap.end_seconds or 0.0
    return start - 1e-6 <= at <= end + 1e-6


def _faults_of_kind(kind: str) -> Counter[str]:
    fault = {"decode-timeout": "hangs", "decoder-crash": "child errors"}.get(kind)
    return Counter([fault or "child errors"] if fault or kind == "decoder-error" else [])


def try_batch(order: tuple[str, str, int, int]) -> tuple[str, Tally]:
    """Try one batch of mutants of a pair: its name, the sound clip, the first seed, how many."""
    name, clip, first, count = order
    content, suffix = Path(clip).read_bytes(), Path(clip).suffix
    tally = Tally()
    comparer = _Comparer()
    sound = comparer.every_frame(clip)
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        path = Path(folder, f"mutant{suffix}")
        for seed in range(first, first + count):
            path.write_bytes(mutated(content, random.Random(f"{name} {seed}")))
            try:
                faults, seen = comparer.compare(str(path), sound)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is what is counted
                faults, seen = Counter(["parent errors"]), f"{type(error).__name__}: {error}"
            tally.add(Tally(1, faults, Counter([seen])))
            if faults:
                tally.examples.append(f"{name} {seed}: {dict(faults)}, {seen}")
    comparer.close()
    return name, tally


def fuzz(
    clips: dict[str, Path], mutants: int, seed: int, processes: int, seconds: float = math.inf
) -> Iterator[tuple[str, Tally]]:
    """Yield the tally of each batch as it is done.

    Args:
        clips: Sound clips by the name of their pair.
        mutants: Of all pairs together.
        seed: The first of the seeds; a mutant is known by its pair and its seed.
        processes: Batches at a time.
        seconds: Begin no batch after so long.
    """
    each = math.ceil(mutants / len(clips))
    orders = [
        (name, str(clip), seed + first, min(_BATCH, each - first))
        for first in range(0, each, _BATCH)
        for name, clip in clips.items()
    ]
    until = time.monotonic() + seconds
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: set[Future[tuple[str, Tally]]] = set()
        for order in orders:
            if time.monotonic() > until:
                break
            waiting.add(pool.submit(try_batch, order))
            if len(waiting) > 2 * processes:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in waiting)


def _rows(tallies: dict[str, Tally]) -> list[Row]:
    rows = []
    for name, tally in {**tallies, "all": _sum(tallies.values())}.items():
        rows.append(Row("mutated clips", name, "mutants", tally.mutants, "", tally.mutants))
        rows += [
            Row("mutated clips", name, fault, tally.faults[fault], "", tally.mutants)
            for fault in FAULTS
        ]
    return rows


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for as long as asked; 0 if no fault was found, 1 otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=1000, metavar="N", help="of all pairs")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="the first seed")
    parser.add_argument("--pairs", default="", metavar="A,B", help="only pairs with such a name")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--seconds", type=float, default=math.inf, metavar="S", help="stop after")
    parser.add_argument("--json", metavar="FILE", help="write the rows, as they come")
    options = parser.parse_args(arguments)
    chosen = [pair for pair in PAIRS if any(w in pair.name for w in options.pairs.split(","))]
    print(f"seed {options.seed}, {len(chosen)} pairs of container and codec", flush=True)
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory(prefix="clips") as folder:
        clips = base_clips(Path(folder), chosen)
        found = fuzz(clips, options.mutants, options.seed, options.processes, options.seconds)
        for name, tally in found:
            tallies.setdefault(name, Tally()).add(tally)
            for example in tally.examples:
                print(example, flush=True)
            total = _sum(tallies.values())
            print(f"{total.mutants} mutants, {dict(total.faults)}", file=sys.stderr, flush=True)
            if options.json:
                write_json(options.json, _rows(tallies), seed=options.seed)
    total = _sum(tallies.values())
    print(f"{total.mutants} mutants of {len(tallies)} pairs: {dict(total.seen)}")
    print(", ".join(f"{fault} {total.faults[fault]}" for fault in FAULTS))
    return 1 if total.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
