"""Every benchmark by name. A new one is one file here and one line below."""

from __future__ import annotations

import importlib

from benchmarks.harness.errors import RunError
from benchmarks.harness.task import Task

NAMES = {
    "msvd-qa": "short clips, open questions with one-word answers (val 6,415, test 13,157 rows)",
    "msrvtt-qa": "short clips, open questions with one-word answers (val 12,278, test 72,821)",
    "activitynet-qa": "clips of minutes, open questions of nine types",
    "tgif-frameqa": "animated pictures, open questions",
    "next-qa": "everyday clips, five options, causal, temporal and descriptive",
    "next-gqa": "NExT-QA's causal and temporal questions, and the spans that show the answer",
    "hc-stvg": "20 s clips, a sentence about one of several people: when and where (v2)",
    "vidstg": "everyday clips, sentences and questions about one thing: when and where",
    "egoschema": "three minutes of daily life, five options; subset apart from the full set",
    "video-mme": "seconds to an hour, four options, with and without subtitles",
    "mlvu": "minutes to hours, multiple choice, averaged over tasks",
    "longvideobench": "seconds to an hour, multiple choice, by duration",
    "mvbench": "twenty tasks of short clips, multiple choice, averaged over tasks",
    "real": "75 hand-made questions on free footage, with the spans that show the answer",
}


def load_task(name: str) -> Task:
    """Import one benchmark.

    Raises:
        RunError: It is none of them.
    """
    if name not in NAMES:
        raise RunError(
            f"Runs of {name!r} are scored and reported by `python -m benchmarks {name}` itself."
        )
    module = importlib.import_module(f"benchmarks.tasks.{name.replace('-', '_')}")
    task: Task = module.TASK
    return task
