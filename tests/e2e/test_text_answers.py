"""Lines of text are searched, shown to the model, quoted, and named as evidence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import longvid
from longvid.cli import main
from longvid.config import load_config
from longvid.errors import QuestionError
from longvid.llm.quote import Quote
from longvid.qa.line_quotes import NOTHING_QUOTED_NOTE, QUOTED_NOTE
from longvid.qa.text_search import NEAREST_BY_MEANING, TextSearch
from longvid.qa.video_qa import VideoQA
from longvid.store import Store, write_subtitles
from longvid.store.timed_text import TextWriter
from longvid.types import Evidence, Question, Selection, TextLine
from tests.unit.models.test_sentence_embedder import write as write_embedder

SPEECH = "tests.e2e.fake_text_sources:FakeSpeech"


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
    for filters in (["--after", "1:00:00"], ["--before", "0.001"], ["--after", "0", "--path", "*"]):
        assert main([*arguments, *filters]) == 0
        assert bool(json.loads(capsys.readouterr().out)) == ("--path" in filters)
    assert main([*arguments, "--path", "*nowhere*"]) == 1
    assert "has a path like" in capsys.readouterr().err
    assert main(arguments) == 0
    [line] = json.loads(capsys.readouterr().out)
    assert (line["text"], line["source"]) == ("NO SWIMMING", "screen")


def test_subtitles_alone_are_searched_and_no_other_source_with_them(
    talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["search", "krill", "--subtitles", "--store", str(talk), "--json"]
    for more in ([], ["--text"], ["--source", "subtitle"]):
        assert main([*search, *more]) == 0
        [line] = json.loads(capsys.readouterr().out)
        assert line["text"] == "a krill is a small animal", more
    assert main([*search, "--text", "--source", "speech"]) == 1
    error = capsys.readouterr().err
    assert error.endswith("--subtitles searches subtitles only; give it without --source speech.\n")


def test_lines_that_are_near_by_meaning_alone_are_said_to_be(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_embedder(tmp_path / "model", "pooling_mode_mean_tokens")
    arguments = ["--text", "--store", str(talk), "--set", f"ask.text_embedder={folder}"]
    assert main(["search", "krill", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert "krill" in json.loads(out)[0]["text"]
    assert NEAREST_BY_MEANING not in err
    assert main(["search", "zzz qqq", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)) == 4
    assert NEAREST_BY_MEANING in err
    assert VideoQA(talk).search_text_noted("zzz qqq") == ([], [])
    near = VideoQA(talk, load_config("mini", [f"ask.text_embedder={folder}"]))
    for words in ("zzz", "a star"):  # of which mini knows none, and all
        assert NEAREST_BY_MEANING in near.search_all_noted(words)[1]
    assert NEAREST_BY_MEANING not in near.search_all_noted("krill")[1]


def test_a_search_takes_settings_as_a_question_does(
    talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["search", "krill", "--text", "--store", str(talk), "--json"]
    for given in (["--set", 'ask.text_sources=["speech"]'], ["--config", "mini"]):
        assert main([*search, *given]) == 0
        found = json.loads(capsys.readouterr().out)
        sources = ["speech"] if "--set" in given else ["subtitle", "speech"]
        assert [line["source"] for line in found] == sources
    assert main([*search, "--set", "ask.text_source=speech"]) == 1
    assert "text_source" in capsys.readouterr().err
    other = "encoder.embedder=nowhere/at-all"
    assert main(["search", "a star", "--store", str(talk), "--set", other]) == 1
    assert "nowhere/at-all" in capsys.readouterr().err
    assert main(["search", "a star", "--store", ""]) == 1
    assert "store must be a folder or a URI" in capsys.readouterr().err


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
        ("when does he say swimming?", "nothing found", "of cars_overhead_30s.mp4: NO SWIMMING"),
        ("what does the sign say about krill?", "nothing found", "_overhead_30s.mp4: a krill is"),
        ("what is written on the sign?", "NO SWIMMING", "quoted, not understood"),
        ("what is the first thing she says?", "they eat up to four tons of krill", "order of time"),
        ("what do the subtitles say?", "a krill is a small animal", "quoted, not understood"),
        ("what does it say at 0:26?", "NO SWIMMING", "quoted, not understood"),
        ("what is said after the krill?", "welcome to the <image> museum", "quoted, not"),
        ("what is said after the tons?", "a krill is a", "these are the lines that follow the one"),
        ("what is said before the museum?", "they eat", "that precede the one at 00:20"),
        (
            "what is written after SWIMMING?",
            "nothing found",
            "nothing is written after the line at",
        ),
        ("what does it say after SWIMMING?", "nothing found", "nothing is said or written after"),
        (
            "what is said before the four tons?",
            "nothing found",
            "nothing is said before the line at 00:02 of cars_overhead_30s.mp4: they eat up to",
        ),
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
        if question == "what is said after the krill?":
            assert "nothing is said from 00:00 to 00:11 after the line at 00:10" in found.note
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
