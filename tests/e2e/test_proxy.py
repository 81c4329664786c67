"""``vlar serve`` behind nginx, by ``deploy/nginx.conf``, and under runit; skipped without them."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import videos

from .browser import CHROMIUM, DESKTOP, DRIVER, new_driver, opened
from .conftest import COMMAND
from .serving import Server, serving

pytestmark = pytest.mark.slow
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
FAULTY = Path(__file__).resolve().parents[1] / "faulty_decoder"
MOST = 500 << 20  # bytes of an upload
LONG_S = 60  # of a recording whose parts take a while
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
needs_runit = pytest.mark.skipif(
    not (shutil.which("runsv") and shutil.which("sv")), reason="runit is not installed"
)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def proxy(server: Server, folder: Path) -> Generator[Server]:
    """The server by way of nginx; its second server is down."""
    folder.mkdir()
    port, upstream = free_port(), urlsplit(server.address).netloc
    text = CONFIG.read_text("utf-8").replace("server-1:8765", upstream)
    text = text.replace("server-2:8765", f"127.0.0.1:{free_port()}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    text = text.replace("http {", f"http {{\naccess_log off;\n{places}")
    user = "user root;\n" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/log;\n{text}")
    process = subprocess.Popen([str(NGINX), "-c", str(file), "-e", str(folder / "log")])
    try:
        proxied = Server(process, f"http://127.0.0.1:{port}/", 0.0)  # type: ignore[arg-type]
        until(lambda: reachable(port))
        yield proxied
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def reachable(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def until(holds: Callable[[], bool], limit_s: float = 60.0) -> float:
    """Seconds until something holds."""
    begin_s = time.monotonic()
    while not holds():
        assert time.monotonic() - begin_s < limit_s
        time.sleep(0.05)
    return time.monotonic() - begin_s


@pytest.fixture(scope="module")
def library(vlar_command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proxied")
    (folder / "clips").mkdir()
    videos.make_video(folder / "clips" / "moving.mp4", 300)
    assert vlar_command("index", "add", folder / "small.vlar", folder / "clips").code == 0
    videos.make_video(folder / "clips" / "long.mp4", 5 * LONG_S, fps=5)
    for name in ("hang", "other"):
        shutil.copy(folder / "clips" / "moving.mp4", folder / "clips" / f"{name}.mp4")
    return folder / "small.vlar"


@pytest.fixture(scope="module")
def server(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    state = tmp_path_factory.mktemp("state") / "s"
    folders = os.pathsep.join([str(FAULTY), os.environ.get("PYTHONPATH", "")])
    options = ("--root", library.parent / "clips")
    with serving(library, state, *options, PYTHONPATH=folders) as server:
        server.wait_until_ready()
        yield server
        assert "Traceback" not in "".join(server.errors)


@pytest.fixture
def proxied(server: Server, tmp_path: Path) -> Iterator[Server]:
    with proxy(server, tmp_path / "nginx") as proxied:
        yield proxied


def parts(server: Server, library: Path) -> tuple[Any, Any]:
    """A connection, and the answer to a request that has a line for each second of a recording."""
    path = str(library.parent / "clips" / "long.mp4")
    body = {"source": {"path": path}, "labels": ["a square", "a circle"], "every_s": 1}
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=120)
    kind = {"content-type": "application/json"}
    connection.request("POST", "/api/classify/parts", json.dumps(body), kind)
    answer = connection.getresponse()
    assert answer.status == 200
    return connection, answer


def waiting(server: Server) -> int:
    """Requests to classify that have not ended, asked of the server itself."""
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    found = re.search(r'^vlar_waiting\{\w+="classifying"\} (\S+)$', text, re.M)
    assert found, text
    return int(float(found[1]))


@needs_nginx
@pytest.mark.parametrize("prefix", ["", "videos/"])
def test_it_answers_at_a_path_of_its_own(proxied: Server, prefix: str):
    asked = {"query": "a square", "min_probability": 0}
    status, found = proxied.ask(f"{prefix}api/query", asked)
    assert status == 200
    assert found["hits"][0]["path"].endswith("moving.mp4")
    assert proxied.ask(f"{prefix}api/query", asked, {"host": "evil.example"})[0] == 421


@needs_nginx
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium is not installed")
def test_the_page_works_under_a_prefix(proxied: Server):
    under = Server(proxied.process, f"{proxied.address}videos/", 0.0)
    driver = new_driver(DESKTOP)
    shown = "return [...document.querySelectorAll('#hits img')].some(i => i.naturalWidth)"
    loads = opened(driver, under)
    try:
        page = next(loads)
        page.until(lambda: "moving.mp4" in page.texts("#hits .hit-title"))
        page.until(lambda: page.script(shown))
        assert next(loads, None) is None  # the browser has logged no error
    finally:
        driver.quit()


@needs_nginx
@pytest.mark.parametrize(("beyond", "status"), [(0, 201), (1, 413)])
def test_an_upload_at_the_limit(library: Path, proxied: Server, beyond: int, status: int):
    """A real video whose last box is filled up; one byte more is refused by the server's words."""
    clip = (library.parent / "clips" / "moving.mp4").read_bytes()
    size, piece = MOST + beyond, 1 << 20
    free = (size - len(clip)).to_bytes(4, "big") + b"free"
    connection = http.client.HTTPConnection(urlsplit(proxied.address).netloc, timeout=120)
    connection.putrequest("POST", "/api/uploads?name=large.mp4")
    connection.putheader("content-length", str(size))
    connection.endheaders()
    left = size - len(clip) - len(free)
    try:
        connection.send(clip + free)
        while left:
            connection.send(bytes(min(piece, left)))
            left -= min(piece, left)
    except (BrokenPipeError, ConnectionResetError):
        assert beyond  # the answer came before the end
    answer = connection.getresponse()
    found = json.loads(answer.read())
    assert answer.status == status, found
    if beyond:
        assert "larger than 500 MB" in found["error"]
        return
    body = {"source": {"upload": found["upload"]}, "labels": ["a square", "a circle"]}
    assert proxied.ask("api/classify", body)[0] == 200


@needs_nginx
def test_a_request_that_takes_its_whole_time_ends_with_the_servers_words(
    library: Path, proxied: Server
):
    path = str(library.parent / "clips" / "hang.mp4")
    begin_s = time.monotonic()
    status, found = proxied.ask(
        "api/classify", {"source": {"path": path}, "labels": ["a square"]}, limit_s=90
    )
    assert (status, set(found)) == (504, {"error", "fix", "kind"})
    assert time.monotonic() - begin_s > 15


@needs_nginx
def test_lines_come_as_they_are_made(library: Path, proxied: Server):
    connection, answer = parts(proxied, library)
    total, times_s = json.loads(answer.readline())["total"], [time.monotonic()]
    while answer.readline():
        times_s.append(time.monotonic())
    connection.close()
    assert len(times_s) == total + 1 > LONG_S / 2
    # Lines that are kept and sent together arrive at one time.
    assert sum(after - before > 0.005 for before, after in pairwise(times_s)) > total / 2


@needs_nginx
def test_a_caller_that_leaves_ends_the_work(server: Server, library: Path, proxied: Server):
    connection, answer = parts(proxied, library)
    answer.readline()
    assert waiting(server) == 1
    answer.close()
    connection.close()
    assert until(lambda: waiting(server) == 0) < 5


@contextmanager
def supervised(library: Path, folder: Path) -> Generator[tuple[str, Callable[..., int]]]:
    """A service of runit: the address of its page, and ``sv`` for it."""
    service, port = folder / "vlar", free_port()
    service.mkdir(parents=True)
    command = f"exec {COMMAND} serve {library} --port {port} --state {folder}/state"
    script = service / "run"
    script.write_text(f"#!/bin/sh\nexec 2>>{folder}/log >>{folder}/log\n{command}\n")
    script.chmod(0o755)
    process = subprocess.Popen(["runsv", str(service)])

    def sv(*words: str) -> int:
        return subprocess.run(["sv", *words, str(service)], check=False).returncode

    try:
        until(lambda: (service / "supervise" / "ok").exists())
        yield f"http://127.0.0.1:{port}/", sv
    finally:
        sv("-w", "20", "force-shutdown")
        process.wait(30)


@needs_runit
def test_a_supervisor_ends_it_and_starts_it_again(library: Path, tmp_path: Path):
    with supervised(library, tmp_path) as (address, sv):
        server = Server(None, address, 0.0)  # type: ignore[arg-type]
        port = urlsplit(address).port or 0
        until(lambda: reachable(port))
        server.wait_until_ready()
        asked = {"query": "a square", "min_probability": 0}
        before = server.ask("api/query", asked)[1]["hits"]
        connection, answer = parts(server, library)
        answer.readline()  # it is at work
        begin_s = time.monotonic()
        assert sv("-w", "20", "down") == 0  # SIGTERM, and no SIGKILL
        assert time.monotonic() - begin_s < 15
        assert not reachable(port)
        connection.close()
        assert sv("-w", "20", "up") == 0
        until(lambda: reachable(port))
        server.wait_until_ready()
        assert server.ask("api/query", asked)[1]["hits"] == before
        pid = int((tmp_path / "vlar" / "supervise" / "pid").read_text())
        os.kill(pid, signal.SIGKILL)  # the supervisor starts what has died
        until(lambda: not reachable(port))
        until(lambda: reachable(port))
        server.wait_until_ready()
        assert server.ask("api/query", asked)[1]["hits"] == before
        assert "Traceback" not in (tmp_path / "log").read_text("utf-8")
