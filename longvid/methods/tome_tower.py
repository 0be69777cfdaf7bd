"""Merge tokens inside a vision tower (ToMe), and give every patch its merged token at the end.

In each layer, between attention and MLP, the r tokens that are most like another join it; similar
means by the keys of that layer. A merged token counts in attention for as many patches as it
stands for. What leaves the tower is a full grid again, so everything after it works as before; the
time saved is the tower's. For SigLIP and CLIP towers of transformers.

Source: Token Merging (ICLR 2023), section 3 and appendix D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from longvid.errors import ConfigError, ModelError
from longvid.lazy_import import ops, torch

#: Leading tokens that never merge, by the architecture of the tower.
_PROTECTED = {"siglip_vision_model": 0, "clip_vision_model": 1}


@dataclass(frozen=True, slots=True)
class MergeSchedule:
    """How many tokens merge in each layer.

    Args:
        r: Tokens merged in every layer, on average.
        inflect: 0 merges r in every layer; -1 falls evenly from 2r to 0, 1 rises from 0 to 2r.
        proportional: Weigh a merged token in attention by the patches it stands for; without it
            attention is cheaper, and off the shelf towers lose accuracy.

    Raises:
        ConfigError: A value is out of range.
    """

    r: int
    inflect: float = 0.0
    proportional: bool = True

    def __post_init__(self) -> None:
        if self.r < 0 or not -1 <= self.inflect <= 1:
            raise ConfigError(
                f"Merging needs r >= 0 and inflect from -1 to 1, got {self.r} and {self.inflect}."
            )

    def by_layer(self, num_layers: int) -> tuple[int, ...]:
        """Return r of each layer.

        >>> MergeSchedule(8, -1.0).by_layer(5)
        (16, 12, 8, 4, 0)
        """
        first = self.r * (1 - self.inflect)
        last = 2 * self.r - first
        step = (last - first) / max(1, num_layers - 1)
        return tuple(int(first + step * layer + 1e-9) for layer in range(num_layers))


def merge_inside(tower: Any, schedule: MergeSchedule) -> None:
    """Change a tower so that it merges tokens on the way.

    Args:
        tower: A SiglipVisionModel or CLIPVisionModel of transformers.
        schedule: How many.

    Raises:
        ModelError: The tower is of another architecture, or of a make this was not written for.
    """
    kind = getattr(getattr(tower, "config", None), "model_type", type(tower).__name__)
    encoder = getattr(tower, "encoder", None)
    if kind not in _PROTECTED or encoder is None:
        raise ModelError(
            f"Tokens can be merged inside towers of {', '.join(_PROTECTED)}, but this one is "
            f"{kind!r}; set encoder.merge_r = 0."
        )
    run = _Run(_PROTECTED[kind], int(tower.config.num_attention_heads), schedule.proportional)
    encoder.register_forward_pre_hook(run.start, with_kwargs=True)
    amounts = schedule.by_layer(len(encoder.layers))
    for layer, r in zip(encoder.layers, amounts, strict=True):
        layer.self_attn.k_proj.register_forward_hook(run.keep_keys)
        layer.forward = run.forward_of(layer, r)
    encoder.register_forward_hook(run.finish)
    tower.register_forward_hook(run.restore_hidden_states)


def unmerge_rows(tokens: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Give every patch the token that stands for it, (B, N, C).

    Args:
        tokens: (B, S, C) merged.
        rows: (B, N) rows of `tokens` flattened over the batch.
    """
    return tokens.flatten(0, 1)[rows]


class _Run:
    """What one forward pass knows of its tokens: how many patches each stands for, and which."""

    def __init__(self, protected: int, num_heads: int, proportional: bool) -> None:
        self._protected = protected
        self._num_heads = num_heads
        self._proportional = proportional
        self._keys = torch.empty(0)
        self._size: torch.Tensor | None = None
        self._rows: torch.Tensor | None = None
        self._rows_by_count: dict[int, torch.Tensor] = {}

    def start(self, module: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Begin with every token for itself."""
        self._size = self._rows = None
        self._rows_by_count = {}

    def keep_keys(self, module: Any, args: Sequence[Any], output: torch.Tensor) -> None:
        """Remember the keys of the layer that is running, (B, N, C)."""
        self._keys = output

    def forward_of(self, layer: Any, r: int) -> Callable[..., torch.Tensor]:
        """Return the forward of one layer that merges r tokens after its attention."""

        def forward(
            hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
        ) -> torch.Tensor:
            attended, _ = layer.self_attn(
                hidden_states=layer.layer_norm1(hidden_states),
                attention_mask=self._bias(attention_mask, hidden_states),
                **kwargs,
            )
            tokens: torch.Tensor = hidden_states + attended
            if r:
                tokens = self._merge(tokens, r)
            result: torch.Tensor = tokens + layer.mlp(layer.layer_norm2(tokens))
            return result

        return forward

    def finish(self, module: Any, args: Sequence[Any], output: Any) -> Any:
        """Give the encoder's output all its patches back."""
        output.last_hidden_state = self._whole(output.last_hidden_state)
        return output

    def restore_hidden_states(self, module: Any, args: Sequence[Any], output: Any) -> Any:
        """Give the hidden states that were asked for all their patches back."""
        states = getattr(output, "hidden_states", None)
        if states is not None:
            output.hidden_states = tuple(
                None if state is None else self._whole(state) for state in states
            )
        return output

    def _whole(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = self._rows_by_count.get(tokens.shape[1])
        return tokens if rows is None else unmerge_rows(tokens, rows)

    def _bias(self, mask: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
        """Return log size for every key, (B, 1, 1, N); None while all sizes are 1."""
        if self._size is None or not self._proportional:
            return mask
        bias = self._size.log().to(like.dtype)[:, None, None]
        return bias if mask is None else bias + mask

    def _merge(self, tokens: torch.Tensor, r: int) -> torch.Tensor:
        metric = ops.head_mean(self._keys, self._num_heads)
        size = self._size
        if size is None:
            size = torch.ones(tokens.shape[:2], device=tokens.device)
        merged, plan = ops.match_and_merge(metric, tokens, r, size=size, protected=self._protected)
        if not plan.source.shape[1]:
            return tokens
        self._size = ops.merge_size(plan, size)
        rows = plan.segment
        self._rows = rows if self._rows is None else rows.flatten()[self._rows]
        self._rows_by_count[merged.shape[1]] = self._rows
        return merged
