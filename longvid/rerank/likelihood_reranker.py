"""Ask a video language model whether a segment's stored pictures show what a question is about.

Source: framesieve (github.com/AyushExel/framesieve), which has a language model confirm frames;
here it is the likelihood of "yes" against "no" that ranks, so no words are generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from longvid import registry
from longvid.errors import (
    ConfigError,
    LongvidError,
    ModelError,
    StoreError,
    UnknownWordsError,
    require_at_least,
)
from longvid.lazy_import import no_grad, torch
from longvid.models import checkpoint_files
from longvid.models.checkpoint_ref import hub_checkpoint
from longvid.models.families import family_of, space_of
from longvid.models.families.protocol import PROJECTED
from longvid.models.from_pretrained import resolve_dtype
from longvid.models.tokenizer import load_tokenizer, unknown_words
from longvid.protocols import RUN_ONLY, LanguageModel
from longvid.question_form import caption_of
from longvid.rerank.yes_or_no import CHOICES, yes_likelihood
from longvid.types import Candidate, CheckpointRef, Question, Segment, Selection, Tokens

#: The grid of tokens that a model itself reads of a video's frame.
_GRID = "model"
_REMEDY = "leave likelihood out of rerankers"


@dataclass(frozen=True, slots=True)
class LikelihoodReranker:
    """Which model judges, what it is asked, and how often.

    Each of the `ask.rerank_segments` best segments is one call, and no more than `most_calls` are
    made for a question: segments beyond that keep their order behind those that were judged.

    Args:
        model: Checkpoint of a video language model that the part `huggingface` of llm reads.
        prompt: What is asked, with the field {caption}, which is what the question describes, or
            the question where that is nothing; "yes" and "no" answer it. mini reads
            "is there a {caption} ?".
        most_calls: Segments judged for one question.
        most_pictures: Shown of a segment, spread over it.
        batch_candidates: Segments judged side by side.
        dtype: "auto", "float32", "bfloat16" or "float16"; see `resolve_dtype`.
    """

    model: str = "llava-hf/llava-onevision-qwen2-7b-ov-hf"
    prompt: str = "Does this show {caption}? Answer yes or no."
    most_calls: int = 20
    most_pictures: int = 4
    batch_candidates: int = field(default=4, metadata=RUN_ONLY)
    dtype: str = "auto"

    def __post_init__(self) -> None:
        for name in ("most_calls", "most_pictures", "batch_candidates"):
            require_at_least(f"reranker.{name}", getattr(self, name), 1)
        if self.prompt.count("{caption}") != 1 or "{" in self.prompt.replace("{caption}", ""):
            raise ConfigError(
                f"reranker.prompt is {self.prompt!r}; it needs the field {{caption}} once and no "
                "other."
            )

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return (hub_checkpoint("reranker", "reranker.model", self.model, checkpoint_files.VLM),)

    def setup(self, device: str = "cpu") -> Worker:
        return Worker(self, device)


class Worker:
    """Scores segments by their pictures."""

    def __init__(self, part: LikelihoodReranker, device: str) -> None:
        self._part = part
        self._device = device
        self._dtype = resolve_dtype(part.dtype, device)
        folder = checkpoint_files.part_of(checkpoint_files.locate(part.model), checkpoint_files.VLM)
        self._folder = folder
        family = family_of(folder)
        self._format = family.pixel_format(folder, 0)
        self._tower = family.load_tower(folder, _GRID, self._dtype, device, PROJECTED)
        self._space = space_of(folder, PROJECTED, _GRID)
        llm = registry.find("llm", "huggingface")(model=part.model, dtype=part.dtype)
        self._llm: LanguageModel = llm.setup(device)

    def __call__(self, question: Question, candidates: Sequence[Candidate]) -> list[float]:
        """Return the likelihood of "yes" of each segment, in [0, 1]; below 0 where none was asked.

        Raises:
            StoreError: The store keeps no pictures of a segment, or they are damaged.
            ModelError: A likelihood is no number, or the model cannot read the prompt.
            LongvidError: The model cannot read the question.
        """
        caption = caption_of(question.text) or question.text
        asked = Question(self._part.prompt.replace("{caption}", caption), choices=CHOICES)
        best = sorted(range(len(candidates)), key=lambda i: -candidates[i].score)
        scores = [0.0] * len(candidates)
        for place, i in enumerate(best[self._part.most_calls :], 1):
            scores[i] = -float(place)
        judged = best[: self._part.most_calls]
        for first in range(0, len(judged), self._part.batch_candidates):
            some = judged[first : first + self._part.batch_candidates]
            shown = [self._segment(candidates[i]) for i in some]
            prompts = [(asked, Selection((one,), (), len(one.tokens))) for one in shown]
            for i, generation in zip(some, self._llm.answer_many(prompts), strict=True):
                if isinstance(generation, UnknownWordsError):
                    self._require_readable_prompt()
                if isinstance(generation, LongvidError):
                    raise generation
                scores[i] = yes_likelihood(generation.choice_scores, _REMEDY)
        return scores

    def _require_readable_prompt(self) -> None:
        """Refuse a prompt of words that the model does not know, which no question holds."""
        words = self._part.prompt.replace("{caption}", " ")
        unknown = unknown_words(load_tokenizer(self._folder), words)
        if unknown:
            raise ModelError(
                f"The model {self._part.model!r} cannot read the prompt of the reranker "
                f"likelihood, {self._part.prompt!r}: it does not know "
                f"{', '.join(map(repr, unknown))}. Name another model (rerankers.0.model, where it "
                f"is the first) or a prompt of words that it knows (rerankers.0.prompt), or "
                f"{_REMEDY}."
            )

    @no_grad
    def _segment(self, candidate: Candidate) -> Segment:
        """Read a segment's pictures with the vision tower."""
        from longvid.methods.phrase_tracks import pixels_of

        if not candidate.pictures:
            raise StoreError(
                f"The store keeps no pictures of video {candidate.video_id} from "
                f"{candidate.start_seconds:g} to {candidate.end_seconds:g} s, which the reranker "
                "looks at; index it with store.pictures = segment or frame, or leave rerankers out."
            )
        most = min(self._part.most_pictures, len(candidate.pictures))
        pictures = [candidate.pictures[(2 * k + 1) * len(candidate.pictures) // (2 * most)]
                    for k in range(most)]  # fmt: skip
        frames = torch.stack([torch.from_numpy(pixels_of(one).copy()) for one in pictures])
        seconds = torch.tensor([one.pts_seconds for one in pictures], dtype=torch.float64)
        lacking = -len(frames) % self._tower.frames_per_step  # a tower that joins frames repeats
        frames = torch.cat([frames, frames[-1:].expand(lacking, *frames.shape[1:])])
        seconds = torch.cat([seconds, seconds[-1:].expand(lacking)])
        pixels = self._format.normalize(
            self._format.resize(frames.permute(0, 3, 1, 2)), self._device, self._dtype
        )
        tokens = self._tower(pixels).cpu()  # (steps, h, w, D)
        steps = len(tokens)
        return Segment(
            video_id=candidate.video_id,
            segment_index=candidate.segment_index,
            start_seconds=candidate.start_seconds,
            end_seconds=candidate.end_seconds,
            pts_seconds=self._tower.step_seconds(
                seconds.reshape(steps, self._tower.frames_per_step)
            ),
            slow=torch.ones(steps, dtype=torch.bool),
            frame_embeddings=torch.zeros(steps, 1),
            tokens=Tokens.from_grid(tokens),
            space=self._space,
            grid=(tokens.shape[1], tokens.shape[2]),
        )
