"""Films as H.264 files, written through PyAV.

    python -m longvid.world.film --seed 31 --minutes 10 --output film.mp4 --questions film.json

The painter draws at the size of the file, so a file is not an enlarged thumbnail. Cuts fall where
shots end, which no segment length divides.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from longvid.world.draw import Painter, pack
from longvid.world.narration import Sign, Spoken, add_sound, draw_signs
from longvid.world.questions import ask, view
from longvid.world.scene import Film, generator, make_film

BATCH_FRAMES = 256


def frames(film: Film, pts_seconds: np.ndarray, painter: Painter) -> Iterator[np.ndarray]:
    """Yield the frame at each time: (size, size, 3) uint8 RGB."""
    table = pack(film.shots, painter.device)
    shot, fraction = film.locate(pts_seconds)
    for start in range(0, len(pts_seconds), BATCH_FRAMES):
        part = slice(start, start + BATCH_FRAMES)
        drawn = painter.draw(
            table,
            torch.from_numpy(shot[part]).to(painter.device),
            torch.from_numpy(fraction[part].astype(np.float32)).to(painter.device),
        )
        yield from drawn.permute(0, 2, 3, 1).cpu().numpy()


def write_film(
    film: Film,
    path: str | Path,
    *,
    fps: int = 10,
    size: int = 128,
    crf: int = 20,
    gop_seconds: float = 5.0,
    painter: Painter | None = None,
    signs: Sequence[Sign] = (),
    spoken: Sequence[Spoken] | None = None,
) -> int:
    """Write a film as an H.264 file.

    Args:
        fps: frames a second, 2 to 30.
        size: width and height in pixels, even.
        crf: quality of x264, lower is better.
        gop_seconds: longest distance between key frames.
        painter: of another size than the file's, its pictures are enlarged.
        signs: burnt into the pictures.
        spoken: narration, in time order; None writes no sound track.

    Returns:
        The number of frames written.
    """
    if size % 2 or not 2 <= fps <= 30:
        raise ValueError(
            f"a film needs an even size and 2 to 30 frames a second, got {size=} {fps=}"
        )
    painter = painter or Painter(size)
    num_frames = max(1, round(film.duration_seconds * fps))
    times = np.arange(num_frames) / fps
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        stream.options = {
            "crf": str(crf),
            "preset": "veryfast",
            "g": str(max(1, round(gop_seconds * fps))),
            "threads": "1",
        }
        sound: Iterator[tuple[float, Any]] = iter(())
        if spoken is not None:
            sound = add_sound(container, spoken, num_frames / fps)
        held = next(sound, None)
        for index, painted in enumerate(frames(film, times, painter)):
            image = draw_signs(_enlarged(painted, size), signs, float(times[index]))
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
            while held is not None and held[0] <= times[index]:
                container.mux(held[1])
                held = next(sound, None)
        container.mux(stream.encode(None))
        while held is not None:
            container.mux(held[1])
            held = next(sound, None)
    return num_frames


def _enlarged(picture: np.ndarray, size: int) -> np.ndarray:
    if picture.shape[0] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one film and, if asked, questions about it."""
    parser = argparse.ArgumentParser(prog="python -m longvid.world.film", description=__doc__)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--index", type=int, default=0, help="which film of the seed")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--needles", type=int, default=4, help="signs that appear exactly once")
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--questions", type=Path, help="JSON file for questions about the film")
    parser.add_argument("--num-questions", type=int, default=20)
    options = parser.parse_args(arguments)
    film = make_film(
        options.seed,
        options.index,
        duration_seconds=60 * options.minutes,
        num_needles=options.needles,
    )
    count = write_film(film, options.output, fps=options.fps, size=options.size)
    if options.questions is not None:
        rng = generator(options.seed + 1, options.index)
        rows = [asdict(question) for question in ask(view(film), rng, options.num_questions)]
        options.questions.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(
        f"{options.output}: {count} frames, {len(film.shots)} shots, {film.duration_seconds:.1f} s"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
