"""The page of ``vlar export --web`` in a real browser answers as ``vlar classify`` does (F91).

Skipped where Chromium or the runtime (``vlar models get web-runtime``) is absent.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import vlar
from vlar.files.fetched_weights.packages import extra
from vlar.types import Window

from .browser import DESKTOP, IN_BROWSER, PHONE, new_driver

pytestmark = [
    *IN_BROWSER,
    pytest.mark.skipif(not extra("web-runtime").is_installed(), reason="the runtime is absent"),
]
LABELS = "riding a bike, cooking, a dog runs, talking to a camera, swimming"
CLOSE = 0.02


def served(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """``python -m http.server``, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    server = subprocess.Popen([*command, "-d", str(folder)], stderr=subprocess.DEVNULL)
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.05)
    return server, f"http://127.0.0.1:{port}/"


def answer(driver: Any, script: str, *arguments: Any) -> Any:
    """Result of a promise, or a failure of the test with its message."""
    got = driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        f"({script})(...arguments).then(done, error => done({{error: String(error)}}))",
        *arguments,
    )
    assert not (isinstance(got, dict) and "error" in got), got
    return got


def furthest(got: dict[str, Any], stated: vlar.Classification) -> float:
    shares = {row.label: row.probability for row in stated.predictions}
    pairs = zip(got["labels"], got["probabilities"], strict=True)
    differences = [abs(shares[label] - share) for label, share in pairs]
    return max(*differences, abs(got["unknown"] - stated.unknown_probability))


@pytest.fixture(scope="module")
def folder(vlar_command, lite_model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("page") / "page"
    done = vlar_command("export", "lite", "--web", target, "--labels", LABELS, "--json")
    assert done.code == 0, done.err
    card = json.loads(done.out)
    assert {name for name in card["bytes"] if "/" not in name} | {"card.json"} == {
        path.name for path in target.iterdir() if path.is_file()
    }
    return target


@pytest.fixture(scope="module")
def origin(folder: Path) -> Iterator[str]:
    server, address = served(folder)
    yield address
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def driver(origin: str) -> Iterator[Any]:
    driver = new_driver(DESKTOP)
    driver.set_script_timeout(300)
    driver.get(origin)
    answer(driver, "() => vlar.model.then(() => true)")
    driver.execute_script(
        "const input = document.createElement('input'); input.type = 'file';"
        "input.id = 'given'; document.body.append(input)"
    )
    yield driver
    driver.quit()


def give(driver: Any, path: Path) -> None:
    driver.find_element("id", "given").send_keys(str(path))


def test_a_file_has_the_probabilities_of_classify(driver, origin, demo_clips):
    model = vlar.load("lite-objects")
    clips = list(demo_clips.values())
    stated = [model.classify(clip, LABELS, top=9) for clip in clips]
    got = []
    for clip in clips:
        give(driver, clip)
        got.append(answer(driver, "() => vlar.classify(document.getElementById('given').files[0])"))
    differences = [furthest(*pair) for pair in zip(got, stated, strict=True)]
    assert max(differences) <= CLOSE, differences
    # Another clip has other probabilities: the comparison can fail.
    assert furthest(got[0], stated[1]) > CLOSE
    names = driver.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert names
    assert all(name.removeprefix("blob:").startswith(origin) for name in names), names
    refused = (
        "() => fetch('http://127.0.0.2:9/x').then(() => 'sent', () => 'refused')"
        ".then(async got => [got, (await fetch('card.json')).status])"
    )
    driver.execute_script(
        "window.blocked = [];"
        "addEventListener('securitypolicyviolation', e => blocked.push(e.blockedURI))"
    )
    assert answer(driver, refused) == ["refused", 200]
    assert driver.execute_script("return blocked") == ["http://127.0.0.2:9/x"]


def test_a_video_element_and_the_curve_are_those_of_every(driver, demo_clips):
    model = vlar.load("lite-objects")
    clip = next(iter(demo_clips.values()))
    give(driver, clip)
    from_element = (
        "async () => { const video = document.createElement('video'); const file ="
        " document.getElementById('given').files[0]; video.src = URL.createObjectURL(file);"
        " await new Promise(done => { video.onloadeddata = done; });"
        " return vlar.classify(video) }"
    )
    assert furthest(answer(driver, from_element), model.classify(clip, LABELS, top=9)) <= CLOSE
    file = "document.getElementById('given').files[0]"
    rows = answer(driver, f"() => vlar.timeline({file}, 4)")
    stated = model.classify(clip, LABELS, every_s=4.0, top=9)
    assert len(rows) == len(stated) > 1
    for row, each in zip(rows, stated, strict=True):
        assert isinstance(each, vlar.Classification)
        assert row["start_s"] == pytest.approx(each.start_s, abs=0.05)
        assert Window(row["start_s"], row["end_s"]).duration_s > 0
        assert furthest(row, each) <= CLOSE


def test_the_page_shows_an_answer_and_has_no_fault(driver, demo_clips):
    driver.find_element("id", "file").send_keys(str(next(iter(demo_clips.values()))))
    finished = (
        "const done = id => document.getElementById(id).hidden;"
        "return !done('over-time') && done('progress')"
    )
    end_s = time.monotonic() + 600
    while not driver.execute_script(finished):
        assert time.monotonic() < end_s
        time.sleep(0.5)
    verdict = driver.find_element("id", "verdict").text
    assert verdict in [*LABELS.split(", "), "unknown"]
    assert len(driver.find_elements("css selector", "#bars li")) == len(LABELS.split(", ")) + 1
    for size in (DESKTOP, PHONE):
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
        if folder := os.environ.get("VLAR_SCREENSHOTS"):
            driver.save_screenshot(str(Path(folder) / f"web-{size[0]}.png"))
    wrong = [row for row in driver.get_log("browser") if row["level"] == "SEVERE"]
    assert not [row for row in wrong if "127.0.0.2" not in row["message"]], wrong


def test_a_file_that_does_not_play_is_one_line(driver, tmp_path: Path):
    file = tmp_path / "broken.mp4"
    file.write_bytes(b"no video")
    driver.find_element("id", "file").send_keys(str(file))
    script = (
        "async () => { const line = document.getElementById('problem'); while (!line.textContent)"
        " await new Promise(d => setTimeout(d, 100)); return line.textContent }"
    )
    assert "cannot play it" in answer(driver, script)


def test_it_works_without_a_network_after_the_first_load(folder: Path):
    server, address = served(folder)
    driver = new_driver(DESKTOP)
    try:
        driver.set_script_timeout(120)
        driver.get(address)
        answer(driver, "() => vlar.model.then(() => true)")
        server.terminate()
        server.wait()
        driver.get(address)
        labels = answer(driver, "() => vlar.model.then(card => card.labels)")
        assert labels == LABELS.split(", ")
    finally:
        server.terminate()
        driver.quit()
