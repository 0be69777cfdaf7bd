"""Pictures and a clip of an answer's evidence with its boxes drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from longvid.decode.clips import cut_clip
from longvid.errors import ConfigError
from longvid.inputs import holds_video
from longvid.methods.run_lengths import decode_mask
from longvid.store import Store
from longvid.store.pictures import read_pictures
from longvid.types import Answer, Box, Mask, Track

_COLORS = ("#ff3b30", "#34c759", "#007aff", "#ffcc00", "#af52de", "#ff9500", "#00c7be", "#ff2d55")
_LEAST_SIDE = 384
_TINT = 0.4
_MOST_SECONDS = 120.0


def write_overlay(store: Store, tracks: Sequence[Track], folder: Path) -> list[Path]:
    """Write one JPEG a picture that a track has a box in, masks tinted where boxes carry them.

    Args:
        store: Holds the pictures.
        tracks: Each phrase has a colour of its own.
        folder: Made if it is not there.

    Returns:
        The files, by video and time.

    Raises:
        ConfigError: The folder cannot be written.
        StoreError: A picture is missing.
    """
    colors = _colors(tracks)
    frames: dict[tuple[str, float], list[tuple[Track, Box]]] = {}
    for track in tracks:
        for box in track.boxes:
            frames.setdefault((box.video_id, box.pts_seconds), []).append((track, box))
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for (video_id, seconds), boxes in sorted(frames.items(), key=lambda item: item[0]):
            (picture,) = read_pictures(store.annotations, video_id, [seconds])
            with Image.open(io.BytesIO(picture.jpeg)) as image:
                drawn = _enlarged(image.convert("RGB"))
            for track, box in boxes:
                if box.mask is not None:
                    drawn = _tinted(drawn, box.mask, colors[track.phrase])
            for track, box in boxes:
                _draw(drawn, box, track.phrase, colors[track.phrase])
            path = folder / f"{video_id[:8]}-{seconds:010.3f}s.jpg"
            drawn.save(path, quality=92)
            written.append(path)
    except OSError as error:
        raise ConfigError(
            f"The overlay cannot be written to {folder}: {error.strerror or error}; name another "
            "--overlay."
        ) from error
    return written


def write_overlay_clip(answer: Answer, folder: Path) -> Path | None:
    """Cut the first evidence that has boxes from its file, at most two minutes, and draw them.

    Args:
        answer: With its tracks.
        folder: Is there.

    Returns:
        The clip; None where no file with boxes is at its place.

    Raises:
        VideoError: The file cannot be read, or is stored rotated.
    """
    colors = _colors(answer.tracks)
    for span in answer.evidence:
        start, end = span.start_seconds, min(span.end_seconds, span.start_seconds + _MOST_SECONDS)
        marks = [
            {
                "text": track.phrase,
                "color": colors[track.phrase],
                "boxes": [[box.pts_seconds, *box.xyxy] for box in track.boxes],
            }
            for track in answer.tracks
            if any(
                box.video_id == span.video_id and start <= box.pts_seconds < end
                for box in track.boxes
            )
        ]
        if marks and holds_video(span.path, span.video_id):
            target = folder / f"{span.video_id[:8]}-{start:010.3f}s.mp4"
            cut_clip(span.path, start, end, target, marks=marks)
            return target
    return None


def _colors(tracks: Sequence[Track]) -> dict[str, str]:
    """Give each phrase a colour of its own."""
    phrases = dict.fromkeys(track.phrase for track in tracks)
    return {phrase: _COLORS[number % len(_COLORS)] for number, phrase in enumerate(phrases)}


def _draw(image: Image.Image, box: Box, phrase: str, color: str) -> None:
    canvas = ImageDraw.Draw(image)
    left, top, right, bottom = (
        edge * side for edge, side in zip(box.xyxy, (*image.size, *image.size), strict=True)
    )
    width = max(2, round(max(image.size) / 200))
    canvas.rectangle((left, top, right, bottom), outline=color, width=width)
    text = f"{phrase} {box.score:.2f}"
    words = canvas.textbbox((0, 0), text)
    height = words[3] + 4
    above = top - height if top >= height else min(bottom, image.height - height)
    start = max(0, min(left, image.width - words[2] - 4))
    canvas.rectangle((start, above, start + words[2] + 4, above + height), fill=color)
    canvas.text((start + 2, above + 1), text, fill="white")


def _tinted(image: Image.Image, mask: Mask, color: str) -> Image.Image:
    """Return a picture with the pixels of a mask mixed with a colour."""
    shown = (decode_mask(mask) * round(255 * _TINT)).astype("uint8")
    strength = Image.fromarray(shown).resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", image.size, color), image, strength)


def _enlarged(image: Image.Image) -> Image.Image:
    times = -(-_LEAST_SIDE // max(image.size))
    return image if times <= 1 else image.resize((image.width * times, image.height * times))
