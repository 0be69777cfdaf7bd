"""Training that is stopped anywhere goes on as if it had not been."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from transformers import SiglipModel

from pipelines.train_mini.answer_stage import train_answer
from pipelines.train_mini.progress import load_checkpoint
from pipelines.train_mini.recipe import Recipe
from pipelines.train_mini.search_stage import train_search, train_texts
from pipelines.train_mini.tower_stage import train_tower

SMALL = replace(
    Recipe(),
    tower_steps=6,
    tower_frames=8,
    tower_texts=12,
    tower_warmup=2,
    retrieval_frames=16,
    text_steps=6,
    text_texts=6,
    search_steps=6,
    search_pool=12,
    search_pool_steps=4,
    search_frames=8,
    search_warmup=2,
    answer_steps=6,
    answer_cooldown=2,
    answer_questions=3,
    token_budget=300,
    one_shot_steps=3,
    few_shot_steps=2,
    measure_every=100,
    log_every=2,
    save_every=100,
)
CPU = torch.device("cpu")


def train(out: Path, stage: str = "", stop: int | None = None) -> None:
    stops = {stage: stop}
    embedder, average = train_tower(SMALL, out, CPU, stop_at=stops.get("tower"))
    if stage == "tower":
        return
    twin = average.averaged(embedder)
    texts = train_texts(SMALL, out, CPU, twin, stop_at=stops.get("text", 0))
    assert _same_layers(texts, twin) == [True] * 5
    if stage == "text":
        return
    found = train_search(SMALL, out, CPU, texts, stop_at=stops.get("search", 0))
    if stage != "search":
        assert _same_layers(found, average.averaged(embedder)) == [True] * 4 + [False]
        train_answer(SMALL, out, CPU, found, stop_at=stops.get("answer"))


def _same_layers(left: SiglipModel, right: SiglipModel) -> list[bool]:
    towers = (left.vision_model.encoder.layers, right.vision_model.encoder.layers)
    return [
        all(map(torch.equal, mine.parameters(), theirs.parameters()))
        for mine, theirs in zip(*towers, strict=True)
    ]


def test_a_run_stopped_anywhere_ends_with_the_same_weights(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    for stage, stop in (("tower", 1), ("text", 3), ("search", 3), ("answer", 2), ("answer", 5)):
        train(tmp_path / "broken", stage, stop)
    train(tmp_path / "broken")
    for name in ("tower.pt", "text.pt", "search.pt", "answer.pt"):
        whole, broken = (load_checkpoint(tmp_path / run / name) for run in ("whole", "broken"))
        assert whole is not None
        assert broken is not None
        assert whole["step"] == broken["step"] == 6
        for part in {"heads", "vlm", "embedder"} & set(whole):
            for key, value in whole[part].items():
                assert torch.equal(value, broken[part][key]), (name, part, key)
        for key, value in whole.get("average", {"shadow": {}})["shadow"].items():
            assert torch.equal(value, broken["average"]["shadow"][key]), (name, key)
    log = (tmp_path / "broken/answer.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [2, 4, 6]
