"""Ask a language model as the code of a published system asks it.

The systems differ from an ordinary checkpoint in their prompts (one for open questions, another
for choices, tokenized in pieces around the video), in rotary positions stretched beyond the
trained context, and in decoding. What a system shows of a selection is its own file.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from longvid.errors import ConfigError, ModelError, QuestionError, require_at_least, require_one_of
from longvid.lazy_import import torch
from longvid.llm import prompt as prompts
from longvid.llm.generation import OnStep
from longvid.llm.huggingface import HuggingFaceLanguageModel, Worker
from longvid.llm.prefill import ReadPrompt
from longvid.llm.prompt_builder import AskedPrompt
from longvid.models.families.protocol import Decoder, FramePiece
from longvid.models.tokenizer import Span, split_spans
from longvid.protocols import Generation
from longvid.types import EncoderMemory, LanguageModelMemory, Question, Segment, Selection, Tokens

_ROPES = ("", "linear", "dynamic")


@dataclass(frozen=True, slots=True)
class PublishedLanguageModel(HuggingFaceLanguageModel):
    """The settings that the published systems share, beyond those of any language model.

    Args:
        choice_template: Prompt of a closed question, with the fields {video}, {question} and
            {choices}, and {letters} as in "A, B, or C"; its last word is completed by a letter. ""
            takes `template`.
        choice_line: How an option is listed, with the fields {letter} and {choice}.
        rope: How rotary positions are stretched: "" as the checkpoint says, "linear" or "dynamic".
        rope_factor: By how much; the context grows with it.
        temperature: Of sampling; 0 decodes greedily.
        top_p: Share of probability that is sampled from.
        seed: Of sampling.
    """

    choice_template: str = ""
    choice_line: str = "({letter}) {choice}\n"
    rope: str = ""
    rope_factor: float = 1.0
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        HuggingFaceLanguageModel.__post_init__(self)
        require_one_of("llm.rope", self.rope, _ROPES)
        require_at_least("llm.rope_factor", self.rope_factor, 1)
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ConfigError(
                "llm needs temperature >= 0 and top_p in (0, 1], got "
                f"{self.temperature} and {self.top_p}."
            )

    def memory(self, encoder: EncoderMemory, device: str) -> LanguageModelMemory:
        from longvid.llm.model_memory import language_model_memory

        return language_model_memory(self, self.folder(), encoder, device, self.stretch())

    def with_prompts(self, template: str, choice_template: str = "") -> Self:
        """Return the part with a system's prompts where it names none, and no mark at a frame."""
        return dataclasses.replace(
            self,
            template=template if self.template == "auto" else self.template,
            frame_prefix="" if self.frame_prefix == "auto" else self.frame_prefix,
            choice_template=self.choice_template or choice_template,
        )

    def stretch(self) -> float:
        """Return by how much the context grows."""
        return self.rope_factor if self.rope else 1.0


def stretch_rope(decoder: Decoder, kind: str, factor: float) -> None:
    """Stretch the rotary positions of a loaded language model, and its context with them.

    "linear" divides every position by the factor. "dynamic" changes nothing until a sequence
    exceeds the trained length, and then raises the base.

    Args:
        decoder: Changed in place.
        kind: "linear" or "dynamic".
        factor: At least 1.

    Raises:
        ModelError: The model has no rotary positions of one axis.

    Source: SlowFast-LLaVA, `builder.py` (rope_scaling); LLaMA-VID, `train.py` (linear).
    """
    places = [
        (parent, name)
        for parent in decoder.module.modules()
        for name, child in parent.named_children()
        if name == "rotary_emb" and hasattr(child, "rope_type")
    ]
    if not places:
        raise ModelError(
            "This language model has no rotary positions that can be stretched; leave llm.rope "
            "empty."
        )
    for parent, name in places:
        old = getattr(parent, name)
        config: Any = copy.deepcopy(old.config)
        config.rope_parameters = {**config.rope_parameters, "rope_type": kind, "factor": factor}
        setattr(parent, name, type(old)(config=config).to(old.inv_freq.device))
    decoder.context = int(decoder.context * factor)


class PublishedWorker(Worker):
    """Answers with the prompts of a published system."""

    _part: PublishedLanguageModel

    #: Whether what is said may stand between the frames.
    interleaves = False

    def __init__(self, part: PublishedLanguageModel, folder: Path, decoder: Decoder) -> None:
        if part.rope:
            stretch_rope(decoder, part.rope, part.rope_factor)
        super().__init__(part, folder, decoder)
        # A published prompt says itself what stands between and after the frames.
        self._newline = False

    def _ask(self, question: Question, selection: Selection) -> AskedPrompt:
        self._check_stored(selection)
        if selection.spoken and not self.interleaves:
            raise QuestionError(
                "This system shows a video in one piece, so subtitles cannot stand between its "
                "frames; set ask.subtitles to 'listed' or 'none'."
            )
        return Worker._ask(self, question, self._arrange(question, selection))

    def _check_stored(self, selection: Selection) -> None:
        """Refuse tokens that this system did not store."""
        self._check_space(selection)

    def _check_width(self, selection: Selection, width: int, system: str, preset: str) -> None:
        """Refuse tokens of another space or width than those that a system stores."""
        for segment in selection.segments:
            if segment.space != self.space or segment.tokens.data.shape[1] != width:
                raise ModelError(
                    f"The selected tokens are of {segment.space}, {segment.tokens.data.shape[1]} "
                    f"wide, but this {system} reads {self.space}, {width} wide; index the videos "
                    f"again with --config {preset} and encoder.model = {self._part.model!r}."
                )

    def _arrange(self, question: Question, selection: Selection) -> Selection:
        """Return what the language model is shown; here the selection itself."""
        return selection

    def _read(self, asked: AskedPrompt) -> ReadPrompt:
        # Dynamic rotary positions remember the longest prompt so far; an answer must not.
        for part in self._decoder.module.modules():
            if getattr(part, "rope_type", "") == "dynamic":
                part.max_seq_len_cached = part.original_max_seq_len
                part.inv_freq = part.original_inv_freq.to(part.inv_freq.device, copy=True)
        return Worker._read(self, asked)

    def _generate(
        self, asked: Sequence[AskedPrompt], on_step: OnStep | None = None
    ) -> list[Generation]:
        # Each row draws from its own, so an answer does not depend on its neighbours.
        seed = self._part.seed
        self._generators = [torch.Generator().manual_seed(seed) for _ in asked]
        generations = Worker._generate(self, asked, on_step)
        return [_counted(one, of) for one, of in zip(generations, asked, strict=True)]

    def _choose(self, asked: AskedPrompt) -> Generation:
        return _counted(Worker._choose(self, asked), asked)

    def _next_ids(self, logits: torch.Tensor) -> torch.Tensor:
        if self._part.temperature == 0:
            return Worker._next_ids(self, logits)
        from transformers import TopPLogitsWarper

        scaled = logits.float().cpu() / self._part.temperature
        if self._part.top_p < 1:
            scaled = TopPLogitsWarper(self._part.top_p)(None, scaled)
        drawn = [
            torch.multinomial(row, 1, generator=generator)
            for row, generator in zip(scaled.softmax(-1), self._generators, strict=True)
        ]
        return torch.cat(drawn).to(logits.device)

    def _prompt_ids(self, spans: Sequence[Span]) -> tuple[int, ...]:
        """Tokenize what is around the video apart, as the systems do, and join it by its id.

        A tokenizer may read the text after the video otherwise where it stands at the start of a
        piece.
        """
        first, *others = split_spans(spans, self._placeholder)
        ids = list(Worker._prompt_ids(self, first))
        for other in others:
            ids.extend((self._placeholder_id, *self._text_tokenizer.ids(other)))
        return tuple(ids)

    def _option_ids(self, question: Question) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """Return the ids that all options have in front, and what each adds: its letter."""
        template = self._part.choice_template
        if not template:
            return Worker._option_ids(self, question)
        answers = prompts.letters(len(question.choices))
        listing = "".join(
            self._part.choice_line.replace("{letter}", letter).replace("{choice}", choice)
            for letter, choice in zip(answers, question.choices, strict=True)
        )
        template = template.replace("{letters}", f"{', '.join(answers[:-1])}, or {answers[-1]}")
        text = prompts.render(template, self._placeholder, question.text, listing)
        seam = "" if text[-1].text[-1:] in "( \n" else " "
        whole = [self._prompt_ids((*text, Span(seam + answer))) for answer in answers]
        shared = 0
        while all(len(ids) > shared and ids[shared] == whole[0][shared] for ids in whole):
            shared += 1
        options = [ids[shared:] for ids in whole]
        if not all(options):
            raise QuestionError(
                f"The letters of {len(answers)} choices look the same to this model."
            )
        return whole[0][:shared], options


def one_frame(segment: Segment, frame: int, tokens: Tokens | None = None) -> Segment:
    """Return one frame of a segment as a segment of its own.

    Args:
        segment: Any.
        frame: Index of the frame.
        tokens: Shown instead of the frame's own; their `frame` is all 0.
    """
    if tokens is None:
        own = segment.tokens.keep(segment.tokens.frame == frame)
        tokens = dataclasses.replace(own, frame=torch.zeros_like(own.frame))
    return dataclasses.replace(
        segment,
        pts_seconds=segment.pts_seconds[frame : frame + 1],
        slow=segment.slow[frame : frame + 1],
        frame_embeddings=segment.frame_embeddings[frame : frame + 1],
        tokens=tokens,
    )


def whole_frames(segment: Segment, system: str) -> torch.Tensor:
    """Return a segment's tokens by frame, (T, n, C); (0, 1, C) where there are none.

    Args:
        segment: As an encoder left it.
        system: That reads whole frames.

    Raises:
        ModelError: Something was left out of a frame.
    """
    counts = segment.tokens.counts(segment.num_frames)
    if bool((counts == 0).all()):
        return segment.tokens.data[:0, None]
    if not bool((counts == counts[0]).all()):
        raise ModelError(
            f"{system} asks its question of whole frames, but the frames of segment "
            f"{segment.segment_index} hold {int(counts.min())} to {int(counts.max())} tokens; use "
            "it without compressors, and only selectors that take whole frames."
        )
    return segment.tokens.data.view(segment.num_frames, -1, segment.tokens.data.shape[1])


def tokens_of_frames(data: torch.Tensor) -> Tokens:
    """Lay out tokens (T, n, D) that stand for whole frames."""
    num_frames, count, width = data.shape
    return Tokens(
        data=data.reshape(-1, width),
        frame=torch.arange(num_frames, dtype=torch.int32).repeat_interleave(count),
        position=torch.full((num_frames * count, 2), 0.5),
        size=torch.ones(num_frames * count),
    )


def _counted(generation: Generation, asked: AskedPrompt) -> Generation:
    """Say how many visual tokens were shown; others were selected."""
    shown = sum(len(piece.tokens) for piece in asked.pieces if isinstance(piece, FramePiece))
    return dataclasses.replace(generation, visual_tokens=shown)
