"""The page, driven in a real browser against a real server with the shipped model."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longvid.cli import serving

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="install playwright, and Chromium from the system's packages"
)

pytestmark = pytest.mark.browser

DATA = Path(__file__).parents[1] / "data"
STATIC = Path(serving.__file__).parents[1] / "server" / "static"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic"),
]
STAR = "what color is the star?"


@pytest.fixture(scope="module")
def url(served: Any) -> str:
    return str(served.url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)


#: What the content security policy stops is an error, too.
_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`${event.violatedDirective} stops ${event.blockedURI}`));
"""


class Page:
    """A page that takes down errors and requests to other places."""

    def __init__(
        self,
        browser: Any,
        url: str,
        width: int = 1400,
        height: int = 900,
        script: str = "",
        color_scheme: str = "light",
    ) -> None:
        self.errors: list[str] = []
        viewport = {"width": width, "height": height}
        self.context = browser.new_context(viewport=viewport, color_scheme=color_scheme)
        self.page = self.context.new_page()
        self.page.add_init_script(_VIOLATIONS + script)
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._console)
        self.page.on("request", lambda request: self._request(request.url, url))
        self.page.goto(url)
        self.page.wait_for_selector("#videos .video", state="attached")

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _request(self, asked: str, url: str) -> None:
        if not asked.startswith((url, "blob:", "data:")):
            self.errors.append(f"a request to {asked}")

    def ask(self, question: str) -> Any:
        before = self.page.locator(".answer").count()
        self.page.fill("#question", question)
        self.page.press("#question", "Enter")
        answer = self.page.locator(".answer").nth(before)
        answer.locator(".steps li").first.wait_for(state="attached")
        return answer


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Page]:
    page = Page(browser, url)
    yield page
    page.context.close()
    assert page.errors == []


def test_a_question_shows_evidence_and_what_the_model_saw(page: Page) -> None:
    answer = page.ask(STAR)
    assert answer.locator(".text").inner_text().strip()
    assert re.search(r"\d+ of 512 visual tokens: \d+ frames", answer.inner_text())
    cards = answer.locator(".card")
    assert cards.count() >= 1
    assert cards.first.locator("img").evaluate(
        "image => image.decode().then(() => image.naturalWidth > 0)"
    )
    cards.first.click()
    start = page.page.evaluate("Number(location.hash.slice(3).split(',')[0])")
    page.page.wait_for_function(
        "start => Math.abs(document.getElementById('player').currentTime - start) < 3", arg=start
    )
    assert page.page.locator("#timeline-note").inner_text().startswith("The model saw")
    page.page.locator("#curve-table-box summary").click()
    assert page.page.locator("#curve-table tr").count() >= 2


def test_the_budget_the_scope_and_the_keyboard(page: Page) -> None:
    page.page.locator("#budget").fill("6")
    assert page.page.locator("#budget-shown").inner_text() == "64"
    page.page.locator(".pick").first.check()
    name = page.page.locator("#videos .name").first.inner_text()
    assert page.page.locator("#scope .chip").inner_text() == f"{name} ✕"
    page.page.locator("body").press("/")
    assert page.page.evaluate("document.activeElement.id") == "question"
    answer = page.ask(STAR)
    assert "of 64 visual tokens" in answer.inner_text()
    assert answer.locator(".card .name").all_inner_texts() == [name]
    page.page.locator("#scope .chip").click()
    assert page.page.locator("#scope .chip").inner_text() == "All videos"
    page.page.locator("h1").click()
    page.page.keyboard.press("?")
    assert page.page.locator("#shortcuts").is_visible()


def test_a_question_that_is_refused_says_why(page: Page) -> None:
    page.page.fill("#question", "where is my zebra?")
    page.page.press("#question", "Enter")
    failed = page.page.locator(".answer.failed")
    failed.wait_for()
    assert "zebra" in failed.locator(".text").inner_text()


def test_an_upload_that_is_no_video_says_so(page: Page) -> None:
    page.page.set_input_files(
        "#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no video"}
    )
    failed = page.page.locator(".transfer.failed")
    failed.wait_for()
    assert "no video ending" in failed.inner_text()
    page.errors.clear()  # the browser logs the refusal's status


def test_a_phone_has_tabs_and_nothing_is_cut(browser: Any, url: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(url)
    for tab, part in (("library", "#library"), ("timeline", "#curve"), ("answer", "#question")):
        page.click(f".tabs [data-tab={tab}]")
        assert page.locator(part).is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.evaluate(
        "[...document.querySelectorAll('button')].filter(b => b.offsetParent)"
        ".filter(b => b.getBoundingClientRect().height < 44).map(b => b.id || b.className)"
    )
    assert small == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_and_enough_contrast(browser: Any, url: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#videos .video")
    unnamed = page.evaluate(
        """[...document.querySelectorAll("button, input, select, textarea, [role=slider]")]
        .filter(one => one.offsetParent && !one.hidden)
        .filter(one => !(one.getAttribute("aria-label") || one.innerText?.trim()
            || one.labels?.[0]?.innerText.trim()))
        .map(one => one.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    ratios = page.evaluate(
        """() => {
        const style = getComputedStyle(document.documentElement);
        const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const light = (name) => {
          const hex = style.getPropertyValue(name).trim().slice(1);
          const [r, g, b] = [0, 2, 4].map(i => channel(parseInt(hex.slice(i, i + 2), 16)));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const pairs = [];
        for (const ink of ["--ink", "--quiet", "--error", "--accent"]) {
          for (const ground of ["--ground", "--panel"]) pairs.push([ink, ground]);
        }
        pairs.push(["--on-accent", "--accent"]);
        return pairs.map(([a, b]) => {
          const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
          return [a, b, (high + 0.05) / (low + 0.05)];
        });
      }"""
    )
    assert [pair for pair in ratios if pair[2] < 4.5] == []
    context.close()


def test_the_page_is_small_and_reads_nothing_as_html() -> None:
    files = [path for path in STATIC.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 200_000
    for path in files:
        text = path.read_text()
        for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"):
            assert banned not in text, (path.name, banned)
        assert not re.search(r"\son[a-z]+\s*=\s*[\"']", text) or path.suffix == ".js"
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), path.name
        assert "https://" not in text, path.name
