"""InstructBLIP asks: its queries read each stored frame with the question, then it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.lazy_import import later, torch
from longvid.llm import huggingface
from longvid.llm import prompt as prompts
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.llm.prompt_builder import AskedPrompt
from longvid.models.families import space_of
from longvid.models.families.hf_family import transformers_family
from longvid.models.families.protocol import TOWER, Decoder
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.tokenizer import split_spans
from longvid.systems.language_model import tokens_of_frames, whole_frames
from longvid.types import EncoderMemory, LanguageModelMemory, Question, Segment, Selection

if TYPE_CHECKING:
    from longvid.models import question_qformer
else:
    question_qformer = later("longvid.models.question_qformer")


@dataclass(frozen=True, slots=True)
class InstructBlipLanguageModel(HuggingFaceLanguageModel):
    """InstructBLIP with a language model that only decodes (Vicuna, OPT), of pictures or of videos.

    It reads what a `huggingface` encoder of the same checkpoint keeps with `keep = "tower"`. The
    queries read what the language model reads: the question, and its choices where there are any.

    Source: InstructBLIP, section 2.3; the classes of transformers and their processors.
    """

    model: str = "Salesforce/instructblip-vicuna-7b"

    def spaces(self) -> tuple[str, ...]:
        return (space_of(self.folder(), TOWER),)

    def memory(self, encoder: EncoderMemory, device: str) -> LanguageModelMemory:
        from longvid.llm.model_memory import add_up, require_system
        from longvid.models.weight_count import count_built, within

        require_system(self, encoder, "")
        folder = self.folder()
        family: Any = transformers_family(folder)
        config = family.config(folder)
        weights = count_built(lambda: family.build(folder))
        queries = within(weights, family.between)
        return add_up(
            self,
            device,
            text=config.text_config,
            context=int(config.text_config.max_position_embeddings),
            language=within(weights, family.parts_of_text),
            between=queries,
            shown=lambda frames, tokens, budget: frames * config.num_query_tokens,
            question_bytes=lambda frames: 0,
            remedy="lower sample.num_frames",
        )

    def setup(self, device: str = "cpu") -> Worker:
        return Worker(self, *self.load(device), device)


class Worker(huggingface.Worker):
    """Shows what the queries read of each frame."""

    def __init__(
        self, part: InstructBlipLanguageModel, folder: Path, decoder: Decoder, device: str
    ) -> None:
        super().__init__(part, folder, decoder)
        dtype = resolve_dtype(part.dtype, device)
        self._read_frames = question_qformer.QuestionQFormer(str(folder), dtype, device)

    def _ask(self, question: Question, selection: Selection) -> AskedPrompt:
        self._check_space(selection)
        words = self._words(question)
        segments = tuple(self._with_question(segment, words) for segment in selection.segments)
        num_tokens = sum(len(segment.tokens) for segment in segments)
        shown = Selection(
            segments, selection.evidence, max(1, num_tokens), selection.spoken, selection.pictures
        )
        return super()._ask(question, shown)

    def _words(self, question: Question) -> str:
        """Return the text of the prompt, which the queries read too."""
        lettered = self._part.choice_answer == "letter"
        listing = prompts.list_choices(question.choices, lettered=lettered)
        spans = prompts.render(self._template, self._placeholder, question.text, listing)
        parts = split_spans(spans, self._placeholder)
        return "".join(span.text for part in parts for span in part)

    def _with_question(self, segment: Segment, words: str) -> Segment:
        tokens = whole_frames(segment, "InstructBLIP")
        none = torch.zeros(0, 1, self._decoder.token_width)
        read = self._read_frames(tokens, words) if len(tokens) else none
        return segment.with_tokens(tokens_of_frames(read))
