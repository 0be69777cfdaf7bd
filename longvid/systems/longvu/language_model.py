"""LongVU: the question decides which frames of a video keep their detail.

The store holds every frame's fused grid in two resolutions. Here the tokens of the text say how
much room there is; frames that resemble their window go if they must, the frames that match the
question are shown in full, and what is still too much is thinned out by spatial token compression.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from longvid.errors import ConfigError, ModelError, QuestionError
from longvid.lazy_import import no_grad, torch
from longvid.llm import prompt as prompts
from longvid.methods.stc import fit_to_budget
from longvid.methods.temporal_reduction import select_marked, text_length
from longvid.models.families.protocol import Decoder
from longvid.models.from_pretrained import resolve_dtype
from longvid.systems.language_model import PublishedLanguageModel, PublishedWorker, one_frame
from longvid.systems.longvu.checkpoint import load_projector, read_settings
from longvid.systems.longvu.padded_grid import resolution, with_newlines
from longvid.types import EncoderMemory, LanguageModelMemory, Question, Segment, Selection, Tokens

if TYPE_CHECKING:
    from torch import Tensor

_SYSTEM = "You are a helpful assistant."
_USER = "{video}\n{question}{choices}"
_CHOOSE = (
    "{video}\n{question}\nOptions:\n{choices}Respond with only the letter ({letters}) of the "
    "correct option."
)
_CHATML = (
    f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n%s<|im_end|>\n"
    "<|im_start|>assistant\n"
)
# The template of Llama 3.2 writes a date; this is the one it writes where it knows no clock.
_DATE = "26 Jul 2024"


@dataclass(frozen=True, slots=True)
class LongVULanguageModel(PublishedLanguageModel):
    """LongVU as its authors ask it; the defaults are the released settings.

    Args:
        drop_threshold: Of spatial token compression; 0 takes the checkpoint's. Published: 0.65
            for VideoMME, 0.77 for MLVU, 0.8 for MVBench and EgoSchema.
        choice_words: What a user says in a closed question, with the fields of `choice_template`,
            around which the checkpoint's own conversation is laid; "" asks as for VideoMME, but
            without its "Question: ". The authors used four forms, which the benchmark's
            `--protocol longvu` sets.
        question_words: What a user says in an open question, with {video} and {question}; "" puts
            the question on the line after the video.
        max_frames: Frames kept at most when a video is too long, evenly; 0 for no limit.

    Source: LongVU sections 3.2 to 3.4; `cambrian_arch.py`, `conversation.py`, `eval/`.
    """

    model: str = "Vision-CAIR/LongVU_Qwen2_7B"
    max_new_tokens: int = 128
    choice_line: str = "{letter}. {choice}\n"
    drop_threshold: float = 0.0
    max_frames: int = 400
    choice_words: str = ""
    question_words: str = ""

    def __post_init__(self) -> None:
        PublishedLanguageModel.__post_init__(self)
        if not 0 <= self.drop_threshold <= 1 or self.max_frames < 0:
            raise ConfigError(
                "llm needs drop_threshold in [0, 1] and max_frames >= 0, got "
                f"{self.drop_threshold} and {self.max_frames}."
            )

    def memory(self, encoder: EncoderMemory, device: str) -> LanguageModelMemory:
        from longvid.systems.longvu.memory import language_model_memory

        return language_model_memory(self, encoder, device, self.stretch())

    def setup(self, device: str = "cpu") -> Worker:
        return Worker(self, *self.load(device), device)


class Worker(PublishedWorker):
    """Shows a video in the resolution that the question and the context allow."""

    _part: LongVULanguageModel

    def __init__(
        self, part: LongVULanguageModel, folder: Path, decoder: Decoder, device: str
    ) -> None:
        changes = {"drop_threshold": part.drop_threshold} if part.drop_threshold else {}
        self.settings = read_settings(folder, max_frames=part.max_frames, **changes)
        super().__init__(part, folder, decoder)
        wrap = self._conversation()
        own = part.with_prompts(
            wrap.replace("%s", self._words(part.question_words or _USER)),
            wrap.replace("%s", self._words(part.choice_words or _CHOOSE)),
        )
        self._part = own
        self._template, self._frame_prefix = own.template, own.frame_prefix
        self._device = device
        self._dtype = resolve_dtype(part.dtype, device)
        self._project, self._newline_token = load_projector(folder, self._dtype, device)

    def _words(self, words: str) -> str:
        # Llama's chat template trims what a user says; ChatML keeps a line's end before its tag.
        trims = self.space.startswith("cambrian_llama") and self._tokenizer.chat_template
        return words.strip() if trims else words

    def _conversation(self) -> str:
        """Return the text around what a user says, which is %s."""
        if self.space.startswith("cambrian_llama") and self._tokenizer.chat_template:
            text: str = self._tokenizer.apply_chat_template(
                [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": "%s"}],
                tokenize=False,
                add_generation_prompt=True,
                date_string=_DATE,
            )
            return text
        if self.space.startswith("cambrian_llama"):
            return self._prompt.template.replace(_USER, "%s")
        return _CHATML

    def _check_stored(self, selection: Selection) -> None:
        width = int(self._project[0].in_features)  # type: ignore[index]  # a Sequential
        self._check_width(selection, width, "LongVU", "longvu")

    @no_grad
    def _arrange(self, question: Question, selection: Selection) -> Selection:
        segments = [segment for segment in selection.segments if len(segment.tokens)]
        if not segments:
            return selection
        if len({segment.video_id for segment in segments}) > 1:
            raise QuestionError(
                "LongVU reads one video at a time, but the question is about several; name one "
                "with --video."
            )
        ids = self._asked_ids(question)
        place = ids.index(self._placeholder_id)
        after = self._decoder.embed(ids[place + 1 :]).to(self._dtype)
        shown = self._video_tokens(segments, ids, after).float().cpu()
        tokens = Tokens(
            data=shown,
            frame=torch.zeros(len(shown), dtype=torch.int32),
            position=torch.full((len(shown), 2), 0.5),
            size=torch.ones(len(shown)),
        )
        whole = one_frame(segments[0], 0, tokens)
        return Selection((whole,), selection.evidence, max(1, len(shown)))

    def _video_tokens(self, segments: list[Segment], ids: tuple[int, ...], after: Tensor) -> Tensor:
        """Return what is shown of a video to this prompt, (n, D).

        Args:
            segments: All of a video, in time order.
            ids: The prompt.
            after: (L, D), its embedded text behind the video.
        """
        settings = self.settings
        text_tokens = text_length(torch.tensor(ids), settings.pad_token_id)
        marked = torch.cat([segment.slow for segment in segments])
        kept = select_marked(marked, text_tokens, settings)
        shown_at = resolution(len(kept), text_tokens, settings)
        high, low = split_grids(segments)
        coarse = settings.low_when_over if shown_at == "over" else settings.highres
        if shown_at == "high" or not coarse:
            first, detailed = self._laid_out(high[kept]), None
        elif low is None:
            raise ModelError(
                "The store holds no low resolution of these frames; index the videos again."
            )
        else:
            first = self._laid_out(low[kept])
            # Where the grids have equally many tokens there is nothing to choose by the question.
            mixed = shown_at == "mixed" and settings.image_token_len > settings.lowres_side**2
            detailed = self._laid_out(high[kept]) if mixed else None
        return fit_to_budget(
            first,
            detailed,
            after,
            settings.max_length - settings.answer_length - (len(ids) - 1),
            score_resolution=settings.score_resolution,
            chunk=settings.chunk,
            threshold=settings.drop_threshold,
        )

    def _laid_out(self, grid: Tensor) -> Tensor:
        """Project grids (F, h, w, C) and end each row with the newline, (F, h (w + 1), D)."""
        projected: Tensor = self._project(grid.to(self._device, self._dtype))
        return with_newlines(projected, self._newline_token)

    def _asked_ids(self, question: Question) -> tuple[int, ...]:
        if question.choices:
            return self._option_ids(question)[0]
        return self._prompt_ids(
            prompts.render(self._template, self._placeholder, question.text, "")
        )


def split_grids(segments: list[Segment]) -> tuple[Tensor, Tensor | None]:
    """Return the stored grids of all frames, (T, h, w, C) in high and in low resolution.

    Args:
        segments: As the encoder left them: the tokens of a frame fill `grid`, and what follows
            them is the low resolution.

    Raises:
        ModelError: Something was left out of a frame.
    """
    rows, columns = segments[0].grid
    frames = []
    for segment in segments:
        counts = segment.tokens.counts(segment.num_frames)
        if segment.grid != (rows, columns) or not bool((counts == counts[0]).all()):
            raise ModelError(
                "LongVU chooses the resolution of whole frames, but the frames of segment "
                f"{segment.segment_index} hold {int(counts.min())} to {int(counts.max())} tokens "
                "of one grid; use it without compressors, and only selectors that take whole "
                "frames."
            )
        frames.append(segment.tokens.data.view(segment.num_frames, int(counts[0]), -1))
    data = torch.cat(frames)
    num_high = rows * columns
    high = data[:, :num_high].reshape(len(data), rows, columns, -1)
    if data.shape[1] == num_high:
        return high, None
    first = segments[0].tokens
    low_rows = len(torch.unique(first.position[num_high : data.shape[1], 0]))
    return high, data[:, num_high:].reshape(len(data), low_rows, -1, data.shape[2])
