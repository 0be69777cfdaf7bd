"""Find where somebody speaks: silero-vad's network through onnxruntime, without torch.

A recogniser that hears silence or music writes words that nobody spoke; it is given spans of
speech only. The network's file comes from the wheel of silero-vad, whose code is not imported.

Source: silero-vad 6.2, https://github.com/snakers4/silero-vad.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from longvid.errors import ConfigError

SAMPLE_RATE = 16_000
_WINDOW, _CONTEXT = 512, 64
_START, _END = 0.5, 0.35
_MIN_SPEECH_SECONDS, _MIN_PAUSE_SECONDS, _MARGIN_SECONDS = 0.25, 0.5, 0.2


class VoiceActivity:
    """Finds speech in blocks of sound.

    Raises:
        ConfigError: onnxruntime or silero-vad is not installed.
    """

    def __init__(self) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise _not_installed("onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(_network_file()), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, samples: npt.NDArray[np.float32]) -> list[tuple[float, float]]:
        """Return the spans of speech in a block, in seconds from its start.

        Args:
            samples: (S,) float32 at 16 kHz.
        """
        return spans_of(self.probabilities(samples), len(samples) / SAMPLE_RATE)

    def probabilities(self, samples: npt.NDArray[np.float32]) -> list[float]:
        """Return the probability of speech in each window of 32 ms."""
        padded = np.pad(samples, (_CONTEXT, -len(samples) % _WINDOW))
        state = np.zeros((2, 1, 128), np.float32)
        rate = np.array(SAMPLE_RATE, np.int64)
        found: list[float] = []
        for start in range(_CONTEXT, len(padded), _WINDOW):
            window = padded[None, start - _CONTEXT : start + _WINDOW]
            output, state = self._session.run(None, {"input": window, "state": state, "sr": rate})
            found.append(float(output[0, 0]))
        return found


def spans_of(probabilities: Sequence[float], seconds: float) -> list[tuple[float, float]]:
    """Join windows of speech into spans: short pauses are bridged, short sounds are dropped.

    Args:
        probabilities: One a window of 32 ms.
        seconds: Length of the block; no span reaches beyond it.
    """
    step = _WINDOW / SAMPLE_RATE
    spans: list[tuple[float, float]] = []
    start: float | None = None
    for index, probability in enumerate([*probabilities, 0.0]):
        if start is None and probability >= _START:
            start = index * step
        elif start is not None and probability < _END:
            spans.append((start, index * step))
            start = None
    joined: list[tuple[float, float]] = []
    for first, last in spans:
        if joined and first - joined[-1][1] < _MIN_PAUSE_SECONDS:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return [
        (max(0.0, first - _MARGIN_SECONDS), min(seconds, last + _MARGIN_SECONDS))
        for first, last in joined
        if last - first >= _MIN_SPEECH_SECONDS
    ]


def _network_file() -> Path:
    spec = importlib.util.find_spec("silero_vad")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(folder) / "data" / "silero_vad_16k_op15.onnx"
        if path.is_file():
            return path
    raise _not_installed("silero-vad")


def _not_installed(name: str) -> ConfigError:
    return ConfigError(
        f"Finding speech needs the package {name}, which is not installed; install longvid[speech]."
    )
