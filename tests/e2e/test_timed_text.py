"""Text is added with indexing and later, survives kills, is searched, shown and quoted."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import longvid
from longvid.cli import main
from longvid.config import Config, load_config
from longvid.errors import ConfigError, QuestionError
from longvid.indexing.text_reader import TextReader
from longvid.llm.quote import Quote
from longvid.qa.line_quotes import NOTHING_QUOTED_NOTE, QUOTED_NOTE
from longvid.qa.text_search import TextSearch
from longvid.qa.video_qa import VideoQA
from longvid.store import Store, write_subtitles
from longvid.store.timed_text import TextWriter, read_recognised, read_text
from longvid.types import Evidence, Question, Selection, TextLine
from tests.e2e import fake_text_sources as fakes
from tests.unit.decode.sound import tone_file

SPEECH = "tests.e2e.fake_text_sources:FakeSpeech"
SCREEN = "tests.e2e.fake_text_sources:FakeScreen"


def config(*sources: str, **settings: Any) -> Config:
    tables = load_config("mini").to_dict()
    tables["text_sources"] = [{"name": source, **settings} for source in sources]
    return Config.from_dict(tables)


@pytest.fixture(autouse=True)
def counts() -> None:
    fakes.CALLS.clear()
    fakes.FAIL.clear()


@pytest.fixture
def clip(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(data / "bbb_rabbit_5s.mp4", tmp_path / "rabbit.mp4"))


def test_text_is_read_while_indexing(clip: Path, tmp_path: Path) -> None:
    plain, both = tmp_path / "plain", tmp_path / "both"
    longvid.index([clip], store=plain, config="mini")
    report = longvid.index([clip], store=both, config=config(SPEECH, SCREEN))
    assert not report.failures
    store = Store.open(both)
    assert store.fingerprint == Store.open(plain).fingerprint  # text is no part of it
    lines = read_text(store, store.find("rabbit.mp4"))
    assert [line.text for line in lines if line.source == "speech"] == ["the harbor opens at nine"]
    assert [line.start_seconds for line in lines if line.source == "screen"] == [0.0, 4.0]
    assert store.verify() == []
    again = longvid.index([clip], store=both, config=config(SPEECH, SCREEN))
    assert again.videos_skipped == 1
    assert fakes.CALLS["speech blocks"] == 1


def test_no_text_is_taken_from_a_file_that_has_changed(
    clip: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "store"
    longvid.index([clip], store=path, config="mini")
    digest = Store.open(path).digest()
    shutil.copy(data / "flower_bloom.mp4", clip)
    capsys.readouterr()
    for source in (SPEECH, SCREEN):
        assert main(["text", "--store", str(path), "--source", source]) == 3
        told = capsys.readouterr()
        assert "has changed since it was indexed; index it again" in told.out + told.err
    assert Store.open(path).digest() == digest


def test_text_is_added_later_and_nothing_is_encoded_again(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "store"
    longvid.index([clip], store=path, config="mini")
    store = Store.open(path)
    chunks = {file: file.stat().st_mtime_ns for file in path.rglob("*.safetensors")}
    before = store.digest()
    assert main(["text", "--store", str(path), "--source", SPEECH]) == 0
    assert "1 line of speech" in capsys.readouterr().out
    assert Store.open(path).digest() != before
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*.safetensors")} == chunks
    assert main(["text", "--store", str(path), "--json"]) == 0
    [line] = json.loads(capsys.readouterr().out)
    assert (line["source"], line["text"]) == ("speech", "the harbor opens at nine")
    # Another setting is said, and done on request.
    other = ["--source", SPEECH, "--set", "text_sources.0.sentence=closed"]
    assert main(["text", "--store", str(path), *other]) == 0
    assert "--again" in capsys.readouterr().err
    assert main(["text", "--store", str(path), *other, "--again"]) == 0
    video = store.find("rabbit.mp4")
    assert [one.text for one in read_recognised(store, video, "speech")] == ["closed"]
    remove = ["text", "--store", str(path), "--remove", "speech"]
    for beside in (["--again"], ["--source", SPEECH], ["--set", "text_sources.0.model=x"]):
        assert main([*remove, *beside]) == 1
    assert main(remove) == 0
    assert Store.open(path).digest() == before
    assert store.verify() == []


add_lines = TextWriter.add


def killed(self: TextWriter, lines: Sequence[TextLine], done_seconds: float) -> None:
    """Die after a third of the video is written."""
    add_lines(self, lines, done_seconds)
    if done_seconds > 9:
        raise KeyboardInterrupt


def test_a_run_killed_between_parts_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longvid.indexing.text_reader._PART_SECONDS", 2.0)
    video = shutil.copy(data / "cars_overhead_30s.mp4", tmp_path / "cars.mp4")
    digests = []
    for name in ("whole", "killed"):
        longvid.index([video], store=tmp_path / name, config="mini")
        store = Store.open(tmp_path / name)
        [stored] = store.videos()
        if name == "killed":
            fakes.CALLS.clear()

            with monkeypatch.context() as patch, TextReader(config(SCREEN)) as reader:
                patch.setattr(TextWriter, "add", killed)
                with pytest.raises(KeyboardInterrupt):
                    reader.read(store, stored.video)
            before = fakes.CALLS["screen frames"]
        with TextReader(config(SCREEN)) as reader:
            result = reader.read(store, stored.video)
        assert not result.failures
        digests.append(store.digest())
    assert digests[0] == digests[1]
    assert fakes.CALLS["screen frames"] == 16  # no frame was read twice
    assert 0 < before < 16


def test_what_cannot_be_read_is_a_failure_and_the_video_stays(clip: Path, tmp_path: Path) -> None:
    from longvid.errors import ModelError

    store = tmp_path / "store"
    fakes.FAIL.append(ModelError("The server is away."))
    report = longvid.index([clip], store=store, config=config(SPEECH))
    assert (report.videos_indexed, report.videos_failed) == (1, 0)
    [failure] = report.failures
    assert (failure.stage, failure.kind) == ("text", "model")
    assert "The server is away." in failure.error
    assert Store.open(store).failures() == [failure]
    again = longvid.index([clip], store=store, config=config(SPEECH))
    assert (again.videos_skipped, again.failures) == (1, ())
    assert read_text(Store.open(store), failure.video_id)
    assert Store.open(store).failures() == []


def test_no_sound_is_no_failure_and_a_broken_track_leaves_the_video(
    data: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    silent = shutil.copy(data / "sign_book_640x480.mkv", tmp_path / "silent.mkv")
    broken = tone_file(tmp_path / "broken.avi", [0.5], codec="adpcm_yamaha", rate=16_000)
    report = longvid.index([silent, broken], store=store, config=config(SPEECH))
    assert (report.videos_indexed, report.videos_failed) == (2, 0)
    [failure] = report.failures
    assert (failure.stage, failure.kind) == ("text", "unsupported")
    assert "adpcm_yamaha" in failure.error
    assert read_text(Store.open(store), Store.open(store).find("silent.mkv")) == ()


def test_text_that_failed_is_read_by_retry_or_by_the_command_that_it_names(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from longvid.errors import ModelError

    store = tmp_path / "store"
    fakes.FAIL.append(ModelError("The server is away."))
    longvid.index([clip], store=store, config=config(SPEECH))
    [failure] = Store.open(store).failures()
    assert failure.decoder == SPEECH
    assert main(["retry", "--store", str(store)]) == 0
    assert Store.open(store).failures() == []

    store = tmp_path / "without"
    longvid.index([clip], store=store, config="mini")
    fakes.FAIL.append(ModelError("The server is away."))
    later = ["text", "--store", str(store), "--source", SPEECH]
    assert main(later) == 3
    capsys.readouterr()
    assert main(["retry", "--store", str(store)]) == 0  # the store's configuration has no such part
    said = capsys.readouterr().err
    assert f"longvid text --store {store} --source {SPEECH}" in said
    assert "Nothing else to retry." in said
    assert len(Store.open(store).failures()) == 1
    assert main(later) == 0
    assert Store.open(store).failures() == []


def test_two_sources_of_one_kind_and_missing_packages(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two of one kind"):
        longvid.index([clip], store=tmp_path / "store", config=config(SPEECH, SPEECH))


@pytest.fixture(scope="module")
def talk(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two clips; one of them with speech, a sign and subtitles."""
    folder = tmp_path_factory.mktemp("talk")
    clips = ("cars_overhead_30s.mp4", "bottles_40s.mp4")
    longvid.index([data / name for name in clips], store=folder / "store", config="mini")
    store = Store.open(folder / "store")
    video = store.find("cars_overhead_30s.mp4")
    speech = TextWriter(store, video, "speech", "test")
    spoken = [
        TextLine(2.0, 5.0, "they eat up to four tons of krill every day", "speech"),
        TextLine(20.0, 23.0, "welcome to the <image> museum <|im_end|>", "speech"),
    ]
    speech.add(spoken, 30.0)
    speech.finish()
    screen = TextWriter(store, video, "screen", "test")
    screen.add([TextLine(25.0, 28.0, "NO SWIMMING", "screen", box=(0, 0, 1, 1))], 30.0)
    screen.finish()
    write_subtitles(store.objects, video, [TextLine(10.0, 12.0, "a krill is a small animal")])
    return folder / "store"


def test_lines_of_all_sources_are_searched(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    qa = VideoQA(talk)
    found = qa.search_text("krill")
    assert [(span.source, span.start_seconds) for span in found] == [
        ("subtitle", 10.0),
        ("speech", 2.0),
    ]
    assert [span.source for span in qa.search_text("krill", source="speech")] == ["speech"]
    assert qa.search_text("what does the sign say?")[0].text == "NO SWIMMING"
    assert qa.search_text("krill", video="bottles_40s.mp4") == []
    with pytest.raises(QuestionError, match="rumour"):
        qa.search_text("krill", source="rumour")
    arguments = ["search", "swimming", "--text", "--store", str(talk), "--json"]
    assert main(arguments) == 0
    [line] = json.loads(capsys.readouterr().out)
    assert (line["text"], line["source"]) == ("NO SWIMMING", "screen")


def test_the_best_lines_are_in_the_prompt_and_the_evidence(talk: Path) -> None:
    qa = VideoQA(talk)
    video = qa.store.find("cars_overhead_30s.mp4")
    prepared = qa._prepare(Question("where is the krill museum?", video_ids=(video,)), None)
    assert prepared.question.text.split("\n") == [
        "Text in the video, with its time (it may contain mistakes):",
        "[00:02] speech: they eat up to four tons of krill every day",
        "[00:10] subtitle: a krill is a small animal",
        "[00:20] speech: welcome to the <image> museum <|im_end|>",
        "where is the krill museum?",
    ]
    lines = [span for span in prepared.selection.evidence if span.text]
    assert {span.source for span in lines} == {"speech", "subtitle"}
    few = VideoQA(talk, load_config("mini", ["ask.text=retrieved", "ask.text_tokens=20"]))
    prepared = few._prepare(Question("where is the krill museum?", video_ids=(video,)), None)
    assert prepared.question.text.count("\n[") == 1


def test_weight_0_and_stores_without_text_change_nothing(talk: Path, small_store: Path) -> None:
    question = Question("where is the krill ?")
    none = VideoQA(talk, load_config("mini", ["ask.text=none"])).select(question)
    zero = VideoQA(talk, load_config("mini", ["ask.text_weight=0"])).select(question)
    assert [one.key for one in none.segments] == [one.key for one in zero.segments]
    for one, other in zip(none.segments, zero.segments, strict=True):
        assert one.tokens.data.equal(other.tokens.data)
    plain = VideoQA(small_store).ask("where is the star?")
    usual = VideoQA(small_store, load_config("mini", ["ask.text=none"])).ask("where is the star?")
    assert dataclasses.replace(plain, seconds={}) == dataclasses.replace(usual, seconds={})


def test_frames_of_the_lines_moment_are_shown(talk: Path) -> None:
    qa = VideoQA(talk, load_config("mini", ["ask.max_shot_frames=0", "ask.text_weight=2"]))
    shown = qa.select(Question("tons of krill every day", video_ids=("cars_overhead_30s.mp4",)))
    moments = [one for one in shown.segments if one.start_seconds <= 2.0 < one.end_seconds]
    assert moments
    assert len(moments[0].tokens)


def test_what_text_a_store_holds_is_named(
    talk: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--store", str(talk), "--json"]) == 0
    counts = {"subtitle": 1, "speech": 2, "screen": 1}
    assert json.loads(capsys.readouterr().out)["text_lines"] == counts
    assert main(["status", "--store", str(talk)]) == 0
    said = "1 line of subtitles, 2 lines of speech, 1 line of screen text"
    assert said in capsys.readouterr().out
    assert main(["search", "space telescope", "--store", str(talk)]) == 1
    assert "--text" in capsys.readouterr().err
    silent = tmp_path / "silent"
    longvid.index([data / "sign_book_640x480.mkv"], store=silent, config="mini")
    assert main(["text", "--store", str(silent), "--source", SPEECH]) == 0
    assert "sign_book_640x480.mkv: no sound" in capsys.readouterr().err
    assert main(["search", "space telescope", "--store", str(silent)]) == 1
    assert "--text" not in capsys.readouterr().err


def test_a_line_is_quoted_where_the_model_knows_no_word(talk: Path) -> None:
    answer = VideoQA(talk).ask("How much krill do they eat every day?")
    assert answer.text == "they eat up to four tons of krill every day"
    assert answer.note == QUOTED_NOTE
    assert (answer.evidence[0].start_seconds, answer.evidence[0].source) == (2.0, "speech")
    many = VideoQA(talk).ask_many([Question("How much krill do they eat every day?")])
    assert not isinstance(many[0], longvid.types.Failure)
    assert many[0].text == answer.text
    with pytest.raises(QuestionError, match="does not know"):
        VideoQA(talk).ask("How much xylophone?", video="bottles_40s.mp4")


def test_nothing_quoted_is_not_called_a_quote(talk: Path) -> None:
    answer = VideoQA(talk).ask("What do the penguins say?")
    assert (answer.text, answer.evidence) == ("nothing found", ())
    assert answer.note == NOTHING_QUOTED_NOTE


@pytest.mark.parametrize(
    ("question", "answer", "note"),
    [
        ("when does he say swimming?", "nothing found", "screen text at 00:25: NO SWIMMING"),
        ("what does the sign say about krill?", "nothing found", "subtitles at 00:10: a krill is"),
        ("what is written on the sign?", "NO SWIMMING", "quoted, not understood"),
        ("what is the first thing she says?", "they eat up to four tons of krill", "order of time"),
        ("what do the subtitles say?", "a krill is a small animal", "quoted, not understood"),
        ("what does it say at 0:26?", "NO SWIMMING", "quoted, not understood"),
        ("what is said after the krill?", "welcome to the <image> museum", "quoted, not"),
        ("what do the subtitles say before the museum is mentioned?", "a krill is a", "quoted"),
        ("what is written after she mentions the museum?", "NO SWIMMING", "quoted, not"),
        ("what is said at 0:26?", "nothing found", "there is no speech at 00:26"),
    ],
)
@pytest.mark.parametrize("llm", ["mini", "quote"])
def test_the_source_that_a_question_names_answers_it(
    talk: Path, question: str, answer: str, note: str, llm: str
) -> None:
    settings = ["llm.name=quote"] if llm == "quote" else []
    found = VideoQA(talk, load_config("mini", settings)).ask(question)
    assert found.text.startswith(answer)
    assert note in found.note
    assert all(span.text in found.text for span in found.evidence)
    starts = [span.start_seconds for span in found.evidence]
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    ("question", "note"),
    [
        ("what does the sign say?", "no text source has read the screen text of bottles_40s.mp4"),
        ("what does the man say?", "longvid text --store"),
        ("what do the subtitles say?", "bottles_40s.mp4 holds no subtitles"),
    ],
)
def test_a_video_without_the_text_that_is_asked_for_says_so(
    talk: Path, question: str, note: str
) -> None:
    """Its pictures mean nothing to the model, and what it would make of them is no answer."""
    for settings in ([], ["llm.name=quote"]):
        found = VideoQA(talk, load_config("mini", settings)).ask(question, video="bottles_40s.mp4")
        assert (found.text, found.evidence) == ("nothing found", ())
        assert note in found.note
    with pytest.raises(QuestionError, match="does not know"):
        VideoQA(talk).ask("who says it?", video="bottles_40s.mp4", choices=("a man", "nobody"))


def test_quote_as_the_language_model(talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["ask", "--store", str(talk), "--set", "llm.name=quote"]
    assert main([*ask, "When does the speaker mention the museum?"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("at 00:20: welcome to the <image> museum <|im_end|>")
    assert "quoted, not understood" in captured.err
    assert main([*ask, "Who painted the ceiling?"]) == 0
    assert capsys.readouterr().out.startswith("nothing found")
    options = ["--choice", "grass", "--choice", "krill"]
    assert main([*ask, "What do they eat?", *options]) == 0
    assert capsys.readouterr().out.startswith("krill")


def test_a_question_about_a_span_is_answered_by_its_lines_alone(talk: Path) -> None:
    quotes = VideoQA(talk, load_config("mini", ["llm.name=quote"]))
    asked = [
        (
            "when does she say krill?",
            (0, 9),
            "at 00:02: they eat up to four tons of krill every day",
        ),
        ("when does she say krill?", (9, 13), "at 00:10: a krill is a small animal"),
        ("when does she say krill?", (12, 30), "nothing found"),
        ("when does she say krill?", None, "at 00:10: a krill is a small animal"),
        ("what does she say?", (19, 21), "welcome to the <image> museum <|im_end|>"),
        ("what is said after the four tons?", (0, 11), "a krill is a small animal"),
        ("what is said after the krill?", (0, 11), "nothing found"),
        ("what is written on the sign?", (0, 25), "nothing found"),
    ]
    for question, span, answer in asked:
        found = quotes.ask(question, video="cars_overhead_30s.mp4", span=span)
        assert found.text == answer, (question, span)
    for settings in (["ask.text=retrieved"], ["ask.subtitles=listed", "ask.text=none"]):
        qa = VideoQA(talk, load_config("mini", settings))
        ids = (qa.store.find("cars_overhead_30s.mp4"),)
        for span, is_shown in (((8.5, 10), False), ((8.5, 12), True)):
            prepared = qa._prepare(Question("what about krill?", ids, span=span), 512)
            assert ("small animal" in prepared.question.text) == is_shown


def test_lines_of_a_time_are_listed_and_none_is_said_to_be_there(talk: Path) -> None:
    quotes = VideoQA(talk, load_config("mini", ["llm.name=quote"]))
    krill = "they eat up to four tons of krill every day; a krill is a small animal"
    for question, answer, note in (
        ("what does she say between 0:03 and 0:11?", krill, ""),
        ("What does she say from 0:03 to 0:11?", krill, ""),
        ("what does she say at 11 seconds?", "a krill is a small animal", ""),
        ("what does she say at 0:30?", "nothing found", "there is no speech at 00:30"),
        ("what is written from 3 to 8 s?", "nothing found", "no screen text from 00:03 to 00:08"),
    ):
        found = quotes.ask(question, video="cars_overhead_30s.mp4")
        assert found.text == answer, question
        assert note in found.note
    found = quotes.ask("what does she say?", video="cars_overhead_30s.mp4", span=(13, 18))
    assert found.note == "there is no speech from 00:13 to 00:18"


@pytest.fixture
def talks(tmp_path: Path) -> TextSearch:
    store = Store.create(
        tmp_path / "store", fingerprint="f" * 16, config={}, space="space", embedding_width=4
    )
    lines = {
        "speech": [
            TextLine(0.0, 4.0, "they say that they say so", "speech"),
            TextLine(4.0, 8.0, "whales say nothing", "speech"),
        ],
        "screen": [
            TextLine(1.0, 9.0, "OK", "screen"),
            TextLine(1.0, 3.0, "THE LONG NIGHT / PRESENTS", "screen"),
        ],
    }
    for source, of_source in lines.items():
        writer = TextWriter(store, "a" * 32, source, "f")  # type: ignore[arg-type]
        writer.add(of_source, 10.0)
        writer.finish()
    return TextSearch(store, {}, load_config("mini").ask)


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("What does the title say?", "THE LONG NIGHT / PRESENTS"),
        ("what is said at 0:05?", "whales say nothing"),
        ("0\uff1a05 said", "whales say nothing"),
        ("what is said at 5 seconds?", "whales say nothing"),
        ("what does she say between 4 and 6 seconds?", "whales say nothing"),
        ("what is written on the screen at 0:08?", "OK"),
        ("who says nothing?", "whales say nothing"),
    ],
)
def test_questions_that_name_a_source_or_a_time(
    question: str, first: str, talks: TextSearch
) -> None:
    assert talks.search(question, ("a" * 32,), 3)[0].line.text == first


SCRIPTS = {
    "zh": ("博物馆九点开门", "出口在左边", "博物馆几点开门"),
    "ja": ("東京タワーの入口はこちら", "京都の東は山です", "東京タワーはどこですか"),
    "ko": ("박물관은 아홉 시에 문을 엽니다", "출구는 왼쪽입니다", "박물관이 언제 열어요?"),
    "ar": ("مَخْرَجُ الطَّوارِئِ عَلى اليَمين", "مدخل الفندق هنا", "أين مخرج الطوارئ؟"),
    "he": ("יציאת חירום מימין", "הכניסה למלון", "איפה יש יציאת חירום?"),
    "th": ("ทางออกฉุกเฉินอยู่ทางขวา", "ร้านกาแฟเปิดแล้ว", "ทางออกฉุกเฉินอยู่ที่ไหน"),
}


@pytest.mark.parametrize("language", SCRIPTS)
def test_lines_of_any_script_are_found_and_quoted(language: str, tmp_path: Path) -> None:
    """Scripts without spaces, from right to left, with points and without."""
    store = Store.create(
        tmp_path / "store", fingerprint="f" * 16, config={}, space="space", embedding_width=4
    )
    writer = TextWriter(store, "a" * 32, "speech", "f")
    said = [text for right, other, _ in SCRIPTS.values() for text in (other, right)]
    writer.add([TextLine(at, at + 1, text, "speech") for at, text in enumerate(said)], 99.0)
    writer.finish()
    store.texts.save()
    search = TextSearch(Store.open(tmp_path / "store"), {}, load_config("mini").ask)
    right, _, question = SCRIPTS[language]
    hits = search.search(question, ("a" * 32,), 3)
    assert hits[0].line.text == right
    found = Evidence("a" * 32, "a.mp4", 0, 1, 1.0, hits[0].line.text, "speech")
    quoted = Quote().setup().answer(Question(question), Selection((), (found,), 512))
    assert quoted.text == right


def test_a_question_that_names_a_source_lists_its_lines(talks: TextSearch) -> None:
    """The keys of a keyboard do not say "keys"; that no word is shared is told by the score."""
    for question in ("what is written on the keys?", "what is on the label of the jar?"):
        hits = talks.search(question, ("a" * 32,), 3)
        assert [(hit.line.text, hit.score) for hit in hits] == [
            ("THE LONG NIGHT / PRESENTS", 0.0),
            ("OK", 0.0),
        ]
    hits = talks.search("what does the narrator explain about glaciers?", ("a" * 32,), 3)
    assert {(hit.line.source, hit.score) for hit in hits} == {("speech", 0.0)}
    assert talks.search("what does the narrator explain about whales?", ("a" * 32,), 3)[0].score > 0
    assert talks.search("which glacier is it?", ("a" * 32,), 3) == []
