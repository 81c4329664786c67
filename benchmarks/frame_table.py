"""Frame asked, frame got: 30 real files, six frames of each, by vlar and three other readers.

    python benchmarks/frame_table.py [--shared ../shared] [--json OUT]

Right are the frames of a file that PyAV decodes one after the other. A reader is asked for frames
0, 21 (or the middle one), a quarter, half, three quarters and the last: vlar for the picture on
screen in the middle of the frame's time, torchcodec by ``get_frame_at``, decord2 by ``get_batch``,
OpenCV by ``CAP_PROP_POS_FRAMES``. What it gives is the frame of the file that looks most like it,
in grey and with the mean difference taken off, because libraries round colours in other ways. Where
the asked frame looks as much like it as the best one does (within 0.2 grey levels), it counts as
right. The control hands over the frame after each asked one; it must be wrong wherever pictures
move.

Libraries that do not import are left out. torchcodec needs the shared libraries of an FFmpeg.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlar.errors import VlarError
from vlar.media.video.decode import read_clip
from vlar.types import Clip, Window

FOLDERS = (  # a folder of shared files, and how many of each ending are taken from it
    ("videos/ucf11", {".mpg": 1}),
    ("videos/kinetics", {".mkv": 1, ".mp4": 3}),
    ("videos/ucf101", {".gif": 1, ".avi": 5, ".mp4": 2}),
    ("videos/clip-exercise-recognition-demo", {".gif": 1}),
    ("videos/hmdb51", {".avi": 3, ".mp4": 1}),
    ("videos/jhmdb", {".avi": 2}),
    ("videos/weizmann", {".avi": 2}),
    ("videos/something-something-v2", {".mp4": 2}),
    ("videos/gmdcsa24", {".mp4": 1}),
    ("videos/golfdb", {".mp4": 1}),
    ("clips/hug", {".mp4": 1}),
    ("clips/surv_fight", {".mp4": 1}),
    ("audio/dog_skateboarding", {".mp4": 1}),
    ("modalities/utd_mhad", {".mp4": 1}),
)
WIDTH, SAME = 96, 0.2  # pixels and grey levels of the comparison
CONTROL = "one frame late"


class Truth(NamedTuple):
    """A file: grey pictures (N, h, w) in order, their times (N + 1,) and the end, the codec."""

    pictures: np.ndarray
    times_s: np.ndarray
    codec: str


Reader = Callable[[Path, list[int], Truth], Sequence[np.ndarray | None]]


def grey(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB to (h, w) float32 of ``WIDTH`` columns."""
    height = max(1, round(WIDTH * picture.shape[0] / picture.shape[1]))
    small = Image.fromarray(picture).convert("L").resize((WIDTH, height), Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def truth(path: Path) -> Truth:
    """Decode everything in order; times of frames that leave out of order are decoding times."""
    pictures, shown, sent = [], [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        base = float(stream.time_base)
        for frame in container.decode(stream):
            pictures.append(grey(frame.to_ndarray(format="rgb24")))
            shown.append(frame.pts)
            # Frames that are left in the decoder at the end come without the time of a packet.
            sent.append(2 * sent[-1] - sent[-2] if frame.dts is None else frame.dts)
        name = f"{path.suffix[1:]} {stream.codec_context.name}"
    times = np.array(shown if (np.diff(shown) > 0).all() else sent, float) * base
    last = np.median(np.diff(times)) if len(times) > 1 else 1.0
    times_s = np.append(times, times[-1] + last) - times[0]
    return Truth(np.stack(pictures), times_s, name)


def vlar(path: Path, numbers: list[int], known: Truth) -> list[np.ndarray]:
    found = []
    for number in numbers:
        window = Window(known.times_s[number], known.times_s[number + 1])
        clip = read_clip(path, window, 1)
        assert isinstance(clip, Clip)
        found.append(clip.data[0])
    return found


def torchcodec(path: Path, numbers: list[int], _: Truth) -> list[np.ndarray | None]:
    from torchcodec.decoders import VideoDecoder

    video = VideoDecoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC")
    found: list[np.ndarray | None] = []
    for number in numbers:
        try:
            found.append(video.get_frame_at(number).data.numpy())
        except (RuntimeError, IndexError):
            found.append(None)
    return found


def decord(path: Path, numbers: list[int], _: Truth) -> list[np.ndarray]:
    from decord import VideoReader

    return list(VideoReader(str(path), num_threads=1).get_batch(numbers).asnumpy())


def opencv(path: Path, numbers: list[int], _: Truth) -> list[np.ndarray | None]:
    import cv2

    video, found = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    for number in numbers:
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        is_read, picture = video.read()
        found.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) if is_read else None)
    return found


READERS: dict[str, tuple[str, str, Reader]] = {
    "vlar": ("vlar", "vlar", vlar),
    "torchcodec": ("torchcodec", "torchcodec.decoders", torchcodec),
    "decord2": ("decord2", "decord", decord),
    "OpenCV": ("opencv-python-headless", "cv2", opencv),
}


def got(
    pictures: Sequence[np.ndarray | None], numbers: list[int], known: Truth
) -> list[tuple[int, int | None]]:
    """Pairs (asked, got) of the frames that are wrong; None for an error."""
    wrong: list[tuple[int, int | None]] = []
    for number, picture in zip(numbers, pictures, strict=True):
        if picture is None:
            wrong.append((number, None))
            continue
        away = known.pictures - picture
        away -= away.mean(axis=(1, 2), keepdims=True)
        distance = np.abs(away).mean(axis=(1, 2))
        if distance[number] > distance.min() + SAME:
            wrong.append((number, int(distance.argmin())))
    return wrong


def asked(count: int) -> list[int]:
    """The numbers of the frames that are asked for, rising."""
    last = count - 1
    return sorted({0, min(21, last // 2), count // 4, count // 2, 3 * count // 4, last})


def files(shared: Path) -> list[Path]:
    """The 30 files, spread evenly over each folder."""
    found: list[Path] = []
    for folder, endings in FOLDERS:
        for ending, count in endings.items():
            here = sorted((shared / folder).rglob(f"*{ending}"))
            found += [here[at * len(here) // count] for at in range(count) if here]
    return found


def row(path: Path, readers: dict[str, Reader]) -> dict[str, object]:
    """Wrong frames of each reader on one file; a message where it fails."""
    known = truth(path)
    numbers = asked(len(known.pictures))
    found: dict[str, object] = {}
    for name, reader in readers.items():
        try:
            given = reader(path, numbers, known)
            pictures = [None if picture is None else grey(picture) for picture in given]
            found[name] = got(pictures, numbers, known)
        except (VlarError, ValueError, RuntimeError, IndexError, OSError) as error:
            found[name] = f"fails ({type(error).__name__})"
    late = [known.pictures[min(number + 1, len(known.pictures) - 1)] for number in numbers]
    found[CONTROL] = got(late, numbers, known)
    return {"file": path.name, "codec": known.codec, "asked": numbers, **found}


def cell(wrong: object) -> str:
    if isinstance(wrong, str):
        return wrong
    assert isinstance(wrong, list)
    pairs = [f"{want} -> {'error' if have is None else have}" for want, have in wrong]
    return ", ".join(pairs) or "all right"


def available() -> dict[str, Reader]:
    """Readers by name and version."""
    found: dict[str, Reader] = {}
    for name, (package, module, reader) in READERS.items():
        try:
            importlib.import_module(module)
        except (ImportError, OSError, RuntimeError) as error:
            print(f"{name} does not import: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        found[name if name == "vlar" else f"{name} {version(package)}"] = reader
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    readers = available()
    names = [*readers, CONTROL]
    print(f"| file | kind | asked | {' | '.join(names)} |\n|{'---|' * (len(names) + 3)}")
    rows = []
    for path in files(options.shared):
        rows.append(found := row(path, readers))
        numbers = " ".join(map(str, found["asked"]))
        cells = " | ".join(cell(found[name]) for name in names)
        print(f"| {found['file']} | {found['codec']} | {numbers} | {cells} |", flush=True)
    total = sum(len(found["asked"]) for found in rows)
    for name in names:
        lists = [found[name] for found in rows if isinstance(found[name], list)]
        wrong, bad = sum(map(len, lists)), sum(map(bool, lists))
        print(f"{name}: {wrong} of {total} wrong in {bad} files, {len(rows) - len(lists)} fail")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
