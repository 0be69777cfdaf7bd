"""Metrics that need no network: matching, letters, verdicts, statistics, published rows."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest

from benchmarks.harness.answer_matching import contains, exact, lemma, normalise
from benchmarks.harness.option_reader import chosen_option
from benchmarks.harness.output_check import Outputs
from benchmarks.harness.published_figures import beside
from benchmarks.harness.statistics import Clustered, paired_test
from benchmarks.judging.verdict import Verdict, messages, parse


@pytest.mark.parametrize(
    ("answer", "gold", "is_exact", "is_lemma", "is_contained"),
    [
        ("play", "play", True, True, True),
        ("Playing.", "play", False, True, True),
        ("a man", "man", True, True, True),
        ("three", "3", True, True, True),
        ("discussing", "discus", False, True, True),
        ("running", "run", False, True, True),
        ("men", "man", False, True, True),
        ("carries", "carry", False, True, True),
        ("the man is riding a horse", "ride", False, False, True),
        ("woman", "man", False, False, False),
        ("cat", "catch", False, False, False),
        ("player", "play", False, False, False),
        ("", "man", False, False, False),
        ("caring", "car", False, False, False),
        ("staring", "star", False, False, False),
        ("seed", "see", False, False, False),
        ("news", "new", False, False, False),
        ("planning", "plane", False, False, False),
        ("women", "woman", False, True, True),
        ("tennis", "tenni", False, True, True),
        ("cutting", "cut", False, True, True),
        ("1,000", "1000", True, True, True),
        ("thirty", "30", True, True, True),
        ("twenty-five dogs", "25", False, False, True),
        ("I\u2019m", "I'm", True, True, True),
        ("cafe\u0301", "caf\u00e9", True, True, True),
        ("there is no way to know", "no", False, False, False),
        ("no way to know", "no", False, False, False),
        ("No, he is not.", "no", False, False, True),
        ("it is not a dog", "dog", False, False, False),
        ("not a cat but a dog", "dog", False, False, True),
        ("...", "man", False, False, False),
    ],
)
def test_matching(
    answer: str, gold: str, is_exact: bool, is_lemma: bool, is_contained: bool
) -> None:
    assert exact(answer, (gold,)) is is_exact
    assert lemma(answer, (gold,)) is is_lemma
    assert contains(answer, (gold,)) is is_contained


def test_any_accepted_answer_counts() -> None:
    assert exact("6", ("six", "half a dozen"))
    assert lemma("a round table", ("table", "round table"))
    assert normalise("Don't  STOP!") == "dont stop"


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("B", 1),
        ("b", 1),
        ("(C)", 2),
        ("B. the blue one", 1),
        ("The answer is D.", 3),
        ("Answer: (A)", 0),
        (r"so \boxed{C}", 2),
        ("It could be A. No: the answer is B", 1),
        ("the green one", 2),
        ("It is the red one, not the blue one", 0),
        ("A man walks by", None),
        ("E", None),
        ("I cannot tell", None),
        ("", None),
    ],
)
def test_letters_are_read_and_never_guessed(text: str, index: int | None) -> None:
    options = ("the red one", "the blue one", "the green one", "none of them")
    assert chosen_option(text, options) == index


def test_letters_reach_as_far_as_the_options() -> None:
    assert chosen_option("F", ("1", "2", "3", "4", "5", "6")) == 5
    assert chosen_option("C", ("yes", "no")) is None


@pytest.mark.parametrize(
    ("raw", "verdict"),
    [
        ("{'pred': 'yes', 'score': 4.8}", Verdict(True, 4.8)),
        ('{"pred": "no", "score": 1}', Verdict(False, 1.0)),
        ("```python\n{'pred': 'Yes', 'score': '5'}\n```", Verdict(True, 5.0)),
        ("Here you are: {'pred': 'no', 'score': 0}. Thanks", Verdict(False, 0.0)),
        ("yes, 4", Verdict(True, 4.0)),
        ("No", Verdict(False, None)),
        ("{'pred': 'maybe', 'score': 3}", Verdict(None, 3.0)),
        ("{'pred': 'yes', 'score': 44}", Verdict(True, None)),
        ("The prediction matches quite well, I would say.", None),
        ("{'pred': __import__('os').system('true'), 'score': 3}", None),
        ("{" * 2000, None),
        (
            "<think>{'pred': 'yes', 'score': 5}</think>{'pred': 'no', 'score': 1}",
            Verdict(False, 1.0),
        ),
        ("<think>{'pred': 'yes', 'score': 5}", None),
        ("First {'pred': 'yes', 'score': 5}. No: {'pred': 'no', 'score': 0}", Verdict(False, 0.0)),
        ("", None),
    ],
)
def test_verdicts(raw: str, verdict: Verdict | None) -> None:
    assert parse(raw) == verdict


def test_the_question_to_the_judge_holds_the_three_texts_as_they_are() -> None:
    system, user = messages("what {is} it?", "a {dog}", "cat")
    assert (
        "Question: what {is} it?\nCorrect Answer: a {dog}\nPredicted Answer: cat" in user["content"]
    )
    assert "{'pred': 'yes', 'score': 4.8}" in user["content"]
    assert system["role"] == "system"


def test_clustered_error_equals_a_plain_one_when_every_row_is_its_own_video() -> None:
    values = np.random.default_rng(0).integers(0, 2, 400)
    sums = Clustered()
    for i, value in enumerate(values):
        sums.add(f"v{i}", float(value))
    estimate = sums.estimate()
    assert estimate is not None
    plain = values.std(ddof=1) / math.sqrt(len(values))
    assert estimate.standard_error == pytest.approx(plain)
    assert estimate.low < estimate.mean < estimate.high
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * plain, rel=0.15)


def test_rows_that_stand_and_fall_together_widen_the_error() -> None:
    loose, tied = Clustered(), Clustered()
    for i in range(400):
        loose.add(f"v{i}", float(i % 2))
        tied.add(f"v{i // 20}", float(i // 20 % 2))
    a, b = loose.estimate(), tied.estimate()
    assert a is not None
    assert b is not None
    assert a.mean == b.mean
    assert b.standard_error > 4 * a.standard_error


def test_one_video_has_no_error_and_no_row_no_estimate() -> None:
    sums = Clustered()
    assert sums.estimate() is None
    sums.add("v", 1.0)
    estimate = sums.estimate()
    assert estimate is not None
    assert math.isnan(estimate.standard_error)


def test_the_interval_is_never_empty_and_stays_between_0_and_1() -> None:
    for right, total in ((20, 20), (0, 20), (19, 20), (3, 3)):
        sums = Clustered()
        for i in range(total):
            sums.add(i, float(i < right))
        estimate = sums.estimate()
        assert estimate is not None
        assert 0 <= estimate.low < estimate.high <= 1
        assert estimate.low <= estimate.mean <= estimate.high
    # Wilson's interval of 20 of 20 is 83.9 to 100 by a normal quantile, wider by Student's.
    sums = Clustered()
    for i in range(20):
        sums.add(i, 1.0)
    estimate = sums.estimate()
    assert estimate is not None
    assert estimate.low == pytest.approx(0.82, abs=0.01)


@pytest.mark.parametrize(("videos", "share"), [(8, 0.5), (15, 0.8), (100, 0.95)])
def test_intervals_of_few_videos_hold_the_truth_more_often_than_normal_ones(
    videos: int, share: float
) -> None:
    random = np.random.default_rng(5)
    held = held_by_normal = 0
    for _ in range(400):
        sums = Clustered()
        for video in range(videos):
            chance = share if random.random() < 0.5 else float(random.random() < share)
            for _ in range(6):
                sums.add(video, float(random.random() < chance))
        estimate = sums.estimate()
        assert estimate is not None
        held += estimate.low <= share <= estimate.high
        normal = 1.96 * estimate.standard_error
        held_by_normal += abs(estimate.mean - share) <= normal
    assert held >= 0.9 * 400
    assert held > held_by_normal


def test_a_paired_test_is_sharper_than_two_means() -> None:
    first, second = Clustered(), Clustered()
    random = np.random.default_rng(1)
    for i in range(200):
        value = float(random.integers(0, 2))
        first.add(f"v{i}", value)
        second.add(f"v{i}", 1.0 if i < 10 else value)
    test = paired_test(first, second)
    alone = first.estimate()
    assert alone is not None
    assert 0 <= test.difference <= 0.05
    assert test.standard_error < alone.standard_error / 2


@pytest.mark.parametrize("share_of_videos_that_flip", [0.05, 0.2, 0.6])
def test_false_alarms_when_whole_videos_flip(share_of_videos_that_flip: float) -> None:
    """300 videos of 26 questions: 5 of 100 comparisons of equal runs are called different."""
    random = np.random.default_rng(7)
    alarms, trials = 0, 1500
    for _ in range(trials):
        first, second = Clustered(), Clustered()
        flips = random.random(300) < share_of_videos_that_flip
        first._index = second._index = {i: i for i in range(300)}
        counts = array("d", [26.0] * 300)
        first._counts = second._counts = counts
        before = random.integers(0, 2, 300) * 26.0
        first._sums = array("d", before)
        second._sums = array("d", np.where(flips, 26.0 - before, before))
        alarms += paired_test(first, second).p_value < 0.05
    assert 0.035 <= alarms / trials <= 0.065


def test_a_paired_test_of_equal_or_few_videos() -> None:
    one, other = Clustered(), Clustered()
    for video in range(3):
        one.add(video, 0.0)
        other.add(video, 1.0)
    assert paired_test(one, one).p_value == 1.0
    assert paired_test(one, other).p_value == 0.25


def test_broken_outputs_are_noticed() -> None:
    outputs = Outputs()
    for i in range(20):
        outputs.add("!!!!!!!!!!" if i < 15 else f"answer {i}")
    warnings = outputs.summary()["warnings"]
    assert any("may not see the video" in warning for warning in warnings)
    assert any("repetitions" in warning for warning in warnings)
    healthy = Outputs()
    for i in range(20):
        healthy.add(f"answer {i}")
    assert healthy.summary()["warnings"] == []


def test_a_model_that_prefers_a_letter_is_noticed() -> None:
    always, unread, fair, skewed = (Outputs() for _ in range(4))
    for i in range(40):
        always.add_choice(0, i % 4)
        unread.add_choice(None, i % 4)
        fair.add_choice(i % 4, (i + 1) % 4)
        skewed.add_choice(int(i % 5 == 0), int(i % 5 == 0))
    (sentence,) = always.summary()["warnings"]
    assert "40 of 40 replies choose A" in sentence
    (sentence,) = unread.summary()["warnings"]
    assert "40 of 40 replies" in sentence
    assert fair.summary()["warnings"] == skewed.summary()["warnings"] == []
    assert fair.summary()["chosen"] == dict.fromkeys("ABCD", 10)


def test_published_rows_stand_beside_equal_split_and_metric_only() -> None:
    metrics = {"exact": {}, "exact+lemma": {}, "judge:gpt-3.5-turbo-0125": {}}
    test = beside({"task": "msvd-qa", "split": "test"}, metrics)
    val = beside({"task": "msvd-qa", "split": "val"}, metrics)
    assert "FrozenBiLM 1B, zero-shot" in {f.model for f in test if f.metric == "exact"}
    assert "PLLaVA 7B" in {f.model for f in test}
    assert "SlowFast-LLaVA 7B" not in {f.model for f in test}
    assert {f.model for f in val} == {"SlowFast-LLaVA 7B", "SlowFast-LLaVA 34B"}
    local = beside({"task": "msvd-qa", "split": "val"}, {"judge:qwen": {}})
    assert local == []
    full = beside({"task": "egoschema", "split": "full"}, {"letter": {}})
    assert "SlowFast-LLaVA 7B" not in {f.model for f in full}
