"""One golden file, and which of its arrays a test has looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-5


class GoldenFile:
    """The arrays of one `.npz`: inputs as float32 tensors, and a record of what was read."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        with np.load(path) as arrays:
            self._arrays = {key: arrays[key] for key in arrays.files}
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._arrays

    def keys(self, prefix: str = "") -> list[str]:
        return [key for key in self._arrays if key.startswith(prefix)]

    def unread(self) -> list[str]:
        return sorted(self._arrays.keys() - self._read)

    def array(self, key: str) -> np.ndarray:
        assert key in self._arrays, f"{self.name} has no array {key}"
        self._read.add(key)
        return self._arrays[key]

    def tensor(self, key: str) -> Tensor:
        """Return an array as a tensor, floats in float32."""
        tensor = torch.from_numpy(self.array(key).copy())
        return tensor.float() if tensor.is_floating_point() else tensor

    def number(self, key: str) -> int:
        return int(self.array(key))

    def text(self, key: str) -> str:
        return str(self.array(key))

    def flag(self, key: str) -> bool:
        return bool(self.array(key))

    def weights(self, prefix: str = "W/") -> dict[str, Tensor]:
        """Return the weights by their published names; a strict load then uses every one."""
        return {key.removeprefix(prefix): self.tensor(key) for key in self.keys(prefix)}

    def close(self, key: str, actual: Tensor, tolerance: float = TOLERANCE) -> None:
        """Hold a float array against the stored one."""
        expected = self.tensor(key)
        assert actual.dtype == torch.float32
        assert tuple(actual.shape) == tuple(expected.shape), f"{self.name}: shape of {key}"
        torch.testing.assert_close(
            actual, expected, atol=tolerance, rtol=0.0, msg=lambda m: f"{self.name} {key}: {m}"
        )

    def same(self, key: str, actual: object) -> None:
        """Hold indices, counts, masks or text against the stored ones, exactly."""
        actual_array = np.asarray(actual)
        assert actual_array.shape == self.array(key).shape, f"{self.name}: shape of {key}"
        assert np.array_equal(actual_array, self.array(key)), f"{self.name}: {key}"
