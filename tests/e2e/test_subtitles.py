"""Subtitles beside a video and inside it: kept, shown both ways, and found by their words."""

from __future__ import annotations

import json
import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import pytest

import longvid
from longvid.cli import main
from longvid.config import load_config
from longvid.decode.pyav import PyAVDecoder
from longvid.decode.subtitle_engine import _text_of, may_hold_text
from longvid.errors import StoreError, VideoError
from longvid.indexing.messages import VideoText
from longvid.indexing.subtitle_reader import SubtitleReader
from longvid.indexing.subtitle_writer import add_subtitles
from longvid.llm.huggingface import Worker
from longvid.models.families.protocol import FramePiece, TextPiece
from longvid.models.tokenizer import Span
from longvid.qa.video_qa import VideoQA
from longvid.store import Store, read_subtitles, write_subtitles
from longvid.timed_text.subtitle_formats import MAX_BYTES, parse_subtitles, sidecar_of
from longvid.types import Question, TextLine

SRT = """1
00:00:01,000 --> 00:00:03,500
the <i>red</i> star

2
00:00:20,000 --> 00:00:26,000
the blue
circle

3
00:00:30,000 --> 00:00:31,000
[Music]
"""
ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Alignment
Style: Default,Arial,16,&Hffffff,2

[Events]
Format: Layer, Start, End, Style, Text
"""
SAID = (
    TextLine(1.0, 3.5, "the red star"),
    TextLine(20.0, 26.0, "the blue circle"),
    TextLine(30.0, 31.0, "[Music]"),
)


def embed(video: Path, subtitles: Path, target: Path) -> None:
    """Write the packets of a video and of a subtitle file into one Matroska file."""
    with av.open(str(video)) as seen, av.open(str(subtitles)) as said, av.open(target, "w") as out:
        pairs = [(seen, seen.streams.video[0]), (said, said.streams.subtitles[0])]
        targets = [out.add_stream_from_template(stream) for _, stream in pairs]
        for (source, stream), written in reversed(list(zip(pairs, targets, strict=True))):
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = written
                    out.mux(packet)


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos: subtitles beside the first, inside the second, none with the third."""
    folder = tmp_path_factory.mktemp("films")
    shutil.copy(data / "bottles_40s.mp4", folder / "beside.mp4")
    (folder / "beside.en.srt").write_text(SRT)
    (folder / "other.srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nnot mine\n")
    embed(data / "cars_overhead_30s.mp4", folder / "beside.en.srt", folder / "inside.mkv")
    shutil.copy(data / "sign_book_640x480.mkv", folder / "silent.mkv")
    return folder


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store") / "store"
    assert not longvid.index([folder], store=store, config="mini").failures
    return store


def test_subtitles_are_kept_with_their_video(store: Path) -> None:
    opened = Store.open(store)
    assert read_subtitles(opened.objects, opened.find("beside.mp4")) == SAID
    inside = read_subtitles(opened.objects, opened.find("inside.mkv"))
    assert [line.text for line in inside] == [line.text for line in SAID]
    assert [line.start_seconds for line in inside] == pytest.approx([1.0, 20.0, 30.0], abs=0.01)
    assert read_subtitles(opened.objects, opened.find("silent.mkv")) == ()
    assert opened.verify() == []


def test_a_subtitle_ends_where_its_video_ends(tmp_path: Path, data: Path) -> None:
    path = shutil.copy(data / "bbb_rabbit_5s.mp4", tmp_path / "rabbit.mp4")
    (tmp_path / "rabbit.srt").write_text(
        "1\n00:00:01,000 --> 00:01:30,000\nthe <i>rabbit</i>.\n\n"
        "2\n00:00:20,000 --> 00:00:21,000\nnever shown\n"
    )
    with PyAVDecoder().setup() as decoder:
        video = decoder.probe(str(path))
        assert SubtitleReader(decoder).read(video, str(path)).beside == (
            TextLine(1.0, video.end_seconds, "the rabbit."),
        )


def test_what_is_said_is_found_by_its_words(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    qa = VideoQA(store)
    best = qa.search_subtitles("Where is the BLUE circle?", video="beside.mp4")[0]
    assert (best.start_seconds, best.end_seconds, best.text) == (20.0, 26.0, "the blue circle")
    everywhere = qa.search_subtitles("star")
    assert {Path(span.path).name for span in everywhere} == {"beside.mp4", "inside.mkv"}
    assert qa.search_subtitles("zebra") == []
    assert main(["search", "circle", "--subtitles", "--store", str(store), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["text"] == "the blue circle"


def test_listed_before_the_question(store: Path) -> None:
    """The prompt grows by the lines of the shown frames, each once and without sounds."""
    question = Question("what color is the star?", video_ids=("beside.mp4",))
    qa = VideoQA(store, load_config("mini", ["ask.subtitles=listed", "ask.num_segments=0"]))
    prepared = qa._prepare(Question(question.text, video_ids=(qa.store.find("beside.mp4"),)), None)
    heading, *lines, asked = prepared.question.text.split("\n")
    assert heading == "This video's subtitles are listed below:"
    assert lines == ["the red star", "the blue circle"]
    assert asked == question.text
    assert prepared.query.question.text == question.text  # what is searched for stays


def test_interleaved_after_the_frames(store: Path) -> None:
    settings = ["ask.subtitles=interleaved", "ask.num_segments=0"]
    qa = VideoQA(store, load_config("mini", settings))
    selection = qa.select(Question("what color is the star?", video_ids=("beside.mp4",)))
    said = [text for segment in selection.spoken for text in segment if text]
    assert said == ["the red star", "the blue circle", "[Music]"]
    for segment, texts in zip(selection.segments, selection.spoken, strict=True):
        times = segment.pts_seconds.tolist()
        for seconds, text in zip(times, texts, strict=True):
            if text == "the red star":
                assert seconds < 3.5 <= min([t for t in times if t > seconds], default=99)
    llm = qa.llm
    assert isinstance(llm, Worker)
    pieces = llm._layout(llm._prompt_ids([Span("<video> what ? <answer>")]), selection)
    texts = [llm._tokenizer.decode(p.ids) for p in pieces if isinstance(p, TextPiece)]
    assert sum("the red star" in text for text in texts) == 1
    assert sum(isinstance(piece, FramePiece) for piece in pieces) > 10
    plain = VideoQA(store).ask("what color is the star?", video="beside.mp4")
    assert qa.ask("what color is the star?", video="silent.mkv").evidence
    assert plain.text


def test_a_store_without_subtitles_answers_as_before(small_store: Path) -> None:
    usual = VideoQA(small_store).ask("where is the star?")
    for how in ("listed", "interleaved"):
        qa = VideoQA(small_store, load_config("mini", [f"ask.subtitles={how}"]))
        answer = qa.ask("where is the star?")
        assert (answer.text, answer.prompt_tokens) == (usual.text, usual.prompt_tokens)


def test_subtitles_are_replaced_and_removed(store: Path) -> None:
    opened = Store.open(store)
    video = opened.find("silent.mkv")
    write_subtitles(opened.objects, video, SAID[:1])
    assert read_subtitles(opened.objects, video) == SAID[:1]
    write_subtitles(opened.objects, video, ())
    assert read_subtitles(opened.objects, video) == ()
    assert opened.verify() == []


@pytest.mark.parametrize("damage", [b"", b"{", b'{"lines": [[1, 2]]}', b'{"lines": "no"}'])
def test_damaged_subtitles_are_one_sentence(store: Path, damage: bytes) -> None:
    opened = Store.open(store)
    video = opened.find("silent.mkv")
    (store / "videos" / video / "subtitles.json").write_bytes(damage)
    with pytest.raises(StoreError, match=r"subtitles.json .* is damaged .*remove that file"):
        read_subtitles(opened.objects, video)
    write_subtitles(opened.objects, video, ())


def read_text(path: Path) -> tuple[TextLine, ...]:
    """Let a decoding process read the text of a file."""
    with PyAVDecoder().setup() as decoder:
        return decoder.read_text(str(path))


def test_hostile_files_have_no_subtitles(tmp_path: Path) -> None:
    """A name in the bytes is not a stream: the process looks, finds nothing, and lives on."""
    fake = tmp_path / "fake.mkv"
    fake.write_bytes(b"\x1a\x45\xdf\xa3" + b"S_TEXT/UTF8" * 9)
    playlist = tmp_path / "list.mkv"
    playlist.write_text("#EXTM3U\nS_TEXT/\nfile:///etc/passwd\n")
    dead = tmp_path / "dead.srt"
    dead.write_bytes(b"\x00\xff\xfe" * 99)
    (tmp_path / "dead.mp4").write_bytes(b"")
    (tmp_path / "empty.srt").write_text("\n")
    (tmp_path / "head.vtt").write_text("WEBVTT\n\nNOTE nothing is said\n")
    for name in ("dead.mp4", "gone.mkv", "empty.srt", "head.vtt"):
        assert read_text(tmp_path / name) == ()
    for path in (fake, playlist, dead):
        with pytest.raises(VideoError, match=str(path)) as caught:
            read_text(path)
        assert caught.value.stage == "text"


def test_boxes_without_end_are_cut_off(tmp_path: Path) -> None:
    """Eight million empty boxes before the index: the process has a deadline, the parent waits."""
    film = tmp_path / "film.mp4"
    film.write_bytes(b"\0\0\0\x08ftyp" + b"\0\0\0\x08free" * 100_000)
    assert read_text(film) == ()


@pytest.mark.parametrize("kind", ["pipe", "large"])
def test_a_bad_subtitle_file_is_one_failure_and_the_video_stays(
    kind: str, tmp_path: Path, data: Path
) -> None:
    shutil.copy(data / "bbb_rabbit_5s.mp4", tmp_path / "a.mp4")
    if kind == "pipe":
        os.mkfifo(tmp_path / "a.srt")
    else:
        os.truncate(os.open(tmp_path / "a.srt", os.O_CREAT | os.O_WRONLY), MAX_BYTES + 1)
    store = tmp_path / "store"
    report = longvid.index([tmp_path / "a.mp4"], store=store, config="mini")
    assert (report.videos_indexed, report.videos_failed) == (1, 0)
    [failure] = report.failures
    assert failure.stage == "text"
    assert str(tmp_path / "a.srt") in failure.error
    again = longvid.index([tmp_path / "a.mp4"], store=store, config="mini")
    assert (again.videos_skipped, again.videos_failed) == (1, 0)
    [failure] = Store.open(store).failures()
    assert failure.attempts == 2

    (tmp_path / "a.srt").unlink()
    (tmp_path / "a.srt").write_text(SRT)
    assert main(["retry", "--store", str(store)]) == 0
    assert Store.open(store).failures() == []
    assert read_subtitles(Store.open(store).objects, failure.video_id) == SAID[:1]


def test_a_stream_that_is_read_at_the_second_try_is_kept(store: Path) -> None:
    opened = Store.open(store)
    video = opened.videos()[0].video
    write_subtitles(opened.objects, video.video_id, ())
    add_subtitles(opened, video.video_id, video.path, VideoText(inside=SAID))
    assert read_subtitles(opened.objects, video.video_id) == SAID
    add_subtitles(opened, video.video_id, video.path, VideoText(inside=SAID[:1]))
    assert read_subtitles(opened.objects, video.video_id) == SAID


def test_a_stream_with_too_much_text_is_one_failure(tmp_path: Path, data: Path) -> None:
    words, film = tmp_path / "words.srt", tmp_path / "film.mkv"
    cues = []
    for number in range(100_001):
        minutes, seconds = divmod(number, 60)
        start = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
        cues.append(f"{number}\n{start},000 --> {start},500\nword {number}\n\n")
    words.write_text("".join(cues))
    embed(data / "bbb_rabbit_5s.mp4", words, film)
    with pytest.raises(VideoError, match="longer than the 100,000 lines") as caught:
        read_text(film)
    assert (caught.value.stage, caught.value.kind) == ("text", "too-large")


def do_nothing() -> None:
    """Tick."""


def test_a_stream_of_text_is_told_from_a_few_bytes(tmp_path: Path, data: Path) -> None:
    def box(kind: bytes, body: bytes) -> bytes:
        return (8 + len(body)).to_bytes(4, "big") + kind + body

    film = tmp_path / "film.mp4"
    for name in (b"tx3g", b"wvtt", b"avc1"):
        moov = box(b"moov", box(b"trak", box(b"stsd", name)))
        film.write_bytes(box(b"ftyp", b"isom") + box(b"mdat", b"tx3g" * 100) + moov)
        assert may_hold_text(str(film), do_nothing) == (name != b"avc1")
    assert not may_hold_text(str(data / "bottles_40s.mp4"), do_nothing)


def timed_text(video: Path, target: Path, *, webvtt: bool = False) -> None:
    """Write a video with SAID as timed text of MP4, or as WebVTT in MP4, which FFmpeg has not."""

    def cue(text: str) -> bytes:
        payload = text.encode()
        if not webvtt:
            return len(payload).to_bytes(2, "big") + payload
        inner = (8 + len(payload)).to_bytes(4, "big") + b"payl" + payload
        return (8 + len(inner)).to_bytes(4, "big") + b"vttc" + inner

    with av.open(str(video)) as seen, av.open(target, "w") as out:
        source = seen.streams.video[0]
        pictures = out.add_stream_from_template(source)
        text = out.add_stream("mov_text")
        text.codec_context.subtitle_header = ASS_HEADER
        text.time_base = text.codec_context.time_base = Fraction(1, 1000)
        # The second line in two pieces, as WebVTT is cut where cues overlap.
        second = (SAID[1].start_seconds + SAID[1].end_seconds) / 2
        pieces = [
            (SAID[0].start_seconds, SAID[0].end_seconds, SAID[0].text),
            (SAID[1].start_seconds, second, SAID[1].text),
            (second, SAID[1].end_seconds, SAID[1].text),
        ]
        for start, end, said in pieces:
            packet = av.Packet(cue(said))
            packet.pts = packet.dts = int(1000 * start)
            packet.duration, packet.time_base = int(1000 * (end - start)), Fraction(1, 1000)
            packet.stream = text
            out.mux(packet)
        for packet in seen.demux(source):
            if packet.dts is not None:
                packet.stream = pictures
                out.mux(packet)
    if webvtt:
        target.write_bytes(target.read_bytes().replace(b"tx3g", b"wvtt"))


@pytest.mark.parametrize("kind", ["mp4", "mov", "webvtt.mp4", "webm", "vtt.mkv"])
def test_streams_of_text_in_containers(kind: str, tmp_path: Path, data: Path) -> None:
    film = tmp_path / f"film.{kind}"
    if kind in ("webm", "vtt.mkv"):
        words = tmp_path / "words.vtt"
        words.write_text("WEBVTT\n\n" + SRT.replace(",", "."))
        embed(data / "bbb_bird_vp9_642x642.webm", words, film)
    else:
        timed_text(data / "bottles_40s.mp4", film, webvtt="webvtt" in kind)
    assert may_hold_text(str(film), do_nothing)
    found = read_text(film)
    assert [line.text for line in found[:2]] == [line.text for line in SAID[:2]]
    for line, wanted in zip(found[:2], SAID[:2], strict=True):
        assert line.start_seconds == pytest.approx(wanted.start_seconds, abs=0.01)
        assert line.end_seconds == pytest.approx(wanted.end_seconds, abs=0.01)


def test_names_in_any_order_keep_the_same_subtitles(tmp_path: Path, data: Path) -> None:
    """One film under three names, two of which have a file beside them."""
    digests = set()
    for order in (("a.mp4", "b.mp4", "c.mp4"), ("c.mp4", "b.mp4", "a.mp4")):
        folder = tmp_path / "films"
        folder.mkdir(exist_ok=True)
        for name in order:
            shutil.copy(data / "bbb_rabbit_5s.mp4", folder / name)
        (folder / "b.srt").write_text(SRT)
        (folder / "c.srt").write_text(SRT.replace("red", "green"))
        store = tmp_path / "".join(order)
        report = longvid.index([folder / name for name in order], store=store, config="mini")
        assert (report.videos_indexed, report.videos_skipped) == (1, 2)
        opened = Store.open(store)
        assert read_subtitles(opened.objects, opened.find("a.mp4"))[0].text == "the red star"
        digests.add(opened.digest())
    assert len(digests) == 1
    write_subtitles(opened.objects, opened.find("a.mp4"), ())
    assert opened.digest() not in digests


def test_packets_of_text() -> None:
    assert _text_of(b"\x00\x00\x00\x08vtte", "wvtt") == ""
    assert _text_of(b"\x00\x00\x00\x20vttc\x00\x00\x00\x09pay", "wvtt") == ""
    assert _text_of(b"\x00\x05Hello\x00\x00\x00\x0cstyl", "mov_text") == "Hello"
    assert _text_of(b"3,0,Default,,0,0,0,,Yes, indeed", "ass") == "Yes, indeed"
    assert _text_of(b"plain", "srt") == "plain"


def test_names_beside_a_video() -> None:
    names = ["film.old.srt", "film.de.vtt", "film2.srt", "Film.srt", "film.txt"]
    assert sidecar_of("film.mp4", names) == "film.de.vtt"
    assert sidecar_of("/a/film.mp4", [*names, "film.eng.srt"]) == "/a/film.eng.srt"
    assert sidecar_of("film.mp4", [*names, "film.en.srt", "film.SRT"]) == "film.SRT"
    assert sidecar_of("clip.mp4", names) is None


def test_webvtt_and_what_has_no_time() -> None:
    text = (
        "\ufeffWEBVTT\r\n\r\nNOTE nothing\r\n\r\n"
        "id\r\n01:02.500 --> 01:04.000 align:start\r\n<v Ann>Hi</v>\r\n\r\n"
        "00:00:09.000 --> 00:00:08.000\r\nbackwards\r\n"
    )
    assert parse_subtitles(text) == (TextLine(62.5, 64.0, "Hi"),)
    assert parse_subtitles("nothing here") == ()
