"""What a film of the drawn world says and writes: signs burnt into its pictures, and narration.

Both have their true spans, so that reading, hearing and finding them can be judged. Narration is a
subtitle track, or is spoken by espeak-ng where that program is installed.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt

from longvid.errors import ConfigError
from longvid.types import TextLine

if TYPE_CHECKING:
    from av.container import OutputContainer

SAMPLE_RATE = 16_000
_BLOCK = 1024
_TIMEOUT_SECONDS = 60.0

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sign:
    """Text on a light panel, burnt into the pictures of a span.

    Args:
        text: On one line.
        start_seconds, end_seconds: When it is shown.
        x, y: Its left upper corner, as shares of the picture.
        pixels: Size of the font.
    """

    text: str
    start_seconds: float
    end_seconds: float
    x: float
    y: float
    pixels: int

    def line(self) -> TextLine:
        """Return what a reader of the screen should write."""
        return TextLine(self.start_seconds, self.end_seconds, self.text, "screen")


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """A sentence of the narration.

    Args:
        text: What is said.
        start_seconds: When it begins.
        samples: (S,) float32 at SAMPLE_RATE.
    """

    text: str
    start_seconds: float
    samples: Samples

    def line(self) -> TextLine:
        """Return what a listener should write."""
        end = self.start_seconds + len(self.samples) / SAMPLE_RATE
        return TextLine(self.start_seconds, end, self.text, "speech")


def draw_signs(
    picture: npt.NDArray[np.uint8], signs: Iterable[Sign], seconds: float
) -> npt.NDArray[np.uint8]:
    """Return a picture with the signs that are shown at a time.

    Args:
        picture: (H, W, 3) RGB.
        signs: Of the film.
        seconds: When the picture is shown.
    """
    shown = [sign for sign in signs if sign.start_seconds <= seconds < sign.end_seconds]
    if not shown:
        return picture
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for sign in shown:
        font = ImageFont.load_default(size=sign.pixels)
        place = (sign.x * image.width, sign.y * image.height)
        left, top, right, bottom = draw.textbbox(place, sign.text, font=font)
        draw.rectangle((left - 6, top - 4, right + 6, bottom + 4), fill=(250, 250, 245))
        draw.text(place, sign.text, font=font, fill=(10, 10, 20))
    return np.asarray(image)


def speak(text: str, words_per_minute: int = 150) -> Samples:
    """Return a sentence spoken in English by espeak-ng, (S,) float32 at SAMPLE_RATE.

    Raises:
        ConfigError: espeak-ng is not installed, or fails.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise ConfigError(
            "Spoken narration needs the program espeak-ng, which is not installed; install it, or "
            "take a subtitle track."
        )
    command = [program, "-v", "en-us", "-s", str(words_per_minute), "--stdout"]
    try:
        wave = subprocess.run(
            command, input=text.encode(), capture_output=True, check=True, timeout=_TIMEOUT_SECONDS
        ).stdout
    except subprocess.SubprocessError as error:
        raise ConfigError(f"espeak-ng cannot speak {text[:80]!r}: {error}.") from error
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    pieces: list[Samples] = []
    with av.open(io.BytesIO(wave), "r", format="wav") as container:
        for frame in [*container.decode(audio=0), None]:
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    return np.concatenate(pieces).astype(np.float32)


def add_sound(
    container: OutputContainer, spoken: Sequence[Spoken], seconds: float
) -> Iterator[tuple[float, Any]]:
    """Add an AAC track to a file, silent where nothing is said.

    Args:
        container: Nothing is written to it yet.
        spoken: In time order, none over another.
        seconds: Length of the track.

    Returns:
        (start_seconds, packet) in time order, for the caller to mux; the encoder gives them late.
    """
    track: Any = container.add_stream("aac", rate=SAMPLE_RATE)
    track.codec_context.layout = "mono"

    def packets() -> Iterator[tuple[float, Any]]:
        left = list(spoken)
        for first in range(0, round(seconds * SAMPLE_RATE), _BLOCK):
            block = np.zeros(_BLOCK, np.float32)
            while left and _end(left[0]) <= first:
                left.pop(0)
            for one in left:
                start = round(one.start_seconds * SAMPLE_RATE)
                if start >= first + _BLOCK:
                    break
                inside = one.samples[max(0, first - start) : max(0, first + _BLOCK - start)]
                at = max(0, start - first)
                block[at : at + len(inside)] = inside
            frame = av.AudioFrame.from_ndarray(block[None], "fltp", "mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, first
            frame.time_base = Fraction(1, SAMPLE_RATE)
            for packet in track.encode(frame):
                yield first / SAMPLE_RATE, packet
        for packet in track.encode(None):
            yield seconds, packet

    return packets()


def _end(spoken: Spoken) -> int:
    return round(spoken.start_seconds * SAMPLE_RATE) + len(spoken.samples)
