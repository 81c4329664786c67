"""The workbench in a real browser: what is selected, named, removed, judged and learned."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from vlar.segments import Segment, write

from .browser import DESKTOP, IN_BROWSER, Page, new_driver, opened, violations
from .serving import Server, serving

pytestmark = IN_BROWSER
READ = ["speech", "on screen"]  # tracks of what captions quote
PHRASE = "bicycles in street traffic"
HOSTILE = ('it\'s "Müller" 🚲 <b>.mp4', "فيديو أرنب.mp4")


@pytest.fixture(scope="module")
def server(vlar_command, demo_clips, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "clips").mkdir()
    for clip in demo_clips.values():
        shutil.copy(clip, folder / "clips")
    for clip, name in zip(("bikes", "bigbuckbunny"), HOSTILE, strict=True):
        shutil.copy(demo_clips[clip], folder / "clips" / name)
    shows = 'shows (0.0-2.0 s @10,20,60,45): "EXIT"'
    said = ['says (en, 0.5-1.5 s): "good morning"', shows]
    (folder / "said.json").write_text(json.dumps({"carphone_pristine.mp4": said}))
    given = ("--tag", "folder=a", "--captions", f"file:{folder / 'said.json'}")
    added = vlar_command("index", "add", folder / "lib.vlar", folder / "clips", *given)
    assert added.code == 0
    write(folder / "p.boris", [Segment("x", 0, 2, "sniff"), Segment("x", 3, 3, "jump")])
    with serving(folder / "lib.vlar", folder / "state", "--keys", folder / "p.boris") as running:
        running.wait_until_ready()
        yield running
        assert "Traceback" not in "".join(running.errors)


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    made = new_driver(DESKTOP)
    yield made
    made.quit()


@pytest.fixture
def page(driver: Any, server: Server) -> Iterator[Page]:
    yield from opened(driver, server)


def dialog(page: Page, button: str) -> None:
    page.press(button)
    page.until(lambda: page.one("#dialog").is_displayed())


def titles(page: Page) -> list[str]:
    return page.texts("#hits .hit-title")


def test_a_selection_is_listed_and_each_moment_can_be_dropped(page: Page):
    page.least(0)
    page.search(PHRASE)
    page.unfold()
    page.pick(3)
    page.search("a cartoon animal")
    assert page.text("#selection-line").startswith("3 selected, of 3 recordings; ")
    assert page.text("#selection-line").endswith("not among these")
    dialog(page, "#select-example")
    assert not violations(page.driver)
    assert len(page.all(".picked-list img")) == 3
    page.press(".picked-list li:nth-child(2) button")
    assert page.text("#dialog-title") == "2 examples of one label"
    page.keep("selected")
    page.one("#many-label").send_keys("cycling", Keys.ENTER)
    page.until(lambda: page.text("#example-count") == "2")
    assert not page.one("#selection").is_displayed()  # the next label begins with none
    page.open("examples")
    assert not page.one("#adapt-form button.main").is_enabled()
    assert "at least two labels; all examples show “cycling”" in page.text("#adapt-reason")
    page.one("#example-1").send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.BACKSPACE)
    assert "1 of the examples has no label yet" in page.text("#adapt-reason")
    page.one("#example-1").send_keys("standing")
    assert page.one("#adapt-form button.main").is_enabled()


def test_a_moment_with_two_labels_asks(page: Page):
    page.least(0)
    for label in ("golf", "golf", "jump"):
        page.search(PHRASE)
        page.pick(1)
        dialog(page, "#select-example")
        page.one("#many-label").send_keys(label, Keys.ENTER)
        page.until(
            lambda: not page.one("#selection").is_displayed() or page.one("#dialog").is_displayed()
        )
        assert page.text("#example-count") == "1"  # the same one twice teaches nothing
    page.until(lambda: page.text("#dialog-title") == "1 moment with two labels")
    assert "golf" in page.text("#dialog-body")
    page.keep("two-labels")
    page.press("#dialog-actions button:nth-child(2)")  # both
    page.until(lambda: page.text("#example-count") == "2")
    page.pick(1)
    dialog(page, "#select-example")
    page.one("#many-label").send_keys("run", Keys.ENTER)
    page.until(lambda: page.text("#dialog-title") == "2 moments with two labels")
    page.press("#dialog-actions button")  # the new one alone
    page.until(lambda: page.text("#example-count") == "1")
    assert page.script("return Object.values(localStorage).join()").count("run") == 1


def test_a_tag_begins_empty_with_the_keys_in_use(page: Page):
    page.pick(1)
    dialog(page, "#select-tag")
    assert page.one("#tag-key").get_attribute("value") == ""
    offered = page.script(
        "return [...document.querySelectorAll('#tag-key-list option')].map(o => o.value)"
    )
    assert offered == ["folder"]
    page.one("#tag-key").send_keys("folder")
    values = page.script(
        "return [...document.querySelectorAll('#tag-value-list option')].map(o => o.value)"
    )
    assert values == ["a"]


def test_a_wrong_filter_is_said_at_its_chip(page: Page):
    page.facets()
    for text in ("folder=a", "plaice=gym"):
        page.one("#filter").send_keys(text, Keys.ENTER)
        page.until(lambda text=text: text in page.text("#filter-list"))
    page.until(lambda: "'plaice'" in page.text("#filter-problem"))
    assert page.texts("#filter-list .wrong") == ["plaice=gym ✕"]
    assert page.text("#text-problem") == ""
    page.press("#filter-problem button")
    page.until(lambda: "duration_s<600" in page.text("#filter-help-rows"))


def test_what_is_removed_comes_back(page: Page):
    page.script("sort.value = 'name'; sort.dispatchEvent(new Event('change'))")
    page.until(lambda: page.state().get("s") == ["name"] and len(titles(page)) == 5)
    before = titles(page)
    assert before == sorted(before, key=str.casefold)
    page.pick(1)
    dialog(page, "#select-remove")
    page.one("#dialog-actions button").click()
    page.until(lambda: titles(page) == before[1:])
    page.open("library")
    page.until(lambda: before[0] in page.text("#bin-list"))
    page.open("search")
    page.press("#undo-line button")
    page.until(lambda: titles(page) == before)
    assert page.text("#undo-line") == "1 recording came back."


def test_names_of_any_writing_play(page: Page):
    assert set(HOSTILE) <= set(titles(page))
    assert not page.all(".hit-title b")
    for name in HOSTILE:
        page.press_in("#hits .hit", name, ".picture")
        page.until(lambda name=name: name in page.text("#player-title"))
        page.until(lambda: page.script("return video.readyState > 1"))
        saved = page.one("#player-actions a").get_attribute("download")
        assert saved.startswith(name.removesuffix(".mp4"))


def test_judgements_by_keys_become_a_concept(page: Page, server: Server):
    page.least(0)
    page.search(PHRASE)
    first = titles(page)[0]
    page.one("#hits .picture").send_keys("y")
    page.until(lambda: page.text("#judged-line").startswith("1 yes, 0 no. The order now"))
    focus = "return document.activeElement.className"
    page.until(lambda: "picture" in page.script(focus))  # the next key goes to the next hit
    assert titles(page)[0] != first
    page.driver.switch_to.active_element.send_keys("n")
    page.until(lambda: page.text("#judged-line").startswith("1 yes, 1 no."))
    assert not violations(page.driver)
    page.keep("judged")
    dialog(page, "#judged-line button")
    page.one("#concept-name").send_keys("our bikes", Keys.ENTER)
    page.until(lambda: page.state().get("q") == ['"our bikes"'])
    page.until(lambda: first in titles(page))
    (concept,) = server.ask("api/concepts")[1]["concepts"]
    assert (concept["name"], concept["yes"], concept["no"]) == ("our bikes", 1, 1)
    page.press('[data-kind="all"]')
    page.driver.refresh()
    page.until(lambda: '"our bikes"' in page.text("#tries"))
    # In the player, where j and k go on, y and n judge what plays.
    page.search("a cartoon animal")
    page.press("#hits .picture")
    page.until(lambda: page.one("#player").is_displayed())
    page.script("document.activeElement.blur()")
    page.one("body").send_keys("y")
    page.until(lambda: page.text("#judged-line").startswith("1 yes, 0 no."))


def spans(page: Page) -> list[str]:
    return page.script(
        "return [...document.querySelectorAll('.span-box')].map(b => b.getAttribute('aria-label'))"
    )


def at(page: Page, second: float, key: str) -> None:
    page.script(f"video.currentTime = {second}; document.activeElement.blur()")
    page.until(lambda: page.script("return !video.seeking"))
    page.one("body").send_keys(key)


def draw_span(page: Page, begin: int, length: int) -> None:
    """Drag on the first track; pixels from its left end."""
    track = page.one(".spans-row")
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", track)
    mouse = webdriver.ActionChains(page.driver, duration=50)
    mouse.move_to_element_with_offset(track, begin - track.size["width"] // 2, 0).click_and_hold()
    mouse.move_by_offset(length // 2, 0).move_by_offset(length // 2, 0).release().perform()


def test_spans_are_labelled_in_place_and_kept(page: Page, server: Server):
    page.press_in("#hits .hit", "bigbuckbunny", ".picture")
    page.until(lambda: page.all(".spans-row"))
    page.until(lambda: page.script("return video.readyState > 1"))
    page.script("video.pause()")
    page.steady(lambda: draw_span(page, 60, 80))
    page.until(lambda: page.script("return document.activeElement.id") == "span-label")
    page.driver.switch_to.active_element.send_keys("bounce", Keys.ENTER)
    page.until(lambda: page.text("#spans [role=status]") == "Saved in the library.")
    (drawn,) = spans(page)
    assert drawn.startswith("bounce, 0:00.")
    at(page, 3, "[")
    at(page, 4, "]")
    page.until(lambda: spans(page)[1:] == ["bounce, 0:03.0 to 0:04.0"])
    page.one("#span-label").clear()
    page.one("#span-label").send_keys("rest", Keys.ENTER)
    page.one("#span-track").send_keys("Ann", Keys.TAB)
    page.until(lambda: page.texts(".spans-name") == ["labels", "Ann"])
    assert spans(page)[1] == "rest, 0:03.0 to 0:04.0"
    at(page, 4.5, "]")  # its end, and then the first label by its number
    page.one("body").send_keys("1")
    page.until(lambda: spans(page)[1] == "bounce, 0:03.0 to 0:04.5")
    page.one("body").send_keys(Keys.CONTROL + "z")
    page.until(lambda: spans(page)[1] == "rest, 0:03.0 to 0:04.5")
    page.one("body").send_keys(Keys.CONTROL + "y")
    page.until(lambda: spans(page)[1] == "bounce, 0:03.0 to 0:04.5")
    assert not violations(page.driver)
    page.keep("spans")
    video = page.script("return document.querySelector('[data-playing]').moment.video")
    path = f"api/videos/{video}/labels"
    page.until(lambda: len(server.ask(path)[1]["segments"]) == 2)
    page.until(lambda: page.text("#spans [role=status]") == "Saved in the library.")
    kept = server.ask(path)[1]
    assert [(each["label"], each.get("tier", "")) for each in kept["segments"]] == [
        ("bounce", ""),
        ("bounce", "Ann"),
    ]
    # Keys of the project: a state begins and ends, a point is set at once.
    keys = {label: key for key, (label, _) in kept["keys"].items()}
    at(page, 1, keys["sniff"])
    at(page, 2, keys["sniff"])
    at(page, 2.5, keys["jump"])
    page.until(lambda: "jump, 0:02.5 to 0:02.5" in spans(page))
    assert "sniff, 0:01.0 to 0:02.0" in spans(page)
    page.keep("keys")
    page.until(lambda: len(server.ask(path)[1]["segments"]) == 4)
    page.until(lambda: page.text("#spans [role=status]") == "Saved in the library.")
    kept = server.ask(path)[1]
    # Another page writes: nothing of either is lost.
    assert server.ask(path, {"version": kept["version"], "segments": []})[0] == 200
    page.one("body").send_keys(Keys.DELETE)
    page.one("body").send_keys(Keys.CONTROL + "z")
    page.until(lambda: "Somebody else changed" in page.text("#spans [role=status]"))
    page.press("#spans [role=status] button")
    page.until(lambda: spans(page) == [])
    page.one("body").send_keys(Keys.CONTROL + "z")
    page.until(lambda: len(server.ask(path)[1]["segments"]) == 4)
    page.press("#player-close")
    page.driver.refresh()
    page.until(lambda: page.all("#hits .hit .picture img"))
    page.press_in("#hits .hit", "bigbuckbunny", ".picture")
    page.until(lambda: len(spans(page)) == 4)
    page.press("#spans .actions button:nth-child(6)")
    assert page.text("#example-count") == "3"  # a point is none


def opened_recording(page: Page, name: str) -> str:
    """Open a recording of the start page in the player, still; its id."""
    page.press_in("#hits .hit", name, ".picture")
    page.until(lambda: page.all(".spans-row"))
    page.until(lambda: page.script("return video.readyState > 1"))
    page.script("video.pause()")
    return page.script("return document.querySelector('[data-playing]').moment.video")


def set_labels(server: Server, video: str, *labels: str) -> None:
    """Labels of the seconds 0 to 1, 1 to 2 and so on."""
    path = f"api/videos/{video}/labels"
    rows = [{"start_s": n, "end_s": n + 1, "label": label} for n, label in enumerate(labels)]
    version = server.ask(path)[1]["version"]
    assert server.ask(path, {"version": version, "segments": rows})[0] == 200


def labels_of(server: Server, video: str) -> list[str]:
    return [row["label"] for row in server.ask(f"api/videos/{video}/labels")[1]["segments"]]


def test_tracks_of_others_are_shown_and_taken(page: Page, server: Server, tmp_path: Path):
    video = opened_recording(page, "carphone")
    set_labels(server, video)
    page.driver.refresh()
    opened_recording(page, "carphone")
    file = tmp_path / "ann.csv"
    file.write_text("recording,start_s,end_s,label\ncarphone_pristine,0.5,1.5,nod\n")
    dialog(page, ".others button:nth-child(3)")
    page.one("#track-file").send_keys(str(file))
    page.press("#dialog-actions button")
    page.until(lambda: page.texts(".spans-name") == ["labels", *READ, "ann.csv"])
    page.script("document.activeElement.blur()")
    page.one("body").send_keys("d")
    page.until(lambda: "nod, 0:00.5 to 0:01.5: take it" in page.text("#spans [role=status]"))
    page.one("body").send_keys("t")
    page.until(lambda: labels_of(server, video) == ["nod"])
    assert page.text('.span-box[aria-pressed="true"]') == "nod"
    dialog(page, ".others button:nth-child(2)")
    page.one("#track-labels").clear()
    page.one("#track-labels").send_keys("talking on the phone, riding a bike")
    page.press("#dialog-actions button")
    page.until(lambda: page.texts(".spans-name")[1:] == [*READ, "ann.csv", "model library"])
    assert not violations(page.driver)
    page.keep("tracks")


def test_words_are_captions_and_tracks(page: Page):
    opened_recording(page, "carphone")
    page.until(lambda: page.texts(".spans-name")[1:] == READ)
    assert {"good morning, 0:00.5 to 0:01.5", "EXIT, 0:00.0 to 0:02.0"} <= set(spans(page))
    cues = "return [...video.textTracks[0].cues].map(c => [c.startTime, c.endTime, c.text])"
    assert page.script(cues) == [[0.5, 1.5, "good morning"]]
    at(page, 1, "d")
    page.until(lambda: "Show a model's answers first" in page.text("#spans [role=status]"))
    page.press_in(".spans-row.other", "good morning", ".span-box")
    page.until(lambda: "take it with t" in page.text("#spans [role=status]"))
    page.press_in(".spans-row.other", "EXIT", ".span-box[aria-label^=EXIT]")
    drawn = "return document.querySelector('#spans .crop')?.naturalWidth > 0"
    page.until(lambda: page.script(drawn))
    assert not violations(page.driver)
    page.keep("words")
    opened_recording(page, "bikes")
    page.until(lambda: page.texts(".spans-name") == ["labels"])
    assert page.script(cues) == []
    # A hit by words on screen has their picture.
    page.search('shows "exit"')
    picture = "return document.querySelector('#hits .crop')?.naturalWidth"
    page.until(lambda: page.script(picture))
    whole = "return document.querySelector('#hits .picture img').naturalWidth"
    assert page.script(picture) < page.script(whole)
    assert "@" not in page.text("#hits .hit")
    page.keep("crop")


ZOOM = """
const done = arguments[0], size = document.querySelector('#spans input[type=range]');
const frame = document.querySelector('.spans-scroll'), began = performance.now(), frames = [];
let last = began, most = 0;
requestAnimationFrame(function step(now) {
  frames.push(now - last);
  last = now;
  const share = (now - began) / 2000;
  if (share >= 1) return done([frames.slice(1).sort((a, b) => a - b)[frames.length >> 1], most]);
  size.value = 7 * Math.abs(Math.sin(4 * share));
  size.dispatchEvent(new Event('input'));
  frame.scrollLeft = share * (frame.scrollWidth - frame.clientWidth);
  most = Math.max(most, document.querySelectorAll('.span-box').length);
  requestAnimationFrame(step);
});
"""


def test_a_track_of_thousands_of_spans_is_zoomed_and_scrolled(page: Page, server: Server):
    video = opened_recording(page, "bikes")
    path = f"api/videos/{video}/labels"
    end_s = page.script("return video.duration")
    step_s = end_s / 1800  # as two seconds of an hour
    rows = [
        {"start_s": n * step_s, "end_s": (n + 0.9) * step_s, "label": f"label {n % 7}"}
        for n in range(1800)
    ]
    begin = server.ask(path)[1]["version"]
    assert server.ask(path, {"version": begin, "segments": rows})[0] == 200
    page.driver.refresh()
    opened_recording(page, "bikes")
    page.until(lambda: len(spans(page)) > 20)
    page.script("const size = document.querySelector('#spans input[type=range]');"
                "size.value = 7; size.dispatchEvent(new Event('input'));"
                "document.querySelector('.spans-scroll').scrollLeft = 1e6")  # fmt: skip
    page.until(lambda: spans(page)[-1].startswith("label 0, "))  # the last of 1,800
    middle_ms, most = page.driver.execute_async_script(ZOOM)
    print(f"{middle_ms:.1f} ms a frame, {most} spans drawn at most")
    assert most < 300
    version = server.ask(path)[1]["version"]
    assert server.ask(path, {"version": version, "segments": []})[0] == 200


def test_a_view_is_saved_under_a_name(page: Page):
    page.press('[data-kind="unusual"]')
    page.until(lambda: page.state().get("v") == ["unusual"])
    dialog(page, "#save-view")
    assert page.one("#view-address").get_attribute("value").endswith("#search?v=unusual")
    page.one("#view-name").send_keys("odd ones", Keys.ENTER)
    page.press('[data-kind="all"]')
    page.driver.refresh()
    page.until(lambda: page.all("#tries a"))
    page.press("#tries a")
    page.until(lambda: page.state().get("v") == ["unusual"])
    page.press('[aria-label="Forget the view odd ones"]')
    page.until(lambda: not page.all("#tries a"))


def test_a_closed_tab_loses_nothing(page: Page, server: Server):
    video = opened_recording(page, "carphone")
    set_labels(server, video, "nod")
    version = server.ask(f"api/videos/{video}/labels")[1]["version"]
    page.script(
        f"localStorage.setItem('vlar-labels:{video}', JSON.stringify({{version: {version},"
        "segments: [{start_s: 0, end_s: 1, label: 'left over'}]}))"
    )
    page.press("#player-actions button:last-child")
    page.until(lambda: page.text("#example-count") == "1")
    page.driver.refresh()
    page.until(lambda: page.text("#example-count") == "1")  # uploads alone do not last
    page.until(lambda: labels_of(server, video) == ["left over"])
    page.until(lambda: page.script(f"return localStorage['vlar-labels:{video}'] === undefined"))
    page.open("examples")
    page.press("#clear-examples")


def test_two_models_are_compared_and_doubts_come_first(page: Page, server: Server):
    set_labels(server, opened_recording(page, "carphone"), "talking", "looking")
    page.open("evaluate")
    page.script("document.getElementById('evaluate-other').value = 'library'")
    page.press("#evaluate-form button.main")
    page.until(lambda: page.all("#comparison table"), 120)
    assert page.text("#comparison h2") == "library and library"
    assert "difference, in points" in page.text("#comparison")
    assert page.texts("#comparison .actions button") == [
        "0 answers changed",
        "0 hits moved",
    ]
    assert not violations(page.driver)
    page.keep("compared")
    page.press("#review")
    page.until(lambda: page.all("#matrix-clips .hit"), 120)
    assert "The most doubtful first" in page.text("#matrix")
    page.press("#matrix-clips .picture")
    page.until(lambda: page.all(".others button"))
    page.script("video.pause()")
    page.press(".others button")  # the guess becomes a label
    page.until(lambda: page.text("#spans [role=status]") == "Saved in the library.")
    page.keep("doubts")
    page.open("examples")
    page.press("#labelled-examples")
    page.until(lambda: int(page.text("#example-count") or 0) >= 3)
    page.press("#clear-examples")
