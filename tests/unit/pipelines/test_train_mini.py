from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.world.draw import Painter, pack, pose
from benchmarks.world.scene import generator, make_film
from longvid.errors import ConfigError
from longvid.models import mini
from pipelines import train_mini
from pipelines.mini_training.answer import AnswerHeads, answer_step, whiten_projector
from pipelines.mini_training.compression import Plan, compress, pool
from pipelines.mini_training.measure import accuracy_by_type
from pipelines.mini_training.patches import patch_targets
from pipelines.mini_training.progress import load_checkpoint
from pipelines.mini_training.stream import draw_plan, film_batch

SMALL = replace(
    train_mini.Recipe(),
    tower_steps=6,
    tower_frames=8,
    tower_texts=12,
    tower_warmup=2,
    retrieval_frames=16,
    answer_steps=6,
    answer_questions=3,
    token_budget=300,
    one_shot_steps=3,
    few_shot_steps=2,
    measure_every=100,
    log_every=2,
    save_every=100,
)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(out: Path, tower_stop: int | None = None, answer_stop: int | None = None) -> None:
    embedder, average = train_mini.train_tower(SMALL, out, CPU, stop_at=tower_stop)
    if tower_stop is None:
        twin = average.averaged(embedder)
        train_mini.train_answer(SMALL, out, CPU, twin, stop_at=answer_stop)


def test_a_run_stopped_anywhere_ends_with_the_same_weights(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    for stop in (1, 4):
        train(tmp_path / "broken", tower_stop=stop)
    for stop in (2, 5, None):
        train(tmp_path / "broken", answer_stop=stop)
    for name in ("tower.pt", "answer.pt"):
        whole, broken = (load_checkpoint(tmp_path / run / name) for run in ("whole", "broken"))
        assert whole is not None
        assert broken is not None
        assert whole["step"] == broken["step"] == 6
        for part in ("heads", "vlm" if name == "answer.pt" else "embedder"):
            for key, value in whole[part].items():
                assert torch.equal(value, broken[part][key]), (name, part, key)
        shadow = broken["average"]["shadow"]
        assert all(torch.equal(v, shadow[k]) for k, v in whole["average"]["shadow"].items())
    log = (tmp_path / "broken/answer.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [2, 4, 6]


def test_export_names_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no finished run"):
        train_mini.main(["--out", str(tmp_path), "--export", str(tmp_path / "to")])


def test_patch_targets_point_at_the_things() -> None:
    shots = [make_film(51, index).shots[0] for index in range(40)]
    table, index = pack(shots), torch.arange(40)
    poses = pose(table, index, torch.full((40,), 0.5))
    target = patch_targets(poses, table.scenery, 8)
    for i, shot in enumerate(shots):
        for slot, thing in enumerate(shot.things):
            patches = (target.owner[i] == slot).nonzero()[:, 0]
            assert all(target.shape[i, p] == thing.shape for p in patches)
            if len(patches):
                row, column = patches // 8, patches % 8
                x = (column + 0.5 + target.offset[i, patches, 0]) / 8
                y = (row + 0.5 + target.offset[i, patches, 1]) / 8
                assert torch.allclose(x, poses.x[i, slot].expand_as(x), atol=1e-5)
                assert torch.allclose(y, poses.y[i, slot].expand_as(y), atol=1e-5)
    signs = table.scenery[:, 4] >= 0
    assert torch.equal((target.glyph >= 0).any(dim=1), signs)


@pytest.mark.parametrize(
    ("plan", "count"),
    [
        (Plan(1, 1, 4, "grid", 4), 64),
        (Plan(1, 1, 4, "grid", 1), 4),
        (Plan(1, 1, 4, "slowfast", 4, fast_grid=1, slow_every=2), 34),
        (Plan(1, 1, 4, "merge", 8, kept=16), 64),
        (Plan(1, 1, 4, "content", 8), 8),
    ],
)
def test_compression_keeps_the_planned_number_of_tokens(plan: Plan, count: int) -> None:
    features = torch.randn(2, 4, 64, 12, generator=torch.Generator().manual_seed(1))
    tokens = compress(features, plan, generator(1, 1))
    assert tokens.keep.sum(dim=(1, 2)).tolist() == [count, count]
    assert tokens.data.shape[:3] == tokens.patch.shape
    if plan.kind == "grid":
        assert torch.allclose(tokens.data.mean(2), features.mean(2), atol=1e-5)
        assert torch.equal(pool(features, 8), features)


@pytest.mark.parametrize("kind", ["prune", "drop"])
def test_dropping_keeps_a_token_of_every_frame_or_its_anchor(kind: str) -> None:
    features = torch.randn(2, 8, 64, 12, generator=torch.Generator().manual_seed(1))
    tokens = compress(features, Plan(1, 1, 8, kind, 4, share=0.5), generator(1, 2))
    share = tokens.keep.float().mean()
    assert 0.3 < share < 0.75
    assert tokens.keep[:, 0].any(-1).all()


def test_plans_are_a_function_of_the_step_and_stay_in_their_budget() -> None:
    for progress in (0.0, 1.5, 3.0):
        plans = [draw_plan(generator(1, step), progress) for step in range(200)]
        assert plans == [draw_plan(generator(1, step), progress) for step in range(200)]
        assert {plan.num_shots for plan in plans} == (
            {1} if progress < 1 else {1, 2, 3, 4} if progress < 2 else set(range(1, 9))
        )
        for plan in plans:
            tokens = plan.num_frames * (plan.tokens_per_frame + 1)
            assert plan.num_films == 2 or plan.num_films * (tokens + 110) <= 2400


@pytest.mark.parametrize("kind", ["grid", "drop"])
def test_packed_questions_score_as_each_question_alone(kind: str) -> None:
    """The masked row of eight questions must give each answer its own prompt's logits."""
    _, vlm, tokenizer = mini.build(9)
    vlm.set_attn_implementation("eager")
    plan = Plan(2, 1, 4, kind, 4, share=0.4)
    batch = film_batch(5, 1, plan, Painter(64), vlm.model.vision_tower, tokenizer)
    whiten_projector(vlm, batch.features.flatten(0, 2).float())
    heads = AnswerHeads(mini.DECODER_WIDTH)
    frame = tokenizer.get_vocab()[mini.FRAME_TOKEN]
    features = batch.features.float()
    batch = replace(batch, features=features)
    with torch.no_grad():
        outcome = answer_step(vlm, heads, batch, generator(1, 1), frame)
        tokens = compress(vlm.model.multi_modal_projector(features), plan, generator(1, 1))
        embed = vlm.get_input_embeddings()
        total, number = 0.0, 0
        for film, questions in enumerate(batch.text.questions):
            visual = []
            for f in range(plan.num_frames):
                visual += [embed.weight[frame][None], tokens.data[film, f][tokens.keep[film, f]]]
            for question in questions:
                before, after = mini.prompt(question.text).split(mini.VIDEO_TOKEN)
                assert before == ""
                prompt = tokenizer(after)["input_ids"]
                answer = [*tokenizer(question.answer)["input_ids"], tokenizer.eos_token_id]
                ids = torch.tensor(prompt + answer[:-1])
                row = torch.cat([*visual, embed(ids)])[None]
                logits = vlm(inputs_embeds=row).logits[0, -len(answer) :].float()
                loss = torch.nn.functional.cross_entropy(
                    logits, torch.tensor(answer), reduction="sum"
                )
                total, number = total + float(loss), number + len(answer)
    assert float(outcome.losses["answer"]) == pytest.approx(total / number, rel=1e-4)


def test_accuracy_counts_every_question() -> None:
    _, vlm, tokenizer = mini.build(9)
    vlm.set_attn_implementation("eager")
    heads = AnswerHeads(mini.DECODER_WIDTH)
    plan = Plan(2, 1, 4, "grid", 2)
    rows = accuracy_by_type(vlm, heads, tokenizer, Painter(64), plan, 4, seed=3, exact=True)
    assert sum(total for _, total in rows.values()) == 48
    assert all(0 <= right <= total for right, total in rows.values())
