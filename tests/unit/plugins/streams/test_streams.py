"""Streams: spans, slow readers, lost connections."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from tests import videos
from tests.refusals import refused
from vlar.errors import DecodeError, UsageError
from vlar.language.labels import LabelSet
from vlar.media.video.live import is_live, shown_address
from vlar.model.core import EncodedSpan
from vlar.model.model import Model
from vlar.model.requests import ClassifyRequest
from vlar.plugins.streams.answers import classify_live, live_dict
from vlar.plugins.streams.stream import LiveStream, Reconnect
from vlar.types import Classification, Clip, Encoded, Failure, Prediction, Sampling

QUICK = Reconnect(attempts=2, first_wait_s=0.05, timeout_s=2.0)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Eight seconds of numbered frames as a transport stream."""
    path = tmp_path_factory.mktemp("live") / "a.ts"
    return videos.make_video(path, 200, gop=5).read_bytes()


@contextmanager
def served(body: bytes, kind: str = "video/mp2t", times: int = 99, pace_s: float = 0.0):
    """The address of a server that sends a body ``times`` times, then refuses."""
    left = [times]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if not left[0]:
                self.send_error(404)
                return
            left[0] -= 1
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            step = len(body) // 20 + 1
            for at in range(0, len(body), step):
                self.wfile.write(body[at : at + step])
                time.sleep(pace_s)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live.ts"
    finally:
        server.shutdown()
        server.server_close()


def numbers(clip: Clip) -> list[int]:
    return [videos.read_barcode(frame) for frame in clip.data]


def test_each_span_has_its_frames(stream: bytes):
    with (
        served(stream, times=1, pace_s=0.05) as address,
        LiveStream(address, 2.0, Sampling(4), QUICK) as live,
    ):
        items = list(live)
    clips = [item for item in items if isinstance(item, Clip)]
    assert clips
    for clip in clips:
        assert clip.window.duration_s == pytest.approx(2.0)
        expected = np.floor(clip.times_s * 25 + 1e-6)
        assert numbers(clip) == pytest.approx(expected, abs=1)
    failures = [item.message for item in items if isinstance(item, Failure)]
    assert "lost" in failures[0]
    assert "given up after 2 attempts" in failures[-1]


def test_a_slow_reader_gets_the_latest_and_never_falls_behind(stream: bytes):
    with (
        served(stream, times=1, pace_s=0.02) as address,
        LiveStream(address, 0.5, Sampling(2), QUICK) as live,
    ):
        taken = iter(live)
        next(taken)
        time.sleep(0.8)  # by now the stream is at its end
        late = next(item for item in taken if isinstance(item, Clip))
    assert late.window.end_s > 6.0
    assert late.meta["missed_s"] > 3.0


def test_a_lost_stream_is_opened_again_and_time_goes_on(stream: bytes):
    ends: list[float] = []
    with served(stream, times=2) as address, LiveStream(address, 2.0, Sampling(2), QUICK) as live:
        for item in live:
            if isinstance(item, Clip):
                ends.append(item.window.end_s)
    assert ends == sorted(ends)
    assert ends[-1] > 10.0


@pytest.fixture
def dead() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["http", "rtsp", "tcp", "rtmp"])
def test_a_dead_camera_is_one_line_without_its_password(dead: str, scheme: str):
    address = f"{scheme}://me:secret@{dead}/1"
    with pytest.raises(DecodeError) as caught, LiveStream(address, 2.0, Sampling(2), QUICK):
        pass
    assert caught.value.message.startswith(f"{scheme}://{dead}/1: cannot be opened")
    assert "secret" not in caught.value.message


def test_play_lists_and_files_behind_an_address_are_refused(stream: bytes, tmp_path: Path):
    secret = videos.make_video(tmp_path / "private.ts", 50)
    lists = {
        "application/vnd.apple.mpegurl": f"#EXTM3U\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "application/dash+xml": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>',
        "text/plain": f"ffconcat version 1.0\nfile {secret}\n",
        "application/sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    }
    for kind, text in lists.items():
        with served(text.encode(), kind) as address, pytest.raises(DecodeError, match="opened"):
            LiveStream(address, 2.0, Sampling(2), QUICK).__enter__()


def test_what_is_live():
    assert is_live("rtsp://camera/1")
    assert is_live("0")
    assert not is_live("file:///etc/passwd")
    assert not is_live("concat:a|b")
    assert not is_live("2024")
    assert shown_address("http://a:b@host/x?y=1") == "http://host/x?y=1"
    for address, every_s in (("clip.mp4", 2.0), ("rtsp://camera/1", 0.0)):
        refused(UsageError, "", LiveStream, address, every_s, Sampling(2))


def test_a_camera_that_is_not_there_is_one_line():
    refused(DecodeError, "camera 97", LiveStream("97", 2.0, Sampling(2), QUICK).__enter__)


class Fake:
    """What ``classify_live`` needs of a model."""

    name, modality = "fake", "video"
    encoder = SimpleNamespace(sampling=Sampling(2))

    @property
    def recogniser(self) -> Fake:
        return self

    @property
    def words(self) -> Fake:
        return self

    def classifier(self, labels: LabelSet) -> SimpleNamespace:
        def answer(span: EncodedSpan, *, top: int, model: str) -> Classification:
            best = (Prediction(labels.listed.labels[0], 1.0, 1.0),) * top
            times = span.window.start_s, span.window.end_s
            return Classification(span.path, *times, model, best, False, 0.0, lost=span.lost)

        assert labels.mode == "multi"
        return SimpleNamespace(answer=answer)

    def encode_views(self, views: list[Clip]) -> Encoded:
        return Encoded(np.zeros((1, 1), np.float32), np.zeros(1, np.float32))


def test_answers_of_a_stream(stream: bytes):
    model = cast(Model, Fake())
    with served(stream, times=1, pace_s=0.02) as address:
        request = ClassifyRequest(LabelSet.read("a", "multi"), top=2, every_s=4.0)
        rows = classify_live(model, address, request, QUICK)
        row = next(rows)
        rows.close()
    assert isinstance(row, Classification)
    assert row.end_s - row.start_s == pytest.approx(4.0)
    assert len(row.predictions) == 2
    data = live_dict(row, shown_address(address))
    assert list(data)[:2] == ["at", "path"]
    assert data["path"] == address
    other = SimpleNamespace(modality="skeleton", name="other")
    refused(UsageError, "skeleton", next, classify_live(cast(Model, other), address, request))


@pytest.mark.parametrize(
    "address", ["https://www.youtube.com/watch?v=abc", "https://youtu.be/abc", "http://vimeo.com/1"]
)
def test_a_page_that_shows_a_video_is_not_a_camera(address: str):
    with pytest.raises(DecodeError, match="a page, not a file; download it first"):
        LiveStream(address, 4.0, Sampling(2)).__enter__()
