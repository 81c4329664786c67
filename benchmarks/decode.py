"""Cost of reading 8 frames of a clip: CPU time against plain sequential decoding.

Rounds of all readers alternate, so that a busy machine slows all alike; the table gives the median
CPU milliseconds of each and how many times vlar's they are. vlar and the plain script end in
(8, H, W, 3) RGB arrays that must be equal. Those of other libraries, on one thread each and only
where they import (``opencv-python-headless``, ``decord2``, ``torchcodec``), need only show the same
frames: their colours are rounded in other ways.

    python benchmarks/decode.py [--rounds 7] [--frames 8] [--shared ../shared/videos] [--place DIR]
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.videos import barcode, make_video
from vlar.media.video.decode import read_clip, read_windows
from vlar.media.video.sample import frame_times, windows
from vlar.types import Clip

SAME_GREY = 8.0  # mean grey levels; neighbouring frames of a scene differ by more
PLAIN = "sequential PyAV"
Reader = Callable[[Path, np.ndarray], np.ndarray]


def scene(size: tuple[int, int]) -> Callable[[int], np.ndarray]:
    """Texture that moves over a barcode: costs a decoder about what a filmed scene does."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 120, (size[1] // 4 + 1, size[0] // 4 + 1, 3), dtype=np.uint8)
    texture = coarse.repeat(4, 0).repeat(4, 1)[: size[1], : size[0]]

    def draw(number: int) -> np.ndarray:
        grain = rng.integers(0, 16, (size[1], size[0], 1), dtype=np.uint8)
        moved = np.roll(texture, (2 * number, 3 * number), (0, 1))
        return barcode(number, *size) // 8 * 4 + moved + grain

    return draw


PLANS = {
    "320x240 h264 GOP 250, 10 s": ("a.mp4", (320, 240), "libx264", 250, 250),
    "340x256 h264 GOP 12, 10 s": ("b.mp4", (340, 256), "libx264", 250, 12),
    "320x240 mpeg4 avi, 10 s": ("c.avi", (320, 240), "mpeg4", 250, 12),
    "720p h264 GOP 12, 10 s": ("d.mp4", (1280, 720), "libx264", 250, 12),
    "720p h264 GOP 250, 10 s": ("e.mp4", (1280, 720), "libx264", 250, 250),
    "360p VP9, 5 s": ("f.webm", (640, 360), "libvpx-vp9", 125, 128),
}


def made(folder: Path, titles: Iterable[str] = PLANS) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for title in titles:
        name, size, codec, n_frames, gop = PLANS[title]
        preset = {"preset": "medium", "crf": "26"} if codec == "libx264" else {}
        files[title] = folder / name
        if files[title].exists():
            continue
        make_video(
            folder / name,
            n_frames,
            size=size,
            codec=codec,
            gop=gop,
            b_frames=0 if codec == "mpeg4" else 3,
            options=preset,
            picture=scene(size),
        )
    return files


def sequential(path: Path, times_s: np.ndarray) -> np.ndarray:
    """The plain script: decode all, keep the frame on screen at each time."""
    kept: list[np.ndarray] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        last = zero = None
        for frame in container.decode(stream):
            zero = frame.pts if zero is None else zero
            time_s = float((frame.pts - zero) * stream.time_base)
            while len(kept) < len(times_s) and times_s[len(kept)] + 1e-6 < time_s and last:
                kept.append(last.to_ndarray(format="rgb24"))
            last = frame
        while len(kept) < len(times_s):
            kept.append(last.to_ndarray(format="rgb24"))
    return np.stack(kept)


def opencv(path: Path, times_s: np.ndarray) -> np.ndarray:
    """Every frame is decoded, those that are wanted are converted."""
    import cv2

    one_thread = [cv2.CAP_PROP_N_THREADS, 1]
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, one_thread)
    wanted = np.floor(times_s * video.get(cv2.CAP_PROP_FPS) + 1e-3).astype(int)
    kept: list[np.ndarray] = []
    for number in range(int(wanted[-1]) + 1):
        if not video.grab():
            break
        if number in wanted:
            frame = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB)
            kept += [frame] * int((wanted == number).sum())
    return np.stack(kept)


def decord(path: Path, times_s: np.ndarray) -> np.ndarray:
    """Read by the numbers of frames, of which the library seeks to the key frames."""
    from decord import VideoReader

    video = VideoReader(str(path), num_threads=1)
    numbers = np.floor(times_s * video.get_avg_fps() + 1e-3).astype(int)
    return video.get_batch(np.minimum(numbers, len(video) - 1)).asnumpy()


def torchcodec(path: Path, times_s: np.ndarray) -> np.ndarray:
    """Read by times, with an exact index of the file."""
    from torchcodec.decoders import VideoDecoder

    video = VideoDecoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC")
    return video.get_frames_played_at(times_s.tolist()).data.numpy()


def all_readers() -> dict[str, Reader]:
    """vlar, the plain script, and the libraries that import here."""
    found: dict[str, Reader] = {"vlar": vlar, PLAIN: sequential}
    for module, reader in (("cv2", opencv), ("decord", decord), ("torchcodec", torchcodec)):
        try:
            importlib.import_module(module)
        except (ImportError, OSError, RuntimeError) as error:
            print(f"{module} does not import: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        found[reader.__name__] = reader
    return found


def is_plain(path: Path) -> bool:
    """Return whether the file is plain: of an AVI with frames out of order the script picks wrong
    ones.
    """
    with av.open(str(path)) as container:
        return path.suffix != ".avi" or not container.streams.video[0].codec_context.has_b_frames


def cpu_ms(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return (time.process_time() - start) * 1e3, result


def vlar(path: Path, times_s: np.ndarray) -> np.ndarray:
    """The whole clip."""
    clip = read_clip(path, None, len(times_s))
    assert isinstance(clip, Clip)
    return clip.data


def measured(
    files: list[Path], readers: dict[str, Reader], rounds: int, n_frames: int = 8
) -> tuple[dict[str, list[float]], set[str]]:
    """Mean CPU ms a clip of each reader in each round, and readers with other frames than vlar."""
    spent: dict[str, list[float]] = {name: [0.0] * rounds for name in readers}
    strange: set[str] = set()
    spans = {path: read_clip(path).window for path in files}
    for turn in range(rounds):
        for path in files:
            times_s = frame_times(spans[path], n_frames)
            right = vlar(path, times_s)
            for name, reader in readers.items():
                took, data = cpu_ms(lambda r=reader, p=path, t=times_s: r(p, t))
                spent[name][turn] += took / len(files)
                if not is_same(data, right, exactly=name == PLAIN):
                    strange.add(name)
    return spent, strange


def compare(title: str, files: list[Path], readers: dict[str, Reader], options: Any) -> None:
    """Print a line: CPU ms of vlar, and how many times that each of the others takes."""
    spent, strange = measured(files, readers, options.rounds, options.frames)
    ratios = [
        f"{name} {median(a / b for a, b in zip(taken, spent['vlar'], strict=True)):5.2f}x"
        f"{' OTHER FRAMES' if name in strange else ''}"
        for name, taken in spent.items()
        if name != "vlar"
    ]
    print(f"{title:32s} {median(spent['vlar']):8.1f}  {'  '.join(ratios)}", flush=True)


def is_same(data: np.ndarray, right: np.ndarray, exactly: bool) -> bool:
    if exactly or data.shape != right.shape:
        return np.array_equal(data, right)
    return bool((np.abs(data.astype(np.int16) - right).mean(axis=(1, 2, 3)) < SAME_GREY).all())


def dense_windows(path: Path, rounds: int, n_frames: int) -> None:
    """4 s windows every 2 s, in one pass, against one read_clip a window."""
    spans = windows(read_clip(path).window.end_s, 4.0, 2.0)
    one_pass, apart = [], []
    for _ in range(rounds):
        one_pass.append(cpu_ms(lambda: list(read_windows(path, spans, n_frames)))[0])
        apart.append(cpu_ms(lambda: [read_clip(path, span, n_frames) for span in spans])[0])
    print(
        f"\n{len(spans)} overlapping windows of the GOP 12 720p clip: one pass "
        f"{median(one_pass):.0f} ms, one call each {median(apart):.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared/videos")
    parser.add_argument("--place", type=Path, help="folder that keeps the made videos")
    parser.add_argument("--only", default="", help="videos whose title holds this")
    options = parser.parse_args()
    readers = all_readers()
    print(f"{f'{options.frames} frames of a clip':32s}  vlar ms  times that of the others")
    with tempfile.TemporaryDirectory() as name:
        place = options.place or Path(name)
        place.mkdir(exist_ok=True)
        files = made(place)
        for title, path in files.items():
            if options.only in title:
                compare(title, [path], readers, options)
        for suffix in (".mp4", ".avi"):
            real = [p for p in sorted(options.shared.rglob(f"*{suffix}"))[::10] if is_plain(p)]
            title = f"{len(real)} real {suffix} clips"
            if real and options.only in title:
                compare(title, real, readers, options)
        if not options.only:
            dense_windows(files["720p h264 GOP 12, 10 s"], 3, options.frames)


if __name__ == "__main__":
    main()
