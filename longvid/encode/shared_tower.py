"""One vision tower for a model and its embedder, where their weights are equal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from longvid.errors import ModelError
from longvid.lazy_import import torch
from longvid.models.preprocessing import PixelFormat


class SharedTower:
    """One vision tower in place of two equal ones: it runs once and both sides read its output."""

    def __init__(self, model: Any, embedder: Any) -> None:
        model.vision_tower = embedder.vision_model
        self._pooled: torch.Tensor | None = None
        embedder.vision_model.register_forward_hook(self._keep)

    @classmethod
    def of(cls, module: Any, embedder: Any) -> SharedTower | None:
        """Share the embedder's tower with the model, if the model's own is equal to it.

        The model's may lack the pooling head, which it does not use.

        Args:
            module: A family's module; shared only if it holds a `model.vision_tower`.
            embedder: A dual encoder, with a `vision_model`.

        Returns:
            None if the weights differ; then nothing is changed.
        """
        model = getattr(module, "model", None)
        tower = getattr(model, "vision_tower", None)
        if tower is None:
            return None
        mine, theirs = tower.state_dict(), embedder.vision_model.state_dict()
        body = {name for name in theirs if not name.startswith("head.")}
        same_settings = all(
            getattr(tower.config, name, None) == getattr(embedder.vision_model.config, name, None)
            for name in ("model_type", "hidden_act", "layer_norm_eps", "num_attention_heads")
        )
        if not same_settings or body != {name for name in mine if not name.startswith("head.")}:
            return None
        if not all(torch.equal(mine[name], theirs[name]) for name in body):
            return None
        return cls(model, embedder)

    def take_pooled(self) -> torch.Tensor:
        """Return what the pooling head made of the pixels seen last, and forget it."""
        if self._pooled is None:
            raise ModelError(
                "The shared vision tower has not been run; this is a fault of longvid."
            )
        pooled, self._pooled = self._pooled, None
        return pooled

    def _keep(self, module: Any, inputs: Any, output: Any) -> None:
        self._pooled = output.pooler_output


def see_alike(left: PixelFormat, right: PixelFormat) -> bool:
    """Tell whether two towers are shown the same pixels, however a picture was fitted."""
    return replace(left, fit=right.fit) == right
