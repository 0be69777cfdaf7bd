"""Qwen3-VL-Reranker: how likely "yes" is to whether a segment's pictures fit the question.

Source: arXiv 2601.04720 and QwenLM/Qwen3-VL-Embedding (Apache-2.0), whose texts are kept word for
word: nothing stands between the instruction and "<Query>:".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from longvid.errors import ModelError, StoreError, require_at_least
from longvid.lazy_import import no_grad, torch
from longvid.models import checkpoint_files
from longvid.models.checkpoint_ref import hub_checkpoint
from longvid.models.from_pretrained import resolve_dtype
from longvid.protocols import RUN_ONLY
from longvid.types import Candidate, CheckpointRef, Question

if TYPE_CHECKING:
    from longvid.models.clip_reader import Clip, Conversation

_SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)
_INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."
_MOST_TOKENS = 10_240


@dataclass(frozen=True, slots=True)
class Qwen3VLReranker:
    """Which checkpoint judges, and how it is asked.

    It sees each of the `ask.rerank_segments` best segments once, by the pictures that the store
    keeps of it, and is called once for every `batch_candidates` of them.

    Args:
        model: A Qwen3-VL-Reranker checkpoint: a folder or a hub name.
        instruction: What makes a segment fit; "" takes the published one.
        batch_candidates: Segments in one forward pass.
        dtype: "auto", "float32", "bfloat16" or "float16"; see `resolve_dtype`.
    """

    model: str = "Qwen/Qwen3-VL-Reranker-2B"
    instruction: str = ""
    batch_candidates: int = field(default=4, metadata=RUN_ONLY)
    dtype: str = "auto"

    def __post_init__(self) -> None:
        require_at_least("reranker.batch_candidates", self.batch_candidates, 1)

    def checkpoints(self) -> tuple[CheckpointRef, ...]:
        return (hub_checkpoint("reranker", "reranker.model", self.model),)

    def setup(self, device: str = "cpu") -> Worker:
        folder = checkpoint_files.locate(self.model)
        return Worker(self, folder, resolve_dtype(self.dtype, device), device)


class Worker:
    """Scores segments by their pictures."""

    def __init__(
        self, part: Qwen3VLReranker, folder: Path, dtype: torch.dtype, device: str
    ) -> None:
        from longvid.models.clip_reader import CLOSING, ClipReader

        self._reader = ClipReader(folder, dtype, device, padding="left")
        self._batch = part.batch_candidates
        self._instruction = part.instruction or _INSTRUCTION
        tokenizer = self._reader.own_tokenizer
        vocabulary = tokenizer.get_vocab()
        if not {"yes", "no"} <= set(vocabulary):
            raise ModelError(
                f'{folder} has no token "yes" or no token "no", so it cannot judge by them; '
                "a Qwen3-VL-Reranker checkpoint is needed."
            )
        self._answers = [vocabulary["yes"], vocabulary["no"]]
        self._special = {*tokenizer.all_special_ids, self._reader.video_id}
        self._num_closing = len(self._reader.tokenizer.ids([CLOSING]))

    def __call__(self, question: Question, candidates: Sequence[Candidate]) -> list[float]:
        """Return the likelihood of "yes" of each segment, in [0, 1].

        Raises:
            StoreError: The store keeps no pictures of a segment.
        """
        scores: list[float] = []
        for first in range(0, len(candidates), self._batch):
            some = candidates[first : first + self._batch]
            scores += self._scores([self._conversation(question.text, one) for one in some])
        return scores

    @no_grad
    def _scores(self, conversations: Sequence[Conversation]) -> list[float]:
        states = self._reader.last_states(conversations)  # (B, D)
        yes, no = self._reader.module.lm_head.weight[self._answers]
        found: list[float] = (states @ (yes - no)).float().sigmoid().tolist()
        return found

    def _conversation(self, query: str, candidate: Candidate) -> Conversation:
        from longvid.models.clip_reader import CLOSING, Conversation, opening
        from longvid.models.tokenizer import Span, outside

        clip = self._clip(candidate)
        spans = [
            *opening(_SYSTEM),
            Span("<Instruct>: "),
            outside(self._instruction),
            Span("<Query>:"),
            outside(query),
            Span("\n<Document>:"),
            clip.text,
            CLOSING,
        ]
        ids = self._reader.tokenizer.ids(spans)
        return Conversation(
            truncated_ids(ids, _MOST_TOKENS, self._num_closing, self._special), clip
        )

    def _clip(self, candidate: Candidate) -> Clip:
        from longvid.methods.phrase_tracks import pixels_of

        if not candidate.pictures:
            raise StoreError(
                f"The store keeps no pictures of video {candidate.video_id} from "
                f"{candidate.start_seconds:g} to {candidate.end_seconds:g} s, which the reranker "
                "looks at; index it with store.pictures = segment or frame, or leave rerankers out."
            )
        frames = [torch.from_numpy(pixels_of(one).copy()) for one in candidate.pictures]
        times = [one.pts_seconds - candidate.start_seconds for one in candidate.pictures]
        return self._reader.clip(
            torch.stack(frames).permute(0, 3, 1, 2), torch.tensor(times, dtype=torch.float64)
        )


def truncated_ids(
    ids: Sequence[int], longest: int, num_closing: int, special: Collection[int]
) -> tuple[int, ...]:
    """Cut a conversation as the published code does: words at its end go, special tokens stay.

    The closing tokens are set aside, and return behind what is left, so that the result may be that
    much longer than `longest`.

    Args:
        ids: Of the conversation.
        longest: Most tokens before the closing ones.
        num_closing: How many tokens close it.
        special: Ids that are never cut, such as the placeholders of a clip.
    """
    body, closing = ids[: len(ids) - num_closing], ids[len(ids) - num_closing :]
    room = longest - sum(token in special for token in body)
    kept: list[int] = []
    for token in body:
        if token not in special:
            room -= 1
            if room < 0:
                continue
        kept.append(token)
    return (*kept, *closing)
