"""Figures that authors published, to be set beside ours only where they measure the same.

Open-ended figures are a judge's, and the judge alone moves them by ten points: MAR, JUN and JAN
are gpt-3.5-turbo of 0301, 0613 and 0125. A split or judge that its paper does not name is "?", and
such a row is never set beside anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_JUDGES = {
    "gpt-3.5-turbo-0301": "MAR",
    "gpt-3.5-turbo-0613": "JUN",
    "gpt-3.5-turbo-0125": "JAN",
}

# model; judge; task: split accuracy/score ... ("*": the judge is a guess by date)
_OPEN = """
Video-ChatGPT 7B; MAR*; msvd-qa: val 64.9/3.3; msrvtt-qa: val 49.3/2.8; tgif-frameqa: test 51.4/3.0; activitynet-qa: test 35.2/2.7
MovieChat 7B; JAN*; msvd-qa: test 75.2/3.8; msrvtt-qa: test 52.7/2.6; activitynet-qa: test 45.7/3.4
Video-LLaVA 7B; JUN*; msvd-qa: test 70.7/3.9; msrvtt-qa: test 59.2/3.5; tgif-frameqa: test 70.0/4.0; activitynet-qa: test 45.3/3.3
Chat-UniVi 7B v1.5; JUN*; tgif-frameqa: test 70.0/3.8; activitynet-qa: test 47.2/3.3
LLaMA-VID 7B; JUN*; activitynet-qa: test 47.4/3.3
LLaMA-VID 13B; JUN*; activitynet-qa: test 47.5/3.3
FreeVA 7B; MAR; activitynet-qa: test 58.3/3.5
FreeVA 7B; JUN; activitynet-qa: test 53.7/3.5
FreeVA 7B; JAN; activitynet-qa: test 51.2/3.5
PLLaVA 7B; JAN; msvd-qa: test 76.6/4.1; msrvtt-qa: test 62.0/3.5; tgif-frameqa: test 77.5/4.1; activitynet-qa: test 56.3/3.5
PLLaVA 34B; JAN; msvd-qa: test 79.9/4.2; msrvtt-qa: test 68.7/3.8; tgif-frameqa: test 80.6/4.3; activitynet-qa: test 60.9/3.7
LLaVA-NeXT-Video 7B; JUN; activitynet-qa: test 53.5/3.2
LLaVA-NeXT-Video 34B; JUN; activitynet-qa: test 58.8/3.4
SlowFast-LLaVA 7B; JAN; msvd-qa: val 79.1/4.1; msrvtt-qa: val 65.8/3.6; tgif-frameqa: test 78.7/4.2; activitynet-qa: test 55.5/3.4
SlowFast-LLaVA 34B; JAN; msvd-qa: val 79.9/4.1; msrvtt-qa: val 67.4/3.7; tgif-frameqa: test 80.6/4.3; activitynet-qa: test 59.2/3.5
FrozenBiLM 1B, zero-shot; exact; msvd-qa: test 32.2; msrvtt-qa: test 16.8; tgif-frameqa: test 41.0; activitynet-qa: test 24.7
"""  # noqa: E501  # a table reads as a table

# model; task: split accuracy
_CHOICE = """
LongVU 7B; egoschema: full 67.6; mlvu: dev 65.4; mvbench: test 66.9; video-mme: test 60.6
LongVU 3B; mvbench: test 60.9; video-mme: test 51.5
SlowFast-LLaVA 7B; egoschema: subset 47.2; mvbench: test 43.3; next-qa: val 64.2
SlowFast-LLaVA 34B; egoschema: subset 55.8; mvbench: test 49.6; next-qa: val 72.0
IG-VLM 7B; egoschema: subset 35.8; mvbench: test 42.9; next-qa: val 63.1
IG-VLM 34B; egoschema: subset 53.6; mvbench: test 49.0; next-qa: val 70.9
Video-LLaVA 7B; mlvu: dev 47.3; mvbench: test 41.0
LLaVA-NeXT-Video 34B; longvideobench: val 50.5
LLaVA-NeXT-Video 32B (Qwen); mlvu: dev 65.5; video-mme: test 60.2
VideoChat2 (Mistral); egoschema: full 54.4; mvbench: test 60.4; video-mme: test 39.5
LongVA 7B; mlvu: dev 56.3; video-mme: test 52.6
LLaMA-VID 7B; mlvu: dev 33.2
MovieChat 7B; mlvu: dev 25.8
LLaVA-OneVision 7B; mlvu: dev 64.7; mvbench: test 56.7
"""


# Rows of each split as its authors count them; another number is another set of questions.
_ROWS = {
    ("msvd-qa", "val"): 6415,
    ("msvd-qa", "test"): 13157,
    ("msrvtt-qa", "val"): 12278,
    ("msrvtt-qa", "test"): 72821,
    ("activitynet-qa", "test"): 8000,
    ("tgif-frameqa", "test"): 13691,
    ("next-qa", "val"): 4996,
    ("egoschema", "subset"): 500,
    ("egoschema", "full"): 5031,
    ("mlvu", "dev"): 2174,
    ("video-mme", "test"): 2700,
    ("longvideobench", "val"): 1337,
    ("mvbench", "test"): 4000,
}


def not_comparable(result: Mapping[str, Any]) -> str:
    """Return why a run is of another kind than published ones, "" when it is of the same."""
    identity, num_rows = result["identity"], result["rows"]
    wanted = _ROWS.get((identity["task"], identity["split"]))
    answered = sum(result["coverage"][name] for name in ("ok", "unparsed"))
    unjudged = sum(judge["unjudged"] for judge in result["judges"].values())
    if wanted is None:
        why = "How many rows the authors count in this split is not known"
    elif wanted != num_rows:
        why = f"The split has {wanted} rows and this run {num_rows}"
    elif identity.get("text_only"):
        why = "No frame was shown in this run"
    elif answered < num_rows:
        why = f"{num_rows - answered} rows have no answer"
    elif unjudged:
        why = f"{unjudged} answers have no verdict"
    else:
        return ""
    return f"{why}: published figures are left out."


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """One figure of somebody else, in percent.

    Args:
        model: Whose.
        metric: Ours of the same kind.
        accuracy: Percent.
        score: Mean score of the judge, None for other metrics.
        judge_guessed: The paper does not name the judge's version; it follows from its date.
    """

    model: str
    metric: str
    accuracy: float
    score: float | None = None
    judge_guessed: bool = False


def beside(identity: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[PublishedFigure]:
    """Return the published figures of the same task, split and kind of metric as a run's."""
    judges = {
        _JUDGES[name.removeprefix("judge:")]: name
        for name in metrics
        if name.removeprefix("judge:") in _JUDGES
    }
    kinds = {"exact": "exact", **judges} if "exact" in metrics else judges
    where = (identity["task"], identity["split"])
    found = []
    for line in _OPEN.strip().splitlines():
        model, kind, *cells = (part.strip() for part in line.split(";"))
        metric = kinds.get(kind.rstrip("*"))
        for task, split, accuracy, score in map(_cell, cells):
            if metric and (task, split) == where:
                found.append(PublishedFigure(model, metric, accuracy, score, kind.endswith("*")))
    if "letter" in metrics:
        for line in _CHOICE.strip().splitlines():
            model, *cells = (part.strip() for part in line.split(";"))
            for task, split, accuracy, _ in map(_cell, cells):
                if (task, split) == where and not identity.get("subtitles"):
                    found.append(PublishedFigure(model, "letter", accuracy))
    return found


def _cell(text: str) -> tuple[str, str, float, float | None]:
    task, _, rest = text.partition(":")
    split, _, figures = rest.strip().partition(" ")
    accuracy, _, score = figures.partition("/")
    return task, split, float(accuracy), float(score) if score else None
