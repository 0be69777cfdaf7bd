"""What the server counts, for Prometheus. No label holds a video, a question or a key."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """One registry a server, so that several in one process do not meet."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "longvid_requests", "Requests.", ("route", "status"), registry=self._registry
        )
        self.questions = Counter(
            "longvid_questions", "Questions by result.", ("result",), registry=self._registry
        )
        self.queue_depth = Gauge(
            "longvid_queue_depth", "Questions waiting or in progress.", registry=self._registry
        )
        self.evidence_seconds = Histogram(
            "longvid_evidence_seconds",
            "Time from a question to its evidence.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.first_text_seconds = Histogram(
            "longvid_first_text_seconds",
            "Time from a question to the first text of its answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.answer_seconds = Histogram(
            "longvid_answer_seconds",
            "Time from a question to its whole answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.visual_tokens = Counter(
            "longvid_visual_tokens", "Visual tokens shown to the model.", registry=self._registry
        )
        self.jobs = Gauge("longvid_jobs", "Jobs by state.", ("state",), registry=self._registry)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)
