"""Count what an actor does, where Ray's Prometheus endpoint can see it."""

from __future__ import annotations

from collections.abc import Iterable

from ray.util.metrics import Counter, Histogram

from longvid.types import Failure

_BOUNDARIES_SECONDS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]


class StageMetrics:
    """Prometheus counters and a histogram of one stage, in the process of one actor.

    Args:
        stage: "probe", "decode" or "encode".
    """

    def __init__(self, stage: str) -> None:
        self._tags = {"stage": stage}
        self._counters = {
            name: _counter(f"longvid_{name}_total", text)
            for name, text in (
                ("items", "Files probed, or chunks worked on."),
                ("frames", "Frames decoded or encoded."),
                ("tokens", "Tokens written."),
                ("bytes", "Bytes of frames decoded, or written to the store."),
            )
        }
        self._busy = Histogram(
            "longvid_busy_seconds",
            description="Seconds of work on one item.",
            boundaries=_BOUNDARIES_SECONDS,
            tag_keys=("stage",),
        )
        self._failures = Counter(
            "longvid_failures_total",
            description="What could not be done, by kind.",
            tag_keys=("stage", "kind"),
        )

    def add(self, sums: dict[str, float], failures: Iterable[Failure] = ()) -> None:
        """Count one item.

        Args:
            sums: Its figures: busy_seconds, and any of frames, tokens and bytes.
            failures: Its gaps, or why there is nothing of it.
        """
        self._counters["items"].inc(1, self._tags)
        for name, value in sums.items():
            if name in self._counters and value > 0:
                self._counters[name].inc(value, self._tags)
        self._busy.observe(sums["busy_seconds"], self._tags)
        for failure in failures:
            self._failures.inc(1, {**self._tags, "kind": failure.kind})


def _counter(name: str, text: str) -> Counter:
    return Counter(name, description=text, tag_keys=("stage",))
