"""Routes without processes: news of jobs, storyboards, metrics, the document of the API."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="install longvid[server]")

from longvid.server.api_errors import ApiError
from longvid.server.job_routes import news
from longvid.server.openai_reply import citations
from tests.unit.server.asgi import ANSWER, FakeModels, application, ask, state_of

ROOT = Path(__file__).parents[3]


def collect(state: Any, last_id: str, count: int) -> list[tuple[str, str]]:
    async def some() -> list[tuple[str, str]]:
        found = []
        stream = news(state, None, last_id)
        while len(found) < count:
            number, job = await asyncio.wait_for(anext(stream), 10)
            found.append((number, job.state))
        await stream.aclose()
        return found

    return asyncio.run(some())


def test_a_client_that_comes_back_gets_what_it_has_missed(tmp_path: Path) -> None:
    state = state_of(application(tmp_path))
    job = state.jobs.submit("local", "store", "index", "/a.mp4", "a.mp4")
    [(number, _)] = collect(state, "", 1)  # what is now
    state.jobs.cancel(job.id)
    assert [one for _, one in collect(state, number, 1)] == ["cancelled"]
    # After a restart its number means nothing: it gets every row, also of jobs that are over.
    assert [one for _, one in collect(state, "other-5", 1)] == ["cancelled"]
    assert state.jobs.since(number.replace("1", "9")) is None


def test_the_news_of_one_job_end_with_it(tmp_path: Path) -> None:
    app = application(tmp_path)
    jobs = state_of(app).jobs
    job = jobs.submit("local", "store", "index", "/a.mp4", "a.mp4")
    jobs.cancel(job.id)
    status, text = ask(app, f"/api/jobs/{job.id}/events")
    assert status == 200
    [event] = text.decode().strip().split("\n\n")
    assert json.loads(event.partition("data: ")[2])["state"] == "cancelled"
    assert ask(app, "/api/jobs/none/events")[0] == 404


def test_readyz_says_what_is_missing(tmp_path: Path) -> None:
    app = application(tmp_path)
    models = FakeModels()
    models.is_ready = False
    state_of(app).workers["store"] = models  # type: ignore[assignment]  # played
    status, body = ask(app, "/readyz")
    assert status == 503
    assert "store: the models are being loaded" in body["reasons"]
    models.problem = "The checkpoint is missing."
    state_of(app).draining = True
    _, body = ask(app, "/readyz")
    assert "store: The checkpoint is missing." in body["reasons"]
    assert "the server is being stopped" in body["reasons"]
    assert ask(app, "/healthz") == (200, {"status": "ok"})
    status, body = ask(app, "/api/ask", {"question": "?"})
    assert (status, body["error"]["code"]) == (503, "draining")


def test_the_metrics_are_those_that_are_documented(tmp_path: Path) -> None:
    app = application(tmp_path)
    ask(app, "/api/ask", {"question": "?"})
    _, text = ask(app, "/metrics")
    given = set(re.findall(r"^# TYPE (\w+)", text.decode(), re.M))
    section = (ROOT / "docs" / "operate.md").read_text().partition("## Metrics")[2]
    named = set(re.findall(r"`(longvid_\w+)", section.partition("## ")[0]))
    assert {name.removesuffix("_total") for name in named} == {
        name.removesuffix("_total") for name in given if not name.endswith("_created")
    }
    assert b'longvid_questions_total{result="answered"} 1.0' in text


def test_every_body_and_query_is_in_the_document(tmp_path: Path) -> None:
    spec = application(tmp_path).openapi()
    bare = {
        path
        for path, methods in spec["paths"].items()
        if "post" in methods and "requestBody" not in methods["post"]
    }
    assert bare == {"/v1/uploads/{upload_id}/cancel", "/api/jobs/{job_id}/retry"}
    for path, methods in spec["paths"].items():
        for operation in methods.values():
            assert "default" in operation["responses"], path
            named = {one["name"] for one in operation.get("parameters", [])}
            assert set(re.findall(r"{(\w+)}", path)) <= named


def test_videos_are_tagged_and_asked_by_tags(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = application(tmp_path)
    shutil.copytree(small_store, tmp_path / "store")
    [first, *_] = ask(app, "/api/videos")[1]["videos"]
    path = f"/api/videos/{first['video_id']}/tags"
    status, video = ask(app, path, {"tags": {"camera": "2"}}, "PUT")
    assert (status, video["tags"]) == (200, {"camera": "2"})
    assert ask(app, path, {"tags": {"": "2"}}, "PUT")[0] == 400
    asked: list[dict[str, Any]] = []

    async def stream(self: FakeModels, kind: str, key: str, **request: Any) -> Any:
        asked.append(request)
        yield {"event": "done", "answer": dict(ANSWER), "is_cut": False}

    monkeypatch.setattr(FakeModels, "stream", stream)
    assert ask(app, "/api/ask", {"question": "?", "tags": {"camera": "2"}})[0] == 200
    assert asked[0]["video_ids"] == [first["video_id"]]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", {"stream_options": "x"}, "stream_options"),
        ("/v1/chat/completions", {"longvid": {"videos": 5}}, "longvid.videos"),
        ("/v1/chat/completions", {"longvid": {"fps": 0}}, "longvid.fps"),
        ("/v1/chat/completions", {"longvid": {"time_range": [2, 1]}}, "longvid.time_range"),
        ("/api/ask", {"question": "?", "history": 5}, "history"),
        ("/api/ask", {"question": "?", "history": [["only one"]]}, "history"),
        ("/api/ask", {"question": "?", "videos": "v"}, "videos"),
        ("/api/ask", {"question": "?", "budget": True}, "budget"),
        ("/api/search", {"text": "?", "top_k": 0}, "top_k"),
        ("/api/search", {"text": "?", "tags": ["a"]}, "tags"),
        ("/api/search", {"text": "?", "time_range": [2, 1]}, "time_range"),
        ("/api/search", {"text": "?", "after": 60}, "after"),
        ("/api/ask", {"question": "?", "paths": "*"}, "paths"),
        ("/api/session", {"keys": "?"}, "keys"),
        ("/api/videos", {"path": "/a.mp4", "tags": {}}, "tags"),
        ("/api/videos", {"path": "/a.mp4", "name": ""}, "name"),
        ("/v1/uploads", {"filename": "a", "bytes": 1, "size": 1}, "size"),
        ("/api/ask", {"question": "?", "tags": {"a": 1}}, "tags"),
        ("/api/ask", {"question": "?", "tags": {"a": "1"}}, "tags"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(
    path: str, body: dict[str, Any], param: str, tmp_path: Path
) -> None:
    if "chat" in path:
        body = {"messages": [{"role": "user", "content": "?"}], **body}
    status, answer = ask(application(tmp_path), path, body)
    assert (status, answer["error"]["param"]) == (400, param)


def test_jobs_go_on_where_the_models_are_busy(tmp_path: Path) -> None:
    state = state_of(application(tmp_path))

    async def busy(*_: Any, **__: Any) -> Any:
        raise ApiError(429, "queue_full", "The queue is full.")

    state.workers["store"].call = busy  # type: ignore[method-assign]  # played
    asyncio.run(state._store_changed("store"))


def test_a_link_names_a_store_that_is_not_the_first() -> None:
    span = {"video_id": "v", "filename": "a.mp4", "start_seconds": 1.0, "end_seconds": 2.5}
    [first], [second] = (citations([span], "http://h", "red", store) for store in ("", "my store"))
    assert first["url_citation"]["url"] == "http://h/watch/v#t=1,2.5"
    assert second["url_citation"]["url"] == "http://h/watch/v?store=my%20store#t=1,2.5"
