"""Live pictures of a camera or a network stream, as one clip for every few seconds.

A thread reads the stream all the time and keeps the latest complete span. A caller that takes clips
more slowly than they come misses spans, and never falls behind. Addresses are opened only because
the user typed them; play lists (HLS, DASH, SDP files), which name other addresses, are refused.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from typing_extensions import Self

from vlar.errors import DecodeError, UsageError
from vlar.media.video.container import reason
from vlar.media.video.files import MOST_PIXELS
from vlar.media.video.live import ADDRESS, PROTOCOLS, is_live, shown_address
from vlar.media.video.pixels import Converter, stacked
from vlar.media.video.sample import sample_times
from vlar.types import Clip, Failure, Sampling, UInt8, Window

_PAGES = re.compile(
    r"https?://(?:[a-z0-9-]+\.)*(?:youtube\.com|youtu\.be|vimeo\.com|tiktok\.com|twitch\.tv|"
    r"dailymotion\.com|bilibili\.com|facebook\.com|instagram\.com|twitter\.com|x\.com)(?:[/?#].*)?",
    re.IGNORECASE,
)
_FORMATS = (
    "rtsp,rtp,sdp,mpegts,mpeg,matroska,mov,flv,live_flv,mpjpeg,mjpeg,jpeg_pipe,h264,hevc,ogg,asf,"
    "video4linux2,v4l2,avfoundation,dshow"
)
_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}
_GAP_S = 5.0  # a leap of the stream's clock by more begins a new span
_LONGEST_WAIT_S = 30.0


@dataclass(frozen=True)
class Reconnect:
    """Limits for the reopening of a lost stream.

    Attributes:
        attempts: Openings in a row that may fail before it is given up.
        first_wait_s: Seconds before the first of them; each further wait is twice as long, at most
            30 s.
        timeout_s: Seconds that an opening, or a wait for the next picture, may take.
    """

    attempts: int = 10
    first_wait_s: float = 1.0
    timeout_s: float = 10.0

    def wait_s(self, failed: int) -> float:
        """Seconds before the next opening, after some failed ones in a row.

        >>> [Reconnect().wait_s(n) for n in (0, 1, 3, 9)]
        [1.0, 2.0, 8.0, 30.0]
        """
        return min(self.first_wait_s * 2.0**failed, _LONGEST_WAIT_S)


class LiveStream:
    """Clips of a stream, one for each span; iterate over it inside a ``with`` block.

    The first opening must succeed. A stream that is lost later gives a ``Failure`` and is opened
    again. ``Clip.meta["missed_s"]`` is how many seconds before a clip were left out because its
    predecessor had not been taken in time.

    Args:
        address: An address (``rtsp://``, ``http://``, ``udp://``, ``tcp://``, ...) or the number
            of a camera.
        every_s: Seconds of a span.
        sampling: How many pictures, and how large.
        reconnect: What happens when the stream is lost.

    Raises:
        UsageError: neither an address nor a camera, or no span of time.
    """

    def __init__(
        self,
        address: str,
        every_s: float,
        sampling: Sampling,
        reconnect: Reconnect | None = None,
    ) -> None:
        if not is_live(address):
            raise UsageError(f"{address!r} is neither the address of a stream nor a camera")
        if not 0 < every_s < float("inf"):
            raise UsageError(f"every_s is {every_s}; give a number of seconds above 0")
        self.address = address
        self.name = shown_address(address)
        self._every_s, self._sampling = every_s, sampling
        self._reconnect = reconnect or Reconnect()
        self._news = threading.Condition()
        self._clip: Clip | None = None  # the latest that nobody has taken
        self._failures: deque[Failure] = deque()
        self._is_over = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._clock_s = 0.0  # where the next connection continues the times
        self._missed_s = 0.0
        self._frames = 0

    def __enter__(self) -> Self:
        """Open the stream.

        Raises:
            DecodeError: it cannot be opened.
        """
        container = self._open()
        self._thread = threading.Thread(
            target=self._run, args=(container,), name="vlar-live", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the stream."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._reconnect.timeout_s)

    def __iter__(self) -> Iterator[Clip | Failure]:
        """The latest complete span each time; it ends when the stream is given up."""
        while True:
            with self._news:
                while not (self._failures or self._clip or self._is_over):
                    self._news.wait(0.2)  # a wait without end could not be interrupted
                item: Clip | Failure | None = None
                if self._failures:
                    item = self._failures.popleft()
                elif self._clip is not None:
                    item = replace(self._clip, meta={"missed_s": self._missed_s})
                    self._clip, self._missed_s = None, 0.0
            if item is None:
                return
            yield item

    def _open(self) -> InputContainer:
        match = ADDRESS.fullmatch(self.address)
        options = {"format_whitelist": _FORMATS, "max_pixels": str(MOST_PIXELS)}
        what: str = self.address
        if _PAGES.fullmatch(what):
            raise DecodeError(
                f"{self.name}: a page, not a file; download it first, and give the file"
            )
        form: str | None = None
        if match is None:
            form, pattern = _CAMERAS.get(sys.platform, ("dshow", "video={}"))
            what = pattern.format(self.address)
            if form not in av.formats_available:
                raise DecodeError(
                    f"{self.name}: this build of FFmpeg has no cameras (format {form!r}); install "
                    "PyAV on top of the system's FFmpeg (pip install av --no-binary av), or give "
                    "the address of a stream"
                )
        else:
            options["protocol_whitelist"] = PROTOCOLS[match["scheme"].lower()]
            if match["scheme"].lower().startswith("rtsp"):
                options["rtsp_transport"] = "tcp"
        try:
            container = av.open(
                what, "r", format=form, options=options, timeout=self._reconnect.timeout_s
            )
        except (FFmpegError, OSError, ValueError) as error:
            raise DecodeError(
                f"{self.name}: cannot be opened ({reason(error)}); check that it is on and that "
                "the address is right (play lists are not followed)"
            ) from error
        if not container.streams.video:
            container.close()
            raise DecodeError(f"{self.name}: it has no pictures; give a stream with video")
        return container

    def _run(self, container: InputContainer | None) -> None:
        failed = 0
        while not self._stop.is_set():
            lost = "it ended"
            if container is not None:
                before = self._frames
                try:
                    self._read(container)
                except (FFmpegError, OSError, ValueError) as error:
                    lost = reason(error)
                finally:
                    container.close()
                failed = 0 if self._frames > before else failed
            if self._stop.is_set():
                return
            if failed >= self._reconnect.attempts:
                self._tell(f"given up after {failed} attempts ({lost})")
                break
            wait_s = self._reconnect.wait_s(failed)
            if failed == 0:
                self._tell(f"lost ({lost}); it is opened again")
            failed += 1
            if self._stop.wait(wait_s):
                return
            try:
                container = self._open()
            except DecodeError:
                container = None
        self._end()

    def _read(self, container: InputContainer) -> None:
        """Read a connection to its end."""
        stream = container.streams.video[0]
        first_s = self._clock_s
        spans = _Spans(self._every_s, self._sampling, first_s)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        zero_s: float | None = None
        for count, frame in enumerate(container.decode(stream)):
            if self._stop.is_set():
                break
            time_s = count / rate if frame.pts is None else frame.time
            zero_s = time_s if zero_s is None else zero_s
            self._frames += 1
            self._clock_s = first_s + time_s - zero_s
            for window, pictures, times_s in spans.add(self._clock_s, frame):
                name = Path(self.name)
                self._offer(Clip(name, window, "video", stacked(pictures), times_s))

    def _offer(self, clip: Clip) -> None:
        """Make a clip the latest one; the one before it is missed if nobody has taken it."""
        with self._news:
            if self._clip is not None:
                self._missed_s += self._clip.window.duration_s
            self._clip = clip
            self._news.notify()

    def _tell(self, what: str) -> None:
        message = f"{self.name}: the stream is {what}"
        with self._news:
            self._failures.append(Failure(Path(self.name), "stream", message))
            self._news.notify()

    def _end(self) -> None:
        with self._news:
            self._is_over = True
            self._news.notify()


class _Spans:
    """Cuts frames that come in order of time into spans, and picks the sampled ones."""

    def __init__(self, every_s: float, sampling: Sampling, start_s: float) -> None:
        self.now_s = start_s
        self._every_s = every_s
        self._wanted = sample_times(Window(0.0, every_s), sampling)
        self._convert = Converter(sampling.shorter_side)
        self._begin(start_s)

    def add(self, time_s: float, frame: Any) -> Iterator[tuple[Window, list[UInt8], Any]]:
        """Complete spans, once a frame after them has come."""
        if time_s < self.now_s - 1e-6 or time_s > self.now_s + _GAP_S:
            self._begin(time_s)
        self.now_s = time_s
        while self._held is not None and self._next_s() < time_s:
            if self._picture is None:
                self._picture = self._convert(self._held)
            self._pictures.append(self._picture)
            if len(self._pictures) == len(self._wanted):
                start_s = self._start_s
                yield (
                    Window(start_s, start_s + self._every_s),
                    self._pictures,
                    start_s + self._wanted,
                )
                self._pictures, self._start_s = [], start_s + self._every_s
        self._held, self._picture = frame, None

    def _begin(self, start_s: float) -> None:
        self._start_s = start_s
        self._held: Any = None
        self._picture: UInt8 | None = None
        self._pictures: list[UInt8] = []

    def _next_s(self) -> float:
        return float(self._start_s + self._wanted[len(self._pictures)])
