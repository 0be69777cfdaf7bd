"""Training that is stopped anywhere goes on as if it had not been."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from transformers import SiglipModel

from pipelines.train_mini.answer_stage import train_answer
from pipelines.train_mini.matching_stage import train_matching
from pipelines.train_mini.progress import load_checkpoint
from pipelines.train_mini.recipe import Recipe
from pipelines.train_mini.tower_stage import train_tower

SMALL = replace(
    Recipe(),
    tower_steps=6,
    tower_frames=8,
    tower_texts=12,
    tower_warmup=2,
    retrieval_frames=16,
    match_steps=6,
    match_pool=12,
    match_pool_steps=4,
    match_frames=8,
    match_texts=6,
    bind_steps=6,
    bind_pool_steps=4,
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
    search = partial(train_matching, SMALL, out, CPU)
    matched = search(twin, bind=False, stop_at=stops.get("match"))
    assert _same_layers(matched, twin) == [True] * 5
    if stage == "match":
        return
    bound = search(matched, bind=True, stop_at=stops.get("bind"))
    assert _same_layers(bound, twin) == [True] * 4 + [False]
    if stage != "bind":
        train_answer(SMALL, out, CPU, bound, stop_at=stops.get("answer"))


def _same_layers(left: SiglipModel, right: SiglipModel) -> list[bool]:
    towers = (left.vision_model.encoder.layers, right.vision_model.encoder.layers)
    return [
        all(map(torch.equal, mine.parameters(), theirs.parameters()))
        for mine, theirs in zip(*towers, strict=True)
    ]


def test_a_run_stopped_anywhere_ends_with_the_same_weights(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    for stage, stop in (("tower", 1), ("match", 3), ("bind", 3), ("answer", 2), ("answer", 5)):
        train(tmp_path / "broken", stage, stop)
    train(tmp_path / "broken")
    for name in ("tower.pt", "match.pt", "bind.pt", "answer.pt"):
        whole, broken = (load_checkpoint(tmp_path / run / name) for run in ("whole", "broken"))
        assert whole is not None
        assert broken is not None
        assert whole["step"] == broken["step"] == 6
        for part in {"heads", "vlm", "embedder"} & set(whole):
            for key, value in whole[part].items():
                assert torch.equal(value, broken[part][key]), (name, part, key)
        shadow = broken["average"]["shadow"]
        assert all(torch.equal(v, shadow[k]) for k, v in whole["average"]["shadow"].items())
    log = (tmp_path / "broken/answer.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [2, 4, 6]
