"""One decoder, one task, measured in this process: `python -m benchmarks.speed.decode_subjects`.

Prints one line of JSON. A subject that cannot run here exits with a sentence.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.processes import peak_mb

HEIGHT, WIDTH = 216, 384


class Order:
    """What is wanted, and the truth it is compared with."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.video: str = order["video"]
        self.wanted: list[float] = order["wanted"]
        self.truth = np.array(order["truth"])
        self.workers: int = order["workers"]

    def ranks(self) -> list[int]:
        """Return the frame on display at each wanted time."""
        places = np.searchsorted(self.truth, np.array(self.wanted) + 1e-6, side="right") - 1
        return np.maximum(places, 0).tolist()  # type: ignore[no-any-return]  # a list of int

    def keyframe_ranks(self, keyframes: np.ndarray[Any, Any]) -> list[int]:
        """Return the keyframe nearest to each wanted frame, each once."""
        times = self.truth[keyframes]
        nearest = [int(np.argmin(np.abs(times - self.truth[rank]))) for rank in self.ranks()]
        return [int(keyframes[place]) for place in dict.fromkeys(nearest)]

    def error(self, found: list[float]) -> float | None:
        """Return how far the frame shown for a wanted time is from the true one, at most."""
        if not found:
            return None
        times = np.sort(np.array(found))
        exact = self.truth[self.ranks()]
        nearest = np.abs(exact[:, None] - times[None, :]).min(axis=1)
        return float(nearest.max())


#: Decodes once; returns how many frames it got and their times, if it knows them.
Subject = Callable[[], tuple[int, list[float]]]


def longvid(order: Order, **settings: Any) -> tuple[Subject, dict[str, Any]]:
    """Several children with chunks in parallel, as the local runner does it."""
    import torch  # noqa: F401  # what gives frames imports it late, and imports are not timed

    from longvid.decode import PyAVDecoder
    from longvid.sample import split_at
    from longvid.types import Chunk, Failure, FrameSize, SegmentPlan

    workers = settings.pop("workers", order.workers)
    part = PyAVDecoder(size=FrameSize(HEIGHT, WIDTH), **settings)
    began = time.perf_counter()
    decoders = [part.setup() for _ in range(workers)]
    if settings.get("isolate", True):
        for decoder in decoders:
            decoder.start()  # type: ignore[union-attr]  # isolated decoders have it
    extra: dict[str, Any] = {"start": (time.perf_counter() - began) / workers, "decoders": decoders}

    def chunks() -> list[Chunk]:
        video = decoders[0].probe(order.video, video_id="benchmark")
        # Long chunks where frames are dense; where they are sparse, one for each group of pictures,
        # of which each decoder takes the next.
        wanted = np.array(order.wanted)
        if workers == 1 or len(wanted) > 200:
            split = np.array_split(wanted, 1 if workers == 1 else 2 * workers)
        else:
            groups = split_at(order.wanted, decoders[0].group_starts(order.video))
            split = [np.array(group) for group in groups]
        made = []
        for times in split:
            parts = [times[i : i + 16].tolist() for i in range(0, len(times), 16)]
            segments = tuple(
                SegmentPlan(index, part[0], part[-1], tuple(part), (False,) * len(part))
                for index, part in enumerate(parts)
            )
            made.append(Chunk(video, segments))
        return made

    def decode() -> tuple[int, list[float]]:
        idle = list(decoders)
        lock = threading.Lock()

        def one(chunk: Chunk) -> list[float]:
            with lock:
                decoder = idle.pop()
            times: list[float] = []
            for item in decoder.decode(chunk):
                if isinstance(item, Failure):
                    raise SystemExit(item.error)
                times += item.pts_seconds.tolist()
            with lock:
                idle.append(decoder)
            return times

        with ThreadPoolExecutor(workers) as pool:
            found = [seconds for times in pool.map(one, chunks()) for seconds in times]
        return len(found), found

    if not settings.get("loop_filter", True):
        extra["psnr"] = lambda: _psnr(part, PyAVDecoder(size=part.size), chunks()[0])
    return decode, extra


def _psnr(approximate: Any, exact: Any, chunk: Any) -> float:
    """Compare the first segment's frames at the output size; they have the same times."""
    frames = []
    for part in (approximate, exact):
        decoder = part.setup()
        frames.append(next(iter(decoder.decode(chunk))).data.numpy().astype(np.float64))
        decoder.close()
    return float(10 * np.log10(255**2 / np.mean((frames[0] - frames[1]) ** 2)))


def pyav_all(order: Order, keyframes: bool = False) -> tuple[Subject, dict[str, Any]]:
    """Decode everything with frame threads and convert what is wanted."""
    import av

    def decode() -> tuple[int, list[float]]:
        times: list[float] = []
        frames = []
        with av.open(order.video) as container:
            stream = container.streams.video[0]
            stream.thread_type = "FRAME"
            if keyframes:
                stream.codec_context.skip_frame = "NONKEY"
            wanted = {round(order.truth[rank] / float(stream.time_base)) for rank in order.ranks()}
            for frame in container.decode(stream):
                if keyframes or frame.pts in wanted:
                    picture = frame.reformat(WIDTH, HEIGHT, "rgb24", interpolation="BICUBIC")
                    frames.append(picture.to_ndarray())
                    times.append(float(frame.pts * stream.time_base))
        return len(frames), times

    return decode, {}


def opencv(order: Order) -> tuple[Subject, dict[str, Any]]:
    """Grab every frame and retrieve what is wanted."""
    import cv2

    def decode() -> tuple[int, list[float]]:
        capture = cv2.VideoCapture(order.video, cv2.CAP_FFMPEG)
        wanted = set(order.ranks())
        times, frames = [], []
        for rank in range(max(wanted) + 1):
            if not capture.grab():
                break
            if rank in wanted:
                times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                _, picture = capture.retrieve()
                small = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
                frames.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
        return len(frames), times

    return decode, {}


def decord(order: Order, keyframes: bool = False) -> tuple[Subject, dict[str, Any]]:
    """get_batch at the wanted indices, scaled by decord."""
    import decord as library

    def decode() -> tuple[int, list[float]]:
        reader = library.VideoReader(order.video, width=WIDTH, height=HEIGHT)
        ranks = order.ranks()
        if keyframes:
            ranks = order.keyframe_ranks(np.array(reader.get_key_indices()))
        frames = reader.get_batch(ranks).asnumpy()
        return len(frames), reader.get_frame_timestamp(ranks)[:, 0].tolist()

    return decode, {}


def torchcodec(order: Order) -> tuple[Subject, dict[str, Any]]:
    """get_frames_played_at, scaled by torch afterwards."""
    from torch.nn.functional import interpolate
    from torchcodec.decoders import VideoDecoder

    def decode() -> tuple[int, list[float]]:
        decoder = VideoDecoder(order.video, num_ffmpeg_threads=order.workers)
        batch = decoder.get_frames_played_at(seconds=order.wanted)
        small = [
            interpolate(frame[None].float(), (HEIGHT, WIDTH), mode="bilinear").byte()
            for frame in batch.data
        ]
        return len(small), batch.pts_seconds.tolist()

    return decode, {}


def ffmpeg(order: Order, keyframes: bool = False) -> tuple[Subject, dict[str, Any]]:
    """The command line, its frames read from a pipe; their times it does not tell."""
    if shutil.which("ffmpeg") is None:
        raise SystemExit("ffmpeg is not on the PATH")
    skip = ["-skip_frame", "nokey"] if keyframes else []
    rate = f"scale={WIDTH}:{HEIGHT}" if keyframes else f"fps=1,scale={WIDTH}:{HEIGHT}"
    output = ["-vf", rate, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = ["ffmpeg", "-v", "error", "-nostdin", *skip, "-i", order.video, *output]

    def decode() -> tuple[int, list[float]]:
        count = 0
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while len(process.stdout.read(HEIGHT * WIDTH * 3)) == HEIGHT * WIDTH * 3:
                count += 1
        return count, []

    return decode, {}


SUBJECTS: dict[str, Callable[[Order], tuple[Subject, dict[str, Any]]]] = {
    "longvid": longvid,
    "longvid-1-child": lambda order: longvid(order, workers=1),
    "longvid-1-inside": lambda order: longvid(order, workers=1, isolate=False),
    "longvid-no-loop-filter": lambda order: longvid(order, loop_filter=False),
    "longvid-reference": lambda order: longvid(
        order, approximate="reference", tolerance_seconds=0.1
    ),
    "longvid-keyframe": lambda order: longvid(order, approximate="keyframe", tolerance_seconds=1e9),
    "pyav-all": pyav_all,
    "pyav-keyframe": lambda order: pyav_all(order, keyframes=True),
    "opencv": opencv,
    "decord": decord,
    "decord-keyframe": lambda order: decord(order, keyframes=True),
    "torchcodec": torchcodec,
    "ffmpeg": ffmpeg,
    "ffmpeg-keyframe": lambda order: ffmpeg(order, keyframes=True),
}


def _cpu_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _child_cpu_seconds(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


def main(path: str) -> None:
    """Measure the subject that a file of JSON orders."""
    given = json.loads(Path(path).read_text())
    order = Order(given)
    try:
        subject, extra = SUBJECTS[given["subject"]](order)
    except (ImportError, OSError, RuntimeError) as error:
        raise SystemExit(str(error).strip().splitlines()[0]) from error
    decoders = extra.pop("decoders", [])
    psnr = extra.pop("psnr", None)
    pids = [pid for pid in (getattr(one, "child_pid", None) for one in decoders) if pid]
    cpu = _cpu_seconds() + _child_cpu_seconds(pids)
    began = time.perf_counter()
    frames, times = subject()
    wall = time.perf_counter() - began
    cpu = _cpu_seconds() + _child_cpu_seconds(pids) - cpu
    own = peak_mb("self")  # getrusage would tell the parent's peak from before exec
    ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
    peaks = [peak_mb(pid) for pid in pids] or [ended if ended > 0 and frames else 0.0]
    isolated = bool(pids) or "ffmpeg" in given["subject"]
    result = {
        "wall": wall,
        "cpu": cpu,
        "rss a process": max(peaks) if isolated else own,
        "rss in all": own + sum(peaks) if isolated else own,
        "frames": frames,
        "max pts error": order.error(times),
        **extra,
    }
    if psnr is not None:
        result["psnr"] = psnr()
    for decoder in decoders:
        decoder.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
