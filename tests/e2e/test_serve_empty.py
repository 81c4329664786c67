"""The page of an empty library in a real browser: a place for files and folders of anybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import videos

from .browser import DESKTOP, IN_BROWSER, PHONE, Page, new_driver, violations
from .serving import Server, serving

pytestmark = IN_BROWSER
HOSTILE = "\u202e<img src=x onerror=document.title='owned'>.mp4"


@pytest.fixture
def server(vlar_command: Any, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "new.vlar", tmp_path / "state") as server:
        server.wait_until_ready()
        yield server
        assert "Traceback" not in "".join(server.errors)


@pytest.fixture(params=[(DESKTOP, False), (PHONE, True)], ids=["desktop", "phone-dark"])
def page(request: pytest.FixtureRequest, server: Server) -> Iterator[Page]:
    driver = new_driver(request.param[0], dark=request.param[1])
    driver.look = request.node.callspec.id
    driver.get(server.address)
    page = Page(driver, server)
    page.until(lambda: page.all("#adding-drop") and page.one("#adding-drop").is_displayed())
    yield page
    driver.quit()


def drop(page: Page, *paths: Path) -> None:
    """Drop files and folders of the disk, as a person would."""
    page.script("document.getElementById('adding').scrollIntoView({block: 'center'})")
    box = page.script(
        "const b = document.getElementById('adding').getBoundingClientRect();"
        "return [b.left + b.width / 2, b.top + 60]"
    )
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": box[0], "y": box[1], "data": data}
        page.driver.execute_cdp_cmd("Input.dispatchDragEvent", event)
        if kind == "dragOver":
            page.until(lambda: page.all("#view-search.over"))
            page.keep("empty-over")


def test_hostile_files_of_a_drop_end_nothing(page: Page, tmp_path: Path):
    assert not violations(page.driver)
    assert not page.one(".toolbar").is_displayed()
    assert page.width() <= page.script("return innerWidth")
    page.keep("empty")
    page.search("a square")
    page.until(lambda: "The library is empty: drop videos here." in page.text("#search-status"))
    assert "vlar" not in page.text("#view-search")
    folder = tmp_path / "dropped"
    (folder / "deep").mkdir(parents=True)
    (folder / HOSTILE).write_bytes(b"not a video")
    (folder / "garbage.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\xff" * 4096)
    (folder / "empty.mkv").touch()
    (folder / "notes.txt").write_text("no video: left out without a word")
    videos.make_video(folder / "deep" / "sound.mp4", 30)
    drop(page, folder)
    page.until(lambda: "3 files left out" in page.text("#adding-left summary"), 120)
    page.press("#adding-left summary")
    left = page.text("#adding-left")
    assert "onerror" in left
    assert "does not begin like a video" in left
    assert "notes.txt" not in left
    assert page.driver.title != "owned"
    page.keep("empty-left-out")
    page.press('[data-kind="all"]')
    page.until(lambda: page.texts("#hits .hit-title") == ["sound.mp4"])
    assert not page.one("#adding-drop").is_displayed()
    page.press("#adding-stop")
    assert not page.one("#adding").is_displayed()


def test_files_and_a_folder_are_chosen_with_buttons(page: Page, tmp_path: Path):
    folder = tmp_path / "chosen"
    folder.mkdir()
    videos.make_video(folder / "one.mp4", 20)
    (folder / "notes.txt").write_text("no video")
    page.one("#adding-folders").send_keys(str(folder))
    page.until(lambda: page.texts("#hits .hit-title") == ["one.mp4"], 120)
    page.until(lambda: not page.one("#adding").is_displayed())
