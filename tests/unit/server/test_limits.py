"""Every limit of the server, at its value and one beyond: what fits passes, the next does not."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="install longvid[server]")

from longvid.inputs import content_id
from longvid.server import files, media, slow_bodies, videos
from longvid.server.api_errors import ApiError
from longvid.server.auth import LOCAL, Key
from longvid.server.model_worker import ModelWorker
from longvid.server.openai_parts import VideoPart
from longvid.server.openai_request import parse_chat
from longvid.server.settings import Limits
from longvid.server.streams import keep_alive
from tests.unit.server.asgi import FakeModels, application, ask, state_of
from tests.unit.server.limit_marks import TESTED, limit, refused

#: No name for a constant: a chat's question.
QUESTION = {"role": "user", "content": "?"}


def test_every_limit_has_a_test() -> None:
    from tests.unit.server import test_fetch_limits  # marks its limits

    assert test_fetch_limits
    assert set(TESTED) == {field.name for field in dataclasses.fields(Limits)}


def run(value: Any) -> Any:
    return asyncio.run(value)


@limit("header_bytes")
def test_header_bytes(tmp_path: Path) -> None:
    app = application(tmp_path, Limits(header_bytes=100))
    left = 100 - len("hostlocalhost") - len("x")
    assert ask(app, "/healthz", headers=[("x", "y" * left)])[0] == 200
    assert ask(app, "/healthz", headers=[("x", "y" * (left + 1))])[0] == 431


@limit("body_bytes")
def test_body_bytes(tmp_path: Path) -> None:
    app = application(tmp_path, Limits(body_bytes=100))
    body = json.dumps({"text": "star"}).encode()
    assert ask(app, "/api/search", body.ljust(100))[0] == 200
    assert ask(app, "/api/search", body.ljust(101))[0] == 413


@limit("slow_body_seconds", "slow_body_bytes")
@pytest.mark.parametrize(
    ("num_bytes", "seconds", "passes"),
    [(1000, 30.0, True), (999, 30.0, False), (999, 29.9, True)],
)
def test_slow_bodies(
    num_bytes: int, seconds: float, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(slow_bodies, "time", SimpleNamespace(monotonic=lambda: clock.now))
    pieces = [(num_bytes, seconds), (1, 1.0)]  # bytes, and how long they take

    async def receive() -> Any:
        size, takes = pieces.pop(0)
        clock.now += takes
        return {"type": "http.request", "body": b"x" * size, "more_body": bool(pieces)}

    async def read(_: Any, receive: Any, __: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    watched = slow_bodies.SlowBodies(read, 1000, 30.0)
    call = lambda: run(watched({"type": "http"}, receive, None))  # type: ignore[arg-type]  # noqa: E731  # unused
    if passes:
        call()
    else:
        refused(408, call)


def chat(limits: Limits, *parts: Any) -> Any:
    content = [*parts, {"type": "text", "text": "?"}]
    return parse_chat({"messages": [{"role": "user", "content": content}]}, limits)


def data_url(kind: str, size: int) -> str:
    return f"data:{kind};base64,{base64.b64encode(b'x' * size).decode()}"


@limit("data_url_bytes")
def test_data_url_bytes() -> None:
    limits = Limits(data_url_bytes=10)
    for size in range(8, 11):
        chat(limits, {"type": "video_url", "video_url": data_url("video/mp4", size)})
    part = {"type": "video_url", "video_url": data_url("video/mp4", 11)}
    refused(413, lambda: chat(limits, part))


@limit("image_bytes", "num_images")
def test_images() -> None:
    limits = Limits(image_bytes=10, num_images=2)

    def image(size: int) -> Any:
        return {"type": "image_url", "image_url": {"url": data_url("image/png", size)}}

    chat(limits, image(10), image(1))
    refused(413, lambda: chat(limits, image(11)))
    refused(400, lambda: chat(limits, *[image(1)] * 3))
    refused(
        400,
        lambda: chat(limits, image(1), {"type": "video", "video": [data_url("image/png", 1)] * 2}),
    )


@limit("image_pixels")
def test_image_pixels(tmp_path: Path) -> None:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (10, 10)).save(file, "PNG")
    part = VideoPart("images", images=(SimpleNamespace(data=file.getvalue()),))  # type: ignore[arg-type]  # plays one
    for most, passes in ((100, True), (99, False)):
        state = state_of(application(tmp_path / str(most), Limits(image_pixels=most)))
        call = lambda state=state: run(videos.joined_images(state, LOCAL, part, None))  # noqa: E731
        if passes:
            call()
        else:
            refused(422, call)


@limit("name_chars", "file_bytes", "part_bytes", "num_parts", "upload_seconds")
def test_uploads(tmp_path: Path) -> None:
    limits = Limits(name_chars=5, file_bytes=4, part_bytes=2, num_parts=3, upload_seconds=100.0)
    app = application(tmp_path, limits)
    uploads = state_of(app).uploads

    async def chunks(data: bytes) -> Any:
        yield data

    assert uploads.create("k", "a.mp4", 4, "")["filename"] == "a.mp4"
    assert uploads.create("k", "ab.mp4", 4, "")["filename"] == "b.mp4"
    refused(413, lambda: uploads.create("k", "a.mp4", 5, ""))
    write = state_of(app).files.write
    run(write("k", "a.mp4", "", chunks(b"1234")))
    refused(413, lambda: run(write("k", "a.mp4", "", chunks(b"12345"))))
    name = uploads.create("k", "a.mp4", 4, "")["id"]
    refused(413, lambda: run(uploads.add_part(name, "k", chunks(b"123"))))
    for _ in range(2):
        run(uploads.add_part(name, "k", chunks(b"1")))
    run(uploads.add_part(name, "k", chunks(b"12")))
    refused(413, lambda: run(uploads.add_part(name, "k", chunks(b"1"))))
    database = state_of(app).files.database
    for age, status in ((99.0, "pending"), (101.0, "expired")):
        database.execute("UPDATE uploads SET created = ?", (time.time() - age,))
        state_of(app).close()
        app = application(tmp_path, limits)
        database = state_of(app).files.database
        assert state_of(app).uploads.get(name, "k")["status"] == status


@limit("free_disk_share")
def test_free_disk_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = application(tmp_path, Limits(free_disk_share=0.1))
    usage = SimpleNamespace(free=110, total=1000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    state_of(app).uploads.create("k", "a.mp4", 10, "")
    refused(507, lambda: state_of(app).uploads.create("k", "a.mp4", 11, ""))


@limit("question_chars", "num_messages", "num_choices", "budget_tokens")
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("question_chars", lambda n: {"messages": [{"role": "user", "content": "x" * n}]}),
        ("num_messages", lambda n: {"messages": [QUESTION] * n}),
        ("num_choices", lambda n: {"messages": [QUESTION], "longvid": {"choices": ["x"] * n}}),
        ("budget_tokens", lambda n: {"messages": [QUESTION], "longvid": {"budget": n}}),
    ],
)
def test_chats(name: str, body: Callable[[int], Any], tmp_path: Path) -> None:
    app = application(tmp_path, Limits(**{name: 10}))
    assert ask(app, "/v1/chat/completions", body(10))[0] == 200
    assert ask(app, "/v1/chat/completions", body(11))[0] == 400


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("question_chars", lambda n: {"question": "x" * n}),
        ("num_choices", lambda n: {"question": "x", "choices": ["x"] * n}),
        ("budget_tokens", lambda n: {"question": "x", "budget": n}),
    ],
)
def test_questions_of_the_native_api(name: str, body: Callable[[int], Any], tmp_path: Path) -> None:
    app = application(tmp_path, Limits(**{name: 10}))
    assert ask(app, "/api/ask", body(10))[0] == 200
    assert ask(app, "/api/ask", body(11))[0] == 400


@limit("history_chars")
def test_history_chars() -> None:
    turns = [("user", "ab"), ("assistant", "cd"), ("user", "ef"), ("assistant", "gh")]
    messages = [{"role": role, "content": text} for role, text in turns]
    body = {"messages": [*messages, QUESTION]}
    whole = (("ab", "cd"), ("ef", "gh"))
    assert parse_chat(body, Limits(history_chars=8)).history == whole
    assert parse_chat(body, Limits(history_chars=7)).history == whole[1:]


def test_each_who_is_refused_is_told_of_a_place_of_their_own() -> None:
    worker = ModelWorker("", "", Limits(num_waiting=4))
    waits = [worker._seconds_to_a_place() for _ in range(100)]
    # An answer takes a quarter of a second while four wait, so four such places are free a second.
    assert waits[:8] == pytest.approx([0.25 * (place + 1) for place in range(8)], abs=0.1)
    assert max(waits) == pytest.approx(10, abs=0.1)  # those who do not come back are not waited for


@limit("num_waiting", "num_waiting_per_key", "answer_seconds")
def test_the_queue_of_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(self: ModelWorker) -> None:
        return

    monkeypatch.setattr(ModelWorker, "start", start)
    monkeypatch.setattr(ModelWorker, "_send", lambda *_: None)
    worker = ModelWorker("", "", Limits(num_waiting=3, num_waiting_per_key=2, answer_seconds=0.3))

    async def all_at_once(*keys: str) -> list[int]:
        async def one(key: str) -> int:
            try:
                await worker.call("ask", key)
            except ApiError as error:
                waits.append(error.retry_after)
                return error.status
            return 200

        return sorted(await asyncio.gather(*(one(key) for key in keys)))

    waits: list[float | None] = []
    late = 503  # within answer_seconds nobody answers
    assert run(all_at_once("a", "a", "b")) == [late] * 3
    assert run(all_at_once("a", "a", "a")) == [429, late, late]
    assert run(all_at_once("a", "a", "b", "b")) == [429, *[late] * 3]
    assert run(all_at_once("", "", "")) == [late] * 3  # without keys there is one user
    assert worker.num_waiting == 0
    assert all(waits)  # each says when to try again


@limit("keep_alive_seconds")
def test_keep_alive_seconds() -> None:
    async def answers(seconds: float) -> list[str]:
        async def late() -> Any:
            await asyncio.sleep(seconds)
            yield "text"

        return [line async for line in keep_alive(late(), 0.5)]

    assert run(answers(0.0)) == ["data: text\n\n"]
    assert run(answers(0.7))[0] == ": keep-alive\n\n"


@limit("clip_seconds")
def test_clip_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = application(tmp_path, Limits(clip_seconds=10.0))
    film = tmp_path / "film.mp4"
    film.write_bytes(b"x")
    video = SimpleNamespace(video_id=content_id(str(film)), clock_start_seconds=0.0)
    stored = SimpleNamespace(paths=[str(film)], video=video)

    async def found(_: str) -> Any:
        return stored

    state_of(app).stores["store"].video = found  # type: ignore[method-assign]  # plays it
    monkeypatch.setattr(media, "cut_clip", lambda *words: words[3].write_bytes(b"clip"))
    assert ask(app, "/api/videos/v/clip.mp4?start=1&end=11")[0] == 200
    assert ask(app, "/api/videos/v/clip.mp4?start=1&end=11.1")[0] == 400
    film.write_bytes(b"another film of that name")
    for wanted in ("clip.mp4?start=1&end=2", "content", "remux.mp4", "playback"):
        status, body = ask(app, f"/api/videos/v/{wanted}")
        assert status == 409
        assert "has changed since it was indexed" in body["error"]["message"]
    film.unlink()
    assert ask(app, "/api/videos/v/content")[0] == 404


@limit("num_event_clients")
def test_num_event_clients(tmp_path: Path) -> None:
    app = application(tmp_path, Limits(num_event_clients=2))
    clients = state_of(app).event_clients
    clients["local"] = 1
    assert ask(app, "/api/events")[0] == 200
    assert clients["local"] == 1  # that one has left
    clients["local"] = 2
    assert ask(app, "/api/events")[0] == 429


@limit("num_jobs_per_key", "inline_index_seconds")
def test_jobs(tmp_path: Path) -> None:
    app = application(tmp_path, Limits(num_jobs_per_key=2, inline_index_seconds=0.0))
    state, key = state_of(app), Key("k")
    view = state.stores["store"]
    videos.index_file(state, view, key, "/a.mp4", "a")
    videos.index_file(state, view, key, "/b.mp4", "b")
    refused(429, lambda: videos.index_file(state, view, key, "/c.mp4", "c"))
    videos.index_file(state, view, Key("another"), "/c.mp4", "c")
    refused(409, lambda: run(videos.indexed_id(state, view, Key("third"), "/d.mp4", "d")))


@limit("questions_per_minute", "uploads_per_hour")
def test_rates(tmp_path: Path) -> None:
    state = state_of(application(tmp_path, Limits(questions_per_minute=2, uploads_per_hour=2)))
    for take in (state.take_question, state.take_upload):
        take(LOCAL)
        take(LOCAL)
        refused(429, lambda take=take: take(LOCAL))
        take(Key("another"))


@limit("shutdown_seconds")
def test_shutdown_seconds(tmp_path: Path) -> None:
    class Busy(FakeModels):
        left = 3

        @property
        def num_waiting(self) -> int:  # type: ignore[override]  # a number that falls
            self.left -= 1
            return max(0, self.left)

    async def stop(app: Any) -> None:
        async with app.router.lifespan_context(app):
            pass

    for seconds, left in ((10.0, 0), (0.0, 2)):
        app = application(tmp_path / str(seconds), Limits(shutdown_seconds=seconds))
        busy = state_of(app).workers["store"] = Busy()  # type: ignore[assignment]  # plays one
        run(stop(app))
        assert busy.left == left


@limit("cache_bytes")
def test_cache_bytes(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        (tmp_path / f"{count}.mp4").write_bytes(b"x" * 10)
        (tmp_path / f"{count}.mp4").touch()
    media.shrink(tmp_path, 30, keep=tmp_path / "3.mp4")
    assert len(list(tmp_path.iterdir())) == 3
    media.shrink(tmp_path, 29, keep=tmp_path / "3.mp4")
    assert len(list(tmp_path.iterdir())) == 2
    assert (tmp_path / "3.mp4").exists()
