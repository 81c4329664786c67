"""Labels turn on and off with hysteresis; what is sent arrives, over kills of both ends."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import vlar
from tests.refusals import refused
from tests.unit.library.fakes import tiny_video
from tests.unit.model.test_people import Bands
from vlar.apps.publish import frigate
from vlar.apps.publish.mqtt import Broker, discovery
from vlar.apps.publish.outbox import Delivery, Outbox
from vlar.apps.publish.watch import LabelStates, Receivers, Switch, Watch, run_watch
from vlar.apps.publish.webhook import check_address, post_all
from vlar.errors import UsageError
from vlar.model.requests import ClassifyRequest
from vlar.types import Classification, Prediction

CHANGE = Switch("camera", "run", True, 0.9, 1.0, 0.0, 2.0, "m")


def answer(share: float) -> Classification:
    return Classification(
        Path("x"), 0.0, 2.0, "m", (Prediction("run", share, 0.1, None),), False, 0.1
    )  # fmt: skip


class Web:
    """A server on the loopback; ``statuses`` are its next answers, then 200."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.pages: dict[str, bytes] = {}
        self.url = ""


@pytest.fixture
def web() -> Generator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = web.statuses.pop(0) if web.statuses else 200
            if status == 200:
                web.posts.append((dict(self.headers), body))
            self.send_response(status)
            self.end_headers()

        def do_GET(self) -> None:
            data = web.pages.get(self.path.partition("?")[0])
            self.send_response(200 if data is not None else 404)
            self.end_headers()
            self.wfile.write(data or b"")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield web
    server.shutdown()
    server.server_close()


def until(condition, seconds: float = 20.0) -> None:
    end_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.02)


def test_a_label_turns_with_hysteresis_and_stays_a_least_time():
    states = LabelStates(["run"], 0.6, 0.4, 10.0)
    shares = [(0, 0.5), (1, 0.7), (2, 0.3), (11, 0.5), (12, 0.3), (13, 0.9), (23, 0.9)]
    turned = [
        (at_s, change.on) for at_s, share in shares
        for change in states.take(answer(share), "camera", at_s)
    ]  # fmt: skip
    assert turned == [(1, True), (12, False), (23, True)]
    refused(UsageError, "0 < off <= on < 1", LabelStates, ["run"], 0.3, 0.6)


def test_a_webhook_gets_each_change_signed_and_once(web: Web, tmp_path: Path):
    web.statuses = [503, 400]
    box = Outbox(web.url, tmp_path / "box.sqlite")
    for number in range(4):
        box.put("", json.dumps({"n": number}).encode())
    refused(OSError, "answered 503", post_all, web.url, "key", box, threading.Event())
    delivery = Delivery(box, lambda box, stop: post_all(web.url, "key", box, stop))
    assert delivery.end() == 0
    # The first was refused for good (400); it stays in the file, and the others arrived in order.
    assert [json.loads(body)["n"] for _, body in web.posts] == [1, 2, 3]
    for headers, body in web.posts:
        digest = hmac.new(b"key", body, hashlib.sha256).hexdigest()
        assert headers["X-Vlar-Signature"] == f"sha256={digest}"
    assert len({headers["X-Vlar-Delivery"] for headers, _ in web.posts}) == 3
    refused(UsageError, "is not an address", check_address, "file:///etc/passwd")


_PUTS = """
import sys
from pathlib import Path
from vlar.apps.publish.outbox import Outbox
box = Outbox("x", Path(sys.argv[1]))
for number in range(100000):
    box.put("", str(number).encode())
    print(number, flush=True)
"""


def test_nothing_that_was_put_is_lost_over_a_kill(web: Web, tmp_path: Path):
    file = tmp_path / "box.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", _PUTS, str(file)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    stated = [int(process.stdout.readline()) for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    stated += [int(line) for line in process.stdout if line.endswith("\n")]
    process.wait()
    box = Outbox("x", file)
    assert len(box) >= len(stated)
    delivery = Delivery(box, lambda box, stop: post_all(web.url, "", box, stop))
    until(lambda: len(web.posts) >= len(stated))
    delivery.end()
    assert [int(body) for _, body in web.posts][: len(stated)] == stated


def test_home_assistant_gets_a_sensor_a_label():
    pytest.importorskip("aiomqtt")
    broker = Broker.parse("mqtt://me:secret@house", "Hall 1")
    configs = discovery(broker, ["riding a bike"], "lite")
    config = configs["homeassistant/binary_sensor/vlar_hall_1/riding_a_bike/config"]
    assert config["state_topic"] == "vlar/hall_1/riding_a_bike/state"
    assert config["availability_topic"] == "vlar/hall_1/availability"
    assert config["unique_id"] == "vlar_hall_1_riding_a_bike"
    assert "secret" not in json.dumps(configs)
    assert (broker.port, broker.user, broker.key) == (1883, "me", "mqtt://house:1883/hall_1")
    refused(UsageError, "is not mqtt", Broker.parse, "http://house", "x")


def test_clips_of_frigate_become_answers_and_changes(web: Web, tmp_path: Path):
    clip = tiny_video(tmp_path / "a.mp4", 1).read_bytes()
    rows = [
        {"id": "1.a", "camera": "door", "end_time": 5.0, "has_clip": True},
        {"id": "2.b", "camera": "door", "end_time": None, "has_clip": True},
        {"id": "3.c", "camera": "door", "end_time": 4.0, "has_clip": True},
    ]
    web.pages = {
        "/api/events": json.dumps(rows).encode(), "/api/events/1.a/clip.mp4": clip,
    }  # fmt: skip
    notes: list[str] = []
    request = ClassifyRequest(["red", "blue"], top=9)
    watch = Watch(f"frigate+{web.url}", request, on=0.02, off=0.01, once=True)
    receivers = Receivers(webhook=f"{web.url}/hook", queue=tmp_path / "queue", note=notes.append)
    rows = list(run_watch(vlar.Model(Bands()), watch, receivers))
    changes = [row for row in rows if isinstance(row, Switch)]
    assert {row.source for row in changes} == {"frigate:door/1.a"}
    assert [json.loads(body)["label"] for _, body in web.posts] == [row.label for row in changes]
    assert any("3.c has no clip" in note for note in notes)
    web.pages = {}
    refused(UsageError, "cannot be read", list, frigate.clips(watch.source, threading.Event(),
                                                              once=True))  # fmt: skip


def test_a_folder_is_answered_once(tmp_path: Path):
    (tmp_path / "videos").mkdir()
    tiny_video(tmp_path / "videos" / "a.mp4", 1)
    request = ClassifyRequest(["red", "blue"], top=9)
    watch = Watch(str(tmp_path / "videos"), request, settle_s=0.05, once=True)
    rows = list(run_watch(vlar.Model(Bands()), watch, Receivers()))
    assert len([row for row in rows if isinstance(row, Classification)]) == 1


@pytest.mark.slow  # starts a broker twice
def test_a_real_broker_is_killed_in_between_and_nothing_is_lost(tmp_path: Path):
    aiomqtt = pytest.importorskip("aiomqtt")
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        return process

    events: list[dict[str, Any]] = []
    states: dict[str, str] = {}
    ready, stop = threading.Event(), threading.Event()

    async def listen() -> None:
        while not stop.is_set():
            try:
                async with aiomqtt.Client("127.0.0.1", port, identifier="listener",
                                          clean_session=False) as client:  # fmt: skip
                    await client.subscribe("vlar/#", qos=1)
                    await client.subscribe("homeassistant/#", qos=1)
                    ready.set()
                    async for message in client.messages:
                        topic, body = str(message.topic), bytes(message.payload).decode("latin-1")
                        if topic == "vlar/hall/event":
                            events.append(json.loads(body))
                        states[topic] = body
            except aiomqtt.MqttError:
                await asyncio.sleep(0.1)

    import asyncio

    broker_process = start()
    listener = threading.Thread(target=lambda: asyncio.run(listen()), daemon=True)
    listener.start()
    assert ready.wait(20)
    broker = Broker.parse(f"mqtt://127.0.0.1:{port}", "hall")
    receivers = Receivers(broker=broker, queue=tmp_path / "queue")
    receivers.begin(["run"], "m")
    receivers.take(CHANGE, b"\xff\xd8picture")
    until(lambda: "vlar/hall/picture" in states)
    assert len(events) == 1
    assert states["vlar/hall/run/state"] == "ON"
    assert states["vlar/hall/availability"] == "online"
    assert states["vlar/hall/picture"].endswith("picture")
    assert "homeassistant/binary_sensor/vlar_hall/run/config" in states
    broker_process.kill()
    broker_process.wait()
    ready.clear()
    off = replace(CHANGE, on=False)
    for _ in range(5):
        receivers.take(off, None)
    broker_process = start()
    assert ready.wait(20)
    until(lambda: len(events) >= 6, 40)
    assert [row["on"] for row in events] == [True] + [False] * 5
    until(lambda: states["vlar/hall/run/state"] == "OFF")
    assert receivers.end() == 0
    until(lambda: states["vlar/hall/availability"] == "offline")
    stop.set()
    broker_process.kill()
    broker_process.wait()
