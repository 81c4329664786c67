"""CPU time of ``vlar index add``, next to the time of its networks alone, and to another checkout.

    vlar models get lite-motion
    python benchmarks/index_add.py --videos DIR [--long DIR] [--other CHECKOUT] [--rounds 3]
    python benchmarks/index_add.py --videos DIR --every 25 --profile

short  40 clips: every tenth of the manifest of ``--videos``, each a recording of its own
long   one recording of ``--minutes``: the videos below ``--long``, one after the other, scaled to
       one size and repeated; or the recording itself

Every arm runs in its own process on one thread, in turn. ``networks`` is the CPU time inside the
runtime's calls, measured in the same run: no encoder can take less for the frames it encodes.
``ratio`` is the CPU time of a run over that, and ``with decoders`` counts the worker process that
decodes too. With ``--other`` (a checkout of another version) the script also prints how many times
less this one takes. ``--profile`` prints where the time goes: each part without those inside it.
"""

from __future__ import annotations

import argparse
import csv
import functools
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

SIZE, FPS, BASE_S = (400, 300), 25, 120
HERE = Path(__file__).resolve().parent.parent


NETWORKS = "networks"
# Parts of an ``add``; the time of a part is without that of the parts it calls.
PARTS = (
    (NETWORKS, "onnxruntime", "InferenceSession.run"),
    ("resizing: objects", "vlar.encoders.lite.towers", "_pixels"),
    ("resizing: bodies", "vlar.pose.networks", "sample"),
    ("resizing: camera", "vlar.pose.features", "small_picture"),
    ("camera: flow", "vlar.pose.features", "optical_flow"),
    ("camera: fit", "vlar.pose.features", "steps_of_flow"),
    ("bodies: tracks", "vlar.pose.track", "PoseTracker.extend"),
    ("bodies: attributes", "vlar.encoders.lite.body", "motion_vector"),
    ("bodies: windows", "vlar.pose.features", "PoseStream.features"),
    ("frames that windows share", "vlar.encoders.session", "FrameMemory.look_up"),
    ("encoder, all else", "vlar.encoders.lite.encoder", "LiteSession.encode"),
    ("loading the model", "vlar.library.model_provider", "load_on"),
    ("hashing", "vlar.library.ingest.reader", "content_hash"),
    ("frames from the decoder", "vlar.files.workers.process", "unpacked"),
    ("writing and bookkeeping", "vlar.library.ingest.writer", "_Run.file"),
)
DECODERS = "decoding (workers)"


class Shares:
    """CPU time of named functions, each without that of the others inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._of_thread = threading.local()

    def watch(self, name: str, module: str, path: str) -> None:
        """Time a function from now on; versions that lack it count it elsewhere."""
        *owners, last = path.split(".")
        try:
            owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
            setattr(owner, last, self._timed(name, getattr(owner, last)))
        except (ImportError, AttributeError):
            print(f"not watched: {module}.{path}", file=sys.stderr)

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*given: Any, **more: Any) -> Any:
            inside = self._of_thread.__dict__.setdefault("inside", [])
            inside.append(0.0)
            begin = time.thread_time()
            try:
                return function(*given, **more)
            finally:
                took = time.thread_time() - begin
                own = took - inside.pop()
                self.seconds[name] = self.seconds.get(name, 0.0) + own
                if inside:
                    inside[-1] += took

        return timed


def child(library: str, files: list[str], profile: bool) -> None:
    """Index files and print what it took."""
    shares = Shares()
    for part in PARTS if profile else PARTS[:1]:
        shares.watch(*part)
    from vlar.library.library import Library

    start = time.process_time()
    with Library(library, "lite") as opened:
        report = opened.add(files)
    total = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    row = {"rows": report.rows, "total": total, "peak_mb": peak, "failed": len(report.failed)}
    row |= {DECODERS: workers.ru_utime + workers.ru_stime, "start": start, **shares.seconds}
    print(json.dumps(row | {"all else": total - start - sum(shares.seconds.values())}))


def short_clips(videos: Path, every: int) -> list[Path]:
    """Clips of the manifest, evenly spread over it."""
    with (videos / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return [videos / row["path"] for row in list(csv.DictReader(stream))[::every]]


def long_video(folder: Path, path: Path, minutes: float) -> None:
    """Two minutes of the videos of a folder, and repeats of them, in one stream."""
    import av

    sources = sorted(folder.rglob("*.mp4"))
    with tempfile.TemporaryDirectory() as place:
        base = Path(place) / "base.mp4"
        share, coded = int(BASE_S * FPS / len(sources)), 0
        with av.open(str(base), "w") as out:
            stream = out.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
            (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
            for source in sources:
                with av.open(str(source)) as opened:
                    for number, frame in enumerate(opened.decode(video=0)):
                        if number == share:
                            break
                        scaled = frame.reformat(*SIZE, format="yuv420p")
                        scaled.pts, scaled.time_base = coded, Fraction(1, FPS)
                        coded += 1
                        out.mux(stream.encode(scaled))
            out.mux(stream.encode())
        repeat(base, path, minutes * 60)


def repeat(base: Path, path: Path, seconds: float) -> None:
    """Packets of a video over and over, without coding them again."""
    import av

    with av.open(str(path), "w") as out:
        target, shift_s = None, 0.0
        while shift_s < seconds:
            with av.open(str(base)) as source:
                stream = source.streams.video[0]
                target = target or out.add_stream_from_template(stream)
                unit = float(stream.time_base)
                length_s = float(stream.duration * unit)
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts * unit + shift_s >= seconds:
                        continue
                    packet.pts += round(shift_s / unit)
                    packet.dts += round(shift_s / unit)
                    packet.stream = target
                    out.mux(packet)
            shift_s += length_s


def run(checkout: Path, files: list[Path], profile: bool) -> dict[str, float]:
    """One arm: the files indexed by the code of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled once
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, __file__, "--child", f"{place}/l.vlar", *map(str, files)]
        command += ["--profile"] if profile else []
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def compare(
    name: str, files: list[Path], arms: dict[str, Path], rounds: int, profile: bool
) -> None:
    """Print one line an arm, medians over the rounds, and its parts where they are asked for."""
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, checkout in arms.items():
            found[arm].append(run(checkout, files, profile))
    middle = {
        arm: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for arm, rows in found.items()
    }
    for arm, row in middle.items():
        gain = middle["other"]["total"] / row["total"] if "other" in middle else 1.0
        base = row[NETWORKS]
        print(
            f"{name:6} {arm:6} rows {row['rows']:5.0f}  cpu s {row['total']:7.1f}  networks "
            f"{base:7.1f}  ratio {row['total'] / base:5.3f}  with decoders "
            f"{(row['total'] + row[DECODERS]) / base:5.3f}  less than other {gain:5.3f}x  "
            f"peak MB {row['peak_mb']:6.1f}  unreadable {row['failed']:.0f}",
            flush=True,
        )
    if profile:
        names = dict.fromkeys([DECODERS, "start", *(part[0] for part in PARTS), "all else"])
        print(f"{'CPU s, share of the networks':28}" + "".join(f"{arm:>20}" for arm in middle))
        for part in names:
            cells = ((row.get(part, 0.0), row[NETWORKS]) for row in middle.values())
            shown = (f"{own:12.2f} {own / base:7.1%}" for own, base in cells)
            print(f"{part:28}" + "".join(shown), flush=True)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--videos", type=Path, help="folder with manifest.csv")
    parser.add_argument("--long", type=Path, help="folder of longer videos, or one recording")
    parser.add_argument("--write", type=Path, help="only write the recording of --long here")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--other", type=Path, help="a checkout of another version")
    parser.add_argument("--every", type=int, default=10, help="every which clip of --videos")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.child[1:], options.profile)
        return 0
    if options.write:
        long_video(options.long, options.write, options.minutes)
        return 0
    arms = {"other": options.other} if options.other else {}
    arms["this"] = HERE
    how = options.rounds, options.profile
    if options.videos:
        compare("short", short_clips(options.videos, options.every), arms, *how)
    if options.long and options.long.is_file():
        compare("long", [options.long], arms, *how)
    elif options.long:
        with tempfile.TemporaryDirectory() as place:
            video = Path(place) / "long.mp4"
            long_video(options.long, video, options.minutes)
            compare("long", [video], arms, *how)
    return 0


if __name__ == "__main__":
    sys.exit(main())
