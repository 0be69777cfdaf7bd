"""The page beyond its golden path: keys, zoom, scope, stop, reload, hostile names, axe."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import longvid
from benchmarks.speed.processes import tree
from longvid.world.film import write_film
from longvid.world.scene import make_film
from tests.e2e import test_server as servers
from tests.e2e.test_page import DATA, STAR, Page, browser, sync_api, url

__all__ = ["browser", "url"]  # fixtures

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>.mp4"
GOLDEN = Path(__file__).parents[1] / "golden" / "page.aria.yaml"

#: Takes down in which order the parts of an answer appear.
_ORDER = """
window.order = [];
const see = (name) => { if (!window.order.includes(name)) window.order.push(name); };
new MutationObserver(() => {
  const answer = document.querySelector("#answers .answer");
  if (!answer) return;
  if (answer.querySelector(".card")) see("evidence");
  const text = answer.querySelector(".text").textContent;
  if (text && text !== "…") see("text");
  if (answer.querySelector(".steps li")) see("done");
}).observe(document, { childList: true, subtree: true, characterData: true });
"""


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Page]:
    page = Page(browser, url)
    yield page
    page.context.close()
    assert page.errors == []


def seconds(page: Page) -> float:
    found: float = page.page.evaluate("document.getElementById('player').currentTime")
    return found


def wait_for_time(page: Page, wanted: float, tolerance: float = 0.1) -> None:
    page.page.wait_for_function(
        "([wanted, tolerance]) =>"
        "Math.abs(document.getElementById('player').currentTime - wanted) < tolerance",
        arg=[wanted, tolerance],
    )


def test_evidence_comes_before_the_text_and_a_card_jumps_to_its_frame(
    browser: Any, url: str
) -> None:
    page = Page(browser, url, script=_ORDER)
    media: list[Any] = []
    page.page.on("request", lambda one: media.append(one) if one.resource_type == "media" else 0)
    answer = page.ask(STAR)
    order = page.page.evaluate("window.order")
    assert order[0] == "evidence"
    assert order[-1] == "done"
    answer.locator(".card").first.click()
    start = page.page.evaluate("Number(location.hash.slice(3).split(',')[0])")
    page.page.locator("#player").evaluate("player => player.pause()")
    page.page.keyboard.press("1")
    page.page.locator("#player").evaluate("player => player.pause()")
    wait_for_time(page, start, 1.0)
    page.page.wait_for_function("() => document.getElementById('player').videoWidth > 0")
    assert any("range" in one.all_headers() for one in media)
    page.context.close()
    assert page.errors == []


def test_every_key_does_what_the_list_says(page: Page) -> None:
    page.ask(STAR)
    press = page.page.keyboard.press
    page.page.locator("h1").click()
    page.page.wait_for_function("() => document.getElementById('player').readyState >= 1")
    press("1")
    first = page.page.evaluate("location.href")
    page.page.locator("#player").evaluate("player => player.pause()")
    press("]")
    press("[")
    assert page.page.evaluate("location.href") == first
    page.page.locator("#player").evaluate("player => { player.pause(); player.currentTime = 1; }")
    wait_for_time(page, 1.0)
    press("ArrowRight")
    end = page.page.locator("#player").evaluate("player => player.duration")
    wait_for_time(page, min(6.0, end))
    press("ArrowLeft")
    wait_for_time(page, max(0.0, min(6.0, end) - 5.0))
    before = seconds(page)
    press(".")
    page.page.wait_for_function(
        "before => document.getElementById('player').currentTime > before", arg=before
    )
    press(",")
    wait_for_time(page, before)
    press(" ")
    page.page.wait_for_function("() => !document.getElementById('player').paused")
    press(" ")
    page.page.wait_for_function("() => document.getElementById('player').paused")
    press("t")
    showing = "document.getElementById('player').textTracks[0].mode"
    assert page.page.evaluate(showing) == "showing"
    press("t")
    assert page.page.evaluate(showing) == "hidden"
    press("+")
    assert page.page.locator("#zoom-whole").is_visible()
    press("-")
    assert not page.page.locator("#zoom-whole").is_visible()
    # The browser's own dialogue is told of by an event that can be missed: the click is looked at.
    page.page.locator("#file").evaluate(
        "file => { file.onclick = event => { event.preventDefault(); file.dataset.opened = 1; }; }"
    )
    press("u")
    assert page.page.locator("#file").get_attribute("data-opened") == "1"
    press("/")
    assert page.page.evaluate("document.activeElement.id") == "question"
    press("Escape")
    assert page.page.evaluate("document.activeElement.id") != "question"
    press("?")
    assert page.page.locator("#shortcuts").is_visible()
    press("Escape")
    assert not page.page.locator("#shortcuts").is_visible()


def test_the_timeline_zooms_previews_and_gives_the_scope(page: Page) -> None:
    canvas = page.page.locator("#curve")
    page.page.locator("#strip div").first.wait_for()
    box = canvas.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + 30)
    page.page.mouse.move(*middle)
    preview = page.page.locator("#preview")
    assert preview.is_visible()
    assert "storyboard/0.webp" in preview.evaluate("one => one.style.backgroundImage")
    page.page.mouse.wheel(0, -200)
    page.page.locator("#zoom-whole").wait_for()
    page.page.locator("#zoom-whole").click()
    assert not page.page.locator("#zoom-whole").is_visible()
    page.page.mouse.move(box["x"] + box["width"] * 0.2, middle[1])
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + box["width"] * 0.6, middle[1], steps=4)
    page.page.mouse.up()
    assert re.search(r"0:0\d.0:", page.page.locator("#scope .chip").inner_text())
    with page.page.expect_request("**/api/ask") as asked:
        page.ask(STAR)
    body = json.loads(asked.value.post_data)
    length = page.page.evaluate("Number(document.getElementById('curve').ariaValueMax)")
    assert body["time_range"] == pytest.approx([0.2 * length, 0.6 * length], abs=0.5)
    assert len(body["videos"]) == 1


@contextmanager
def held(server: servers.Server) -> Iterator[None]:
    """Keep a server's model from answering meanwhile."""
    models = [
        pid
        for pid in tree(server.process.pid)
        if b"longvid.server.model_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert models
    for pid in models:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in models:
            os.kill(pid, signal.SIGCONT)


def test_stop_ends_the_answer(page: Page, served: servers.Server) -> None:
    page.page.fill("#question", STAR)
    with held(served):
        page.page.press("#question", "Enter")
        page.page.click("#stop")
        page.page.locator(".answer.failed .text", has_text="Stopped.").wait_for()
        page.page.locator("#stop").wait_for(state="hidden")
    page.page.wait_for_function(
        "() => fetch('/metrics').then(answer => answer.text())"
        ".then(text => /longvid_queue_depth 0/.test(text))",
        polling=250,  # milliseconds; else it asks with every frame, and keeps the server from work
    )


def test_a_file_that_the_browser_refuses_is_played_in_clips(browser: Any, url: str) -> None:
    page = Page(browser, url)
    refused: list[str] = []

    def refuse(route: Any) -> None:
        refused.append(route.request.url)
        route.fulfill(status=200, content_type="video/mp4", body=b"no video")

    page.page.route(re.compile(r"/(content|remux\.mp4)"), refuse)
    answer = page.ask(STAR)
    answer.locator(".card").first.click()
    start = page.page.evaluate("Number(location.hash.slice(3).split(',')[0])")
    page.page.wait_for_function("() => document.getElementById('player').videoWidth > 0")
    assert refused
    assert "/clip.mp4?" in page.page.evaluate("document.getElementById('player').currentSrc")
    page.page.get_by_text("cannot play").wait_for()
    page.page.locator("#player").evaluate("player => player.pause()")
    wait_for_time(page, start, 2.0)
    page.context.close()
    assert page.errors == []


def test_a_reload_keeps_the_conversation_until_a_new_one(page: Page) -> None:
    text = page.ask(STAR).locator(".text").inner_text()
    with page.page.expect_request("**/api/ask") as asked:
        page.ask("where is the circle?")
    assert json.loads(asked.value.post_data)["history"][0][0] == STAR
    page.page.reload()
    page.page.locator(".answer .steps li").first.wait_for(state="attached")
    assert page.page.locator(".answer").count() == 2
    assert page.page.locator(".answer .text").first.inner_text() == text
    page.page.locator("#fresh").click()
    assert page.page.locator(".answer").count() == 0
    page.page.reload()
    page.page.wait_for_selector("#videos .video")
    assert page.page.locator(".answer").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing(browser: Any, url: str, scheme: str, width: int) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="install axe-playwright-python"
    )
    page = Page(browser, url, width=width, color_scheme=scheme)
    page.ask(STAR)
    for tab in ("answer", "timeline", "library") if width < 720 else ("answer",):
        if width < 720:
            page.page.click(f".tabs [data-tab={tab}]")
        tags = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}}
        found = axe.Axe().run(page.page, options=tags).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    page.page.locator("#help").click()
    page.page.locator("#shortcuts").wait_for()
    assert axe.Axe().run(page.page).response["violations"] == []
    page.context.close()
    assert page.errors == []


def test_what_a_screen_reader_is_given(page: Page) -> None:
    page.page.locator("#strip div").first.wait_for()
    found = page.page.locator("body").aria_snapshot()
    if os.environ.get("LONGVID_WRITE_GOLDEN"):
        GOLDEN.write_text(found + "\n")
    assert found + "\n" == GOLDEN.read_text()


def test_names_and_subtitles_are_text(browser: Any, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    shutil.copy(DATA / "bbb_rabbit_5s.mp4", films / HOSTILE)
    said = (
        "1\n00:00:00,000 --> 00:00:05,000\n<b>bold</b> &lt;script&gt;alert(1)&lt;/script&gt; <i\n"
    )
    (films / HOSTILE).with_suffix(".srt").write_text(said)
    longvid.index([str(films / HOSTILE)], store=tmp_path / "store", config="mini")
    server = servers.start(tmp_path, "--store", str(tmp_path / "store"))
    try:
        server.wait("/readyz", lambda status, _: status == 200)
        page = Page(browser, server.url)
        assert page.page.locator("#videos .name").inner_text() == HOSTILE
        page.page.wait_for_function("() => document.getElementById('player').textTracks.length")
        page.page.keyboard.press("t")
        cue = page.page.wait_for_function(
            "() => document.querySelector('#player').textTracks[0]"
            ".cues?.[0]?.getCueAsHTML().textContent"
        ).json_value()
        assert "<script>" in cue or "script" in cue
        page.ask(STAR)
        assert page.page.locator("img[src=x], script:not([src])").count() == 0
        page.context.close()
        assert page.errors == []
    finally:
        server.process.terminate()
        server.process.wait(30)


def test_an_upload_goes_on_after_the_server_was_killed(browser: Any, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    padding = 20 << 20  # an MP4 file may hold any amount of free space
    box = (padding + 8).to_bytes(4, "big") + b"free"
    film.write_bytes((DATA / "bbb_rabbit_5s.mp4").read_bytes() + box + bytes(padding))
    words = ("--store", str(tmp_path / "store"))
    server = servers.start(tmp_path, *words)
    port = int(server.url.rpartition(":")[2])
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(600_000)
    page.goto(server.url)
    sizes: list[int] = []
    killed = False

    def part(route: Any) -> None:
        nonlocal killed
        sizes.append(len(route.request.post_data_buffer or b""))
        if len(sizes) == 2 and not killed:
            killed = True
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait()
            route.abort()
            return
        route.continue_()

    page.route("**/parts", part)
    page.set_input_files("#file", film)
    page.locator(".transfer .state", has_text="trying again").wait_for()
    again = servers.start(tmp_path, *words, port=port)
    try:
        page.locator("#videos .name", has_text="film.mp4").wait_for()
        page.wait_for_function("() => !document.querySelector('.transfer')")
        [stored] = (tmp_path / "data" / "files").glob("*.mp4")
        assert stored.read_bytes() == film.read_bytes()
        assert list((tmp_path / "data" / "parts").iterdir()) == []
        assert re.match(r"\d", page.locator("#videos .facts").inner_text())
    finally:
        context.close()
        again.process.terminate()
        again.process.wait(30)


def test_boxes_of_a_grounded_answer_are_drawn_over_its_thumbnails(
    browser: Any, tmp_path: Path
) -> None:
    film, store = tmp_path / "film.mp4", str(tmp_path / "store")
    write_film(make_film(20_261_372, 0, duration_seconds=24), film, fps=5)
    settings = ["store.pictures=frame", "grounder.name=drawn_shapes"]
    config = longvid.config.load_config("mini", settings)
    assert not longvid.index([film], store=store, config=config).failures
    server = servers.start(tmp_path, "--store", store)
    server.wait("/readyz", lambda status, _: status == 200, 120)
    try:
        page = Page(browser, server.url)
        answer = page.ask("where is the white star?")
        assert answer.locator(".text").inner_text().strip() == "bottom left"
        box = answer.locator(".boxes rect").first
        box.wait_for(state="attached")
        assert box.locator("title").text_content() == "white star"
        # In the picture's own pixels: at the bottom left of it.
        drawn = box.evaluate(
            "one => ['x', 'y', 'width', 'height'].map((a) => +one.getAttribute(a))"
        )
        left, top, width, height = drawn
        side = answer.locator(".card img").first.evaluate("one => one.naturalWidth")
        assert 0 <= left < left + width < side / 2 < top + height <= side
        # They are there again after a reload, and gone with an answer that names nothing.
        page.page.reload()
        page.page.locator(".answer .boxes rect").first.wait_for(state="attached")
        assert page.ask("which sign comes first ?").locator(".boxes").count() == 0
        page.context.close()
        assert page.errors == []
    finally:
        server.process.terminate()
        server.process.wait(30)


def test_a_thousand_videos_are_listed_without_a_picture_each(browser: Any, url: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    video = {"duration_seconds": 60, "gaps": [], "source_exists": True, "average_fps": 25}
    videos = [{**video, "video_id": f"v{n}", "filename": f"{n}.mp4"} for n in range(1000)]
    page.route(
        "**/api/videos?*",
        lambda route: route.fulfill(
            json={"videos": videos, "total": len(videos), "next_cursor": None}
        ),
    )
    page.goto(url)
    page.wait_for_selector("#videos .video:nth-child(1000)", state="attached")
    page.fill("#filter", "99")
    assert page.locator("#videos .video").count() == 19
    assert len([one for one in asked if "thumbnail" in one]) < 300
    context.close()


assert sync_api  # without Playwright these tests are skipped
