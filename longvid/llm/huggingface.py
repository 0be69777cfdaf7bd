"""Answer with the language model of a Hugging Face video language model.

The selected tokens are spliced into the prompt where the model expects a video. No vision tower is
loaded, and no file of a video is opened.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from longvid.errors import ConfigError, LongvidError, ModelError, require_at_least, require_one_of
from longvid.lazy_import import torch
from longvid.llm.generation import (
    OnStep,
    Rows,
    continue_rows,
    most_likely,
    score_one_by_one,
    score_together,
)
from longvid.llm.prefill import PromptReader, ReadPrompt, divisible_below
from longvid.llm.prompt_builder import FROM_CHECKPOINT, AskedPrompt, PromptBuilder
from longvid.models import checkpoint_files
from longvid.models.checkpoint_ref import hub_checkpoint
from longvid.models.families import family_of, spaces_of
from longvid.models.families.protocol import Decoder, Family, FramePiece
from longvid.models.free_memory import is_out_of_memory
from longvid.models.from_pretrained import Placement, placed, resolve_dtype
from longvid.protocols import AnswerListener, Generation
from longvid.types import CheckpointRef, EncoderMemory, LanguageModelMemory, Question, Selection

if TYPE_CHECKING:
    from longvid.models.experts import ExpertShares


@dataclass(frozen=True, slots=True)
class HuggingFaceLanguageModel:
    """Which checkpoint answers, and how it is asked.

    Args:
        model: Checkpoint of the video language model: "mini", a folder or a hub name.
        dtype: "auto", "float32", "bfloat16" or "float16"; see `models.loading.resolve_dtype`.
        max_new_tokens: Longest open answer; 0 takes the checkpoint's own.
        template: Prompt with the fields {video}, {question} and {choices}; "auto" takes the
            checkpoint's own.
        frame_prefix: Text before the tokens of each frame, such as "frame at {seconds}s: ";
            "auto" takes the checkpoint's own, which is mostly none.
        choice_answer: How a closed question is scored: "text" by the text of each option followed
            by the end of the answer, "letter" by the letter in front of it.
        choice_score: "mean" or "sum" of the log-likelihoods of an option's tokens.
        prefill_tokens: Most tokens of a prompt read in one pass; what is read at once decides how
            much memory a prompt needs beside its keys and values.
        prefix_cache: Keep what was read last, so that another question over the same selection
            reads only its own words. It holds memory between questions; the answers are the same.
        attention: "auto" takes flash_attention_2 where its package is installed and the model is
            in half precision on a GPU, else sdpa; or the name of one of transformers' own.
        device_map: "" puts the model on one device; "auto" spreads it over all GPUs and the
            processor's memory, as Accelerate does.
        bits: 8 or 4 keeps the weights in so many bits (bitsandbytes); 0 as `dtype` says.
        experts: How a mixture of experts multiplies: "auto" leaves it to transformers, "eager" one
            expert after the other, "batched_mm" or "grouped_mm" all at once.
    """

    reads_pictures: ClassVar[bool] = False

    model: str = checkpoint_files.MINI
    dtype: str = "auto"
    max_new_tokens: int = 0
    template: str = FROM_CHECKPOINT
    frame_prefix: str = FROM_CHECKPOINT
    choice_answer: str = "text"
    choice_score: str = "mean"
    prefill_tokens: int = 4096
    prefix_cache: bool = True
    attention: str = "auto"
    device_map: str = ""
    bits: int = 0
    experts: str = "auto"

    def __post_init__(self) -> None:
        require_one_of("llm.choice_answer", self.choice_answer, ("text", "letter"))
        require_one_of("llm.choice_score", self.choice_score, ("mean", "sum"))
        if self.max_new_tokens < 0:
            raise ConfigError(
                f"llm.max_new_tokens must not be negative, got {self.max_new_tokens}."
            )
        require_at_least("llm.prefill_tokens", self.prefill_tokens, 1)
        # What it names is checked where it is used.
        Placement(self.attention, self.device_map, self.bits, self.experts)

    def spaces(self) -> tuple[str, ...]:
        return spaces_of(self.folder())

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return (hub_checkpoint("llm", "llm.model", self.model),)

    def memory(self, encoder: EncoderMemory, device: str) -> LanguageModelMemory:
        from longvid.llm.model_memory import language_model_memory

        return language_model_memory(self, self.folder(), encoder, device)

    def folder(self) -> Path:
        return checkpoint_files.part_of(checkpoint_files.locate(self.model), checkpoint_files.VLM)

    def family(self) -> Family:
        return family_of(self.folder())

    def setup(self, device: str = "cpu") -> Worker:
        return Worker(self, *self.load(device))

    def load(self, device: str) -> tuple[Path, Decoder]:
        """Load the language model; return its folder too.

        Raises:
            ModelError, ConfigError: As `setup`.
        """
        folder = self.folder()
        dtype = resolve_dtype(self.dtype, device)
        with placed(Placement(self.attention, self.device_map, self.bits, self.experts)):
            return folder, self.family().load_decoder(folder, dtype, device)


class Worker(PromptBuilder):
    """Answers questions about selections."""

    def __init__(self, part: HuggingFaceLanguageModel, folder: Path, decoder: Decoder) -> None:
        from longvid.models.onednn_linear import pack_linears

        pack_linears(decoder.module)
        super().__init__(part, folder, decoder)
        self._reader = PromptReader(decoder, part.prefill_tokens, keep=part.prefix_cache)
        self._divisible_below = divisible_below(decoder)
        attention = decoder.module.config.get_text_config(decoder=True)._attn_implementation
        # Only these kernels can be told which option sees which.
        self._masks = attention in ("sdpa", "eager")
        self._lock = threading.RLock()  # there is one cache

    def router_shares(self, question: Question, selection: Selection) -> list[ExpertShares]:
        """Return which experts read the visual and the text tokens of a prompt, by layer.

        Raises:
            ModelError: The model is no mixture of experts.
        """
        from longvid.models.experts import router_shares

        with self._lock:
            pieces = self._ask(question, selection).pieces
            spliced = self._decoder.splice(pieces, newline=False)
            mask = [
                torch.full((num_tokens,), isinstance(piece, FramePiece))
                for piece in pieces
                for num_tokens in [
                    len(piece.tokens) if isinstance(piece, FramePiece) else len(piece.ids)
                ]
            ]
            visual = torch.cat(mask)
            return router_shares(
                self._decoder.module, lambda: self._decoder.logits(spliced, keep=1), visual
            )

    def answer(self, question: Question, selection: Selection) -> Generation:
        with self._lock:
            return self._answer_alone(self._ask(question, selection))

    def answer_many(
        self, asked: Sequence[tuple[Question, Selection]], listener: AnswerListener | None = None
    ) -> list[Generation | LongvidError]:
        """Answer several questions, the open ones side by side; an error stands for its question.

        Args:
            asked: Questions with what each is shown. Neighbours over the same selection share
                what is read of it.
            listener: Hears the text of open answers as it grows, and may stop each.

        Returns:
            One entry a question, in order. A side-by-side answer differs from `answer` by no more
            than the rounding of a padded batch; its seconds of "decode" are those of the batch.
        """
        # A published system that answers in a way of its own answers one by one.
        own_way = type(self).answer is not Worker.answer
        with self._lock:
            found: dict[int, Generation | LongvidError] = {}
            together: list[tuple[int, AskedPrompt]] = []
            for index, (question, selection) in enumerate(asked):
                try:
                    if own_way or question.choices:
                        found[index] = self.answer(question, selection)
                    else:
                        one = self._ask(question, selection)
                        if one.num_prompt + one.num_new > self._divisible_below:
                            on_step = self._steps(listener, [(index, one)])
                            found[index] = self._answer_alone(one, on_step)
                        else:
                            together.append((index, one))
                except LongvidError as error:
                    found[index] = error
            found.update(self._answer_together(together, listener))
            return [found[index] for index in range(len(asked))]

    def _answer_together(
        self, asked: Sequence[tuple[int, AskedPrompt]], listener: AnswerListener | None
    ) -> dict[int, Generation | LongvidError]:
        found: dict[int, Generation | LongvidError] = {}
        try:
            if len(asked) > 1:
                on_step = self._steps(listener, asked)
                generations = self._generate([one for _, one in asked], on_step)
                return {index: one for (index, _), one in zip(asked, generations, strict=True)}
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._reader.forget()  # one by one they need less
        for index, one in asked:
            try:
                found[index] = self._answer_alone(one, self._steps(listener, [(index, one)]))
            except LongvidError as error:
                found[index] = error
        return found

    def _answer_alone(self, asked: AskedPrompt, on_step: OnStep | None = None) -> Generation:
        try:
            return self._choose(asked) if asked.options else self._generate([asked], on_step)[0]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._reader.forget()
            raise ModelError(
                f"A prompt of {asked.num_prompt} tokens does not fit into the memory of the device "
                "beside the weights; lower ask.budget, llm.prefill_tokens or llm.dtype."
            ) from error

    def _read(self, asked: AskedPrompt) -> ReadPrompt:
        # Options stand one after the other while they are scored.
        num_new = sum(map(len, asked.options)) or asked.num_new
        return self._reader.read(asked.pieces, newline=self._newline, num_new=num_new)

    def _steps(
        self, listener: AnswerListener | None, asked: Sequence[tuple[int, AskedPrompt]]
    ) -> OnStep | None:
        """Return what tells a listener of each step of some rows, None without a listener."""
        if listener is None:
            return None

        def on_step(rows: Sequence[Sequence[int]]) -> list[int]:
            for (index, one), row in zip(asked, rows, strict=True):
                listener.text(index, self._text(row) if one.is_told else "")
            return [row for row, (index, _) in enumerate(asked) if listener.stopped(index)]

        return on_step

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()

    def _generate(
        self, asked: Sequence[AskedPrompt], on_step: OnStep | None = None
    ) -> list[Generation]:
        """Continue prompts side by side, each read by itself."""
        rows = Rows(len(asked), max(one.num_prompt for one in asked), self._max_new_tokens)
        for one in asked:
            rows.add(self._read(one))
        started = time.perf_counter()
        outputs = continue_rows(self._decoder, rows, self._max_new_tokens, self._next_ids, on_step)
        seconds = time.perf_counter() - started
        return [
            Generation(
                text=self._text(output),
                prompt_tokens=prompt.num_tokens,
                output_tokens=len(output),
                seconds={"prefill": prompt.seconds, "decode": seconds},
                note=one.note,
            )
            for one, prompt, output in zip(asked, rows.prompts, outputs, strict=True)
        ]

    def _next_ids(self, logits: torch.Tensor) -> torch.Tensor:
        """Choose the next token of every row, (B, V) to (B,)."""
        return most_likely(logits)

    def _choose(self, asked: AskedPrompt) -> Generation:
        """Score every option after one prefill of what all prompts have in common."""
        prompt = self._read(asked)
        started = time.perf_counter()
        divided = asked.num_prompt + sum(map(len, asked.options)) <= self._divisible_below
        score = score_together if self._masks and divided else score_one_by_one
        totals = score(self._decoder, prompt, asked.options)
        mean = self._part.choice_score == "mean"
        scores = tuple(
            total / len(option) if mean else total
            for total, option in zip(totals, asked.options, strict=True)
        )
        best = max(range(len(scores)), key=lambda index: (scores[index], -index))
        return Generation(
            text=asked.question.choices[best],
            prompt_tokens=prompt.num_tokens,
            output_tokens=sum(map(len, asked.options)),
            seconds={"prefill": prompt.seconds, "decode": time.perf_counter() - started},
            choice=best,
            choice_scores=scores,
            note=asked.note,
        )
