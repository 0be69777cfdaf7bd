"""What mini answers to many questions at once, judged by the answer that is expected.

An answer is right if every token of it, and its end, is the most likely one after those before:
that is what greedy generation yields, so one pass over prompt and answer tells it. Questions with
the same visual tokens share them, and sequences of similar length share a pass. The slow twin is
`longvid.llm.huggingface`, which generates one answer at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from longvid.llm import prompt as prompts
from longvid.llm.projector import SelectionProjector
from longvid.models import checkpoint_files
from longvid.models.families import family_of, spaces_of
from longvid.models.tokenizer import TextTokenizer
from longvid.types import Segment

_ROW_TOKENS = 4096
"""Positions in one pass."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is shown, and the questions about it with the answers expected."""

    shown: tuple[Segment, ...]
    questions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """A sequence: (L, D) embeddings, number of the question (0: visual), place and label."""

    embeds: Tensor
    group: Tensor
    place: Tensor
    label: Tensor


class Reader:
    """A language model that tells which expected answers it would give.

    Args:
        model: Checkpoint, with one rotary axis, such as "mini".
        dtype: Of the computation.
    """

    def __init__(
        self, model: str = checkpoint_files.MINI, dtype: torch.dtype = torch.float32
    ) -> None:
        from transformers import AutoTokenizer

        folder = checkpoint_files.part_of(checkpoint_files.locate(model), checkpoint_files.VLM)
        family = family_of(folder)
        self._decoder = family.load_decoder(folder, dtype, "cpu")
        self._tower_projector = SelectionProjector(family, folder, spaces_of(folder), self._decoder)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self._text_tokenizer = TextTokenizer(self._tokenizer)
        self._prompt = prompts.prompt_of(folder, family, self._tokenizer)
        self._placeholder = family.placeholder
        self._placeholder_id = family.placeholder_id(folder)
        self._prefix = self._decoder.embed(self._ids(self._prompt.frame_prefix))
        end = self._decoder.module.generation_config.eos_token_id
        self._end: int = end[0] if isinstance(end, list) else end

    def embed_words(self, text: str) -> Tensor:
        """Return the input embeddings of a text, (L, D) float32, without special tokens."""
        return self._decoder.embed(self._ids(text)).float()

    def right(self, sheets: Sequence[Sheet]) -> list[list[bool]]:
        """Tell, for each question of each sheet, whether the expected answer is given."""
        rows = [self._row(sheet) for sheet in sheets]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].group))
        marks: list[list[bool]] = [[] for _ in rows]
        while order:
            longest = len(rows[order[-1]].group)
            taken = order[-max(1, _ROW_TOKENS // longest) :]
            del order[-len(taken) :]
            for index, mark in zip(taken, self._read([rows[i] for i in taken]), strict=True):
                marks[index] = mark
        return marks

    def _row(self, sheet: Sheet) -> _Row:
        """Lay out the visual tokens once and every question after them."""
        pieces: list[Tensor] = []
        for segment in map(self._tower_projector.segment, sheet.shown):
            counts = segment.tokens.counts(segment.num_frames).tolist()
            for data in torch.split(segment.tokens.data, counts):
                if len(data):
                    pieces += [self._prefix, data.to(self._prefix)]
        heads, texts, labels = [], [], []
        for question, answer in sheet.questions:
            spans = prompts.render(self._prompt.template, self._placeholder, question, "")
            head, tail = prompts.split_at_video(
                self._text_tokenizer.ids(spans), self._placeholder_id, self._prompt.template
            )
            expected = (*self._ids(answer), self._end)
            heads.append(head)
            texts.append((*tail, *expected[:-1]))
            labels.append([-100] * (len(tail) - 1) + list(expected))
        if len(set(heads)) > 1 or not texts:
            raise ValueError("a sheet needs questions, and text before the video that is the same")
        visual = torch.cat([self._decoder.embed(heads[0]), *pieces])  # (V, D)
        embeds = torch.cat([visual, self._decoder.embed([i for ids in texts for i in ids])])
        length = len(visual)
        group = [0] * length
        place = list(range(length))
        label = [-100] * length
        for number, (ids, wanted) in enumerate(zip(texts, labels, strict=True), start=1):
            group += [number] * len(ids)
            place += range(length, length + len(ids))
            label += wanted
        return _Row(embeds, torch.tensor(group), torch.tensor(place), torch.tensor(label))

    @torch.no_grad()
    def _read(self, rows: Sequence[_Row]) -> list[list[bool]]:
        """Run a few rows, padded at the end, in one pass."""
        length = max(len(row.group) for row in rows)
        size = (len(rows), length)
        embeds = rows[0].embeds.new_zeros(*size, rows[0].embeds.shape[1])
        group, place = torch.full(size, -1), torch.zeros(size, dtype=torch.long)
        label = torch.full(size, -100)
        for i, row in enumerate(rows):
            count = len(row.group)
            embeds[i, :count], group[i, :count] = row.embeds, row.group
            place[i, :count], label[i, :count] = row.place, row.label
        hidden = self._decoder.module.model.language_model(
            inputs_embeds=embeds,
            attention_mask=_mask(group, embeds.dtype),
            position_ids=place,
            use_cache=False,
        ).last_hidden_state
        answering = label >= 0
        guess = self._decoder.module.lm_head(hidden[answering]).argmax(-1)
        wrong = torch.zeros(size, dtype=torch.bool)
        wrong[answering] = guess != label[answering]
        return [
            [not bool(wrong[i][group[i] == number].any()) for number in range(1, count + 1)]
            for i, count in enumerate(int(row.group.max()) for row in rows)
        ]

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def _mask(group: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Let a position see what comes before it in its own question and in what is shown.

    Args:
        group: (B, L), 0 what is shown, -1 padding.

    Returns:
        (B, 1, L, L), 0 or the least number; None where plain causal order says the same.
    """
    if int(group.max()) <= 1:  # one question each; padding comes last, where none looks at it
        return None
    same = (group[:, None, :] == 0) | (group[:, None, :] == group[:, :, None])
    allowed = same.tril()  # padding sees itself, so that no row is empty
    mask = torch.zeros(allowed.shape, dtype=dtype)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]
