"""What travels along the path, from a file on disk to an answer.

These carriers know shapes and units and check them once, when they are made. They do not know
how frames are decoded, which model made a token, or where a store lies.

Axes, here and everywhere:
    T   frames in a segment            N   tokens in a segment (ragged over frames)
    H W pixels                         D   token width (of the language model)
    h w patch grid                     E   embedding width (text-aligned space)
    P   = h * w patches per frame      B   batch        L   text tokens

Tensors rest on the CPU between parts; a part moves them to its device and back. Importing this
module does not import torch, so that what only plans or schedules starts without it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longvid.errors import LongvidError, QuestionError

if TYPE_CHECKING:
    import torch

__all__ = [
    "FAILURE_KINDS",
    "Answer",
    "Chunk",
    "Evidence",
    "Failure",
    "FrameBatch",
    "FrameSize",
    "Query",
    "Question",
    "Segment",
    "SegmentPlan",
    "Selection",
    "TextLine",
    "Tokens",
    "Video",
]

FAILURE_KINDS = (
    "unreadable",  # missing, no permission, a directory, a pipe
    "unsupported",  # not a video, or a container or codec that is not allowed
    "corrupt",  # a video whose data cannot be decoded, in part or at all
    "too-large",  # more pixels a frame, or a larger subtitle file, than allowed
    "decode-timeout",  # the decoder did not finish before its deadline
    "out-of-memory",  # the decoder or the model asked for more memory than it may have
    "decoder-crash",  # the decoding process died
    "decoder-error",  # the decoder raised an error that it should not raise
    "worker-crash",  # the process of a runner died every time that it worked on this video
    "model",  # the encoder failed on this video
    "store",  # the result could not be written
    "question",  # cannot be asked of this store or model
)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise LongvidError(sentence)


class _Tensors:
    """A carrier with tensors: checked by shape when made, shown by shape and never by value."""

    __slots__ = ()

    def _require_shapes(self, **shapes: tuple[int, ...]) -> None:
        for name, shape in shapes.items():
            got = tuple(getattr(self, name).shape)
            _require(got == shape, f"{type(self).__name__}.{name} must be {shape}, got {got}.")

    def __repr__(self) -> str:
        import torch

        parts = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # subclasses are ones
            value: Any = getattr(self, field.name)
            if isinstance(value, torch.Tensor):
                value = f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
            elif isinstance(value, tuple) and len(value) > 6:
                value = f"<{len(value)} of {type(value[0]).__name__}>"
            parts.append(f"{field.name}={value}")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class FrameSize:
    """The size at which frames leave the decoder, and how a picture is fitted into it.

    Args:
        height, width: Pixels.
        fit: "squash" ignores the aspect; "pad" scales the picture to fit inside and centres it on
            `fill`; "crop" scales the shortest edge and cuts the centre; "native" keeps the
            picture as it is and ignores height and width.
        fill: RGB, 0 to 255, of the border under "pad".
    """

    height: int = 224
    width: int = 224
    fit: str = "squash"
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        known = ("squash", "pad", "crop", "native")
        _require(self.fit in known, f"fit is {self.fit!r}; use one of {', '.join(known)}.")
        _require(
            self.height > 0 and self.width > 0,
            f"A frame size must be positive, got {self.height}x{self.width}.",
        )


@dataclass(frozen=True, slots=True)
class Video:
    """One readable video file.

    Args:
        path: Where it lies, as the user named it.
        video_id: Hash of its content (`listing.content_id`): the identity of a video in a store.
        start_seconds: Presentation time of its first frame. Often 0, not always.
        duration_seconds: From the first frame to the end of the last.
        average_fps: Frames by duration; a variable rate has no other.
        num_frames: As counted from packets; a header is not believed.
        height, width: Pixels after rotation.
    """

    path: str
    video_id: str
    start_seconds: float
    duration_seconds: float
    average_fps: float
    num_frames: int
    height: int
    width: int

    def __post_init__(self) -> None:
        _require(
            math.isfinite(self.start_seconds) and math.isfinite(self.duration_seconds),
            f"A video needs finite times, got {self.start_seconds=} {self.duration_seconds=}.",
        )

    @property
    def end_seconds(self) -> float:
        """Where the last frame stops being shown."""
        return self.start_seconds + self.duration_seconds


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """Which moments of one segment are sampled.

    Args:
        segment_index: Position of the segment in its video, from 0.
        start_seconds, end_seconds: The half-open span [start, end) that the segment stands for.
        sample_seconds: Wanted times, increasing; the frame on display at each is taken.
        slow: For each wanted time, whether the slow pathway sees it too.
    """

    segment_index: int
    start_seconds: float
    end_seconds: float
    sample_seconds: tuple[float, ...]
    slow: tuple[bool, ...]

    def __post_init__(self) -> None:
        _require(
            len(self.sample_seconds) == len(self.slow) and len(self.slow) > 0,
            "A segment plan needs as many slow marks as sample times, and at least one; got "
            f"{len(self.slow)} and {len(self.sample_seconds)}.",
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """The unit of scheduling: consecutive segments of one video, decoded by one worker."""

    video: Video
    segments: tuple[SegmentPlan, ...]

    @property
    def start_seconds(self) -> float:
        """Where the first segment starts."""
        return self.segments[0].start_seconds

    @property
    def end_seconds(self) -> float:
        """Where the last segment ends."""
        return self.segments[-1].end_seconds


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FrameBatch(_Tensors):
    """The decoded frames of one segment.

    Args:
        video_id: Of the video they come from.
        segment_index: Of the segment they fill.
        start_seconds, end_seconds: The segment's span.
        data: (T, 3, H, W) uint8 RGB.
        pts_seconds: (T,) float64, strictly increasing, the true presentation times.
        duration_seconds: (T,) float64, how long each frame is shown.
        slow: (T,) bool, whether the slow pathway sees the frame.
    """

    video_id: str
    segment_index: int
    start_seconds: float
    end_seconds: float
    data: torch.Tensor
    pts_seconds: torch.Tensor
    duration_seconds: torch.Tensor
    slow: torch.Tensor

    def __post_init__(self) -> None:
        import torch

        num_frames = self.data.shape[0]
        _require(
            self.data.ndim == 4 and self.data.shape[1] == 3 and self.data.dtype == torch.uint8,
            f"Frames must be (T, 3, H, W) uint8, got {tuple(self.data.shape)} {self.data.dtype}.",
        )
        per_frame = (num_frames,)
        self._require_shapes(pts_seconds=per_frame, duration_seconds=per_frame, slow=per_frame)
        _require(
            bool((self.pts_seconds.diff() > 0).all()),
            f"pts_seconds must increase strictly, got {self.pts_seconds.tolist()}.",
        )

    def __len__(self) -> int:
        return int(self.data.shape[0])

    def keep(self, frames: torch.Tensor) -> FrameBatch:
        """Return the batch with only the frames at these sorted indices, (K,) int64."""
        return dataclasses.replace(
            self,
            data=self.data[frames],
            pts_seconds=self.pts_seconds[frames],
            duration_seconds=self.duration_seconds[frames],
            slow=self.slow[frames],
        )


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Tokens(_Tensors):
    """What the language model can be shown: a flat, ragged run of vectors in time order.

    Frames hold different numbers of tokens after pooling, merging and pruning, so a token names
    its frame instead of standing in a grid.

    Args:
        data: (N, D) float16, bfloat16 or float32.
        frame: (N,) int32, non-decreasing index into the segment's frames.
        position: (N, 2) float32, (row, column) of the token's centre, each in [0, 1].
        size: (N,) float32, how many patches the token stands for.
    """

    data: torch.Tensor
    frame: torch.Tensor
    position: torch.Tensor
    size: torch.Tensor

    def __post_init__(self) -> None:
        import torch

        num_tokens = self.data.shape[0]
        _require(
            self.data.ndim == 2 and self.data.dtype.is_floating_point,
            f"Token data must be (N, D) floating point, got {tuple(self.data.shape)} "
            f"{self.data.dtype}.",
        )
        self._require_shapes(frame=(num_tokens,), position=(num_tokens, 2), size=(num_tokens,))
        _require(
            self.frame.dtype == torch.int32 and bool((self.frame.diff() >= 0).all()),
            f"tokens.frame must be int32 and non-decreasing, got {self.frame.dtype}.",
        )

    def __len__(self) -> int:
        return int(self.data.shape[0])

    @classmethod
    def from_grid(cls, data: torch.Tensor) -> Tokens:
        """Flatten full patch grids, frame by frame and row by row.

        Args:
            data: (T, h, w, D).
        """
        import torch

        num_frames, height, width, token_width = data.shape
        rows = (torch.arange(height, dtype=torch.float32) + 0.5) / height
        columns = (torch.arange(width, dtype=torch.float32) + 0.5) / width
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)  # (h, w, 2)
        patches = height * width
        return cls(
            data=data.reshape(num_frames * patches, token_width),
            frame=torch.arange(num_frames, dtype=torch.int32).repeat_interleave(patches),
            position=grid.reshape(patches, 2).repeat(num_frames, 1),
            size=torch.ones(num_frames * patches),
        )

    @classmethod
    def join(cls, pieces: Sequence[Tokens]) -> Tokens:
        """Join runs, at least one, in time order; within a frame the earlier piece comes first."""
        import torch

        if len(pieces) == 1:
            return pieces[0]
        order = torch.cat([piece.frame for piece in pieces]).sort(stable=True).indices
        names = ("data", "frame", "position", "size")
        return cls(*(torch.cat([getattr(p, name) for p in pieces])[order] for name in names))

    def keep(self, tokens: torch.Tensor) -> Tokens:
        """Return only the tokens at these sorted indices (K,) int64, or of this mask (N,) bool."""
        fields = (self.data, self.frame, self.position, self.size)
        return Tokens(*(field[tokens] for field in fields))

    def counts(self, num_frames: int) -> torch.Tensor:
        """Count the tokens of each frame, (num_frames,) int64."""
        import torch

        return torch.bincount(self.frame.long(), minlength=num_frames)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Segment(_Tensors):
    """An indexed span of a video: what is written to the store and read back by a question.

    Args:
        video_id, segment_index: Its identity.
        start_seconds, end_seconds: The half-open span [start, end) it stands for.
        pts_seconds: (T,) float64, presentation times of the frames that survived reduction.
        slow: (T,) bool, whether the slow pathway sees the frame.
        frame_embeddings: (T, E) float32, unit norm, in the text-aligned space.
        tokens: Tokens whose `frame` indexes into pts_seconds.
        space: Name of the token space; only a language model of the same space can read them.
        grid: (h, w) of the grid that the tokens were laid out on by the encoder, whatever has been
            merged or pruned since; (0, 0) where it is not known.
    """

    video_id: str
    segment_index: int
    start_seconds: float
    end_seconds: float
    pts_seconds: torch.Tensor
    slow: torch.Tensor
    frame_embeddings: torch.Tensor
    tokens: Tokens
    space: str
    grid: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        num_frames = self.pts_seconds.shape[0]
        width = self.frame_embeddings.shape[-1]
        self._require_shapes(slow=(num_frames,), frame_embeddings=(num_frames, width))
        _require(
            len(self.tokens) == 0 or int(self.tokens.frame[-1]) < num_frames,
            f"tokens.frame points past the {num_frames} frames of the segment.",
        )

    @property
    def num_frames(self) -> int:
        """How many frames survived reduction."""
        return int(self.pts_seconds.shape[0])

    @property
    def key(self) -> tuple[str, int]:
        """Sorting by this key gives the time order within each video."""
        return self.video_id, self.segment_index

    def with_tokens(self, tokens: Tokens) -> Segment:
        """Return the segment with other tokens, everything else unchanged."""
        return dataclasses.replace(self, tokens=tokens)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Args:
        text: The question.
        video_ids: Restricts it to these videos; empty means the whole store.
        choices: Answers to choose from; empty means an open question.
    """

    text: str
    video_ids: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_text("The question", self.text)
        object.__setattr__(self, "video_ids", _texts("video_ids", self.video_ids))
        object.__setattr__(self, "choices", _texts("choices", self.choices))
        if len(self.choices) == 1:
            raise QuestionError("A multiple-choice question needs two choices, got one.")
        stripped = [choice.strip() for choice in self.choices]
        repeated = next((one for one in stripped if stripped.count(one) > 1), None)
        if repeated is not None:
            raise QuestionError(f"The choice {repeated!r} is given twice; name each choice once.")


def _require_text(what: str, given: object) -> None:
    if not isinstance(given, str):
        raise QuestionError(f"{what} must be text, got {given!r}.")
    if not given.strip():
        raise QuestionError(f"{what} is empty; write some text.")
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise QuestionError(
            f"{what} holds {given[error.start]!r}, which is not valid Unicode; leave it out."
        ) from error


def _texts(what: str, given: object) -> tuple[str, ...]:
    """Return a list of texts as a tuple."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise QuestionError(f"{what} must be a list of texts, got {given!r}; write [{given!r}].")
    for one in given:
        _require_text(f"An entry of {what}", one)
    return tuple(given)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Query(_Tensors):
    """A question with its embedding.

    Args:
        question: What is asked.
        embedding: (E,) float32, unit norm, in the text-aligned space.
        text_tokens: (L, D) the question in the language model's own input embeddings, for
            selectors that score tokens against words (LongVU); may be empty (0, D).
    """

    question: Question
    embedding: torch.Tensor
    text_tokens: torch.Tensor


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of text and when it is spoken or shown, in presentation time of its video.

    Args:
        start_seconds, end_seconds: Its span.
        text: Without markup, on one line.
        source: "subtitle" (a file or a stream), "speech" (recognised) or "screen" (recognised).
        language: BCP 47 code, "" where it is not known.
        confidence: Of the recognition, 0 to 1.
        box: Of text on the screen: (left, top, right, bottom) as shares of the upright frame.
        words: (start_seconds, end_seconds, word) each, where the recogniser times words.
    """

    start_seconds: float
    end_seconds: float
    text: str
    source: str = "subtitle"
    language: str = ""
    confidence: float = 1.0
    box: tuple[float, float, float, float] | None = None
    words: tuple[tuple[float, float, str], ...] = ()

    def __post_init__(self) -> None:
        known = ("subtitle", "speech", "screen")
        _require(self.source in known, f"source is {self.source!r}; use one of {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A span that supports an answer, and the score or the words (`text`) that found it."""

    video_id: str
    path: str
    start_seconds: float
    end_seconds: float
    score: float
    text: str = ""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Selection:
    """What the language model is shown: segments in time order, never over the budget.

    Args:
        segments: In time order within each video.
        evidence: One entry a contiguous span, best first.
        budget: The most visual tokens that may be shown.
        spoken: What is said after each frame of each segment, "" for nothing; empty where no
            subtitles are interleaved.
    """

    segments: tuple[Segment, ...]
    evidence: tuple[Evidence, ...]
    budget: int
    spoken: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        _require(
            self.num_tokens <= self.budget,
            f"The selection holds {self.num_tokens} tokens, over its budget of {self.budget}; "
            "raise the budget to that, or add a selector, which keeps to it.",
        )

    @property
    def num_tokens(self) -> int:
        """Visual tokens shown."""
        return sum(len(segment.tokens) for segment in self.segments)

    def __repr__(self) -> str:
        shown = f"{len(self.segments)} segments, {self.num_tokens} of {self.budget} tokens"
        return f"Selection({shown})"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and what it rests on.

    Args:
        text: The answer, or the chosen option.
        evidence: Spans that were shown, best first.
        visual_tokens, prompt_tokens, output_tokens: Counts.
        seconds: Wall time by step ("embed", "search", "load", "select", "llm", ...).
        choice: For multiple choice, the index chosen.
        choice_scores: For multiple choice, the log-likelihood of each option.
        note: A caveat that a person must see (random weights, words a model does not know).
    """

    text: str
    evidence: tuple[Evidence, ...]
    visual_tokens: int
    prompt_tokens: int
    output_tokens: int
    seconds: dict[str, float]
    choice: int | None = None
    choice_scores: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that could not be done, as data, so that the run goes on.

    Args:
        video_id: Content hash, or "" when the content could not be read.
        path: The video as the user named it.
        stage: "probe", "decode", "encode", "text" (subtitles, speech or screen text; the rest of
            the video is not affected), "write" or "ask".
        kind: One of FAILURE_KINDS.
        error: One sentence.
        attempts: How often it was tried.
        start_seconds, end_seconds: The gap, when only a part of the video is missing.
        stderr: The last lines that the decoder printed.
        decoder: Name of the decoder that was used, "" where none was.
    """

    video_id: str
    path: str
    stage: str
    kind: str
    error: str
    attempts: int = 1
    start_seconds: float | None = None
    end_seconds: float | None = None
    stderr: str = ""
    decoder: str = ""

    def __post_init__(self) -> None:
        _require(
            self.kind in FAILURE_KINDS,
            f"Unknown failure kind {self.kind!r}; known are {', '.join(FAILURE_KINDS)}.",
        )

    @property
    def is_gap(self) -> bool:
        """True when the rest of the video was indexed."""
        return self.start_seconds is not None
