"""Time until the page of ``vlar serve`` shows pictures of a library of 20,000 windows.

Usage: ``python -m benchmarks.page_start [--rounds 5] [CLIP ...]``

Made vectors belong to 2,000 recordings, which are links to real clips (the demo's, if none are
given). Chromium opens the page of the real command without its cache, in one window of 1280 x 860.
Times count from the ``load`` event of the page to the arrival of the first picture, of half of the
first page and of all 24 that are asked for at once. They contain whatever else the machine does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlar.apps.cli.demo import demo_clips
from vlar.library.library import Library
from vlar.library.shard_reading import VectorVideo
from vlar.model.model import load
from vlar.numeric import unit
from vlar.types import Window

_RECORDINGS, _WINDOWS, _PICTURES = 2000, 10, 24
_ARRIVED = """const done = performance.getEntriesByType('resource')
    .filter(e => e.name.includes('thumbnail') && e.responseEnd).map(e => e.responseEnd);
return [performance.getEntriesByType('navigation')[0].loadEventEnd, done.sort((a, b) => a - b)]"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one row for each round."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _make_library(folder, options.clips or demo_clips())
        command = [sys.executable, "-c", "from vlar.apps.cli import main; main()", "serve"]
        given = [str(folder / "big.vlar"), "--port", "0", "--state", str(folder / "state")]
        server = subprocess.Popen([*command, *given], stdout=subprocess.PIPE, text=True)
        try:
            address = server.stdout.readline().strip() if server.stdout else ""
            time.sleep(10)  # the model is loaded: its threads compete with nothing
            _measure(address, options.rounds)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def _make_library(folder: Path, clips: Sequence[Path]) -> None:
    model, random = load("lite"), np.random.default_rng(7)
    near = [shutil.copy(clip, folder / f"own-{n}{clip.suffix}") for n, clip in enumerate(clips)]
    topics = random.standard_normal((30, model.dim)).astype(np.float32)
    spans = [Window(0.2 * at, 0.2 * at + 0.4) for at in range(_WINDOWS)]

    def made(number: int) -> VectorVideo:
        path = folder / f"clip-{number:04d}.mp4"
        os.link(near[number % len(near)], path)
        noise = random.standard_normal((_WINDOWS, model.dim)).astype(np.float32)
        vectors = unit(topics[number % 30] + 0.9 * noise)
        return VectorVideo(str(path), spans, vectors, 2.2, {"topic": f"t{number % 7}"})

    with Library(folder / "big.vlar", model) as library:
        library.add_vectors(made(number) for number in range(_RECORDINGS))


def _measure(address: str, rounds: int) -> None:
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(each)
    options.add_argument("--window-size=1280,860")
    options.binary_location = shutil.which("chromium") or ""
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver: Any = webdriver.Chrome(options=options, service=service)
    print("| round | first picture, ms after load | twelve | twenty-four |\n|---|---|---|---|")
    try:
        for number in range(rounds):
            driver.get("about:blank")
            driver.execute_cdp_cmd("Network.clearBrowserCache", {})
            driver.get(address)
            wait = WebDriverWait(driver, 60, 0.05)
            wait.until(lambda d: len(d.execute_script(_ARRIVED)[1]) >= _PICTURES)
            load_ms, done = driver.execute_script(_ARRIVED)
            shown = (done[at] - load_ms for at in (0, 11, _PICTURES - 1))
            row = " | ".join(f"{each:.0f}" for each in shown)
            print(f"| {number + 1} | {row} |", flush=True)
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
