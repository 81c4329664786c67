"""Wrong frames of damaged videos that pass for right ones.

Intact barcode videos of many codecs and containers are damaged: flipped bits, a zeroed span, two
swapped spans, a cut end, dropped packets. Each damaged file is read at a few times. A frame is
wrong where it differs from the intact video's frame of that time (and of the two next to it). A
wrong frame is silent where its clip has ``lost == 0``. Files are made from seeds, so two trees
read the same damage.

    python benchmarks/damaged_videos.py [--files 400] [--first 0] [--tree ../other] [--json OUT]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("SVT_LOG", "0")

from tests import videos  # noqa: E402

N_FRAMES = 60
FPS = 25
WANTED_S = (np.arange(10) * 6 + 2.5) / FPS
"""Times away from frame borders, so that rounding of time stamps chooses no other frame."""
WRONG_GREY = 6.0
"""Mean grey levels by which a frame differs; two neighbouring barcodes differ by 18 or more."""
TIMEOUT_S = 20.0
UInt8 = npt.NDArray[np.uint8]
Maker = Callable[[Path], Path]


def picture(number: int) -> UInt8:
    """A barcode with grain, so that a coded frame holds more than headers."""
    return videos.noise(number) // 8 + videos.barcode(number) // 8 * 7


def _maker(**settings: Any) -> Maker:
    return lambda path: videos.make_video(path, N_FRAMES, picture=picture, **settings)


_LATER_KEY = {"options": {"preset": "medium"}}
_FRAGMENTS = {"container_options": {"movflags": "frag_keyframe+empty_moov"}}
_HEVC10 = {"codec": "libx265", "pix_fmt": "yuv420p10le"}
_ALT_REF = {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good"}
SOURCES: dict[str, Maker] = {
    "h264.mp4": _maker(),
    "h264-main.mov": _maker(**_LATER_KEY, gop=250),
    "h264.mkv": _maker(**_LATER_KEY),
    "h264.ts": _maker(),
    "h264.flv": _maker(),
    "h264.avi": _maker(b_frames=0),
    "h264-fragmented.mp4": _maker(**_FRAGMENTS),
    "h264-interlaced.ts": _maker(
        options={"preset": "medium", "x264-params": "scenecut=0:interlaced=1:bframes=2"}
    ),
    "h264-vfr.mp4": _maker(
        times_s=[index / FPS + 0.004 * (index % 3) for index in range(N_FRAMES)]
    ),
    "h264-edit-list.mp4": lambda path: videos.trim_by_edit_list(_maker()(path), 0.4),
    "h264-turned.mp4": _maker(rotation_deg=90),
    "hevc.mp4": _maker(codec="libx265"),
    "hevc-10-bit.mkv": _maker(**_HEVC10),
    "hevc.ts": _maker(codec="libx265"),
    "vp8.webm": _maker(codec="libvpx"),
    "vp9.webm": _maker(codec="libvpx-vp9"),
    "vp9-alt-ref.webm": _maker(codec="libvpx-vp9", options=_ALT_REF),
    "vp9-alpha.webm": _maker(codec="libvpx-vp9", pix_fmt="yuva420p"),
    "vp9.mp4": _maker(codec="libvpx-vp9"),
    "av1.mp4": _maker(codec="libsvtav1", options={"preset": "8", "svtav1-params": "lp=1"}),
    "av1.mkv": _maker(codec="libsvtav1", options={"preset": "8", "svtav1-params": "lp=1"}),
    "mpeg2.mpg": _maker(codec="mpeg2video"),
    "mpeg2.ts": _maker(codec="mpeg2video"),
    "mpeg4.avi": _maker(codec="mpeg4", b_frames=0),
    "mpeg4.mp4": _maker(codec="mpeg4"),
    "wmv2.wmv": _maker(codec="wmv2"),
    "mjpeg.avi": _maker(codec="mjpeg", pix_fmt="yuvj420p"),
    "mjpeg.mov": _maker(codec="mjpeg", pix_fmt="yuvj420p"),
    "prores.mov": _maker(codec="prores_ks", pix_fmt="yuv422p10le"),
    "gif.gif": _maker(codec="gif", pix_fmt="rgb8"),
}
"""Intact files: name (with its ending) to maker."""


def flip_bits(data: bytearray, rng: np.random.Generator, path: Path) -> bytearray:
    """Flip 1 to 40 single bits anywhere."""
    for at in rng.integers(0, len(data), int(rng.integers(1, 41))).tolist():
        data[at] ^= 1 << int(rng.integers(0, 8))
    return data


def flip_in_media(data: bytearray, rng: np.random.Generator, path: Path) -> bytearray:
    """Flip 1 to 6 bits in the middle of the file, where pictures lie."""
    low, high = len(data) // 5, len(data) * 9 // 10
    for at in rng.integers(low, high, int(rng.integers(1, 7))).tolist():
        data[at] ^= 1 << int(rng.integers(0, 8))
    return data


def zero_span(data: bytearray, rng: np.random.Generator, path: Path) -> bytearray:
    """Zero 16 to 4096 bytes."""
    length = int(2 ** rng.uniform(4, 12))
    at = int(rng.integers(len(data) // 10, max(len(data) - length, len(data) // 10 + 1)))
    data[at : at + length] = bytes(min(length, len(data) - at))
    return data


def swap_spans(data: bytearray, rng: np.random.Generator, path: Path) -> bytearray:
    """Swap two spans of 32 to 2048 bytes."""
    length = min(int(2 ** rng.uniform(5, 11)), len(data) // 4)
    a = int(rng.integers(len(data) // 10, len(data) // 2 - length))
    b = int(rng.integers(len(data) // 2, len(data) - length))
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]
    return data


def cut_end(data: bytearray, rng: np.random.Generator, path: Path) -> bytearray:
    """Keep the first 20 to 99 %."""
    return data[: int(len(data) * rng.uniform(0.2, 0.99))]


def remove_span(data: bytearray, rng: np.random.Generator, path: Path) -> bytearray:
    """Take 1 to 2048 bytes out, so that all that follows moves up."""
    length = int(2 ** rng.uniform(0, 11))
    at = int(rng.integers(len(data) // 10, max(len(data) - length, len(data) // 10 + 1)))
    del data[at : at + length]
    return data


def drop_packets(data: bytearray, rng: np.random.Generator, path: Path) -> bytearray:
    """Remux without 1 to 3 packets in a row, times of the others kept.

    A transport stream loses 188-byte packets instead, a GIF a span of bytes.
    """
    if path.suffix == ".ts":
        at = int(rng.integers(4, len(data) // 188 - 9)) * 188
        del data[at : at + 188 * int(rng.integers(1, 9))]
        return data
    if path.suffix in (".gif", ".mpg") or "av1" in path.name:  # PyAV cannot write those again
        return remove_span(data, rng, path)
    target = path.with_name("dropped" + path.suffix)
    first = int(rng.integers(1, N_FRAMES - 6))
    dropped = range(first, first + int(rng.integers(1, 4)))
    with av.open(str(path)) as source, av.open(str(target), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.size and number not in dropped:
                packet.stream = stream
                sink.mux(packet)
    return bytearray(target.read_bytes())


MUTATIONS = (
    *(flip_bits, flip_in_media, zero_span, swap_spans, cut_end, remove_span, drop_packets),
)


@dataclass
class Intact:
    """An intact file and the frames it shows.

    Attributes:
        path: The file.
        shown: For each wanted time up to its end, the right frame and its two neighbours,
            (H, W, 3) uint8.
    """

    path: Path
    shown: list[list[UInt8]] = field(default_factory=list)

    @classmethod
    def made(cls, path: Path, make: Maker) -> Intact:
        """Write the file and decode it whole."""
        times_s, frames = videos.decode_all(make(path))
        pixels = [frame.to_ndarray(format="rgb24") for frame in frames]
        if "turned" in path.name:
            pixels = [np.ascontiguousarray(np.rot90(image)) for image in pixels]
        shown = []
        for wanted in WANTED_S[times_s[-1] > WANTED_S]:
            at = max(int(np.searchsorted(times_s, wanted + 1e-6, side="right")) - 1, 0)
            shown.append(pixels[max(at - 1, 0) : at + 2])
        return cls(path, shown)

    def is_wrong(self, index: int, image: UInt8) -> bool:
        """Return whether ``image`` is another picture than the one of wanted time ``index``."""
        return not any(
            image.shape == right.shape
            and np.abs(image.astype(np.int16) - right.astype(np.int16)).mean() < WRONG_GREY
            for right in self.shown[index]
        )


def judge(intact: Intact, damaged: Path) -> Counter[str]:
    """Read a damaged file at the wanted times and count what came."""
    from vlar.errors import VlarError
    from vlar.media.video.decode import read_clip, read_windows
    from vlar.media.video.source import probe
    from vlar.plugins.integrity.check import check_video
    from vlar.types import Clip, Window

    count: Counter[str] = Counter(files=1)
    try:
        begin = time.monotonic()
        wanted_s = WANTED_S[: len(intact.shown)]
        spans = [Window(float(wanted), float(wanted)) for wanted in wanted_s]
        clips = list(read_windows(damaged, spans, 1, timeout_s=TIMEOUT_S))
        for index, clip in enumerate(clips):
            if not isinstance(clip, Clip):
                count["failed"] += 1
                continue
            wrong = intact.is_wrong(index, clip.data[0])
            count["frames"] += 1
            count["wrong"] += wrong
            count["silent"] += wrong and clip.lost == 0
        count["needless"] += _needless(intact, damaged)
        for call in (lambda: probe(damaged, timeout_s=TIMEOUT_S), lambda: read_clip(damaged)):
            with suppress(VlarError):
                call()
        report = check_video(damaged, timeout_s=TIMEOUT_S)
        count["slow"] += time.monotonic() - begin > TIMEOUT_S
        count["lying_files"] += count["silent"] > 0
        count["check_silent"] += count["silent"] > 0 and report.ok
        count["check_damaged"] += not report.ok
    except Exception as error:  # noqa: BLE001 - what escapes is what is counted
        count["uncaught"] += 1
        print(f"UNCAUGHT {damaged.name}: {type(error).__name__}: {error}", file=sys.stderr)
    return count


def _needless(intact: Intact, damaged: Path) -> int:
    """Right frames that were called lost."""
    from vlar.errors import DecodeError
    from vlar.media.video.source import VideoSource

    needless = 0
    try:
        with VideoSource(damaged, TIMEOUT_S, None, None) as source:
            for index, shown in enumerate(source.pictures(WANTED_S[: len(intact.shown)])):
                needless += shown.lost and not intact.is_wrong(index, shown.pixels)
    except DecodeError:
        pass
    return needless


def run(folder: Path, numbers: range, only: str, keep: Path | None) -> dict[str, Counter[str]]:
    """Damage and judge files of some numbers, spread over all sources and mutations."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    names = [name for name in SOURCES if only in name]
    sources = [Intact.made(folder / name, SOURCES[name]) for name in names]
    for intact in sources:
        clean = judge(intact, intact.path)
        clean["false_alarms"] = clean["needless"] + clean["failed"] + clean["check_damaged"]
        if clean["wrong"] or clean["false_alarms"]:
            print(f"INTACT {intact.path.name}: {dict(clean)}", file=sys.stderr)
        table["intact files"] += clean
    for number in numbers:
        intact = sources[number % len(sources)]
        mutate = MUTATIONS[(number // len(sources)) % len(MUTATIONS)]
        rng = np.random.default_rng([number, 7])
        damaged = folder / f"damaged-{number}-{mutate.__name__}-{intact.path.name}"
        damaged.write_bytes(mutate(bytearray(intact.path.read_bytes()), rng, intact.path))
        count = judge(intact, damaged)
        if keep is not None and count["silent"]:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / damaged.name).write_bytes(damaged.read_bytes())
        damaged.unlink()
        for row in ("all", f"by {mutate.__name__}", f"of {intact.path.name}"):
            table[row] += count
    return table


def show(table: dict[str, Counter[str]]) -> None:
    """Print one line a row."""
    columns = ("files", "lying_files", "check_silent", "frames", "wrong", "silent", "needless")
    columns = (*columns, "failed", "uncaught", "slow", "check_damaged")
    print(f"{'':28s}" + "".join(f"{name:>14s}" for name in columns))
    for row in sorted(table):
        print(f"{row:28s}" + "".join(f"{table[row][name]:14d}" for name in columns))
    total = table["all"]
    share = total["lying_files"] / max(total["files"], 1)
    frames = total["silent"] / max(total["frames"], 1)
    print(f"\nfiles with a wrong frame taken for right: {share:.1%}; such frames: {frames:.2%}")


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--only", default="", help="sources whose name holds this")
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout whose vlar is judged")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for files with silent wrong frames")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.tree.resolve()))
    with tempfile.TemporaryDirectory() as name:
        numbers = range(arguments.first, arguments.first + arguments.files)
        table = run(Path(name), numbers, arguments.only, arguments.keep)
    show(table)
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": table}, indent=1))


if __name__ == "__main__":
    main()
