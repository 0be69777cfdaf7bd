"""Weights of golden files, and how close results must be."""

from __future__ import annotations

import re

import torch

from tests.parity.golden_file import GoldenFile

TOLERANCE = 2e-6


def weights_of(golden: GoldenFile, prefix: str = "") -> dict[str, torch.Tensor]:
    return golden.weights(f"w_{prefix}")


def widths_of(weights: dict[str, torch.Tensor], name: str) -> list[int]:
    """Return the input widths of the layers whose number takes the place of {} in `name`."""
    pattern = re.compile(re.escape(name).replace(r"\{\}", r"(\d+)"))
    found = {int(m[1]): w.shape[1] for key, w in weights.items() if (m := pattern.fullmatch(key))}
    return [found[number] for number in sorted(found)]
