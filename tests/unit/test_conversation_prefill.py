"""Questions over what was just read: a language model reads no visual token of it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from longvid.models.families.protocol import Spliced
from longvid.qa.video_qa import VideoQA
from longvid.types import Answer, Question

ONE, OTHER = "bottles_40s.mp4", "stream_title_vfr_vp8.webm"


class _Reads:
    """Counts the tokens that a language model reads of prompts; a word of an answer is one."""

    def __init__(self, qa: VideoQA, monkeypatch: pytest.MonkeyPatch) -> None:
        decoder: Any = qa.llm._decoder  # type: ignore[attr-defined]
        read = decoder.logits
        self.counts: list[int] = []

        def counted(spliced: Spliced, *words: Any, **named: Any) -> Any:
            self.counts.append(len(spliced))
            return read(spliced, *words, **named)

        monkeypatch.setattr(decoder, "logits", counted)

    def take(self) -> int:
        counts, self.counts = self.counts, []
        return sum(counts)


@pytest.fixture
def qa(small_store: Path) -> VideoQA:
    return VideoQA(small_store)


def test_a_second_question_reads_its_words_alone(
    qa: VideoQA, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = qa.select(Question("what color is the star?", video_ids=(ONE,)))
    second = qa.select(Question("where is the star?", video_ids=(ONE,)))
    assert [one.key for one in first.segments] == [one.key for one in second.segments]
    reads = _Reads(qa, monkeypatch)
    before = qa.ask("what color is the star?", video=ONE)
    assert reads.take() == before.prompt_tokens > before.visual_tokens > 64
    turns = [("what color is the star?", before.text)]
    again = qa.ask("where is the star?", video=ONE, history=turns)
    assert again.visual_tokens == before.visual_tokens
    assert 0 < reads.take() <= again.prompt_tokens - again.visual_tokens
    anew = VideoQA(qa.store.uri).ask("where is the star?", video=ONE)
    assert (again.text, again.evidence) == (anew.text, anew.evidence)
    other = qa.ask("where is the star?", video=OTHER)  # what that shows is read
    assert reads.take() >= other.visual_tokens > 0


def test_questions_that_come_together_read_a_selection_once(
    qa: VideoQA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the server puts them to the models: a batch."""
    reads = _Reads(qa, monkeypatch)
    # They name no place, so all are shown the same frames of the whole video.
    texts = ("which sign comes first?", "what is the background?", "how many objects are there?")
    answers = qa.ask_many([Question(text, video_ids=(ONE,)) for text in texts])
    assert all(isinstance(answer, Answer) for answer in answers)
    prompts = [answer.prompt_tokens for answer in answers if isinstance(answer, Answer)]
    visual = {answer.visual_tokens for answer in answers if isinstance(answer, Answer)}
    [num_visual] = visual
    assert reads.take() <= sum(prompts) - 2 * num_visual
