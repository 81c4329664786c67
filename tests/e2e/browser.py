"""A browser with the page open, for the tests that drive it as a person would.

``VLAR_SCREENSHOTS=FOLDER`` keeps pictures, ``VLAR_AXE=axe.min.js`` has axe-core look at each view.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from .serving import Server

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in BROWSERS if (found := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
IN_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium is not installed"),
]
DESKTOP, PHONE = (1280, 860), (390, 844)


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
        return self.steady(lambda: self.one(selector).text)

    def texts(self, selector: str) -> list[str]:
        return self.steady(lambda: [each.text for each in self.all(selector)])

    def steady(self, read: Callable[[], Any]) -> Any:
        """What is read, once more where the page drew it anew between two steps."""
        for _ in range(20):
            with suppress(StaleElementReferenceException):
                return read()
        return read()

    def script(self, text: str) -> Any:
        return self.driver.execute_script(text)

    def until(self, holds: Callable[[], Any], limit_s: float = 60.0) -> Any:
        stale = [StaleElementReferenceException]  # the page has drawn it again
        wait = WebDriverWait(self.driver, limit_s, 0.1, ignored_exceptions=stale)
        return wait.until(lambda _: holds())

    def press(self, selector: str) -> None:
        """Click what may lie outside the window, or below the bar of a selection."""
        self.steady(
            lambda: self.driver.execute_script(
                "arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()",
                self.one(selector),
            )
        )

    def press_in(self, rows: str, text: str, selector: str) -> None:
        """Click within the row that holds this text, once it is drawn; in one step of the page."""
        find = (
            "const row = [...document.querySelectorAll(arguments[0])]"
            ".find(each => each.textContent.includes(arguments[1]));"
            "row?.querySelector(arguments[2]).click(); return Boolean(row)"
        )
        self.until(lambda: self.driver.execute_script(find, rows, text, selector))

    def pick(self, number: int) -> None:
        """Tick the first moments, in one step of the page."""
        tick = "[...document.querySelectorAll('#hits .pick input')].slice(0, arguments[0])"
        self.driver.execute_script(f"{tick}.forEach(each => each.click())", number)

    def unfold(self) -> None:
        """Show the weaker answers too."""
        if self.all("#hits .fold button"):
            self.press("#hits .fold button")

    def facets(self) -> None:
        if not self.one("#facets").is_displayed():
            self.press("#facet-button")

    def least(self, value: float) -> None:
        """The least probability of an answer; with a query on screen it is asked again."""
        self.script(
            f"least.value = {value}; least.dispatchEvent(new Event('input'));"
            "least.dispatchEvent(new Event('change'))"
        )

    def state(self) -> dict[str, list[str]]:
        """The values of the address."""
        return parse_qs(self.driver.current_url.partition("?")[2])

    def all_of_it(self) -> None:
        self.press('[data-kind="all"]')
        self.until(lambda: " recordings." in self.text("#search-status"))

    def open(self, view: str) -> None:
        self.one(f'nav [data-view="{view}"]').click()
        self.until(lambda: self.one(f"#view-{view}").is_displayed())

    def search(self, text: str) -> None:
        box = self.one("#text")
        box.clear()
        box.send_keys(text, Keys.ENTER)
        self.until(lambda: self.one("#search-form button.main").is_enabled())
        self.until(lambda: not self.all("#hits .waiting"))

    def has_facts(self) -> bool:
        """Whether the page has what the server says of the library."""
        return "windows" in self.script(
            "return document.getElementById('library-line').textContent"
        )

    def width(self) -> int:
        """Pixels that the page takes; a phone widens its view to what does not fit."""
        return self.script("return Math.max(document.documentElement.scrollWidth, innerWidth)")

    def keep(self, name: str) -> None:
        folder = os.environ.get("VLAR_SCREENSHOTS")
        if folder:
            name = f"{getattr(self.driver, 'look', 'own')}-{name}"
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


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


AXE = os.environ.get("VLAR_AXE")  # axe.min.js of the npm package axe-core


def violations(driver: Any) -> list[Any]:
    """Faults of accessibility that axe-core finds; none where it is absent."""
    if AXE is None:
        return []
    driver.execute_script(Path(AXE).read_text("utf-8"))
    return driver.execute_async_script(
        "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r =>"
        "done(r.violations.map(v => [v.id, v.impact, v.nodes[0].html.slice(0, 200)])))"
    )


def opened(driver: Any, server: Server) -> Iterator[Page]:
    """The page, loaded anew; afterwards the browser has logged no error of it."""
    origin = {"origin": server.address.rstrip("/"), "storageTypes": "local_storage"}
    driver.execute_cdp_cmd("Storage.clearDataForOrigin", origin)  # what an earlier test left
    driver.get("about:blank")  # else an address with another "#" alone loads nothing again
    driver.get(server.address)
    page = Page(driver, server)
    page.until(lambda: page.all("#hits .hit .picture img"))
    page.until(page.has_facts)
    yield page
    wrong = [row for row in driver.get_log("browser") if row["level"] == "SEVERE"]
    # A refused query, and a kind of file that does not play, are logged by the browser itself.
    assert not [row for row in wrong if "status of 4" not in row["message"]], wrong
