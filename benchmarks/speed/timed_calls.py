"""Times calls beside their rivals in one process, forwards and backwards alternately."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.measurements import Row, in_turns


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how often to measure.

    Args:
        device: "cpu" or "cuda".
        repeats: Measurements per subject, half of them in each order.
        frames, tokens, width: F, N and C of the features.
        compiled: Also time torch.compile of the eager rivals.
    """

    device: torch.device
    repeats: int
    frames: int
    tokens: int
    width: int
    compiled: bool

    def seconds(self, subjects: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
        """Time all subjects in turn, forwards and backwards alternately."""
        times: dict[str, list[float]] = {name: [] for name in subjects}
        for call in subjects.values():
            for _ in range(2):
                call()
        for name in in_turns(subjects, self.repeats):
            times[name].append(self._once(subjects[name]))
        return times

    def _once(self, call: Callable[[], object]) -> float:
        if self.device.type == "cpu":
            start = time.perf_counter()
            call()
            return time.perf_counter() - start
        # Writing more than the second cache holds keeps the inputs out of it.
        torch.empty(2**28, dtype=torch.uint8, device=self.device).zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000

    def compare(
        self,
        task: str,
        ours: Callable[[], object],
        rivals: dict[str, Callable[[], object]],
        targets: dict[str, float],
    ) -> list[Row]:
        """Return the time of everyone, and our speed-up over each rival beside its target."""
        subjects: dict[str, Callable[[], object]] = {"longvid": ours, **rivals}
        if self.compiled:
            for name, call in rivals.items():
                subjects[f"{name}, torch.compile"] = torch.compile(call)
        times = self.seconds(subjects)
        rows = []
        medians = {name: statistics.median(values) for name, values in times.items()}
        for name, values in times.items():
            spread = (max(values) - min(values)) * 1000
            rows.append(Row(task, name, "wall", medians[name] * 1000, "ms", len(values), spread))
            if name == "longvid":
                continue
            gain = medians[name] / medians["longvid"]
            rows.append(Row(task, name, "longvid is faster by", gain, "x", len(values)))
            if name in targets:
                rows.append(Row(task, name, "target", targets[name], "x"))
        return rows


def machine_rates(bench: Bench) -> list[Row]:
    """The ceilings of this run: copy bandwidth and GEMM rate."""
    num_bytes = 2**24 if bench.device.type == "cpu" else 2**30
    source = torch.ones(num_bytes, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    side = 1024 if bench.device.type == "cpu" else 8192
    left = torch.randn(side, side, device=bench.device, dtype=torch.bfloat16)
    single = left.float()
    times = bench.seconds(
        {
            "copy": lambda: target.copy_(source),
            "GEMM bf16": lambda: left @ left,
            "GEMM fp32": lambda: single @ single,
        }
    )
    work = {"copy": 2 * num_bytes, "GEMM bf16": 2 * side**3, "GEMM fp32": 2 * side**3}
    units = {"copy": "GB/s", "GEMM bf16": "GFLOP/s", "GEMM fp32": "GFLOP/s"}
    return [
        Row(
            "this machine",
            name,
            "rate",
            work[name] / statistics.median(values) / 1e9,
            units[name],
            len(values),
        )
        for name, values in times.items()
    ]
