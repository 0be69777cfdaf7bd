"""SlowFast-LLaVA: a training-free way to show a video to LLaVA-NeXT.

The store holds a frame's slow tokens before its fast ones, in time order; here all slow tokens of
a video come first and the fast ones follow, as published.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from longvid.errors import ConfigError, require_one_of
from longvid.lazy_import import torch
from longvid.methods.slowfast_pooling import SlowFastLayout
from longvid.systems.language_model import PublishedLanguageModel, PublishedWorker, one_frame
from longvid.types import Question, Segment, Selection

_OPEN = (
    "The input consists of a sequence of key frames from a video. Answer concisely with overall "
    "content and context of the video, highlighting any significant events, characters, or "
    "objects that appear throughout the video. Question: {question} "
)
_CHOOSE = (
    "The input consists of a sequence of key frames from a video.{gap}Question: {question}\n"
    "Options:\n{choices}Only give the best option. "
)
_EXPERT = (
    "You are a helpful expert in video analysis. Select the best option to answer the question. "
)

#: Open and closed prompt by conversation: of the 7B model (Vicuna) and of the 34B one (ChatML).
_PROMPTS = {
    "vicuna": (
        "USER: {video}\n" + _OPEN + "\nASSISTANT:\nAnswer: In the video,",
        _EXPERT
        + "USER: {video}\n"
        + _CHOOSE.replace("{gap}", "\n")
        + "\nASSISTANT:\nAnswer: Best option:(",
    ),
    "chatml": (
        "<|im_start|>system\n Answer the question. <|im_end|>\n<|im_start|>user\n {video}\n"
        + _OPEN
        + "<|im_end|>\n<|im_start|>assistant\nAnswer: In the video,",
        "<|im_start|>system\n "
        + _EXPERT
        + "<|im_end|>\n<|im_start|>user\n {video}\n"
        + _CHOOSE.replace("{gap}", " ")
        + "<|im_end|>\n<|im_start|>assistant\nAnswer: Best option:(",
    ),
}


@dataclass(frozen=True, slots=True)
class SlowFastLanguageModel(PublishedLanguageModel):
    """LLaVA-NeXT as SlowFast-LLaVA asks it; the defaults are the released settings.

    Args:
        conversation: "vicuna" for the 7B model, "chatml" for the 34B one.
        num_slow: Slow frames of a video; one of fewer frames repeats them, as released.
        fast_tokens: Tokens of a frame in the fast pathway, which follow its slow ones in a store
            made with `slowfast_pooling`.

    Source: SlowFast-LLaVA, `prompt.py`, `builder.py`, `llava_arch.py` prepare_slowfast.
    """

    model: str = "llava-hf/llava-v1.6-vicuna-7b-hf"
    max_new_tokens: int = 128
    rope: str = "dynamic"
    rope_factor: float = 2.0
    conversation: str = "vicuna"
    num_slow: int = 10
    fast_tokens: int = 16

    def __post_init__(self) -> None:
        PublishedLanguageModel.__post_init__(self)
        require_one_of("llm.conversation", self.conversation, _PROMPTS)
        if self.num_slow < 1 or self.fast_tokens < 0:
            raise ConfigError(
                "llm needs num_slow >= 1 and fast_tokens >= 0, got "
                f"{self.num_slow} and {self.fast_tokens}."
            )

    def setup(self, device: str = "cpu") -> Worker:
        return Worker(self.with_prompts(*_PROMPTS[self.conversation]), *self.load(device))


class Worker(PublishedWorker):
    """Shows the slow tokens of a video first."""

    _part: SlowFastLanguageModel

    def _arrange(self, question: Question, selection: Selection) -> Selection:
        segments: list[Segment] = []
        for _, video in itertools.groupby(selection.segments, lambda segment: segment.video_id):
            segments.extend(slow_first(list(video), self._part.num_slow, self._part.fast_tokens))
        shown = sum(len(segment.tokens) for segment in segments)
        return Selection(tuple(segments), selection.evidence, max(shown, selection.budget))


def slow_first(segments: Sequence[Segment], num_slow: int, fast_tokens: int) -> tuple[Segment, ...]:
    """Put the slow tokens of a video before its fast ones.

    Args:
        segments: Of one video, in time order, as `slowfast_pooling` left them: the last
            `fast_tokens` of a slow frame are its fast ones, and other frames have no others.
        num_slow: A video with fewer frames than this repeats them in the slow pathway.
        fast_tokens: Tokens of a frame in the fast pathway.

    Returns:
        The slow frames, one segment each, then the fast pathway.

    Source: SlowFast-LLaVA, `llava_arch.py` prepare_slowfast.
    """
    slow: list[Segment] = []
    fast: list[Segment] = []
    for segment in segments:
        counts = segment.tokens.counts(segment.num_frames)
        of_frame = segment.tokens.frame.long()
        starts = counts.cumsum(0) - counts
        rank = torch.arange(len(of_frame)) - starts[of_frame]
        is_slow = segment.slow[of_frame] & (rank < counts[of_frame] - fast_tokens)
        detailed = segment.with_tokens(segment.tokens.keep(is_slow))
        slow.extend(one_frame(detailed, int(t)) for t in segment.slow.nonzero().flatten())
        fast.append(segment.with_tokens(segment.tokens.keep(~is_slow)))
    num_frames = sum(segment.num_frames for segment in segments)
    if num_frames < num_slow and len(slow) == num_frames:
        slow = [slow[t] for t in SlowFastLayout(num_slow).slow_frames(num_frames)]
    return (*slow, *fast)
