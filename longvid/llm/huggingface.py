"""Answer with the language model of a Hugging Face video language model.

The selected tokens are spliced into the prompt where the model expects a video. No vision tower is
loaded, and no file of a video is opened.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from longvid.errors import ConfigError, ModelError, QuestionError
from longvid.llm import prompt as prompts
from longvid.models import checkpoints
from longvid.models.families import family_of, space_of
from longvid.models.families.protocol import Decoder, FramePiece, Piece, TextPiece
from longvid.models.loading import resolve_dtype
from longvid.models.quiet import quiet
from longvid.parts import Generation
from longvid.types import Question, Selection

__all__ = ["HuggingFaceLanguageModel"]

_FROM_CHECKPOINT = "auto"


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
    """

    model: str = checkpoints.MINI
    dtype: str = "auto"
    max_new_tokens: int = 0
    template: str = _FROM_CHECKPOINT
    frame_prefix: str = _FROM_CHECKPOINT
    choice_answer: str = "text"
    choice_score: str = "mean"

    def __post_init__(self) -> None:
        if self.choice_answer not in ("text", "letter"):
            raise ConfigError(f"llm.choice_answer is {self.choice_answer!r}; use text or letter.")
        if self.choice_score not in ("mean", "sum"):
            raise ConfigError(f"llm.choice_score is {self.choice_score!r}; use mean or sum.")
        if self.max_new_tokens < 0:
            raise ConfigError(
                f"llm.max_new_tokens must not be negative, got {self.max_new_tokens}."
            )

    def setup(self, device: str = "cpu") -> Worker:
        """Load the language model and its tokenizer."""
        folder = checkpoints.part_of(checkpoints.locate(self.model), checkpoints.VLM)
        dtype = resolve_dtype(self.dtype, device)
        return Worker(self, folder, family_of(folder).load_decoder(folder, dtype, device))


class Worker:
    """Answers questions about selections."""

    def __init__(self, part: HuggingFaceLanguageModel, folder: Path, decoder: Decoder) -> None:
        family = family_of(folder)
        self.space = space_of(folder)
        self.note = checkpoints.note(folder)
        self._part = part
        self._decoder = decoder
        self._tokenizer = _load_tokenizer(folder)
        self._placeholder = family.placeholder
        self._placeholder_id = family.placeholder_id(folder)
        own = prompts.prompt_of(folder, family, self._tokenizer)
        self._template = own.template if part.template == _FROM_CHECKPOINT else part.template
        self._frame_prefix = (
            own.frame_prefix if part.frame_prefix == _FROM_CHECKPOINT else part.frame_prefix
        )
        self._newline = own.newline
        self._max_new_tokens = part.max_new_tokens or own.max_new_tokens

    def embed_words(self, text: str) -> torch.Tensor:
        """Return the input embeddings of a text, (L, D) float32, without special tokens."""
        return self._decoder.embed(self._ids(text)).float().cpu()

    def answer(self, question: Question, selection: Selection) -> Generation:
        """Answer an open question greedily, or score the choices of a closed one.

        Args:
            question: Its choices decide which of the two.
            selection: What is shown, in the order of its segments.

        Raises:
            QuestionError: The model does not know a word, or the prompt exceeds its context.
            ModelError: The selection's tokens are of another space, or memory is short.
        """
        self._check_space(selection)
        self._check_words(question)
        try:
            if question.choices:
                return self._choose(question, selection)
            return self._generate(question, selection)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"A prompt with {selection.num_tokens} visual tokens does not fit into the memory "
                "of the device; lower ask.budget or llm.dtype."
            ) from error

    def _generate(self, question: Question, selection: Selection) -> Generation:
        text = prompts.render(self._template, self._placeholder, question.text, "")
        ids = self._prompt_ids(text)
        pieces = self._layout(ids, selection)
        self._check_context(pieces, self._max_new_tokens)
        spliced = self._decoder.splice(pieces, newline=self._newline)
        output, seconds = self._decoder.generate(spliced, self._max_new_tokens)
        return Generation(
            text=self._tokenizer.decode(output, skip_special_tokens=True).strip(),
            prompt_tokens=len(spliced),
            output_tokens=len(output),
            seconds=seconds,
        )

    def _choose(self, question: Question, selection: Selection) -> Generation:
        """Score every option after one prefill of what all prompts have in common."""
        from transformers import DynamicCache

        prompt_ids, options = self._option_ids(question)
        pieces = self._layout(prompt_ids, selection)
        longest = max(len(option) for option in options)
        self._check_context(pieces, longest)

        start = time.perf_counter()
        spliced = self._decoder.splice(pieces, newline=self._newline)
        cache = DynamicCache(config=self._decoder.module.config.get_text_config(decoder=True))
        after_prompt = self._decoder.logits(spliced, cache, keep=1)[0]  # (1, V)
        float(after_prompt[0, 0])  # a GPU runs ahead; wait until the prompt is read
        prefilled = time.perf_counter()
        totals = [
            self._log_likelihood(option, after_prompt, cache, len(spliced)) for option in options
        ]
        end = time.perf_counter()

        mean = self._part.choice_score == "mean"
        scores = tuple(
            total / len(option) if mean else total
            for total, option in zip(totals, options, strict=True)
        )
        best = max(range(len(scores)), key=lambda index: (scores[index], -index))
        return Generation(
            text=question.choices[best],
            prompt_tokens=len(spliced),
            output_tokens=sum(len(option) for option in options),
            seconds={"prefill": prefilled - start, "decode": end - prefilled},
            choice=best,
            choice_scores=scores,
        )

    def _option_ids(self, question: Question) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """Return the ids that all options have in front, and what each adds.

        Prompt and option are tokenized together, as in training, because a tokenizer may join
        across the seam; the shared part is therefore found afterwards.
        """
        lettered = self._part.choice_answer == "letter"
        listing = prompts.list_choices(question.choices, lettered=lettered)
        text = prompts.render(self._template, self._placeholder, question.text, listing)
        answers = prompts.letters(len(question.choices)) if lettered else question.choices
        seam = "" if text[-1:].isspace() else " "
        whole = [self._prompt_ids(text + seam + answer.strip()) for answer in answers]
        prompt = self._prompt_ids(text)
        shared = min(_common_prefix(prompt, ids) for ids in whole)
        if not lettered:
            end = self._end_of_answer()
            whole = [(*ids, *end) for ids in whole]
        options = [ids[shared:] for ids in whole]
        if not all(options):
            raise QuestionError(
                f"The choices {question.choices!r} hold one that this model reads as no text."
            )
        return prompt[:shared], options

    def _log_likelihood(
        self, option: Sequence[int], after_prompt: torch.Tensor, cache: Any, num_prompt: int
    ) -> float:
        """Return the log-likelihood of an option's tokens after the prompt in `cache`.

        The cache is given back as it came.
        """
        logits = after_prompt
        if len(option) > 1:
            read = self._decoder.splice([TextPiece(tuple(option[:-1]))], newline=False)
            following = self._decoder.logits(read, cache, keep=0, start=num_prompt)[0]
            logits = torch.cat([logits, following])
            cache.crop(-(len(option) - 1))
        targets = torch.tensor(option, device=logits.device)[:, None]
        return float(logits.log_softmax(-1).gather(1, targets).double().sum())

    def _end_of_answer(self) -> tuple[int, ...]:
        ends = self._decoder.module.generation_config.eos_token_id
        first = ends[0] if isinstance(ends, list) else ends
        return () if first is None else (int(first),)

    def _layout(self, ids: Sequence[int], selection: Selection) -> list[Piece]:
        """Put the frames of a selection, in order, where the prompt has its placeholder."""
        head, tail = prompts.split_at_video(ids, self._placeholder_id, self._template)
        pieces: list[Piece] = [TextPiece(head)]
        for segment in selection.segments:
            counts = segment.tokens.counts(segment.num_frames).tolist()
            data = torch.split(segment.tokens.data, counts)
            position = torch.split(segment.tokens.position, counts)
            for frame, pts_seconds in enumerate(segment.pts_seconds.tolist()):
                if not counts[frame]:
                    continue
                if self._frame_prefix:
                    prefix = self._frame_prefix.replace("{seconds}", f"{pts_seconds:.1f}")
                    pieces.append(TextPiece(self._ids(prefix)))
                pieces.append(FramePiece(data[frame], position[frame], pts_seconds))
        pieces.append(TextPiece(tail))
        return pieces

    def _prompt_ids(self, text: str) -> tuple[int, ...]:
        """Tokenize a prompt; one that begins with the model's own start token gets no other."""
        start = self._tokenizer.bos_token
        has_start = start is not None and text.startswith(start)
        ids = self._tokenizer(text, add_special_tokens=not has_start)["input_ids"]
        end = self._tokenizer.eos_token_id
        # Some tokenizers close every text; a prompt goes on.
        return tuple(ids[:-1] if ids and end is not None and ids[-1] == end else ids)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _check_space(self, selection: Selection) -> None:
        for segment in selection.segments:
            if segment.space != self.space:
                raise ModelError(
                    f"The selected tokens are of {segment.space}, but the language model reads "
                    f"{self.space}; index the videos again with encoder.model = "
                    f"{self._part.model!r}, or ask with the model the store was made for."
                )
            width = segment.tokens.data.shape[1]
            if width != self._decoder.token_width:
                raise ModelError(
                    f"The selected tokens are {width} wide, but the language model reads "
                    f"{self._decoder.token_width}; index the videos again."
                )

    def _check_words(self, question: Question) -> None:
        unknown = prompts.unknown_words(
            self._tokenizer, " ".join((question.text, *question.choices))
        )
        if not unknown:
            return
        words = ", ".join(repr(word) for word in unknown)
        num_words = len(self._tokenizer) - len(self._tokenizer.all_special_tokens)
        raise QuestionError(
            f"The model {self._part.model!r} does not know {words}: it reads {num_words} words, "
            f"such as {self._examples()}. For real footage use --config with a pretrained model, "
            "such as longvid."
        )

    def _examples(self) -> str:
        """Name words of a closed vocabulary that a person can ask about."""
        from longvid.models import mini

        vocabulary = self._tokenizer.get_vocab()
        words = [word for word in (*mini.SHAPES, *mini.COLORS) if word in vocabulary]
        return ", ".join(words or sorted(word for word in vocabulary if word.isalpha())[:12])

    def _check_context(self, pieces: Sequence[Piece], num_new: int) -> None:
        num_text = sum(len(p.ids) for p in pieces if isinstance(p, TextPiece)) + self._newline
        num_visual = sum(len(p.tokens) for p in pieces if isinstance(p, FramePiece))
        context = self._decoder.context
        if num_text + num_visual + num_new > context:
            room = max(0, context - num_text - num_new)
            raise QuestionError(
                f"The prompt is too long: {num_visual} visual and {num_text} text tokens with "
                f"{num_new} to be generated exceed the model's context of {context}; set "
                f"ask.budget to at most {room}."
            )


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"The tokenizer of {folder} could not be loaded: {str(error).strip().splitlines()[0]}"
        ) from error


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length
