"""A training that is killed at random steps and goes on, next to one that was not killed.

A process trains the temporal adapter on made-up clips through ``vlar train`` and is killed
(SIGKILL) after a random time, again and again, until it gets through; its weights are compared bit
by bit with those of an undisturbed run.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np

CONFIG = """
method = "temporal"
model = "lite"
train = "clips"
out = "{out}"
save_every = 1
[training]
epochs = {epochs}
batch = 6
warmup_epochs = 2
"""


def trained(folder: Path, kills: int, epochs: int, seed: int = 0) -> list[int]:
    """Train undisturbed (``whole``) and killed again and again (``killed``); gives the steps."""
    make_clips(folder / "clips")
    for out in ("whole", "killed"):
        (folder / f"{out}.toml").write_text(CONFIG.format(out=out, epochs=epochs))
    command(folder / "whole.toml").wait()
    return kill_and_go_on(folder, kills, epochs, seed)


def make_clips(folder: Path) -> None:
    """Six clips of two labels: a bar that moves left or right."""
    for label, direction in (("left", -1), ("right", 1)):
        (folder / label).mkdir(parents=True)
        for number in range(3):
            with av.open(str(folder / label / f"{number}.mp4"), "w") as file:
                stream = file.add_stream("libx264", rate=10)
                stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
                for index in range(12):
                    picture = np.full((64, 96, 3), 90, np.uint8)
                    begin = (20 + 7 * number + direction * 4 * index) % 84
                    picture[20:50, begin : begin + 12] = (230, 210, 60)
                    file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                file.mux(stream.encode())


def command(config: Path) -> subprocess.Popen[bytes]:
    """``vlar train`` in a process of its own."""
    call = [sys.executable, "-c", "from vlar.apps.cli import main; main()", "train", str(config)]
    return subprocess.Popen(call, stdout=subprocess.DEVNULL)


def kill_and_go_on(folder: Path, kills: int, epochs: int, seed: int) -> list[int]:
    """Kill at random steps, then let it finish; gives the steps."""
    random = np.random.default_rng(seed)
    steps = folder / "killed.training" / "steps"
    stops = sorted(random.choice(np.arange(1, epochs), kills, replace=False).tolist())
    reached: list[int] = []
    for stop in stops:
        process = command(folder / "killed.toml")
        while process.poll() is None and newest(steps) < stop:
            time.sleep(0.002)
        process.kill()
        process.wait()
        reached.append(newest(steps))
    command(folder / "killed.toml").wait()
    return reached


def newest(folder: Path) -> int:
    """The step of the newest checkpoint; 0 where there is none."""
    found = [int(path.stem[5:]) for path in folder.glob("step-*.pt")]
    return max(found, default=0)


def compare(one: Path, other: Path) -> tuple[bool, int]:
    """Return whether two saved adapters are equal bit by bit, and the number of their arrays."""
    from safetensors.numpy import load_file

    a, b = (load_file(folder / "adapter.safetensors") for folder in (one, other))
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a), len(a)
