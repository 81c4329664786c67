"""Does the memory of ``Library.add`` grow with the length of a video? And what does fp16 cost?

Peak resident memory of indexing one video of 2 minutes, 30 minutes and 2 hours, same picture size,
each in its own process.

    python benchmarks/index_memory.py                    # a cheap encoder: everything but the model
    python benchmarks/index_memory.py --encoder lite --minutes 2 30
    python benchmarks/index_memory.py --precision LIBRARY  # order of answers, fp16 against fp32
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZE = (320, 240)
FPS = 10
BASE_S = 60


class FakeModel:
    """Cheap, deterministic vectors, as wide as those of ``lite``."""

    name, fingerprint, dim, n_frames, shorter_side = "fake", "fake-1", 1000, 16, 448
    modality = "video"

    def encode(self, clips: Any) -> Any:
        import numpy as np

        from vlar.types import Encoded

        coarse = [np.resize(c.data.mean(axis=(1, 3)), self.dim) + 1 for c in clips]
        rows = [(v / np.linalg.norm(v)).astype(np.float32) for v in coarse]
        return [Encoded(row[None], row) for row in rows]


def child(encoder: str, library: str, video: str) -> None:
    """Index one video and print the peak memory of this process."""
    from vlar.library import Library

    begin = time.process_time()
    with Library(library, FakeModel() if encoder == "fake" else encoder) as opened:  # type: ignore
        report = opened.add(video)
    assert report.added == 1, report.failed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    cpu_s = time.process_time() - begin
    print(json.dumps({"peak_bytes": peak, "rows": report.rows, "cpu_s": cpu_s}))


def make_minute(path: Path) -> None:
    """One minute of moving blocks, H.264."""
    import av
    import numpy as np

    draw = np.random.default_rng(0)
    picture = draw.integers(0, 256, (15, 20, 3)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
        for number in range(BASE_S * FPS):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 3 * number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def lengthen(minute: Path, path: Path, minutes: int) -> None:
    """Repeat a minute without coding it again."""
    import av

    with av.open(str(path), "w") as out:
        target = None
        for number in range(minutes):
            with av.open(str(minute)) as source:
                stream = source.streams.video[0]
                target = target or out.add_stream_from_template(stream)
                offset = int(number * BASE_S / stream.time_base)
                for packet in source.demux(stream):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = target
                    out.mux(packet)


def measure(encoder: str, minutes: list[int]) -> int:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        make_minute(root / "minute.mp4")
        print(f"encoder {encoder}, {SIZE[0]}x{SIZE[1]}\nminutes   rows  peak MB  ratio  CPU s")
        first = 0
        for length in minutes:
            video = root / f"{length}.mp4"
            lengthen(root / "minute.mp4", video, length)
            arguments = ["--child", encoder, str(root / f"{length}.vlar"), str(video)]
            done = subprocess.run(
                [sys.executable, __file__, *arguments], capture_output=True, text=True, check=True
            )
            row = json.loads(done.stdout.splitlines()[-1])
            first = first or row["peak_bytes"]
            print(
                f"{length:7}  {row['rows']:5}  {row['peak_bytes'] / 1e6:7.1f}  "
                f"{row['peak_bytes'] / first:5.3f}  {row['cpu_s']:5.1f}",
                flush=True,
            )
    return 0


def precision(folder: str) -> int:
    """Encode the videos of a library again in memory and compare fp32 with what is stored."""
    import numpy as np

    from vlar.index.manifest import LibraryManifest
    from vlar.index.store.database import Store
    from vlar.model.model import load
    from vlar.text.bank import load_bank
    from vlar.types import Clip
    from vlar.video import read_windows, windows

    store = Store.open_to_read(Path(folder))
    assert store is not None
    manifest = LibraryManifest.read(store.meta(), Path(folder))
    assert manifest is not None
    model, cut = load(manifest.model), manifest.spec
    full: list[Any] = []
    for row in store.videos():
        spans = windows(row.duration_s, cut.window_s, cut.stride_s)
        for clip in read_windows(row.path, spans, cut.n_frames, shorter_side=cut.shorter_side):
            if isinstance(clip, Clip):
                full.append(model.encode([clip])[0].vector)
    exact = np.stack(full)
    stored = exact.astype(np.float16).astype(np.float32)
    queries = model.encode_queries(load_bank("everyday_actions").texts)
    one, other = exact @ queries.T, stored @ queries.T
    top_one, top_other = np.argsort(-one, 0), np.argsort(-other, 0)
    pairs = zip(top_one[:10].T, top_other[:10].T, strict=True)
    same10 = np.mean([len(set(a) & set(b)) / 10 for a, b in pairs])
    print(f"{len(exact)} rows, {queries.shape[0]} queries")
    print(f"largest change of a similarity  {np.abs(one - other).max():.2e}")
    print(f"same best row                   {(top_one[0] == top_other[0]).mean():.4f}")
    print(f"recall@10                       {same10:.4f}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encoder", default="fake", help="'fake', or a model of the command line")
    parser.add_argument("--minutes", type=int, nargs="+", default=[2, 30, 120])
    parser.add_argument("--precision", metavar="LIBRARY", help="compare fp16 with fp32 instead")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return 0
    if options.precision:
        return precision(options.precision)
    return measure(options.encoder, options.minutes)


if __name__ == "__main__":
    sys.exit(main())
