"""LLaMA-VID: every frame is shown as one context token, which knows the question, and its content.

The store holds the tower's tokens; here a question meets them. A short video is its frames at the
place of the video. A long one is written as a text in which every frame is followed by what is
said during it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.lazy_import import no_grad, torch
from longvid.models import checkpoint_files
from longvid.models.families.protocol import Decoder
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.tokenizer import Span, outside, split_spans
from longvid.systems.language_model import (
    PublishedLanguageModel,
    PublishedWorker,
    tokens_of_frames,
    whole_frames,
)
from longvid.types import (
    CheckpointRef,
    EncoderMemory,
    LanguageModelMemory,
    Question,
    Segment,
    Selection,
)

if TYPE_CHECKING:
    from torch import Tensor

_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. "
)
_SHORT = _SYSTEM + "USER: {video}\n{question}{choices} ASSISTANT:"
_LONG = (
    _SYSTEM + "USER: Below is a movie. Memorize the content and answer my question after watching "
    "this movie.{video}Now the movie end.\n{question}{choices} ASSISTANT:"
)


@dataclass(frozen=True, slots=True)
class LlamaVidLanguageModel(PublishedLanguageModel):
    """LLaMA-VID as its authors ask it; the defaults are those of its short-video evaluation.

    Args:
        bert: Checkpoint of the Q-Former's tokenizer; "" takes the folder `bert/` in the
            checkpoint, or google-bert/bert-base-uncased.
        long_video: Ask as of a film: the Q-Former sees no class token, and the prompt says that a
            movie follows; with ask.subtitles = "interleaved" what is said stands between its
            frames. The long-video checkpoint states rotary positions stretched 16
            times and a context of 65536; with another one set llm.rope = "linear" and
            llm.rope_factor = 16. Published: temperature 0.6, top_p 0.9.

    Source: LLaMA-VID, `run_llamavid_movie.py`, `eval/model_msvd_qa.py`.
    """

    model: str = "YanweiLi/llama-vid-7b-full-224-video-fps-1"
    max_new_tokens: int = 1024
    temperature: float = 0.2
    bert: str = ""
    long_video: bool = False

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        from longvid.systems.llama_vid import checkpoint

        return (
            *PublishedLanguageModel.checkpoints(self),
            checkpoint.bert_checkpoint(self.model, self.bert),
        )

    def memory(self, encoder: EncoderMemory, device: str) -> LanguageModelMemory:
        from longvid.systems.llama_vid.memory import language_model_memory

        return language_model_memory(self, encoder, device, self.stretch())

    def setup(self, device: str = "cpu") -> Worker:
        own = self.with_prompts(_LONG if self.long_video else _SHORT)
        return Worker(own, *self.load(device), device)


class Worker(PublishedWorker):
    """Shows frames as context and content tokens."""

    interleaves = True

    _part: LlamaVidLanguageModel

    def __init__(
        self, part: LlamaVidLanguageModel, folder: Path, decoder: Decoder, device: str
    ) -> None:
        from longvid.systems.llama_vid.checkpoint import load_adapter, load_question_tokenizer

        super().__init__(part, folder, decoder)
        if not part.rope:
            decoder.context = stated_context(folder, decoder.context)
        self._device = device
        self._dtype = resolve_dtype(part.dtype, device)
        self.adapter = load_adapter(folder, part.bert, self._dtype, device)
        self._question_ids = load_question_tokenizer(folder, part.bert)
        self._said_last = ""

    def _check_stored(self, selection: Selection) -> None:
        width = self.adapter.config.vision_width
        self._check_width(selection, width, "LLaMA-VID", "llama_vid")

    @no_grad
    def _arrange(self, question: Question, selection: Selection) -> Selection:
        ids = torch.tensor([self._question_ids(question.text)], device=self._device)
        segments = [self._with_question(segment, ids) for segment in selection.segments]
        num_tokens = sum(len(segment.tokens) for segment in segments)
        spoken, self._said_last = _without_last(selection)
        return Selection(tuple(segments), selection.evidence, max(1, num_tokens), spoken)

    def _with_question(self, segment: Segment, question_ids: Tensor) -> Segment:
        """Turn the tower's tokens of a segment into those that are shown."""
        from longvid.systems.llama_vid.network import without_class_token

        features = whole_frames(segment, "LLaMA-VID").to(self._device, self._dtype)
        if not len(features):
            none = torch.zeros(0, 1, self._decoder.token_width)
            return segment.with_tokens(tokens_of_frames(none))
        if self._part.long_video:
            features = without_class_token(features)
        shown = self.adapter.video_tokens(features, question_ids)[0]  # (T (1 + n), D)
        by_frame = shown.reshape(len(features), -1, shown.shape[1]).cpu()
        return segment.with_tokens(tokens_of_frames(by_frame))

    def _shorten(self, room: int) -> str:
        # A budget counts stored tokens, of which another number is shown.
        return "index the video with a lower sample.fps, or name the checkpoint for long videos"

    def _prompt_ids(self, spans: Sequence[Span]) -> tuple[int, ...]:
        # What is said during the last frame and what follows the film are tokenized as one text.
        if not self._said_last:
            return super()._prompt_ids(spans)
        before, *after = split_spans(spans, self._placeholder)
        said = (Span(self._placeholder), outside(self._said_last))
        return super()._prompt_ids((*before, *said, *(span for part in after for span in part)))


def _without_last(selection: Selection) -> tuple[tuple[tuple[str, ...], ...], str]:
    """Take what is said after the last shown frame off a selection, and return it apart."""
    spoken = [list(said) for said in selection.spoken]
    for said, segment in zip(reversed(spoken), reversed(selection.segments), strict=False):
        shown = segment.tokens.counts(segment.num_frames).nonzero().flatten()
        if len(shown):
            last, said[int(shown[-1])] = said[int(shown[-1])], ""
            return tuple(map(tuple, spoken)), last
    return selection.spoken, ""


def stated_context(folder: Path, trained: int) -> int:
    """Return the longest sequence that a checkpoint was trained to read."""
    config = checkpoint_files.read_config(folder)
    rope: Any = config.get("rope_scaling") or {}
    return max(int(trained * float(rope.get("factor", 1.0))), trained)
