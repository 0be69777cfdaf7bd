"""Evidence: which of the spans that were shown stand out, and how neighbours are joined."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

import longvid
from longvid.config import load_config
from longvid.errors import BudgetError, QuestionError, StoreError
from longvid.qa.candidate_segments import evenly
from longvid.qa.evidence import merge_spans, supporting
from longvid.qa.video_qa import VideoQA
from longvid.store import Hit, Store
from longvid.types import Evidence, Failure, Query, Question, Segment


def span(start: float, end: float, score: float, video: str = "a") -> Evidence:
    return Evidence(video, f"{video}.mp4", start, end, score)


def test_touching_spans_join_with_the_better_score() -> None:
    joined = merge_spans([span(8, 16, 0.2), span(0, 8, 0.4), span(24, 32, 0.9)])
    assert joined == [span(24, 32, 0.9), span(0, 16, 0.4)]


def test_spans_of_different_videos_never_join() -> None:
    spans = [span(0, 8, 0.4), span(8, 16, 0.4, "b")]
    assert merge_spans(spans) == spans


def test_equal_scores_come_in_order_of_time() -> None:
    assert merge_spans([span(30, 31, 0.5), span(0, 1, 0.5)]) == [span(0, 1, 0.5), span(30, 31, 0.5)]


def test_what_stands_out_supports_the_answer() -> None:
    hits = [
        Hit("a", i, 8.0 * i, 8.0 * i + 8, score) for i, score in enumerate((0.1, 0.9, 0.6, 0.4))
    ]
    assert [hit.segment_index for hit in supporting(hits)] == [1, 2]
    assert supporting(hits[:1]) == hits[:1]
    assert supporting([]) == []


def test_the_budget_is_kept(small_store: Path) -> None:
    qa = VideoQA(small_store)
    for budget in (16, 64, 200):
        assert 0 < qa.ask("what shape is the sign?", budget=budget).visual_tokens <= budget
    with pytest.raises(BudgetError):
        qa.ask("what shape is the sign?", budget=0)


def test_asking_again_gives_the_same_answer(small_store: Path) -> None:
    first, second = (VideoQA(small_store).ask("where is the star?") for _ in range(2))
    assert (first.text, first.evidence) == (second.text, second.evidence)


def test_a_question_embeds_in_the_space_of_the_frames(small_store: Path) -> None:
    embedding = VideoQA(small_store).embedder.embed_text(["a red star"])
    assert torch.linalg.vector_norm(embedding, dim=1) == pytest.approx(1.0, abs=1e-5)


def test_an_unknown_video_is_one_sentence(small_store: Path) -> None:
    with pytest.raises(StoreError, match=r"nothing\.mp4"):
        longvid.ask("what is this?", store=small_store, video="nothing.mp4")


def test_neither_store_nor_video_is_one_sentence() -> None:
    with pytest.raises(QuestionError, match="Name a store, or a video"):
        longvid.ask("what is this?")


def test_a_video_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    with pytest.raises(QuestionError, match=r"could not be indexed. .*broken.mp4"):
        longvid.ask("what is this?", video=broken)


def test_neighbours_of_what_was_found_are_shown_but_are_no_evidence(small_store: Path) -> None:
    one = [
        "ask.num_segments=1",
        "ask.context_segments=0",
        "ask.min_score=-1",
        "ask.max_shot_frames=0",
    ]
    config = load_config("mini", one)
    alone = VideoQA(small_store, config)
    beside = VideoQA(small_store, replace(config, ask=replace(config.ask, context_segments=1)))
    [long] = [stored for stored in alone.store.videos() if stored.num_segments > 2]
    question = Question("where is the star?", video_ids=(long.video.video_id,))
    [found] = [segment.segment_index for segment in alone.select(question).segments]
    shown = [segment.segment_index for segment in beside.select(question).segments]
    expected = {found - 1, found, found + 1} & set(range(long.num_segments))
    assert shown == sorted(expected)
    assert beside.select(question).evidence == alone.select(question).evidence


def test_places_are_spread_with_both_ends() -> None:
    assert evenly(5, 9) == [0, 1, 2, 3, 4]
    assert evenly(100, 3) == [0, 50, 99]
    assert evenly(100, 0) == [0, 99]
    assert evenly(1, 4) == [0]


def test_what_fits_badly_is_shown_with_a_note(small_store: Path) -> None:
    where = "where is the star?"
    settings = ["ask.num_segments=1", "ask.min_score=-1", "ask.fit_score=1.1"]
    qa = VideoQA(small_store, load_config("mini", settings))
    name = qa.store.videos()[0].video.path
    for video in (name, None):
        answer = qa.ask(where, video=video)
        assert "Nothing was found that fits" in answer.note
        assert "below 1.1 (ask.fit_score)" in answer.note
    trusting = VideoQA(small_store, load_config("mini", [*settings[:2], "ask.fit_score=-1"]))
    trusted = trusting.ask(where, video=name)
    assert "Nothing was found" not in trusted.note
    assert trusted.evidence == qa.ask(where, video=name).evidence
    # What names no place is shown the whole video, where nothing has to fit.
    nowhere = VideoQA(small_store, load_config("mini", ["ask.min_score=1.1"]))
    assert "Nothing was found" not in nowhere.ask("what comes first?", video=name).note


def test_a_question_that_names_no_place_is_shown_the_whole_video(small_store: Path) -> None:
    config = load_config("mini", ["ask.num_segments=1", "ask.min_score=1.1", "ask.route=none"])
    qa = VideoQA(small_store, config)
    longest = max(qa.store.videos(), key=lambda stored: stored.num_segments)
    assert longest.num_segments > 2
    question = Question("which sign comes first?", video_ids=(longest.video.video_id,))
    for budget in (8, 32, 64, 256):
        shown = qa.select(question, budget)
        assert 0 < shown.num_tokens <= budget
        if budget >= 32:  # two whole frames
            assert shown.segments[0].segment_index == 0
            assert shown.segments[-1].segment_index == longest.num_segments - 1
    trusting = VideoQA(small_store, replace(config, ask=replace(config.ask, min_score=-1.0)))
    assert trusting.select(question, 512).num_tokens < qa.select(question, 512).num_tokens
    everywhere = Question(question.text)
    assert qa.select(everywhere, 64).evidence == trusting.select(everywhere, 64).evidence


@dataclass(frozen=True)
class Nothing:
    """A selector that shows every segment without its tokens."""

    def setup(self, device: str = "cpu") -> Nothing:
        return self

    def __call__(self, query: Query, segments: Sequence[Segment], budget: int) -> list[Segment]:
        return [one.with_tokens(one.tokens.keep(one.tokens.frame < 0)) for one in segments]


def test_an_answer_from_no_visual_token_is_refused(small_store: Path) -> None:
    config = dataclasses.replace(load_config("mini"), selectors=(Nothing(),))
    question = "where is the star ?"
    with pytest.raises(QuestionError, match=r"0 visual tokens would be shown.*selectors"):
        VideoQA(small_store, config).ask(question)
    (failed,) = VideoQA(small_store, config).ask_many([Question(question)])
    assert isinstance(failed, Failure)
    assert VideoQA(small_store, config, allow_empty=True).ask(question).visual_tokens == 0


def test_embeddings_that_are_not_finite_find_nothing(
    small_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qa = VideoQA(small_store)
    hits = qa.store.search(qa.embedder.embed_text(["star"])[0], 1)
    broken = [dataclasses.replace(hit, score=math.nan) for hit in hits]
    monkeypatch.setattr(Store, "search", lambda *given, **options: broken)
    with pytest.raises(StoreError, match=r"not finite; remove that video and index it again"):
        qa.ask("where is the star ?")
    nan = torch.full((1, qa.store.embedding_width), math.nan)
    monkeypatch.setattr(type(qa.embedder), "embed_text", lambda *given: nan)
    with pytest.raises(QuestionError, match="numbers that are not finite"):
        qa.ask("where is the star ?")


def test_videos_are_chosen_by_tags(small_store: Path, tmp_path: Path) -> None:
    store = Store.open(shutil.copytree(small_store, tmp_path / "store"))
    first, second, *_ = store.videos()
    store.tag(first.video.video_id, {"camera": "2", "place": "yard"})
    store.tag(second.video.video_id, {"camera": "2"})
    qa = VideoQA(store.uri)
    both = {first.video.video_id, second.video.video_id}
    assert {span.video_id for span in qa.search("a red ring", tags={"camera": "2"})} == both
    tags = {"camera": "2", "place": "yard"}
    found = qa.search_all("a red ring", tags=tags, top_k=100)
    assert {span.video_id for span in found} == {first.video.video_id}
    answer = qa.ask("where is the star ?", tags=tags)
    assert {span.video_id for span in answer.evidence} == {first.video.video_id}
    with pytest.raises(QuestionError, match="No video of those"):
        qa.ask("where is the star ?", video=second.video.path, tags=tags)


def test_a_search_is_filtered_by_path_and_time(small_store: Path) -> None:
    qa = VideoQA(small_store)
    everything = qa.search("a red ring", top_k=100)
    names = sorted({Path(span.path).name for span in everything})
    [first] = {span.path for span in qa.search("a red ring", paths=f"*{names[0]}", top_k=100)}
    assert Path(first).name == names[0]
    early = qa.search("a red ring", span=(0.0, 1.0), top_k=100)
    assert early == [span for span in everything if span.start_seconds < 1.0]
    with pytest.raises(QuestionError, match="No video"):
        qa.search("a red ring", paths="*.txt")
    with pytest.raises(QuestionError, match="Nothing is indexed"):
        qa.search("a red ring", span=(1e6, 1e7))
