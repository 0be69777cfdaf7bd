"""Decode the sound of a file in blocks placed by presentation time: an engine for the child.

A block is at most 30 s of 16 kHz mono float32, cut where it is quietest, so that memory does not
grow with the length of the track. Every block carries its own time: samples are placed by the
times of the decoded frames, never by counting, because tracks have gaps and start late.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.format import Flags
from av.stream import Discard, Disposition

from longvid.decode.audio_clock import SoundClock, video_jumps
from longvid.decode.clock import RESTARTS_AT_ANY_TIME_SECONDS, RESTARTS_BY_DAMAGE_SECONDS
from longvid.decode.container import FORMATS
from longvid.decode.engine import Allocate, DecodedSegment, Gap
from longvid.errors import VideoError
from longvid.types import SegmentPlan

SAMPLE_RATE = 16_000
MAX_BLOCK_SECONDS = 30.0
#: Audio decoders that are let near the data.
CODECS = (
    *("aac", "mp3", "mp3float", "mp2", "mp2float", "mp1", "mp1float", "opus", "libopus", "vorbis"),
    *("flac", "alac", "ac3", "eac3", "dca", "truehd", "wmav1", "wmav2", "wmapro", "speex"),
    *("libvorbis", "amrnb", "amrwb", "libopencore_amrnb", "libopencore_amrwb", "nellymoser"),
    *("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_u8", "pcm_alaw"),
    *("pcm_mulaw", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_ms"),
)
#: A cut lies in this last part of a full block, at the quietest stretch of this length.
_SEARCHED_SECONDS, _QUIET_SECONDS = 5.0, 0.2
#: A frame whose time differs less from the end of the last one follows it directly.
_JITTER_SECONDS = 0.004
#: A shorter gap is filled with silence; a longer one ends the block.
_FILLED_SECONDS = 1.0
#: Decoders need some sound before the first sample that is right.
_PREROLL_SECONDS = 1.0
_MAX_CHANNELS = 64
#: Of a container whose clock may restart at any time.
_RESTARTS: Any = Flags.ts_discont.value
#: ISO 639-1 codes whose three-letter forms begin otherwise.
_THREE_LETTERS = {
    "de": ("ger", "deu"),
    "es": ("spa",),
    "zh": ("chi", "zho"),
    "ja": ("jpn",),
    "el": ("gre", "ell"),
    "cs": ("cze", "ces"),
    "eu": ("baq", "eus"),
    "sq": ("alb", "sqi"),
    "nl": ("dut", "nld"),
    "ga": ("gle",),
    "sv": ("swe",),
    "pl": ("pol",),
    "is": ("ice", "isl"),
    "ro": ("rum", "ron"),
    "sk": ("slo", "slk"),
    "hr": ("hrv",),
    "sr": ("srp",),
    "tr": ("tur",),
    "cy": ("wel", "cym"),
    "fa": ("per", "fas"),
    "ka": ("geo", "kat"),
    "ms": ("may", "msa"),
    "hy": ("arm", "hye"),
    "mk": ("mac", "mkd"),
    "my": ("bur", "mya"),
    "et": ("est",),
    "kk": ("kaz",),
    "pt": ("por",),
    "id": ("ind",),
    "he": ("heb",),
    "ko": ("kor",),
}


class AudioEngine:
    """Answers `decode` with blocks of one of the sound tracks of a file.

    Args:
        options: {"language": ISO 639-1 or -2 code of the track that is wanted, "" for any}.
        tick: Called while it works, so that the parent knows that it lives.
    """

    def __init__(self, options: dict[str, Any], tick: Callable[[], None]) -> None:
        self._language = str(options.get("language", ""))
        self._tick = tick

    def decode(
        self, path: str, segments: Sequence[SegmentPlan], allocate: Allocate
    ) -> Iterator[DecodedSegment | Gap]:
        """Yield the blocks of the span that each request names, numbered from its index.

        The bytes of `data` are the (N,) float32 samples; `pts_seconds` holds the time of the
        first. A file without a sound track gives no block.

        Raises:
            VideoError: The sound cannot be decoded at all.
        """
        for request in segments:
            with _opened(path) as container:
                stream = _choose(container, self._language, path)
                if stream is None:
                    continue
                index = request.segment_index
                restarts = bool(container.format.flags & _RESTARTS)
                jumps = video_jumps(path, self._tick) if restarts else ()
                gap = RESTARTS_AT_ANY_TIME_SECONDS if restarts else RESTARTS_BY_DAMAGE_SECONDS
                if request.start_seconds > _PREROLL_SECONDS and not jumps:
                    _seek(container, stream, request.start_seconds - _PREROLL_SECONDS)
                runs = _runs(container, stream, SoundClock(jumps, gap), path, self._tick)
                for start, samples in _blocks(runs, request.start_seconds, request.end_seconds):
                    data = allocate((4 * len(samples),))
                    data.view(np.float32)[:] = samples
                    seconds = len(samples) / SAMPLE_RATE
                    yield DecodedSegment(index, data, (start,), (seconds,), ())
                    index += 1

    def close(self) -> None:
        """Nothing is open between requests."""


def quietest(samples: npt.NDArray[np.float32]) -> int:
    """Return where to cut a full block: the middle of the quietest stretch near its end."""
    first = len(samples) - int(_SEARCHED_SECONDS * SAMPLE_RATE)
    width = int(_QUIET_SECONDS * SAMPLE_RATE)
    energy = np.cumsum(np.square(samples[first:], dtype=np.float64))
    return first + int(np.argmin(energy[width:] - energy[:-width])) + width // 2


def _blocks(
    runs: Iterator[tuple[float, npt.NDArray[np.float32]]], start_seconds: float, end_seconds: float
) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
    """Join runs of samples into blocks of (start_seconds, samples), in time order."""
    full = int(MAX_BLOCK_SECONDS * SAMPLE_RATE)
    held: list[npt.NDArray[np.float32]] = []
    num_held, origin = 0, start_seconds
    for start, run in runs:
        samples = run
        place = round((start - origin) * SAMPLE_RATE) - num_held if num_held else 0
        if num_held and place > _FILLED_SECONDS * SAMPLE_RATE:
            yield origin, np.concatenate(held)
            held, num_held, place = [], 0, 0
        if not num_held:
            if start < origin:  # before the wanted span, or before the end of the last block
                samples = samples[round((origin - start) * SAMPLE_RATE) :]
            origin = max(origin, start)
        elif place > 0:
            held.append(np.zeros(place, np.float32))
            num_held += place
        elif place < 0:
            samples = samples[-place:]
        if len(samples):
            held.append(samples)
            num_held += len(samples)
        while num_held >= full:
            joined = np.concatenate(held)
            cut = quietest(joined[:full])
            yield origin, joined[:cut]
            origin += cut / SAMPLE_RATE
            held, num_held = [joined[cut:]], num_held - cut
        if origin >= end_seconds:
            break
    left = round((end_seconds - origin) * SAMPLE_RATE) if end_seconds < 1e9 else num_held
    if num_held and left > 0:
        yield origin, np.concatenate(held)[:left]


def _seek(container: Any, stream: Any, seconds: float) -> None:
    container.seek(int(seconds / stream.time_base), stream=stream, backward=True)


def _runs(
    container: Any, stream: Any, clock: SoundClock, path: str, tick: Callable[[], None]
) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
    """Yield (start_seconds, samples) of pieces that follow each other without a gap inside."""
    resampler, origin, num_in, num_out, key = None, 0.0, 0, 0, None
    num_frames = num_errors = 0
    for frame in _frames(container, stream, tick):
        if frame is None:
            num_errors += 1
            continue
        num_frames += 1
        expected = origin + num_in / frame.sample_rate
        start = expected
        if frame.pts is not None:
            own = float(frame.pts * frame.time_base)
            step = own + clock.offset_seconds - expected if num_frames > 1 else 0.0
            start = own + clock.advance(step)
        form = (frame.sample_rate, frame.layout.name, frame.format.name)
        if resampler is None or form != key or abs(start - expected) > _JITTER_SECONDS:
            for samples in _resampled(resampler, None):
                yield origin + num_out / SAMPLE_RATE, samples
                num_out += len(samples)
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            origin, num_in, num_out, key = start, 0, 0, form
        num_in += frame.samples
        frame.pts = None  # counted from the origin of the run
        for samples in _resampled(resampler, frame):
            yield origin + num_out / SAMPLE_RATE, samples
            num_out += len(samples)
    for samples in _resampled(resampler, None):
        yield origin + num_out / SAMPLE_RATE, samples
        num_out += len(samples)
    if num_errors and not num_frames:
        raise _refusal(path, "corrupt", "holds sound that cannot be decoded.")


def _resampled(resampler: Any, frame: Any) -> Iterator[npt.NDArray[np.float32]]:
    for piece in resampler.resample(frame) if resampler is not None else ():
        yield piece.to_ndarray()[0]


def _frames(container: Any, stream: Any, tick: Callable[[], None]) -> Iterator[Any]:
    """Yield decoded frames, and None where data cannot be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:  # a cut file: what came before it is kept
            _raise_if_short_of_memory(error)
            yield None
            return
        tick()
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            _raise_if_short_of_memory(error)
            yield None
            continue
        yield from frames


def _raise_if_short_of_memory(error: av.error.FFmpegError) -> None:
    if error.errno == errno.ENOMEM:
        raise MemoryError from error


def _opened(path: str) -> Any:
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{os.path.abspath(path)}", options=options, metadata_errors="ignore")
    except av.error.FFmpegError as error:
        _raise_if_short_of_memory(error)
        raise _refusal(path, "unsupported", f"cannot be opened: {error.strerror}.") from error


def _choose(container: Any, language: str, path: str) -> Any:
    """Choose a sound track by language, else the default one; None where there is none.

    Raises:
        VideoError: All tracks are in other languages, or the track's codec is not allowed.
    """
    streams = list(container.streams.audio)
    if not streams:
        return None
    if language:
        fitting = [stream for stream in streams if _is_language(_language(stream), language)]
        unknown = [stream for stream in streams if not _language(stream)]
        if not fitting and not unknown:
            known = ", ".join(sorted({_language(stream) for stream in streams}))
            raise _refusal(
                path, "unsupported", f"has sound in {known} and none in {language}; choose one."
            )
        streams = fitting or unknown
    special = Disposition.comment | Disposition.visual_impaired | Disposition.dub
    chosen = min(
        streams,
        key=lambda stream: (
            bool(stream.disposition & special),
            not stream.disposition & Disposition.default,
            stream.index,
        ),
    )
    codec = chosen.codec_context
    name = codec.name if codec is not None else "unknown"
    if name not in CODECS or codec.channels > _MAX_CHANNELS:
        raise _refusal(
            path, "unsupported", f"has sound coded as {name}, which is not an allowed codec."
        )
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = Discard.all
    return chosen


def _language(stream: Any) -> str:
    language = str(stream.language or "").lower()
    return "" if language == "und" else language


def _is_language(found: str, wanted: str) -> bool:
    wanted = wanted.lower()
    return (
        found[:2] == wanted[:2]
        if wanted not in _THREE_LETTERS
        else (found == wanted or found in _THREE_LETTERS[wanted])
    )


def _refusal(path: str, kind: str, sentence: str) -> VideoError:
    return VideoError(f"{path} {sentence}", kind=kind, path=path, stage="text")
