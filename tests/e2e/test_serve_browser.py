"""The page in a real browser: twelve flows on a real library, driven as a person would.

Skipped where Chromium and its driver are not installed; ``browser`` says how to keep pictures.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests import videos
from vlar.media.video.frames import thumbnail

from .browser import DESKTOP, IN_BROWSER, PHONE, Page, new_driver, opened, violations
from .serving import Server, serving

pytestmark = IN_BROWSER
LONGEST_START_S = 15.0  # under 3 s on a machine without other work (docs/serve.md)
PHRASE = "bicycles in street traffic"
# Whether nothing moves that comes to an end.
STILL = (
    "return document.getAnimations().every(each => each.playState !== 'running' ||"
    " each.effect.getTiming().iterations === Infinity)"
)
MORE = 6  # recordings that a job adds


def noise(first: int, number: int) -> Any:
    """Pixels of a frame, of no other recording."""
    return videos.noise(first + number)


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


LOOKS = {"desktop": (DESKTOP, False), "phone-dark": (PHONE, True)}


@pytest.fixture(scope="module", params=list(LOOKS))
def driver(request: pytest.FixtureRequest) -> Iterator[Any]:
    size, dark = LOOKS[request.param]
    made = new_driver(size, dark=dark)
    made.look = request.param
    yield made
    made.quit()


@pytest.fixture
def page(driver: Any, server: Server) -> Iterator[Page]:
    yield from opened(driver, server)


def test_1_the_start_is_the_library(page: Page):
    names = page.texts("#hits .hit-title")
    assert "bikes.mp4" in names
    shown = "return [...document.querySelectorAll('#hits img')].filter(i => i.naturalWidth)"
    page.until(lambda: len(page.script(shown)) >= 4)
    box = page.one("#hits .picture").rect
    shape = box["width"] / box["height"]
    assert shape == pytest.approx(4 / 3, abs=0.02)
    page.keep("start")
    before = page.one("#hits .picture img").get_attribute("src")
    page.script("const p = document.querySelector('#hits .picture'), b = p.getBoundingClientRect();"
                "p.dispatchEvent(new PointerEvent('pointermove', {pointerType: 'mouse',"
                "clientX: b.left + b.width * 0.9, clientY: b.top + 5}))")  # fmt: skip
    page.until(lambda: page.one("#hits .picture img").get_attribute("src") != before)
    page.until(lambda: page.all("#tries .chip"), 120)  # queries that this library answers
    page.press("#tries .chip")
    page.until(lambda: page.all("#hits .hit .score"))
    assert "weak" not in page.text("#hits .hit")
    page.press("#layout")
    assert "list" in page.one("#hits").get_attribute("class")
    page.press("#layout")


def test_1a_the_first_hits_need_at_most_80_kilobytes(page: Page):
    loaded = page.script(
        "return performance.getEntries().filter(e => e.decodedBodySize && (e.entryType ==="
        " 'navigation' || e.name.includes('/page/'))).map(e => [e.name, e.decodedBodySize])"
    )
    names = {name.rpartition("/")[2]: size for name, size in loaded}
    assert {"", "app.js", "style.css", "search.js", "icon.svg"} <= set(names)
    assert sum(names.values()) <= 80_000, names
    page.press("#hits .hit .picture")
    page.until(lambda: page.script("return !!document.querySelector('#player video')"))


def test_1b_search_and_its_address(page: Page):
    page.search(PHRASE)
    first = page.text("#hits .hit")
    assert "bikes.mp4" in first
    assert "%" in first or "weak match" in first
    page.until(lambda: page.script("return document.querySelector('#hits img')?.naturalWidth > 0"))
    assert "recordings searched" in page.text("#search-status")
    assert page.one("#search-status").get_attribute("role") == "status"
    page.keep("results")
    page.press("#hits .hit .picture")
    page.until(lambda: "m" in page.state())
    link = page.driver.current_url
    page.driver.back()
    page.until(lambda: not page.one("#player").is_displayed())
    assert page.state() == {"q": [PHRASE]}
    page.driver.back()
    page.until(lambda: "recordings." in page.text("#search-status"))
    page.driver.get("about:blank")
    page.driver.get(link)  # a bookmark: the query and its open moment
    page.until(lambda: page.one("#player").is_displayed())
    assert page.one("#text").get_attribute("value") == PHRASE
    page.until(lambda: "bikes.mp4" in page.text("#player-title"))


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
    page.search('"a bicycle" AND "a street" AND')
    page.until(lambda: page.text("#text-problem pre"))
    assert "a bicycle:" in page.text("#hits .hit")  # what was there before stays
    assert "of before" in page.text("#search-status")
    page.search('"a bicycle" AND "a street"')
    assert page.all("#hits .hit")
    assert "a bicycle:" in page.text("#hits .hit")


def test_3_a_moment_plays_from_its_second(page: Page):
    page.search(PHRASE)
    start_s = float(page.text("#hits .hit .time").split(":")[1])
    page.press("#hits .hit .picture")
    page.until(lambda: page.script("return window.video?.currentTime > 0 && video.readyState > 1"))
    now_s = page.script("return video.currentTime")
    assert start_s <= now_s < start_s + 3
    page.until(lambda: page.all("#timeline polyline"))
    assert "file" in page.script("return video.currentSrc")
    page.keep("play")
    page.press(".legend button")
    page.until(lambda: page.script("return !video.paused"))
    link = page.one("#player-actions a").get_attribute("href")
    assert page.script(f"return fetch('{link}').then(a => a.headers.get('content-type'))") == (
        "video/mp4"
    )
    title = page.text("#player-title")
    page.script("document.activeElement.blur()")
    page.one("body").send_keys(" ")
    page.until(lambda: page.script("return video.paused"))
    page.one("body").send_keys("j")
    page.until(lambda: page.text("#player-title") != title)
    page.one("body").send_keys("k")
    page.until(lambda: page.text("#player-title") == title)
    page.one("body").send_keys(Keys.ESCAPE)
    assert not page.one("#player").is_displayed()


def test_3b_a_kind_that_does_not_play_is_cut_from_its_second(page: Page):
    page.facets()
    page.one("#filter").send_keys("path=*numbers*", Keys.ENTER)
    page.until(lambda: page.text("#search-status") == "1 of 1 recording.")
    page.press("#hits .picture")
    page.until(lambda: "cut of the moment" in page.text("#player-note"))
    is_cut = "return video.videoWidth > 0 && video.currentSrc.includes('span')"
    page.until(lambda: page.script(is_cut))


def test_4_no_match_is_said_plainly(page: Page):
    page.least(0.9)
    page.search("a submarine under the sea")
    assert "No match above 90 %" in page.text("#hits")
    assert "The best has" in page.text("#hits")
    page.keep("no-match")
    page.press("#hits .empty button")
    page.until(lambda: page.all("#hits .hit"))


def test_5_facets_and_filters(page: Page):
    page.facets()
    page.until(lambda: sum("street" in fact for fact in page.texts(".fact")) == 1)
    press = "[...document.querySelectorAll('.fact')].find(f => f.textContent.includes('street'))"
    page.script(f"{press}.click()")
    page.until(lambda: page.text("#filter-count") == "1")
    assert page.state()["w"] == ["place=street"]
    page.one("#filter").send_keys("path=*bunny*", Keys.ENTER)
    page.least(0)
    page.search(PHRASE)
    page.until(lambda: set(page.texts(".hit-title")) == {"bigbuckbunny.mp4"})
    assert page.text("#filter-count") == "2"
    page.keep("facets")
    page.press('#filter-list button[aria-label*="bunny"]')
    page.until(lambda: page.all(".hit-title") and page.text(".hit-title") == "bikes.mp4")
    page.one("#filter").send_keys("plaice=gym", Keys.ENTER)
    page.until(lambda: "place" in page.text("#filter-problem"))


def test_6_classify_a_video(page: Page, demo_clips: dict[str, Path]):
    page.open("classify")
    page.press("#classify-form button.main")
    page.until(lambda: "Choose a video first" in page.text("#classify-problem"))
    page.one("#file").send_keys(str(demo_clips["bikes"]))
    page.one("#labels").send_keys("people on bicycles, cooking\nplaying the piano")
    page.press("#classify-form button.main")
    page.until(lambda: page.all("#classify-answers .answer-row"))
    assert "people on bicycles" in page.text("#classify-status")
    in_view = (
        "return innerHeight > document.getElementById('classify-status').getBoundingClientRect()"
    )
    page.until(lambda: page.script(f"{in_view}.bottom"))
    assert len(page.all("#classify-answers .answer-row")) == 4  # three labels, and unknown
    page.until(lambda: page.script("return preview.videoWidth > 0"))
    page.keep("classify")
    Select(page.one("#every")).select_by_visible_text("every 4 s")
    page.press("#classify-form button.main")
    page.until(lambda: "answers over time" in page.text("#classify-status"))
    assert page.all("#classify-curve polyline")
    page.keep("over-time")
    page.press(".segments button")
    page.until(lambda: page.script("return !preview.paused"))
    page.script("preview.pause()")
    Select(page.one("#every")).select_by_visible_text("every 1 s")
    page.press("#classify-form button.main")
    page.until(lambda: page.one("#classify-cancel").is_displayed())
    page.press("#classify-cancel")
    page.until(lambda: not page.one("#classify-cancel").is_displayed())
    page.until(lambda: page.one("#classify-form button.main").is_enabled())


def test_6b_an_answer_that_is_none_has_no_figure(page: Page, demo_clips: dict[str, Path]):
    page.open("classify")
    page.one("#file").send_keys(str(demo_clips["bikes"]))
    page.one("#labels").send_keys("a submarine explodes under a volcano")
    page.press("#classify-form button.main")
    page.until(lambda: page.text("#classify-status").startswith(("No:", "Unsure:", "Unknown:")))
    assert "%" not in page.text("#classify-status")
    assert not page.one("#classify-answers b").is_displayed()


def test_7_collect_examples_and_adapt(page: Page, demo_clips: dict[str, Path]):
    for text, label in ((PHRASE, "cycling"), ("a cartoon animal", "cartoon")):
        page.least(0)
        page.search(text)
        page.press('#hits .hit [aria-label^="Use as example"]')
        page.until(lambda: page.script("return hits.textContent.includes('Added ✓')"))
        page.open("examples")
        box = page.all("#example-list .label-field input")[-1]
        assert box.get_attribute("value") == text
        box.clear()
        box.send_keys(label)
        page.open("search")
    page.open("examples")
    assert "cycling · 1" in page.text("#example-labels")
    page.keep("examples")
    page.press("#example-list .picture")
    page.until(lambda: page.one("#player").is_displayed())
    page.press("#player-close")
    page.press("#adapt-form button.main")
    page.until(lambda: page.all('#adapt-job [data-state="done"]'), 120)
    page.until(lambda: page.all("#adapt-job a"))
    page.press("#adapt-job a")  # try it
    page.until(lambda: page.one("#view-classify").is_displayed())
    assert page.one("#model").get_attribute("value") == "mine"
    page.one("#file").send_keys(str(demo_clips["bigbuckbunny"]))
    page.press("#classify-form button.main")
    page.until(lambda: page.all("#classify-answers .answer-row"))
    assert "cartoon" in page.text("#classify-status")


def test_8_a_job_with_progress_and_cancelling(page: Page):
    page.open("library")
    page.one("#paths").send_keys("/etc")
    page.press("#add-form button.main")
    page.until(lambda: "outside the folders" in page.text("#add-problem"))
    page.one("#paths").clear()
    page.one("#paths").send_keys(str(page.server.more))
    page.press("#add-form button.main")
    page.until(lambda: page.all('#jobs [data-state="running"] progress'))
    page.until(lambda: f" of {MORE}" in page.text("#jobs .job"))
    page.keep("job")
    page.press("#jobs .job button")
    page.until(lambda: page.all('#jobs .job:first-child[data-state="cancelled"]'))
    page.press("#jobs .job button")  # resume
    page.until(lambda: page.all('#jobs .job:first-child[data-state="done"]'), 180)
    assert re.search("added|unchanged", page.text("#jobs .job"))
    page.open("search")
    page.all_of_it()
    assert int(page.text("#search-status").split()[2]) >= 4 + MORE


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
    page.until(lambda: not page.all("#hits .waiting"))
    for _ in range(80):
        webdriver.ActionChains(page.driver).send_keys(Keys.TAB).perform()
        if "picture" in page.script("return document.activeElement.className"):
            break
    outline = page.script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    webdriver.ActionChains(page.driver).send_keys(Keys.ENTER).perform()
    page.until(lambda: page.one("#player").is_displayed())


def test_10_many_are_tagged_exported_and_removed(page: Page, server: Server):
    page.all_of_it()
    page.pick(2)
    assert page.text("#selection-line") == "2 selected, of 2 recordings"
    page.keep("selection")
    page.press("#select-tag")
    page.until(lambda: page.one("#dialog").is_displayed())
    page.one("#tag-key").clear()
    page.one("#tag-key").send_keys("light")
    page.one("#tag-value").send_keys("<b>day</b>")
    page.keep("tag")
    page.one("#dialog-actions button").click()
    page.until(lambda: not page.one("#dialog").is_displayed())
    page.until(lambda: any("light=<b>day</b>" in text for text in page.texts("#hits .hit")))
    assert not page.all("#hits b b, #facet-list b b, .hit-line b")  # a value stays text
    # Another page changes the tag: this one is told, and shows what it is now.
    video = page.script("return document.querySelector('#hits .hit').moment.video")
    change = {"video": video, "tags": {"light": "night"}}
    assert server.ask("api/tags", {"changes": [change]})[0] == 200
    page.press("#select-tag")
    page.until(lambda: page.one("#dialog").is_displayed())
    page.one("#tag-value").send_keys("evening")
    page.script("document.querySelector('#tag-key').value = 'light'")
    page.one("#dialog-actions button").click()
    page.until(lambda: "'night' by now" in page.text("#dialog-problem"))
    page.driver.execute_script("dialog.close()")
    page.press("#select-export")
    files = [f"vlar.{each['ending']}" for each in server.ask("api/library")[1]["exports"]]
    assert {"vlar.csv", "vlar.zip"} <= set(files)
    assert len(page.all("#dialog-actions button")) == len(files) + 1  # the last one cancels
    page.script("window.saved = []; HTMLAnchorElement.prototype.click = function () {"
                "window.saved.push(this.download)}")  # fmt: skip
    for number, name in enumerate(files):
        if not page.one("#dialog").is_displayed():
            page.press("#select-export")
        page.driver.execute_script(
            "arguments[0].click()", page.all("#dialog-actions button")[number]
        )
        page.until(lambda name=name: name in page.script("return window.saved"))
        page.until(lambda: not page.one("#dialog").is_displayed())


def test_11_a_recording_joins_and_goes_again(page: Page, server: Server, tmp_path: Path):
    hostile = videos.make_noise_video(tmp_path / "<i>new<i> & '.mp4", 30)
    page.open("library")
    page.one("#add-files").send_keys(str(hostile))
    page.one("#tags").send_keys("place=here")
    page.press("#add-form button.main")
    page.until(lambda: page.all('#jobs .job:first-child[data-state="done"]'), 120)
    page.open("search")
    page.facets()
    page.one("#filter").send_keys("place=here", Keys.ENTER)
    page.until(lambda: page.text("#search-status") == "1 of 1 recording.")
    assert page.text(".hit-title") == hostile.name
    assert not page.all(".hit-title i")
    page.press("#pick-all")
    page.press("#select-remove")
    page.until(lambda: hostile.name in page.text("#dialog-body"))
    page.one("#dialog-actions button").click()
    page.until(lambda: "No recording" in page.text("#search-status"))
    # A recording that another page removes: the open one is told so.
    page.press("#filter-list button")
    page.until(lambda: page.all("#hits .hit-title"))
    page.press("#filter")
    page.one("#filter").click()
    page.one("#filter").send_keys("path=*noise-0*", Keys.ENTER)
    page.until(lambda: page.text("#search-status").startswith(("1 of 1", "No rec")))
    if page.all("#hits .hit-title"):
        page.press("#pick-all")
        video = page.script("return document.querySelector('#hits .hit').moment.video")
        assert server.ask("api/remove", {"videos": [video]})[0] == 200
        page.press("#select-remove")
        page.until(lambda: page.one("#dialog").is_displayed())
        page.one("#dialog-actions button").click()
        page.until(lambda: "no recording" in page.text("#dialog-problem").lower())
        page.driver.execute_script("dialog.close()")


def test_12_views_a_map_and_a_picture_as_query(page: Page, tmp_path: Path, demo_clips):
    for kind in ("highlights", "unusual", "duplicates"):
        page.press(f'[data-kind="{kind}"]')
        page.until(lambda: "Loading" not in page.text("#search-status"), 90)
        assert page.state()["v"] == [kind]
    page.press('[data-kind="map"]')
    page.until(lambda: "Draw around" in page.text("#search-status"))
    canvas = page.one("canvas")
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    box = canvas.size
    keys = webdriver.ActionChains(page.driver, duration=30)
    keys.move_to_element_with_offset(canvas, -box["width"] // 2 + 3, -box["height"] // 2 + 3)
    keys.click_and_hold().move_by_offset(box["width"] - 8, 0)
    keys.move_by_offset(0, box["height"] - 8).move_by_offset(8 - box["width"], 0)
    keys.release().perform()
    page.until(lambda: "windows chosen" in page.text("#search-status"))
    windows = int(page.text("#search-status").split()[0])
    assert page.text("#selection-line").startswith(f"{windows} selected")
    assert windows > 10
    page.keep("map")
    assert "Left is more like" in page.text("#map")
    before = page.script("return document.querySelector('canvas').toDataURL()")
    page.press('#map [aria-label="Zoom in"]')
    assert page.script("return document.querySelector('canvas').toDataURL()") != before
    page.press("#select-clear")
    picture = tmp_path / "like this.png"
    thumbnail(demo_clips["bikes"], 4.0).save(picture)
    page.one("#like-file").send_keys(str(picture))
    page.until(lambda: "like this.png" in page.text("#like-line"))
    page.until(lambda: page.all("#hits .hit-title") and "bikes" in page.text("#hits .hit-title"))


def test_13_an_evaluation_opens_what_is_confused(page: Page, server: Server):
    found = server.ask("api/videos")[1]["videos"]
    kinds = {
        "bikes.mp4": "cycling",
        "bigbuckbunny.mp4": "cartoon",
        "carphone_pristine.mp4": "talking",
    }
    named = [(each["video"], kinds.get(each["name"])) for each in found]
    changes = [{"video": video, "tags": {"shows": kind}} for video, kind in named if kind]
    assert len(changes) > 1
    assert server.ask("api/tags", {"changes": changes})[0] == 200
    page.driver.refresh()
    page.open("evaluate")
    page.until(lambda: page.all('#evaluate-tag option[value="shows"]'))
    Select(page.one("#evaluate-tag")).select_by_value("shows")
    page.press("#evaluate-form button.main")
    page.until(lambda: page.all("#matrix table"), 120)
    page.keep("evaluate")
    page.press("#matrix td button")
    page.until(lambda: page.all("#matrix-clips .hit"))
    assert "answered" in page.text("#matrix-clips .hit")
    page.press("#matrix-clips .picture")
    page.until(lambda: page.one("#player").is_displayed())
    assert "job" in page.state()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_fits_the_window(server: Server, size: tuple[int, int], dark: bool):
    driver = new_driver(size, dark=dark)
    name = f"{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"
    try:
        driver.get(server.address)
        page = Page(driver, server)
        page.until(lambda: page.all("#hits .hit .picture img"))
        page.search('"people on bicycles" OR "a cartoon animal"')
        page.one("#hits .hit .picture").click()
        page.until(lambda: page.all("#timeline polyline"))
        page.until(lambda: page.script("return video.currentTime > 0.3"))
        page.script("video.pause()")
        page.until(lambda: page.script(STILL))
        ground = page.script("return getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(16, 20, 27)" if dark else "rgb(255, 255, 255)")
        for view in ("search", "classify", "examples", "evaluate", "library"):
            if view != "search":
                page.open(view)
            assert page.width() <= size[0], view
            assert not violations(driver), view
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
            page.until(lambda: "1 recording, " in page.text("#library-line"))
            assert token not in driver.current_url
            shown = "return document.querySelector('#hits img')?.naturalWidth > 0"
            page.until(lambda: page.script(shown))
        finally:
            driver.quit()
