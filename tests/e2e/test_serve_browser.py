"""The page in a real browser: eight flows on a real library, driven as a person would.

Skipped where Chromium and its driver are not installed. ``VLAR_SCREENSHOTS=FOLDER`` keeps pictures.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests import videos

from .serving import Server, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in BROWSERS if (found := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium is not installed"),
]
DESKTOP, PHONE = (1280, 860), (390, 844)
LONGEST_START_S = 15.0  # under 3 s on a machine without other work (docs/serve.md)
PHRASE = "bicycles in street traffic"
MORE = 6  # recordings that a job adds


def noise(first: int, number: int) -> Any:
    """Pixels of a frame, of no other recording."""
    return videos.noise(first + number)


@dataclass
class Page:
    """A browser with the page open."""

    driver: Any
    server: Server

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def script(self, text: str) -> Any:
        return self.driver.execute_script(text)

    def until(self, holds: Callable[[], Any], limit_s: float = 60.0) -> Any:
        stale = [StaleElementReferenceException]  # the page has drawn it again
        wait = WebDriverWait(self.driver, limit_s, 0.1, ignored_exceptions=stale)
        return wait.until(lambda _: holds())

    def open(self, view: str) -> None:
        self.one(f'nav [data-view="{view}"]').click()
        self.until(lambda: self.one(f"#view-{view}").is_displayed())

    def search(self, text: str) -> None:
        box = self.one("#text")
        box.clear()
        box.send_keys(text, Keys.ENTER)
        self.until(lambda: self.one("#search-form button.main").is_enabled())

    def width(self) -> int:
        """Pixels that the page takes; a phone widens its view to what does not fit."""
        return self.script("return Math.max(document.documentElement.scrollWidth, innerWidth)")

    def keep(self, name: str) -> None:
        folder = os.environ.get("VLAR_SCREENSHOTS")
        if folder:
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


@pytest.fixture(scope="module")
def server(vlar_command, demo_clips, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("browser")
    clips, more = folder / "clips", folder / "more"
    for place in (clips, more):
        place.mkdir()
    for clip in demo_clips.values():
        shutil.copy(clip, clips)
    # AVI plays in no browser. Its moments are numbered pictures, so a wrong second shows.
    videos.make_video(clips / "numbers.avi", 300, codec="mpeg4", b_frames=0)
    for number in range(MORE):
        own = partial(noise, 1000 * number)
        videos.make_video(more / f"noise-{number}.mp4", 60, picture=own)
    added = vlar_command("index", "add", folder / "holiday.vlar", clips, "--tag", "place=street")
    assert added.code == 0
    more_root = ("--root", clips, "--root", more)
    with serving(folder / "holiday.vlar", folder / "state", *more_root) as server:
        assert server.started_s < LONGEST_START_S
        server.wait_until_ready()
        server.more = more  # type: ignore[attr-defined]
        yield server
        assert "Traceback" not in "".join(server.errors)


def new_driver(size: tuple[int, int], *, dark: bool = False) -> Any:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--mute-audio"):
        options.add_argument(each)
    options.add_argument("--autoplay-policy=no-user-gesture-required")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    return driver


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    made = new_driver(DESKTOP)
    yield made
    made.quit()


@pytest.fixture
def page(driver: Any, server: Server) -> Iterator[Page]:
    driver.get(server.address)
    opened = Page(driver, server)
    opened.until(lambda: "recordings" in opened.text("#library-line"))
    yield opened
    wrong = [row for row in driver.get_log("browser") if row["level"] == "SEVERE"]
    # A refused query, and a kind of file that does not play, are logged by the browser itself.
    assert not [row for row in wrong if "status of 4" not in row["message"]], wrong


def test_1_search(page: Page):
    page.search(PHRASE)
    first = page.all("#hits .hit")[0]
    assert "bikes.mp4" in first.text
    assert "%" in first.text
    picture = first.find_element(By.TAG_NAME, "img")
    page.until(lambda: page.script("return document.querySelector('#hits img')?.naturalWidth > 0"))
    assert picture.is_displayed()
    assert "recordings searched" in page.text("#search-status")
    assert page.one("#search-status").get_attribute("role") == "status"


def test_2_an_expression_that_cannot_be_read_shows_its_place(page: Page):
    page.search('"a cup" and "a hand"')
    shown = page.until(lambda: page.text("#text-problem pre"))
    query, caret = shown.split("\n")
    assert query == '"a cup" and "a hand"'
    assert caret.index("^") == query.index("and")
    assert "capitals: AND" in page.text("#text-problem")
    assert page.script("return [document.activeElement.id, text.selectionStart]") == ["text", 8]
    page.keep("error")
    page.search('"a bicycle" AND "a street"')
    assert not page.all("#text-problem pre")
    assert page.all("#hits .hit")
    assert "a bicycle:" in page.text("#hits .hit")


def test_3_a_moment_plays_from_its_second(page: Page):
    page.search(PHRASE)
    start_s = float(page.text("#hits .hit .time").split(":")[1])
    page.one("#hits .hit .picture").click()
    page.until(lambda: page.script("return video.currentTime > 0 && video.readyState > 1"))
    now_s = page.script("return video.currentTime")
    assert start_s <= now_s < start_s + 3
    page.until(lambda: page.all("#timeline polyline"))
    assert "file" in page.script("return video.currentSrc")
    page.keep("play")
    page.one(".legend button").click()
    page.until(lambda: page.script("return !video.paused"))
    page.one("body").send_keys(Keys.ESCAPE)
    assert not page.one("#player").is_displayed()


def test_3b_a_kind_that_does_not_play_is_cut_from_its_second(page: Page):
    page.open("library")
    page.one("#contains").send_keys("numbers")
    page.until(lambda: page.text("#videos-status").startswith("1 of"))
    page.one("#videos .picture").click()
    page.until(lambda: "cut of the moment" in page.text("#player-note"))
    is_cut = "return video.videoWidth > 0 && video.currentSrc.includes('span')"
    page.until(lambda: page.script(is_cut))


def test_4_no_match_is_said_plainly(page: Page):
    page.script("least.value = 0.9; least.dispatchEvent(new Event('input'))")
    page.search("a submarine under the sea")
    assert "No match above 90 %" in page.text("#hits")
    assert "The best has" in page.text("#hits")
    page.keep("no-match")
    page.one("#hits .empty button").click()
    page.until(lambda: page.all("#hits .hit"))


def test_5_filters(page: Page):
    page.one("#filters summary").click()
    page.one("#filter").send_keys("path=*bunny*", Keys.ENTER)
    page.script("least.value = 0; least.dispatchEvent(new Event('input'))")
    page.search(PHRASE)
    names = [each.text for each in page.all(".hit-title")]
    assert set(names) == {"bigbuckbunny.mp4"}
    assert page.text("#filter-count") == "1"
    page.one("#filter-list button").click()
    page.until(lambda: page.all(".hit-title") and page.text(".hit-title") == "bikes.mp4")
    page.one("#filter").send_keys("plaice=gym", Keys.ENTER)
    page.until(lambda: "place" in page.text("#text-problem"))


def test_6_drop_a_video_with_labels(page: Page, demo_clips: dict[str, Path]):
    page.open("classify")
    page.one("#classify-form button.main").click()
    page.until(lambda: "Choose a video first" in page.text("#classify-problem"))
    page.one("#file").send_keys(str(demo_clips["bikes"]))
    page.one("#labels").send_keys("people on bicycles, cooking\nplaying the piano")
    page.one("#classify-form button.main").click()
    page.until(lambda: page.all("#classify-answers .answer-row"))
    assert "people on bicycles" in page.text("#classify-status")
    assert len(page.all("#classify-answers .answer-row")) == 4  # three labels, and unknown
    page.until(lambda: page.script("return preview.videoWidth > 0"))
    page.keep("classify")
    Select(page.one("#every")).select_by_visible_text("every 4 s")
    page.one("#classify-form button.main").click()
    page.until(lambda: "answers over time" in page.text("#classify-status"))


def test_7_collect_examples_and_adapt(page: Page, demo_clips: dict[str, Path]):
    for text, label in ((PHRASE, "cycling"), ("a cartoon animal", "cartoon")):
        page.script("least.value = 0; least.dispatchEvent(new Event('input'))")
        page.search(text)
        page.all("#hits .hit")[0].find_elements(By.TAG_NAME, "button")[-1].click()
        page.open("examples")
        box = page.all("#example-list input")[-1]
        assert box.get_attribute("value") == text
        box.clear()
        box.send_keys(label)
        page.open("search")
    page.open("examples")
    page.keep("examples")
    page.one("#adapt-form button.main").click()
    page.until(lambda: page.all('#adapt-job [data-state="done"]'), 120)
    page.open("classify")
    assert page.one("#model").get_attribute("value") == "mine"
    page.one("#file").send_keys(str(demo_clips["bigbuckbunny"]))
    page.one("#classify-form button.main").click()
    page.until(lambda: page.all("#classify-answers .answer-row"))
    assert "cartoon" in page.text("#classify-status")


def test_8_a_job_with_progress_and_cancelling(page: Page):
    page.open("library")
    page.one("#paths").send_keys("/etc")
    page.one("#add-form button.main").click()
    page.until(lambda: "outside the folders" in page.text("#add-problem"))
    page.one("#paths").clear()
    page.one("#paths").send_keys(str(page.server.more))
    page.one("#add-form button.main").click()
    page.until(lambda: page.all('#jobs [data-state="running"] progress'))
    page.until(lambda: f" of {MORE}" in page.text("#jobs .job"))
    page.keep("job")
    page.one("#jobs .job button").click()
    page.until(lambda: page.all('#jobs .job:first-child[data-state="cancelled"]'))
    page.one("#jobs .job button").click()  # resume
    page.until(lambda: page.all('#jobs .job:first-child[data-state="done"]'), 180)
    assert "added" in page.text("#jobs .job")
    page.until(lambda: f"{4 + MORE} recordings" in page.text("#library-line"))


def test_9_it_works_with_the_keyboard_alone(page: Page):
    page.script("document.body.focus()")
    keys = webdriver.ActionChains(page.driver)
    keys.send_keys(Keys.TAB).perform()
    assert page.script("return document.activeElement.className") == "skip"
    for _ in range(30):
        webdriver.ActionChains(page.driver).send_keys(Keys.TAB).perform()
        if page.script("return document.activeElement.id") == "text":
            break
    webdriver.ActionChains(page.driver).send_keys(PHRASE, Keys.ENTER).perform()
    page.until(lambda: page.all("#hits .hit"))
    for _ in range(30):
        webdriver.ActionChains(page.driver).send_keys(Keys.TAB).perform()
        if page.script("return document.activeElement.className") == "picture":
            break
    outline = page.script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    webdriver.ActionChains(page.driver).send_keys(Keys.ENTER).perform()
    page.until(lambda: page.one("#player").is_displayed())


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_fits_the_window(server: Server, size: tuple[int, int], dark: bool):
    driver = new_driver(size, dark=dark)
    name = f"{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"
    try:
        driver.get(server.address)
        page = Page(driver, server)
        page.until(lambda: "recordings" in page.text("#library-line"))
        page.search('"people on bicycles" OR "a cartoon animal"')
        page.one("#hits .hit .picture").click()
        page.until(lambda: page.all("#timeline polyline"))
        page.until(lambda: page.script("return video.currentTime > 0.3"))
        page.script("video.pause()")
        time.sleep(0.5)
        ground = page.script("return getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(16, 20, 27)" if dark else "rgb(255, 255, 255)")
        for view in ("search", "classify", "examples", "library"):
            if view != "search":
                page.open(view)
            assert page.width() <= size[0], view
            page.keep(f"{name}-{view}")
    finally:
        driver.quit()


def test_a_token_is_asked_for_once(vlar_command, server: Server, tmp_path: Path):
    clips, library = tmp_path / "clips", tmp_path / "small.vlar"
    clips.mkdir()
    videos.make_video(clips / "moving.mp4", 40)
    assert vlar_command("index", "add", library, clips).code == 0
    token = "a-token-of-the-tests-0123456789"
    with serving(library, tmp_path / "state", VLAR_TOKEN=token) as other:
        driver = new_driver(DESKTOP)
        try:
            driver.get(other.address)
            page = Page(driver, other)
            page.until(lambda: page.one("#token-dialog").is_displayed())
            page.one("#token").send_keys("wrong-token-0123456789", Keys.ENTER)
            page.until(lambda: "wrong" in page.text("#token-problem"))
            page.one("#token").clear()
            page.one("#token").send_keys(token, Keys.ENTER)
            page.until(lambda: "1 recordings" in page.text("#library-line"))
            assert token not in driver.current_url
            page.open("library")
            shown = "return document.querySelector('#videos img')?.naturalWidth > 0"
            page.until(lambda: page.script(shown))
        finally:
            driver.quit()
