"""Continue prompts that were read: with words of their own, or the likelihood of given ones.

Several prompts go on side by side, each in a row of one batch, padded on the left. The readable
twins are the model's own `generate` and the scoring of one option after the other.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

from longvid.lazy_import import no_grad, torch
from longvid.llm.kv_cache import new_rows, take_row, truncate
from longvid.llm.prefill import ReadPrompt
from longvid.models.families.protocol import Decoder, Spliced, TextPiece

#: Hears the new ids of every row so far after each step; returns the rows that shall end.
OnStep = Callable[[Sequence[Sequence[int]]], Collection[int]]


class Rows:
    """Prompts of different lengths, side by side.

    Args:
        num_rows: B.
        longest: Tokens of the longest prompt, or more.
        num_new: Tokens that will follow at most.
    """

    def __init__(self, num_rows: int, longest: int, num_new: int) -> None:
        self.num_rows = num_rows
        self.longest = longest
        self._num_new = num_new
        self._prompts: list[ReadPrompt] = []
        self._cache: Any = None

    def add(self, prompt: ReadPrompt) -> None:
        """Take the next prompt in; alone it stays where it is, among others it is copied."""
        if self.num_rows == 1:
            self._cache, self.longest = prompt.cache, prompt.num_tokens
        else:
            if self._cache is None:
                room = self.longest + self._num_new
                self._cache = new_rows(prompt.cache, self.num_rows, self.longest, room)
            take_row(self._cache, len(self._prompts), prompt.cache)
        self._prompts.append(prompt)

    @property
    def prompts(self) -> Sequence[ReadPrompt]:
        """The prompts taken in."""
        return self._prompts

    @property
    def cache(self) -> Any:
        """Keys and values of all of them."""
        return self._cache


def most_likely(logits: torch.Tensor) -> torch.Tensor:
    """Return the ids of the greatest logits, (B, V) to (B,)."""
    return logits.argmax(-1)


@no_grad
def continue_rows(
    decoder: Decoder,
    rows: Rows,
    max_new_tokens: int,
    choose: Callable[[torch.Tensor], torch.Tensor] = most_likely,
    on_step: OnStep | None = None,
) -> list[tuple[int, ...]]:
    """Continue every prompt until its end token.

    Args:
        decoder: That read them.
        rows: At least one prompt.
        max_new_tokens: Most tokens of each.
        choose: Turns logits (B, V) into the next ids (B,).
        on_step: Called after each step.

    Returns:
        The new ids of each prompt, the end token included.
    """
    prompts = rows.prompts
    ends = end_ids(decoder)
    logits = torch.cat([prompt.logits for prompt in prompts])  # (B, V)
    device = logits.device
    lengths = torch.tensor([prompt.num_tokens for prompt in prompts], device=device)
    steps = torch.arange(rows.longest + max_new_tokens, device=device)
    mask = (steps[None] >= rows.longest - lengths[:, None]).long()  # (B, L), 0 on the padding
    position = torch.tensor([prompt.next_position for prompt in prompts], device=device)[:, None]
    found: list[list[int]] = [[] for _ in prompts]
    penalty = _Penalty(decoder)
    ended: set[int] = set()
    for step in range(max_new_tokens):
        chosen = choose(penalty(logits, prompts, found))  # (B,)
        for index, (row, token) in enumerate(zip(found, chosen.tolist(), strict=True)):
            if index not in ended:
                row.append(token)
                if token in ends:
                    ended.add(index)
        if on_step is not None:
            ended.update(on_step(found))
        if step + 1 == max_new_tokens or len(ended) == len(found):
            break
        # Rows that have ended are carried along; what follows their end is not kept.
        text = _in_rows(_text(decoder, chosen.tolist()))
        seen = mask[:, : rows.longest + step + 1]
        logits = _forward(decoder, text, seen, _axes(position + step, prompts), rows.cache)[:, -1]
    return [tuple(row) for row in found]


class _Penalty:
    """The repetition penalty that a checkpoint's generation settings ask for, if any."""

    def __init__(self, decoder: Decoder) -> None:
        from transformers import RepetitionPenaltyLogitsProcessor

        settings = decoder.module.generation_config
        penalty = float(getattr(settings, "repetition_penalty", None) or 1.0)
        self._processor = None if penalty == 1.0 else RepetitionPenaltyLogitsProcessor(penalty)

    def __call__(
        self, logits: torch.Tensor, prompts: Sequence[ReadPrompt], found: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        if self._processor is None:
            return logits
        rows = [
            self._processor(torch.tensor([[*prompt.ids, *new]], device=row.device), row[None])
            for row, prompt, new in zip(logits, prompts, found, strict=True)
        ]
        return torch.cat(rows)


@no_grad
def score_together(
    decoder: Decoder, prompt: ReadPrompt, options: Sequence[Sequence[int]]
) -> list[float]:
    """Return the log-likelihood of each option after a prompt, in one pass.

    The options stand one after the other; each sees the prompt and itself, and its positions
    begin where the prompt ends.

    Args:
        decoder: That read the prompt.
        prompt: Its cache is given back as it came.
        options: Ids, at least one each.
    """
    lengths = [len(option) - 1 for option in options]
    ids = [token for option in options for token in option[:-1]]
    first = prompt.logits.log_softmax(-1)
    scores = [first[0, option[0]].double() for option in options]
    if ids:
        device = prompt.logits.device
        owner = torch.repeat_interleave(torch.arange(len(options)), torch.tensor(lengths))
        offset = torch.cat([torch.arange(length) for length in lengths])
        visible = (owner[:, None] == owner[None]) & (offset[:, None] >= offset[None])  # (Q, Q)
        whole = torch.cat([visible.new_ones(len(ids), prompt.num_tokens), visible], dim=1)
        text = _text(decoder, ids)  # Q tokens
        dtype = text.inputs_embeds.dtype
        mask = torch.zeros(whole.shape, dtype=dtype).masked_fill(~whole, torch.finfo(dtype).min)
        position = (prompt.next_position + offset)[None].to(device)
        following = _forward(
            decoder,
            text,
            mask[None, None].to(device),
            _axes(position, [prompt]),
            prompt.cache,
            keep=0,
        )[0].log_softmax(-1)
        truncate(prompt.cache, prompt.num_tokens)
        start = 0
        for index, option in enumerate(options):
            end = start + lengths[index]
            targets = torch.tensor(option[1:], device=device)[:, None]
            scores[index] = scores[index] + following[start:end].gather(1, targets).double().sum()
            start = end
    return [float(score) for score in scores]


@no_grad
def score_one_by_one(
    decoder: Decoder, prompt: ReadPrompt, options: Sequence[Sequence[int]]
) -> list[float]:
    """Return the log-likelihood of each option, a pass each: what `score_together` must equal.

    It is also what is done with models whose attention cannot be told who sees whom.
    """
    scores = []
    for option in options:
        logits = prompt.logits
        cache = prompt.cache
        if not all(_goes_back(layer) for layer in cache.layers):
            cache = copy.deepcopy(cache)  # a window or a state that moved on cannot be moved back
        if len(option) > 1:
            text = _text(decoder, option[:-1])
            steps = torch.arange(len(text), device=logits.device)[None]
            mask = steps.new_ones(1, prompt.num_tokens + len(text))
            positions = _axes(prompt.next_position + steps, [prompt])
            following = _forward(decoder, text, mask, positions, cache, keep=0)[0]
            logits = torch.cat([logits, following])
            if cache is prompt.cache:
                cache.crop(-len(text))
        targets = torch.tensor(option, device=logits.device)[:, None]
        scores.append(float(logits.log_softmax(-1).gather(1, targets).double().sum()))
    return scores


def _goes_back(layer: Any) -> bool:
    """Tell whether a layer can forget its last tokens: it holds keys and values of all."""
    return not hasattr(layer, "recurrent_states") and not layer.is_sliding


def end_ids(decoder: Decoder) -> tuple[int, ...]:
    """Return the ids that end an answer, the usual one first."""
    ends = decoder.module.generation_config.eos_token_id
    listed = ends if isinstance(ends, list) else [ends]
    return tuple(int(end) for end in listed if end is not None)


def _axes(position: torch.Tensor, prompts: Sequence[ReadPrompt]) -> torch.Tensor:
    """Repeat positions of text (B, n) along every rotary axis, (axes, B, n), if there are any."""
    axes = prompts[0].num_axes
    return position[None].expand(axes, *position.shape) if axes else position


def _text(decoder: Decoder, ids: Sequence[int]) -> Spliced:
    """Return text as the module reads it; visual tokens may be wider."""
    spliced = decoder.splice([TextPiece(tuple(ids))], newline=False)
    return dataclasses.replace(spliced, kind=None)  # text is read as every model reads it


def _in_rows(text: Spliced) -> Spliced:
    """Put B tokens in rows of their own, (1, B, D) to (B, 1, D)."""
    by_layer = None if text.by_layer is None else text.by_layer.transpose(1, 2)
    embeds = text.inputs_embeds.transpose(0, 1)
    return dataclasses.replace(text, inputs_embeds=embeds, by_layer=by_layer)


def _forward(
    decoder: Decoder,
    text: Spliced,
    mask: torch.Tensor,
    positions: torch.Tensor,
    cache: Any,
    keep: int = 1,
) -> torch.Tensor:
    """Read text tokens after what the cache holds; return logits (B, keep, V) float32."""
    output = decoder.module(
        inputs_embeds=text.inputs_embeds,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=keep,
        **decoder.inputs(text),
    )
    logits: torch.Tensor = output.logits.float()
    return logits
