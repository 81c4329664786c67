"""The moving picture of the README: real commands in a terminal, then the page, as a WebP.

``python -m tests.e2e.film docs/images/vlar.webp`` makes it, with Chromium and the demo's clips.
The rabbit is of Big Buck Bunny (CC BY 3.0, Blender Foundation); the two other clips are blurred,
since nothing states their licence.
"""

from __future__ import annotations

import html
import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from vlar.apps.cli.demo import demo_clips, keep_clips

from .browser import Page, new_driver, opened
from .conftest import COMMAND
from .serving import serving

SIZE = (960, 540)
MOST_BYTES = 1_000_000
LIST = '"cyclists in street traffic, a man with a tie talking, cooking"'
COMMANDS = (
    f"vlar classify clips/bikes.mp4 -l {LIST}",
    'vlar classify clips/bigbuckbunny.mp4 -l "a cartoon animal"',
    "vlar index add my.vlar clips",
    'vlar query my.vlar "cyclists and cars on a city street" -k 1',
)
PHRASE = "cyclists and cars on a city street"
STYLE = (
    "body{margin:0;background:#15181e;color:#d6dae2;font:15px/21px 'DejaVu Sans Mono',monospace}"
    "pre{margin:0;padding:20px 24px;white-space:pre-wrap;font:inherit}"
    ".prompt{color:#7aa2f7}.c32{color:#9ece6a}.c33{color:#e0af68}"
)
# The page's policy of content allows no style in its text, and this way of setting one.
BLUR = (
    "document.querySelectorAll('#hits .hit').forEach(hit => hit.querySelectorAll('img').forEach("
    "i => i.style.filter = hit.textContent.includes('bigbuckbunny') ? '' : 'blur(9px)'))"
)
PLAYER = "document.querySelector('#player video')"


@dataclass
class Film:
    """Pictures of a browser, with the time that each stays.

    Attributes:
        driver: The browser.
        frames: The pictures.
        stays_ms: Milliseconds of each.
    """

    driver: Any
    frames: list[Image.Image] = field(default_factory=list)
    stays_ms: list[int] = field(default_factory=list)

    def take(self, stay_ms: int) -> None:
        picture = Image.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")
        self.frames.append(picture.resize(SIZE, Image.Resampling.LANCZOS))
        self.stays_ms.append(stay_ms)

    def save(self, path: Path) -> None:
        first, *others = self.frames
        first.save(path, save_all=True, append_images=others, duration=self.stays_ms, loop=0,
                   quality=70, method=3)  # fmt: skip
        assert path.stat().st_size < MOST_BYTES, path.stat().st_size


def printed(command: str, folder: Path) -> str:
    """What a command prints to a terminal, with its colours; progress is left out."""
    own, others = pty.openpty()
    words = f"exec {COMMAND} {command.removeprefix('vlar ')}"
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        ["bash", "-c", words], cwd=folder, stdout=others, stderr=subprocess.PIPE, env=environment
    )
    os.close(others)
    parts: list[bytes] = []
    try:
        while part := os.read(own, 65536):
            parts.append(part)
    except OSError:  # Linux reports the end so
        pass
    os.close(own)
    notes = process.communicate()[1].decode().splitlines(keepends=True)
    assert process.returncode == 0, command
    shown = b"".join(parts).decode().replace("\r", "") or notes[-1]
    return shown.replace(f"{folder}/", "")


def coloured(text: str) -> str:
    """HTML of a text with the bold and the colours of a terminal."""
    marked = re.sub(r"\x1b\[1m(?:\x1b\[(\d+)m)?", r'<b class="c\1">', html.escape(text, False))
    return marked.replace("\x1b[0m", "</b>")


def terminal(film: Film, folder: Path) -> None:
    """Commands as they are typed, each with what it prints."""
    above = ""
    for command in COMMANDS:
        output = printed(command, folder)
        for end in (*range(12, len(command), 12), len(command)):
            show(film.driver, f'{above}<span class="prompt">$</span> {html.escape(command[:end])}▏')
            film.take(100)
        film.stays_ms[-1] = 400
        above += f'<span class="prompt">$</span> {html.escape(command)}\n{coloured(output)}\n'
        show(film.driver, above)
        film.take(2600 if output.count("\n") > 3 else 1700)
    for end in (10, 18):
        show(film.driver, f'{above}<span class="prompt">$</span> {"vlar serve my.vlar"[:end]}▏')
        film.take(120)
    film.stays_ms[-1] = 900


def show(driver: Any, text: str) -> None:
    page = f"<meta charset=utf-8><style>{STYLE}</style><pre>{text}</pre>"
    driver.get(f"data:text/html;charset=utf-8,{quote(page)}")


def page_of_the_library(film: Film, page: Page) -> None:
    """A recording in the player, and a search on the page."""
    loaded = "return [...document.querySelectorAll('#hits img')].every(i => i.naturalWidth)"
    page.until(lambda: page.all("#hits img") and page.script(loaded))
    page.script(BLUR)
    film.take(1500)
    page.press("#hits .hit .picture")  # the first by name is the rabbit
    page.until(lambda: "bigbuckbunny" in page.text("#player-title"))
    page.until(lambda: page.script(f"return {PLAYER}?.readyState > 2"))
    page.script(f"{PLAYER}.pause()")
    for second in (0.4, 1.6, 2.8, 4.0):
        page.script(f"{PLAYER}.currentTime = {second}")
        page.until(lambda: not page.script(f"return {PLAYER}.seeking"))
        page.script(BLUR)
        film.take(450)
    page.driver.back()
    page.until(lambda: not page.one("#player").is_displayed())
    page.script(BLUR)
    box = page.one("#text")
    for end in (*range(6, len(PHRASE), 6), len(PHRASE)):
        page.driver.execute_script("arguments[0].value = arguments[1]", box, PHRASE[:end])
        film.take(110)
    page.search(PHRASE)
    page.until(lambda: page.all("#hits .hit .score") and page.script(loaded))
    page.script(BLUR)
    film.take(3500)


def main(path: Path) -> None:
    """Make the film."""
    folder = Path(tempfile.mkdtemp(prefix="film-"))
    keep_clips(demo_clips(), folder / "clips")
    driver = new_driver((1200, 675))
    try:
        film = Film(driver)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False},
        )
        terminal(film, folder)
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 1200, "height": 675, "deviceScaleFactor": 1, "mobile": False},
        )
        with serving(folder / "my.vlar", folder / "state") as server:
            server.wait_until_ready()
            for page in opened(driver, server):
                page_of_the_library(film, page)
            film.save(path)
            server.process.kill()  # it may be drawing a map of the library for minutes
    finally:
        driver.quit()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
