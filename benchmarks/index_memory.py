"""Growth of memory with the length of a video or the number of clips, and cost of fp16.

Peak resident memory of indexing one video of 10 seconds, 2 minutes and 2 hours, same picture size,
each in its own process. The cheap encoder shares frames between windows, as real ones do.

    python benchmarks/index_memory.py                    # a cheap encoder: everything but the model
    python benchmarks/index_memory.py --encoder lite --minutes 2 30
    python benchmarks/index_memory.py --clips 100 2000     # ``classify`` of as many clips
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


def cheap_encoder() -> Any:
    """Deterministic vectors as wide as those of ``lite``, for next to nothing."""
    import numpy as np

    from vlar.encoders.base import Block, Encoder, FrameBlock, Preprocess
    from vlar.encoders.session import FrameMemory, Session
    from vlar.types import Encoded

    width = 1000

    class Sharing(Session):
        batch_bytes = 1

        def __init__(self, encoder: Encoder) -> None:
            super().__init__(encoder.encode)
            self._memory = FrameMemory[Any]()

        def encode(self, clips: Any) -> Any:
            return [self._one(clip) for clip in clips]

        def _one(self, clip: Any) -> Encoded:
            seen = self._memory.look_up(clip, range(len(clip.data)))
            for each in seen:
                if each.result is None:
                    coarse = np.resize(each.pixels.mean(axis=(0, 2)), width) + 1
                    each.result = coarse.astype(np.float32)
            features = np.stack([each.result for each in seen])
            mean = features.mean(axis=0)
            return Encoded(features, mean / np.linalg.norm(mean))

    class Cheap(Encoder):
        name, fingerprint, n_frames, logit_scale, max_tokens = "fake", "fake-1", 16, 10.0, 64
        dim = frame_dim = width
        blocks = (Block("joint", width, 1.0, True),)
        frame_blocks = (FrameBlock("appearance", width, "appearance"),)
        preprocess = Preprocess(224, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

        def encode(self, clips: Any) -> Any:
            return [row for clip in clips for row in self.session().encode([clip])]

        def session(self, *, features: bool = True) -> Session:
            return Sharing(self)

        def encode_text(self, texts: Any) -> Any:
            rows = [np.random.default_rng(len(text)).normal(size=width) for text in texts]
            found = np.asarray(rows, np.float32).reshape(-1, width)
            return found / np.linalg.norm(found, axis=1, keepdims=True)

        def count_tokens(self, text: str) -> int:
            return len(text.split())

    return Cheap()


def model_of(encoder: str) -> Any:
    """The cheap model, or the one that a name loads."""
    from vlar.model.model import Model, load

    return Model(cheap_encoder()) if encoder == "fake" else load(encoder)


def classify_child(encoder: str, video: str, clips: str) -> None:
    """Classify a video over and over and print the peak memory of this process."""
    begin = time.process_time()
    many = (video for _ in range(int(clips)))
    answers = model_of(encoder).classify(many, ["walking", "riding a bike", "cooking"])
    count = sum(1 for _ in answers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    cpu_s = time.process_time() - begin
    print(json.dumps({"peak_bytes": peak, "rows": count, "cpu_s": cpu_s}))


def child(encoder: str, library: str, video: str) -> None:
    """Index one video and print the peak memory of this process."""
    from vlar.library.library import Library

    begin = time.process_time()
    with Library(library, model_of(encoder)) as opened:
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


def lengthen(minute: Path, path: Path, minutes: float) -> None:
    """Repeat a minute, or take a part of it, without coding it again."""
    import av

    with av.open(str(path), "w") as out:
        target = None
        for number in range(max(1, round(minutes))):
            with av.open(str(minute)) as source:
                stream = source.streams.video[0]
                target = target or out.add_stream_from_template(stream)
                offset = int(number * BASE_S / stream.time_base)
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts * stream.time_base >= 60 * minutes:
                        continue
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = target
                    out.mux(packet)


def measure(encoder: str, minutes: list[float], clips: list[int]) -> int:
    """Print one line a length, and one a number of clips."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        make_minute(root / "minute.mp4")
        runs: list[tuple[float, list[str]]] = [
            (count, ["--classify", encoder, str(root / "clip.mp4"), str(count)]) for count in clips
        ]
        if clips:
            lengthen(root / "minute.mp4", root / "clip.mp4", 2 / 60)
        for length in [] if clips else minutes:
            video = root / f"{length}.mp4"
            lengthen(root / "minute.mp4", video, length)
            runs.append((length, ["--child", encoder, str(root / f"{length}.vlar"), str(video)]))
        what = "clips" if clips else "minutes"
        print(f"encoder {encoder}, {SIZE[0]}x{SIZE[1]}")
        print(f"{what:>7}   rows  peak MB  ratio  CPU s")
        first = 0
        for length, arguments in runs:
            done = subprocess.run(
                [sys.executable, __file__, *arguments], capture_output=True, text=True, check=True
            )
            row = json.loads(done.stdout.splitlines()[-1])
            first = first or row["peak_bytes"]
            print(
                f"{length:7.4g}  {row['rows']:5}  {row['peak_bytes'] / 1e6:7.1f}  "
                f"{row['peak_bytes'] / first:5.3f}  {row['cpu_s']:5.1f}",
                flush=True,
            )
    return 0


def precision(folder: str) -> int:
    """Encode the videos of a library again in memory and compare fp32 with what is stored."""
    import numpy as np

    from vlar.language.bank import load_bank
    from vlar.library.manifest import LibraryManifest
    from vlar.library.store.sqlite import SqliteStore
    from vlar.media.video.decode import read_windows
    from vlar.media.video.sample import windows
    from vlar.model.model import load
    from vlar.types import Clip

    store = SqliteStore.open_to_read(Path(folder))
    assert store is not None
    manifest = LibraryManifest.read(store.meta(), Path(folder))
    assert manifest is not None
    model, cut = load(manifest.model), manifest.spec
    full: list[Any] = []
    for row in store.videos():
        spans = windows(row.duration_s, cut.window_s, cut.stride_s)
        for clip in read_windows(row.path, spans, cut.n_frames, shorter_side=cut.shorter_side):
            if isinstance(clip, Clip):
                full.append(model.words.encode([clip])[0].vector)
    exact = np.stack(full)
    stored = exact.astype(np.float16).astype(np.float32)
    queries = model.words.encode_queries(load_bank("everyday_actions").texts)
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
    parser.add_argument("--minutes", type=float, nargs="+", default=[1 / 6, 2, 120])
    parser.add_argument("--clips", type=int, nargs="+", default=[], help="classify, not index")
    parser.add_argument("--precision", metavar="LIBRARY", help="compare fp16 with fp32 instead")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--classify", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return 0
    if options.classify:
        classify_child(*options.classify)
        return 0
    if options.precision:
        return precision(options.precision)
    return measure(options.encoder, options.minutes, options.clips)


if __name__ == "__main__":
    sys.exit(main())
