"""``vlar train`` in two processes: the weights of one, resumed by more or fewer, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import videos
from tests.e2e.conftest import COMMAND
from tests.e2e.test_adapt import moving_bar
from tests.e2e.test_train import newest

pytestmark = pytest.mark.slow
#: A weight after 24 steps. Sums are taken in another order, and AdamW divides by their size.
TOLERANCE = 5e-4
CONFIG = """
method = "{method}"
model = "{model}"
train = "short"
out = "{out}"
save_every = 1
[training]
epochs = {epochs}
warmup_epochs = 2
batch = 4
micro_batch = 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, one of them broken, and the model of one process."""
    from tests.unit.encoders.clip import models

    folder = tmp_path_factory.mktemp("processes")
    for label, direction in (("left", -1), ("right", 1)):
        (folder / "short" / label).mkdir(parents=True)
        for i in range(4):
            draw = moving_bar(direction)
            picture = lambda index, draw=draw, i=i: draw(index + 7 * i)  # noqa: E731
            videos.make_video(folder / "short" / label / f"{i}.mp4", 2, picture=picture)
    (folder / "short" / "left" / "9.mp4").write_bytes(b"not a video")
    (folder / "clip").mkdir()
    models.save_openclip(folder / "clip", models.openclip_config(quick_gelu=True))
    return folder


def config(folder: Path, out: str, method: str = "temporal", epochs: int = 12) -> Path:
    model = "lite" if method == "temporal" else f"openclip:{folder / 'clip'}"
    file = folder / f"{out}.toml"
    file.write_text(CONFIG.format(method=method, model=model, out=out, epochs=epochs))
    return file


def distance(folder: Path, one: str, other: str) -> float:
    found = 0.0
    for name in ("adapter.safetensors", "adaptation.safetensors"):
        a, b = (load_file(folder / out / name) for out in (one, other))
        assert a.keys() == b.keys()
        found = max(found, *(float(np.abs(a[k].astype(float) - b[k]).max(initial=0)) for k in a))
    return found


@pytest.mark.parametrize("method", ["temporal", "ez-clip"])
def test_two_processes_learn_what_one_does(method: str, folder: Path, vlar_command):
    outs = [f"{method}-{how}" for how in ("one", "two", "accelerate", "other")]
    one, two, launched, other = (config(folder, out, method, 3) for out in outs)
    assert vlar_command("train", one, timeout_s=300).code == 1  # a clip cannot be read
    done = vlar_command("train", two, "--processes", "2", timeout_s=300)
    assert done.code == 1
    assert done.err.count("9.mp4") == 1, done.err
    assert done.out.count("saved to") == 1
    assert distance(folder, *outs[:2]) < TOLERANCE
    assert not (folder / f"{outs[1]}.training").exists()
    other.write_text(other.read_text().replace("[training]", "seed = 1\n[training]"))
    assert vlar_command("train", other, timeout_s=300).code == 1
    assert distance(folder, outs[0], outs[3]) > 2 * TOLERANCE  # the control: another seed
    if method == "temporal":
        command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
        options = ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
        subprocess.run(
            [*command, *options, "-m", "vlar.training", str(launched)], check=False, timeout=300
        )
        assert distance(folder, outs[0], outs[2]) < TOLERANCE


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_killed_process_ends_all_and_another_number_goes_on(
    before: int, after: int, folder: Path, vlar_command
):
    if not (folder / "whole").exists():
        assert vlar_command("train", config(folder, "whole"), timeout_s=300).code == 1
    file, out = config(folder, f"cut-{before}"), f"cut-{before}"
    steps = folder / f"{out}.training" / "steps"
    process = subprocess.Popen(
        [str(COMMAND), "train", str(file), "--processes", str(before)],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while newest(steps) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    ranks = children(process.pid) if before > 1 else [process.pid]
    os.kill(ranks[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    if before > 1:
        assert process.returncode == 2
        lines = [line for line in err.splitlines() if "signal 9" in line or "process" in line]
        assert len(lines) == 1, err
        assert "process 2 of 2 was ended by signal 9" in lines[0]
        assert "Traceback" not in err
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
    stopped = newest(steps)
    assert 3 <= stopped < 24
    done = vlar_command("train", file, "--processes", str(after), "-v", timeout_s=300)
    assert done.code == 1
    assert f"resuming at step {stopped} of 24" in done.err
    assert distance(folder, "whole", out) < TOLERANCE


def test_an_error_of_all_processes_is_told_once(folder: Path, vlar_command):
    file = config(folder, "wrong")
    file.write_text(file.read_text().replace("epochs", "no_such_key"))
    done = vlar_command("train", file, "--processes", "2", timeout_s=100)
    assert done.code == 2
    assert done.err.count("no_such_key") == 1
    relations = config(folder, "hyrsm", "hyrsm")
    relations.write_text(relations.read_text().partition("[training]")[0])
    done = vlar_command("train", relations, "--processes", "2", timeout_s=100)
    assert done.code == 2
    assert done.err.count("runs in one process, and 2 were started") == 1
