from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from longvid.errors import ConfigError
from longvid.models import mini, mini_vocabulary
from longvid.models.mini_vocabulary import COLORS, SHAPES
from longvid.world.draw import Painter, pack, pose
from longvid.world.scene import generator, make_film
from pipelines.train_mini import __main__
from pipelines.train_mini.answer import AnswerHeads, answer_step, whiten_projector
from pipelines.train_mini.compression import Plan, compress, pool
from pipelines.train_mini.film_plan import PLACE_WEIGHTS, draw_plan, frame_times
from pipelines.train_mini.measure import accuracy_by_type
from pipelines.train_mini.needles import needle_recall
from pipelines.train_mini.patches import patch_targets
from pipelines.train_mini.search_codes import Codes, draw_coded_texts
from pipelines.train_mini.search_stage import draw_pool, search_losses
from pipelines.train_mini.stream import film_batch, place_questions


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_export_names_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no finished run"):
        __main__.main(["--out", str(tmp_path), "--export", str(tmp_path / "to")])


def test_export_of_a_search_names_a_folder_without_one(tmp_path: Path) -> None:
    to = ["--export", str(tmp_path / "to"), "--search-of", str(tmp_path / "mini")]
    with pytest.raises(ConfigError, match=r"holds no search\.pt; train first"):
        __main__.main(["--out", str(tmp_path), *to])
    assert not (tmp_path / "to").exists()


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
        (Plan(1, 1, 4, "guided", 8, fast_grid=2, slow_every=4), 76),
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
    for progress in (0.0, 1.5, 3.0, 4.0):
        plans = [draw_plan(generator(1, step), progress) for step in range(200)]
        assert plans == [draw_plan(generator(1, step), progress) for step in range(200)]
        shots = {plan.num_shots for plan in plans}
        if progress < 2:
            assert shots == ({1} if progress < 1 else {1, 2, 3, 4})
        else:
            assert shots <= set(range(1, 25))
            assert max(shots) > 16
            places = {"places"} if progress >= 4 else set()
            assert {plan.sampling for plan in plans} == {"even", "windows", "sparse"} | places
        for plan in plans:
            tokens = plan.num_frames * (plan.tokens_per_frame + 1)
            assert plan.num_films == 1 or plan.num_films * (tokens + 160) <= 2400
            assert tokens <= 2200


@pytest.mark.parametrize("kind", ["grid", "drop"])
def test_packed_questions_score_as_each_question_alone(kind: str) -> None:
    """The masked row of eight questions must give each answer its own prompt's logits."""
    _, vlm, tokenizer = mini.build(9)
    vlm.set_attn_implementation("eager")
    plan = Plan(2, 1, 4, kind, 4, share=0.4)
    batch = film_batch(5, 1, plan, Painter(64), vlm.model.vision_tower, tokenizer)
    whiten_projector(vlm, batch.features.flatten(0, 2).float())
    heads = AnswerHeads(mini.DECODER_WIDTH)
    frame = tokenizer.get_vocab()[mini_vocabulary.FRAME_TOKEN]
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
                before, after = mini_vocabulary.prompt(question.text).split(
                    mini_vocabulary.VIDEO_TOKEN
                )
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


def test_windows_lie_on_the_grid_of_segments_and_do_not_overlap() -> None:
    for index in range(40):
        film = make_film(61, index, num_shots=12)
        plan = Plan(1, 12, 24, "grid", 4, sampling="windows", num_windows=3)
        times = frame_times(generator(62, index), film, plan, even=True).reshape(3, 8)
        assert times[0, 0] >= 0
        assert times[-1, -1] < film.duration_seconds
        assert len(set((times // 4.0).ravel().tolist())) == 3
        assert ((times[:, 1:] - times[:, :-1]).round(6) == 0.5).all()
        sparse = replace(plan, sampling="sparse")
        anywhere = frame_times(generator(62, index), film, sparse, even=True)
        assert (anywhere[1:] >= anywhere[:-1]).all()
        assert anywhere[-1] < film.duration_seconds


def test_what_came_before_a_shot_is_the_last_shot_shown() -> None:
    _, vlm, tokenizer = mini.build(9)
    plan = Plan(3, 10, 6, "grid", 2, sampling="sparse")
    batch = film_batch(5, 1, plan, Painter(64), vlm.model.vision_tower, tokenizer)
    shot = batch.frame_shot.reshape(3, 6)
    place = batch.background.reshape(3, 6)
    before = batch.background_before.reshape(3, 6)
    for film in range(3):
        last: dict[int, int] = {}
        for number, now in enumerate(shot[film].tolist()):
            earlier = [i for i in last if i != now]
            wanted = 1 + last[max(earlier)] if earlier else 0
            assert before[film, number] == wanted
            last[now] = int(place[film, number])


def test_a_place_is_a_shot_with_those_beside_it_and_is_asked_about() -> None:
    plan = Plan(1, 12, 16, "grid", 4, sampling="places")
    asked = 0
    for index in range(6):
        film, rng = make_film(81, index, num_shots=12), generator(82, index)
        times = frame_times(rng, film, plan, even=True)
        shot = film.locate(times)[0]
        found = int(shot[8])
        assert shot.tolist() == [found - 1] * 4 + [found] * 8 + [found + 1] * 4
        for question in place_questions(film, times, rng, 8, PLACE_WEIGHTS):
            named = question.shots[-1] if question.type == "before" else question.shots[0]
            assert named == found
            asked += 1
    assert asked > 12


def test_a_film_without_questions_trains_nothing_but_the_readers() -> None:
    _, vlm, tokenizer = mini.build(9)
    vlm.set_attn_implementation("eager")
    plan = Plan(1, 1, 4, "grid", 4)
    tower = vlm.model.vision_tower
    batch = film_batch(5, 1, plan, Painter(64), tower, tokenizer, num_questions=0)
    heads = AnswerHeads(mini.DECODER_WIDTH)
    outcome = answer_step(vlm, heads, batch, generator(1, 1), 6)
    assert outcome.right == [[]]
    assert all(bool(loss.isfinite()) for loss in outcome.losses.values())
    assert all(float(outcome.losses[name].detach()) == 0 for name in ("answer", "look", "asked"))


def test_codes_of_things_are_apart_and_attributes_find_them() -> None:
    codes = Codes.drawn(3)
    bank = codes.bank  # 64 pairs and all signs
    cosine = bank @ bank.T
    assert torch.allclose(cosine.diagonal(), torch.ones(len(bank)), atol=1e-5)
    off = cosine - torch.eye(len(bank))
    assert float(off.max()) < 0.11  # a share of the shape or the colour, never both
    shape = codes.text(2, -1, -1, -1) @ codes.pairs.flatten(0, 1).T
    assert set(shape.topk(8).indices.tolist()) == set(range(16, 24))
    color = codes.text(-1, 5, -1, -1) @ codes.pairs.flatten(0, 1).T
    assert set((color.topk(8).indices % 8).tolist()) == {5}
    nowhere = codes.text(-1, -1, -1, -1)
    assert float((nowhere @ bank.T).abs().max()) < 1e-5
    assert float((nowhere @ codes.backgrounds.T).max()) < -0.4


def test_frames_have_the_codes_of_what_they_show() -> None:
    codes, films = Codes.drawn(3), [make_film(51, index) for index in range(20)]
    shots = [film.shots[0] for film in films]
    table, index = pack(shots), torch.arange(20)
    poses = pose(table, index, torch.full((20,), 0.5))
    wanted, shown = codes.frames(poses, table.scenery)
    for i, shot in enumerate(shots):
        pairs = {
            int(poses.shape[i, slot]) * 8 + int(poses.color[i, slot])
            for slot in range(4)
            if poses.visible[i, slot]
        }
        signs = {64 + shot.sign} if shot.sign >= 0 else set()
        assert set(shown[i].nonzero()[:, 0].tolist()) == pairs | signs
        if pairs | signs:
            score = codes.bank @ wanted[i]
            # As near to one thing as to four, so that a score tells whether a thing is there.
            assert 0.38 < float(score[shown[i]].min()) <= float(score[shown[i]].max()) < 0.6
            assert float(score[~shown[i]].max()) < 0.2
        assert float(codes.text(-1, -1, -1, -1) @ wanted[i]) < 1e-6


def test_texts_have_the_codes_of_what_they_name() -> None:
    codes = Codes.drawn(3)
    texts, wanted = draw_coded_texts(generator(1, 1), 400, codes)
    again, same = draw_coded_texts(generator(1, 1), 400, codes)
    assert texts == again
    assert torch.equal(wanted, same)
    tokenizer = mini_vocabulary.build_tokenizer(mini.TEXT_LENGTH)
    unknown = tokenizer.unk_token_id
    for text, code in zip(texts, wanted, strict=True):
        ids = tokenizer(text)["input_ids"]
        assert unknown not in ids
        assert len(ids) <= mini.TEXT_LENGTH
        words = text.split()
        pair = [f"{c} {s}" for s in SHAPES for c in COLORS if f"{c} {s}" in text]
        if "sign" not in words and " on " not in text and pair:
            nearest = int((codes.bank @ code).argmax())
            assert pair == [f"{COLORS[nearest % 8]} {SHAPES[nearest // 8]}"]


def test_frames_learn_their_codes_through_the_last_layer() -> None:
    embedder, _, _ = mini.build(9)
    codes = Codes.drawn(3)
    pool = draw_pool(3, 0, 16, Painter(64), embedder, codes)
    reader = torch.nn.Linear(mini.TOWER_WIDTH, 64)
    vision = embedder.vision_model
    loss, told = search_losses(embedder, reader, pool, codes)
    with torch.no_grad():
        # The last layer is the identity at first, so the tower's own pooling gives the vectors.
        image = vision.head(vision.post_layernorm(pool.patches.float()))
        cosine = torch.nn.functional.cosine_similarity(codes.bank[:, None], image[None], dim=-1)
        ranks, first = [], []
        for row, fits in zip(cosine * 30.0, pool.shown.T, strict=True):
            if not fits.any():
                continue
            right = [
                -torch.log_softmax(torch.cat([row[i][None], row[~fits]]), 0)[0]
                for i in fits.nonzero()[:, 0]
            ]
            ranks.append(float(torch.stack(right).mean()))
            first.append(float((row[fits] > row[~fits].max()).float().mean()))
        apart = 1 - torch.nn.functional.cosine_similarity(image, pool.wanted, dim=-1).mean()
    assert float(told["apart"].detach()) == pytest.approx(float(apart), rel=1e-4)
    assert float(told["rank"].detach()) == pytest.approx(sum(ranks) / len(ranks), rel=1e-4)
    assert float(told["ahead"]) == pytest.approx(sum(first) / len(first), rel=1e-4)
    torch.autograd.backward(loss)
    layer = vision.encoder.layers[-1]
    assert layer.mlp.fc2.weight.grad is not None
    assert vision.encoder.layers[0].mlp.fc2.weight.grad is None


def test_needles_are_counted_by_kind() -> None:
    embedder, _, _ = mini.build(9)
    tokenizer = mini_vocabulary.build_tokenizer(mini.TEXT_LENGTH)
    row = needle_recall(
        embedder, tokenizer, Painter(64), 5, num_films=1, seconds=160.0, per_film=24
    )
    assert row["pair_n"] > 0
    assert row["sign_n"] > 0
    assert 0 <= row["pair_r1"] <= row["pair_r8"] <= 1
