"""What travels along the path, from a file on disk to an answer.

These carriers know shapes and units and check them once, when they are made. They do not know
how frames are decoded, which model made a token, or where a store is.

Axes, here and everywhere:
    T   frames in a segment            N   tokens in a segment (ragged over frames)
    H W pixels                         D   token width (of the language model)
    h w patch grid                     E   embedding width (text-aligned space)
    P   = h * w patches per frame      B   batch        L   text tokens        S   audio samples

Tensors rest on the CPU between parts; a part moves them to its device and back. Importing this
package does not import torch, so that what only plans or schedules starts without it.
"""

from longvid.types.answer import EXPERTS, Answer, Evidence, Query, Question, Selection
from longvid.types.audio import Audio
from longvid.types.failure import FAILURE_KINDS, Failure
from longvid.types.frame_batch import FrameBatch
from longvid.types.needs import CheckpointRef, EncoderMemory, LanguageModelMemory
from longvid.types.picture import Box, Candidate, FoundBoxes, Mask, Picture, Track
from longvid.types.text_line import TEXT_SOURCES, TextLine, Word
from longvid.types.tokens import Segment, Tokens
from longvid.types.video import Chunk, FrameSize, SegmentPlan, Video, player_seconds

__all__ = [
    "EXPERTS",
    "FAILURE_KINDS",
    "TEXT_SOURCES",
    "Answer",
    "Audio",
    "Box",
    "Candidate",
    "CheckpointRef",
    "Chunk",
    "EncoderMemory",
    "Evidence",
    "Failure",
    "FoundBoxes",
    "FrameBatch",
    "FrameSize",
    "LanguageModelMemory",
    "Mask",
    "Picture",
    "Query",
    "Question",
    "Segment",
    "SegmentPlan",
    "Selection",
    "TextLine",
    "Tokens",
    "Track",
    "Video",
    "Word",
    "player_seconds",
]
