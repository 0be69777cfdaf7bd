"""The yardstick: its films, its arms, what it reads and how it counts."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.harness.record import Record
from benchmarks.report.plots import Line, curves
from benchmarks.tasks.world import trials
from benchmarks.tasks.world.answer_check import Reader, Sheet
from benchmarks.tasks.world.arm_asker import ArmAsker, embedding, evidence_ranks
from benchmarks.tasks.world.arms import (
    COMPRESSIONS,
    EVERY_SEGMENT,
    SELECTORS,
    baselines,
    of_config,
    of_parts,
    published,
    slow_and_fast,
)
from benchmarks.tasks.world.equal_budget import (
    SHARES,
    WHOLE,
    arms_of,
    budget_of,
    equal_budget_trials,
)
from benchmarks.tasks.world.film_rows import records_of
from benchmarks.tasks.world.film_tokens import Cut, Shelf, read_shelf
from benchmarks.tasks.world.films import Case, index_config, prepare
from benchmarks.tasks.world.suites import (
    SUITES,
    TEST_SEED,
    TUNING_SEED,
    draw_film,
    draw_questions,
    named_by,
)
from longvid import registry
from longvid.compress.pooling import SlowFastPooling
from longvid.config import load_config
from longvid.llm.huggingface import HuggingFaceLanguageModel
from longvid.protocols import LearnedCompressorPart
from longvid.qa.video_qa import VideoQA
from longvid.store import Store
from longvid.types import Query, Question, Selection

CONFIG = load_config("mini")
MINUTE = dataclasses.replace(SUITES["1 min"], seconds=24.0, file_fps=4, file_size=64)
FEW = dataclasses.replace(SUITES["10 s"], num_films=2, questions_per_film=4, file_size=64)
INDEX = index_config(CONFIG, MINUTE)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return prepare(MINUTE, 71, 1, tmp_path_factory.mktemp("films"), INDEX, lambda line: None)[0]


@pytest.fixture(scope="module")
def shelf(case: Case) -> Shelf:
    return read_shelf(Store.open(case.store), case.path.name)


@pytest.fixture(scope="module")
def rows(case: Case) -> list[Record]:
    return records_of([case])


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.fixture(scope="module")
def queries(case: Case, reader: Reader) -> list[Query]:
    embed = embedding(CONFIG, reader.embed_words)
    return list(embed([question.text for question in case.questions]))


# --- films ----------------------------------------------------------------------------------------


def test_a_needle_is_shown_in_one_shot_of_a_long_film() -> None:
    suite = SUITES["1 h"]
    film = draw_film(suite, TUNING_SEED, 0)
    pairs = Counter(
        (thing.shape, color)
        for shot in film.shots
        for thing in shot.things
        for color in {thing.color, thing.color_after}
    )
    signs = Counter(shot.sign for shot in film.shots if shot.sign >= 0)
    assert sum(count == 1 for count in pairs.values()) >= suite.num_needles
    assert sum(count == 1 for count in signs.values()) >= suite.num_needles
    assert film.duration_seconds >= suite.seconds
    questions = draw_questions(suite, TUNING_SEED, 0, film)
    assert len(questions) > 0.9 * suite.questions_per_film
    assert {"pair", "sign"} <= {named_by(question) for question in questions}
    assert any(question.type in ("before", "after") for question in questions)


def test_films_of_the_two_ranges_differ_and_repeat() -> None:
    suite = SUITES["10 min"]
    assert draw_film(suite, TEST_SEED, 0) == draw_film(suite, TEST_SEED, 0)
    assert draw_film(suite, TEST_SEED, 0) != draw_film(suite, TUNING_SEED, 0)


def test_a_question_names_its_place(case: Case) -> None:
    question = case.questions[0]
    for text, kind, expected in (
        ("what is behind sign k ?", "sign_ref", "sign"),
        ("what does the sign with the red star say ?", "sign_read", "pair"),
        ("which sign comes after the red star ?", "after", "pair, next shot"),
        ("what comes right after the shot with sign k ?", "after", "sign, next shot"),
        ("who spins ?", "who", "other"),
    ):
        assert named_by(dataclasses.replace(question, text=text, type=kind)) == expected


def test_a_second_run_finds_films_and_stores(case: Case) -> None:
    said: list[str] = []
    again = prepare(MINUTE, 71, 1, case.path.parent, INDEX, said.append)
    assert said == []
    assert again == [case]


# --- reading --------------------------------------------------------------------------------------


def test_an_answer_is_right_when_generation_gives_it(
    shelf: Shelf, queries: list[Query], rows: list[Record], reader: Reader
) -> None:
    """The fast reading of many questions equals one generation each."""
    slow = HuggingFaceLanguageModel().setup("cpu")
    uniform = of_parts("uniform", COMPRESSIONS["grid 4x4"], (SELECTORS["uniform"],))
    guided = of_config("longvid", CONFIG, MINUTE.sample_fps)
    shown = []
    for arm in (uniform, guided):
        for query, row in zip(queries, rows[:4], strict=False):
            shown.append(arm.show(shelf, query, row, 128))
    # Half of the expected answers are another question's, so that wrong ones are judged too.
    expected = [
        (row.question, rows[i // 2 if i % 2 else i].answers[0])
        for _ in range(2)
        for i, row in enumerate(rows[:4])
    ]
    sheets = [Sheet(item, (one,)) for item, one in zip(shown, expected, strict=True)]
    packed = [Sheet(shown[0], tuple(expected[:4])), *sheets[4:]]
    fast = [mark for marks in reader.right(sheets) for mark in marks]
    together = [mark for marks in reader.right(packed) for mark in marks]
    given = [
        slow.answer(Question(text), Selection(item, (), 128)).text
        for item, (text, _) in zip(shown, expected, strict=True)
    ]
    assert fast == [a == answer for a, (_, answer) in zip(given, expected, strict=True)]
    assert together == fast
    assert 0 < sum(fast) < len(fast)


@pytest.mark.parametrize(("min_score", "max_shot_frames"), [(-1.0, 0), (-1.0, 6), (1.1, 0)])
def test_the_preset_arm_shows_what_longvid_ask_shows(
    case: Case,
    shelf: Shelf,
    queries: list[Query],
    rows: list[Record],
    min_score: float,
    max_shot_frames: int,
) -> None:
    config = dataclasses.replace(
        INDEX,
        selectors=CONFIG.selectors,
        ask=dataclasses.replace(
            CONFIG.ask,
            num_segments=1,
            context_segments=1,
            min_score=min_score,
            max_shot_frames=max_shot_frames,
        ),
    )
    arm = of_config("x", config, MINUTE.sample_fps)
    qa = VideoQA(case.store, config)
    for query, row in zip(queries[:4], rows, strict=False):
        answer = qa.ask(row.question, video=case.path.name, budget=300)
        shown = arm.show(shelf, query, row, 300)
        assert answer.visual_tokens == sum(len(segment.tokens) for segment in shown)


def test_the_search_in_memory_is_the_store_s(
    case: Case, shelf: Shelf, queries: list[Query]
) -> None:
    store, cut = Store.open(case.store), Cut(vectors=CONFIG.store.vectors_per_segment)
    for query in queries:
        hits = store.search(query.embedding, 3, (shelf.whole.video_id,))
        found = shelf.search(query.embedding, cut, EVERY_SEGMENT)
        assert [index for index, _ in found[:3]] == [hit.segment_index for hit in hits]


def test_cutting_again_changes_no_token(case: Case, shelf: Shelf) -> None:
    stored = Store.open(case.store).load([(shelf.whole.video_id, i) for i in range(2)])
    for mine, theirs in zip(shelf.segments(Cut()), stored, strict=False):
        assert torch.equal(mine.tokens.data, theirs.tokens.data)
        assert torch.equal(mine.tokens.frame, theirs.tokens.frame)
        assert (mine.start_seconds, mine.end_seconds) == (theirs.start_seconds, theirs.end_seconds)
    half = shelf.segments(Cut(segment_frames=5, every=2))
    assert sum(segment.num_frames for segment in half) == math.ceil(shelf.whole.num_frames / 2)
    assert torch.equal(half[0].pts_seconds, shelf.whole.pts_seconds[:10:2])


# --- arms -----------------------------------------------------------------------------------------


def test_every_part_of_the_registry_is_in_the_grid() -> None:
    used = {type(part) for parts in COMPRESSIONS.values() for part in parts}
    known = {registry.find("compressor", name) for name in registry.PARTS["compressor"]}
    # Those with weights belong to towers that did not make these tokens.
    assert used == {part for part in known if not isinstance(part(), LearnedCompressorPart)}
    assert {type(part) for part in SELECTORS.values()} == {
        registry.find("selector", name) for name in registry.PARTS["selector"]
    }


@pytest.mark.parametrize("budget", [32, 100, 512])
def test_no_arm_shows_more_than_its_budget(
    shelf: Shelf, queries: list[Query], rows: list[Record], budget: int
) -> None:
    arms = [*baselines(), *published(2.0), of_config("longvid", CONFIG, 2.0)]
    for arm in arms:
        for query, row in zip(queries[:3], rows, strict=False):
            shown = arm.show(shelf, query, row, budget)
            assert sum(len(segment.tokens) for segment in shown) <= budget
            again = arm.show(shelf, query, row, budget)
            assert all(
                torch.equal(a.tokens.data, b.tokens.data) for a, b in zip(shown, again, strict=True)
            )


def test_the_oracle_shows_only_the_evidence(
    shelf: Shelf, queries: list[Query], rows: list[Record]
) -> None:
    oracle = next(arm for arm in baselines() if arm.name == "oracle")
    for query, row in zip(queries, rows, strict=True):
        for segment in oracle.show(shelf, query, row, 512):
            for pts in segment.pts_seconds.tolist():
                assert any(start <= pts < end for start, end in row.evidence)


def test_slow_and_fast_is_slowfast_pooling(shelf: Shelf) -> None:
    segment = shelf.segments(Cut())[0]
    slow = torch.arange(segment.num_frames) % 5 == 0
    segment = dataclasses.replace(segment, slow=slow)
    part = SlowFastPooling(slow_mode="spatial_2d_avg_pool", fast_height=1, fast_width=1)
    ours, theirs = slow_and_fast(segment).tokens, part(segment).tokens
    assert torch.equal(ours.frame, theirs.frame)
    torch.testing.assert_close(ours.data.float(), theirs.data.float(), atol=2e-3, rtol=2e-3)


# --- measuring ------------------------------------------------------------------------------------


def test_every_question_is_marked_in_every_cell(
    case: Case, rows: list[Record], reader: Reader
) -> None:
    cells = [(arm, 128) for arm in baselines() if arm.name in ("no video", "uniform", "oracle")]
    embed = embedding(CONFIG, reader.embed_words)
    asker = ArmAsker(case.store, cells, reader, embed, Cut(), CONFIG.ask)
    predictions = list(asker.ask([(row, str(case.path)) for row in rows]))
    assert [one["id"] for one in predictions] == [row.id for row in rows]
    for one in predictions:
        assert {name: mark[1] for name, mark in one["cells"].items()} == {
            "no video @ 128": 0,
            "uniform @ 128": 128,
            "oracle @ 128": one["cells"]["oracle @ 128"][1],
        }


def test_evidence_ranks_are_those_of_the_segments_that_show_it(
    shelf: Shelf, queries: list[Query], rows: list[Record]
) -> None:
    segments = shelf.segments(Cut())
    for query, row in zip(queries, rows, strict=True):
        ranks = evidence_ranks(shelf, query, row, Cut(), CONFIG.ask)
        order = [index for index, _ in shelf.search(query.embedding, Cut(), CONFIG.ask)]
        for rank, (start, end) in zip(ranks, row.evidence, strict=True):
            best = segments[order[rank - 1]]
            assert best.start_seconds < end
            assert best.end_seconds > start


@pytest.mark.parametrize("share", SHARES)
def test_compressors_keep_to_an_equal_budget(
    shelf: Shelf, queries: list[Query], rows: list[Record], share: float
) -> None:
    total = sum(len(one.tokens) for one in shelf.segments(Cut(every=2)))
    budget = max(64, round(share * total))
    shown = {}
    for arm in arms_of(MINUTE, share):
        segments = arm.show(shelf, queries[0], rows[0], budget)
        shown[arm.name] = sum(len(one.tokens) for one in segments)
        assert 0 < shown[arm.name] <= budget, arm.name
    assert len(shown) == 13
    assert {name for name in shown if name.endswith(WHOLE)} == {
        f"{name}{WHOLE}" for name in ("evs", "vidcom2", "v-cast", "dtd", "flashvid")
    }


def test_the_plan_of_equal_budgets_names_each_cell_once() -> None:
    for one in equal_budget_trials(load_config("mini")):
        cells = [(arm.name, budget) for arm, budget in one.cells]
        assert len(cells) == len(set(cells)) == 6 + 4 * 17
    assert [budget_of(SUITES["1 min"], share) for share in SHARES] == [77, 192, 384, 960]


def test_the_full_plan_names_each_cell_once() -> None:
    for quick in (False, True):
        for one in trials.trials_of(CONFIG, quick=quick):
            names = [(arm.name, budget) for arm, budget in one.cells]
            assert len(names) == len(set(names))
    short = [one for one in trials.trials_of(CONFIG, quick=False) if one.suite.seconds < 600]
    for one in short:
        assert one.suite.num_films * one.suite.questions_per_film >= 200


def test_a_plot_holds_every_value_and_survives_a_missing_interval() -> None:
    line = Line("a < b", 1, ((32.0, 0.5, 0.1), (64.0, 0.75, math.nan)))
    drawn = curves([line], x_label="x", y_label="y", title="t")
    assert "a &lt; b, 32: 0.500 ± 0.100" in drawn
    assert drawn.count("<circle") == 2
    assert drawn.count('class="bar"') == 1


def test_the_command_writes_rows_and_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trials, "_quick_suites", lambda: [FEW])
    rows, page = tmp_path / "rows.json", tmp_path / "page.html"
    words = ["world", "--quick", "--cache", str(tmp_path), "--json", str(rows), "--html", str(page)]
    assert main(words) == 0
    assert "The preset less each published system" in capsys.readouterr().out
    document = json.loads(rows.read_text())
    marks = document["settings"]["marks"]["10 s"]
    questions = document["settings"]["questions"]["10 s"]
    assert {len(row) for row in marks.values()} == {len(questions)}
    assert any(row["subject"] == "oracle" for row in document["rows"])
    text = page.read_text()
    assert text.count("<svg") >= 1
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--lengths 2d",
            "There are no films of '2d'; lengths are '10 s', '1 min', '10 min', '1 h', '3 h', "
            "'10 h'.",
        ),
        ("--quick --films 0", "--films must be 1 or more, not 0."),
        ("--quick --threads 0", "--threads must be 1 or more, not 0."),
        ("--text --minutes nan", "--minutes must be a number above 0, not nan."),
        ("--text --minutes 0", "--minutes must be a number above 0, not 0."),
        ("--quick --cost", "--cost is measured with --ground; give both."),
        ("--quick --html /proc/x.html", "--html /proc/x.html cannot be written (No such file"),
        ("--quick --json .", "--json . cannot be written (Is a directory)."),
        ("--quick --cache /proc/xx", "--cache /proc/xx: nothing can be written there (No such"),
    ],
)
def test_a_wrong_option_is_told_in_one_sentence(
    words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["world", *words.split()]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"benchmarks: {sentence}")
    assert error.count("\n") == 1


def test_an_interrupted_run_asks_only_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trials, "_quick_suites", lambda: [FEW])
    words = ["world", "--quick", "--budgets", "64", "256", "512", "--cache", str(tmp_path)]
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert main([*words, "--json", str(first)]) == 0
    (log,) = tmp_path.glob("runs/*/predictions.jsonl")
    whole = log.read_text()
    lines = whole.splitlines(keepends=True)
    log.write_text("".join(lines[:2]) + lines[2][:40])
    assert main([*words, "--json", str(second)]) == 0
    assert "2 questions by an earlier run" in capsys.readouterr().err
    assert len(log.read_text().splitlines()) == len(lines) + 1
    marks = [json.loads(path.read_text())["settings"]["marks"] for path in (first, second)]
    assert marks[0] == marks[1]
