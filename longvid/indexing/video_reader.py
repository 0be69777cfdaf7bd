"""Read videos wherever they lie, through a decoder whose process may die.

This is a decoder as the runners use it: paths may be remote, a file that cannot be used is data
instead of an error, and a decoder that was killed is tried once more.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from longvid import registry
from longvid.config import Config
from longvid.errors import VideoError
from longvid.indexing.messages import DECODER_DIED, Opened, VideoText
from longvid.indexing.subtitle_reader import SubtitleReader
from longvid.inputs import content_id
from longvid.protocols import Decoder, DecoderPart
from longvid.remote_files import FileState, LocalCopies, file_state
from longvid.types import Chunk, Failure, FrameBatch, Video

Item = TypeVar("Item", Video | Failure, FrameBatch | Failure)


def sized_decoder(config: Config) -> DecoderPart:
    """Return the decoder part set to the encoder's frame size and the store's pictures."""
    sized: DecoderPart = replace(
        config.decoder, size=config.encoder.frame_size(), pictures=config.store.pictures
    )
    return sized


def open_video(decoder: Decoder, path: str) -> Video | Failure:
    """Identify and probe one file, as data: what cannot be opened becomes a Failure."""
    video_id = ""
    try:
        # A pipe would block for ever and a device never ends: only regular files are opened.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise VideoError(
                f"{path} is not a regular file; name a video file, or a folder of them.",
                kind="unreadable",
                path=path,
                stage="probe",
            )
        video_id = content_id(path)
        return decoder.probe(path, video_id)
    except OSError as error:
        return _unreadable(path, error, video_id)
    except VideoError as error:
        return Failure(video_id, path, error.stage, error.kind, str(error))


class Reader:
    """Opens videos and decodes chunks; neither ever raises for a video.

    One chunk is decoded at a time; for more, make more readers.

    Args:
        config: Names the decoder, the size of its frames and the room for remote files.
    """

    def __init__(self, config: Config) -> None:
        self._decoder: Decoder = sized_decoder(config).setup("cpu")
        self._name = registry.name_of("decoder", config.decoder)
        self._copies = LocalCopies(config.run.cache_mb * 1_000_000)
        self._subtitles = SubtitleReader(self._decoder)

    def open(self, path: str) -> Opened:
        """Identify and probe one file, and read its timed text."""
        started = time.perf_counter()
        state: FileState | None = None
        text = VideoText()
        found: Video | Failure
        try:
            state = file_state(path)
            with self._copies.open(path) as local:
                found = open_video(self._decoder, local)
                if isinstance(found, Failure) and found.kind in DECODER_DIED:
                    found = open_video(self._decoder, local)
                found = self._named(found, path, local)
                if isinstance(found, Video):
                    text = self._subtitles.read(found, local)
        except OSError as error:
            found = _unreadable(path, error)
        return Opened(path, found, state, text, time.perf_counter() - started)

    def decode(self, chunk: Chunk) -> Iterator[FrameBatch | Failure]:
        path = chunk.video.path
        try:
            with self._copies.open(path) as local:
                for item in self._decode(replace(chunk, video=replace(chunk.video, path=local))):
                    yield self._named(item, path, local)
        except OSError as error:
            yield replace(
                _unreadable(path, error, chunk.video.video_id),
                stage="decode",
                start_seconds=chunk.start_seconds,
                end_seconds=chunk.end_seconds,
            )

    def close(self) -> None:
        self._decoder.close()

    def _decode(self, chunk: Chunk) -> Iterator[FrameBatch | Failure]:
        """Decode a chunk; if the decoder dies, once more from where it stopped."""
        seen: list[Failure] = []
        left = list(chunk.segments)
        for item in self._decoder.decode(chunk):
            if isinstance(item, FrameBatch):
                left = [plan for plan in left if plan.segment_index > item.segment_index]
            elif item.kind in DECODER_DIED and item.end_seconds == chunk.end_seconds:
                break
            else:
                seen.append(item)
            yield item
        else:
            return
        if not left:  # it had given everything before it died
            return
        for item in self._decoder.decode(replace(chunk, segments=tuple(left))):
            if item not in seen:
                yield item

    def _named(self, item: Item, path: str, local: str) -> Item:
        """Put the name that the user gave in place of the copy's."""
        if isinstance(item, Failure):
            error = item.error.replace(local, path)
            return replace(item, path=path, error=error, decoder=self._name)
        if isinstance(item, Video):
            return replace(item, path=path)
        return item


def _unreadable(path: str, error: OSError, video_id: str = "") -> Failure:
    sentence = f"{path} cannot be read: {error.strerror or error}."
    return Failure(video_id, path, "probe", "unreadable", sentence)
