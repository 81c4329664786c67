"""What does it cost to read 8 frames of a clip? CPU time against plain sequential decoding.

Rounds of both readers alternate, so that a busy machine slows both alike; the table gives the
median CPU milliseconds of each and their ratio. Both end in (8, H, W, 3) RGB arrays that are
compared and must be equal.

    python benchmarks/decode.py [--rounds 7] [--shared ../shared/videos]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.videos import barcode, make_video
from vlar.types import Clip
from vlar.video import frame_times, read_clip, read_windows, windows

N_FRAMES = 8


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


def made(folder: Path) -> dict[str, Path]:
    plans = {
        "320x240 h264 GOP 250, 10 s": ("a.mp4", (320, 240), "libx264", 250, 250),
        "340x256 h264 GOP 12, 10 s": ("b.mp4", (340, 256), "libx264", 250, 12),
        "320x240 mpeg4 avi, 10 s": ("c.avi", (320, 240), "mpeg4", 250, 12),
        "720p h264 GOP 12, 10 s": ("d.mp4", (1280, 720), "libx264", 250, 12),
        "720p h264 GOP 250, 10 s": ("e.mp4", (1280, 720), "libx264", 250, 250),
        "360p VP9, 5 s": ("f.webm", (640, 360), "libvpx-vp9", 125, 128),
    }
    files: dict[str, Path] = {}
    for title, (name, size, codec, n_frames, gop) in plans.items():
        preset = {"preset": "medium", "crf": "26"} if codec == "libx264" else {}
        files[title] = make_video(
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


def is_plain(path: Path) -> bool:
    """Not an AVI with frames out of order: of those the plain script picks wrong frames."""
    with av.open(str(path)) as container:
        return path.suffix != ".avi" or not container.streams.video[0].codec_context.has_b_frames


def cpu_ms(work: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    result = work()
    return (time.process_time() - start) * 1e3, result


def measured(files: list[Path], rounds: int) -> tuple[list[float], list[float], bool]:
    """Mean CPU ms a clip of both readers in each round, and whether all frames are equal."""
    plain: list[float] = []
    ours: list[float] = []
    equal = True
    spans = {path: read_clip(path).window for path in files}
    for _ in range(rounds):
        a_ms = b_ms = 0.0
        for path in files:
            times_s = frame_times(spans[path], N_FRAMES)
            spent, reference = cpu_ms(lambda p=path, t=times_s: sequential(p, t))
            a_ms += spent
            spent, clip = cpu_ms(lambda p=path: read_clip(p, None, N_FRAMES))
            b_ms += spent
            assert isinstance(clip, Clip)
            equal = equal and np.array_equal(clip.data, reference)
        plain.append(a_ms / len(files))
        ours.append(b_ms / len(files))
    return plain, ours, equal


def compare(title: str, files: list[Path], rounds: int) -> None:
    plain, ours, equal = measured(files, rounds)
    ratio = median(a / b for a, b in zip(plain, ours, strict=True))
    print(
        f"{title:34s} {median(plain):11.1f} {median(ours):9.1f} {ratio:7.2f}x  "
        f"{'equal' if equal else 'DIFFERENT'}"
    )


def dense_windows(path: Path, rounds: int) -> None:
    """4 s windows every 2 s, in one pass, against one read_clip a window."""
    spans = windows(read_clip(path).window.end_s, 4.0, 2.0)
    one_pass, apart = [], []
    for _ in range(rounds):
        one_pass.append(cpu_ms(lambda: list(read_windows(path, spans, N_FRAMES)))[0])
        apart.append(cpu_ms(lambda: [read_clip(path, span, N_FRAMES) for span in spans])[0])
    print(
        f"\n{len(spans)} overlapping windows of the GOP 12 720p clip: one pass "
        f"{median(one_pass):.0f} ms, one call each {median(apart):.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared/videos")
    arguments = parser.parse_args()
    print(f"{'clip':34s} {'plain ms':>11s} {'vlar ms':>9s} {'ratio':>8s}")
    with tempfile.TemporaryDirectory() as name:
        files = made(Path(name))
        for title, path in files.items():
            compare(title, [path], arguments.rounds)
        for suffix in (".mp4", ".avi"):
            real = [p for p in sorted(arguments.shared.rglob(f"*{suffix}"))[::10] if is_plain(p)]
            if real:
                compare(f"{len(real)} real {suffix} clips", real, max(3, arguments.rounds // 2))
        dense_windows(files["720p h264 GOP 12, 10 s"], 3)


if __name__ == "__main__":
    main()
