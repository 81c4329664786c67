"""``vlar train`` and trained methods of ``vlar adapt``, in one process and in two."""

from __future__ import annotations

import json
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

CONFIG = """
method = "temporal"
train = "short"
out = "{out}"
save_every = 1
[training]
epochs = 12
warmup_epochs = 2
batch = 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips that tell left from right, and short ones: enough where a training is only killed."""
    folder = tmp_path_factory.mktemp("train")
    for label, direction in (("left", -1), ("right", 1)):
        for name in ("support", "short"):
            (folder / name / label).mkdir(parents=True)
        for i in range(3):
            draw = moving_bar(direction)
            picture = lambda index, draw=draw, i=i: draw(index + 7 * i)  # noqa: E731
            videos.make_video(folder / "support" / label / f"{i}.mp4", 10, picture=picture)
            videos.make_video(folder / "short" / label / f"{i}.mp4", 2, picture=picture)
    for out in ("whole", "killed"):
        (folder / f"{out}.toml").write_text(CONFIG.format(out=out))
    return folder


def newest(steps: Path) -> int:
    return max((int(path.stem[5:]) for path in steps.glob("step-*.pt")), default=0)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(vlar_command, folder: Path):
    done = vlar_command("train", folder / "whole.toml", "--json", timeout_s=300)
    assert done.code == 0
    assert [row["epoch"] for row in done.rows[:-1]] == list(range(1, 13))
    for stop in (1, 6):
        process = subprocess.Popen(
            [str(COMMAND), "train", str(folder / "killed.toml")], stderr=subprocess.DEVNULL
        )
        while process.poll() is None and newest(folder / "killed.training" / "steps") < stop:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    again = vlar_command("train", folder / "killed.toml", timeout_s=300)
    assert again.code == 0
    assert "resuming at step" in again.err
    assert not (folder / "killed.training").exists()
    one, other = (load_file(folder / out / "adapter.safetensors") for out in ("whole", "killed"))
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array, err_msg=name)


@pytest.mark.slow
def test_what_was_trained_classifies(vlar_command, folder: Path):
    done = vlar_command(
        "adapt", folder / "support", "--method", "temporal", "--out", folder / "m", timeout_s=300
    )
    assert done.code == 0, done.err
    assert "learned 2 labels from 6 examples with temporal" in done.out
    assert sorted(path.name for path in (folder / "m").iterdir()) == [
        "adaptation.safetensors",
        "adapter.safetensors",
        "card.md",
        "statistics.safetensors",
        "vlar.json",
    ]
    manifest = json.loads((folder / "m" / "vlar.json").read_text())
    assert manifest["encoder"]["spec"] == "lite"
    assert manifest["adapter"]["name"] == "temporal"
    clip = videos.make_video(folder / "x.mp4", 10, picture=lambda i: moving_bar(1)(i + 4))
    row = vlar_command("classify", clip, "--model", folder / "m", "--json").rows[0]
    assert row["predictions"][0]["label"] == "right"
    total = sum(p["probability"] for p in row["predictions"]) + row["unknown_probability"]
    assert total == pytest.approx(1, abs=1e-4)
    blank = videos.make_blank_video(folder / "blank.mp4")
    assert vlar_command("classify", blank, "--model", folder / "m", "--json").rows[0]["unknown"]


def test_mistakes_are_one_line(vlar_command, folder: Path):
    (folder / "bad.toml").write_text(CONFIG.format(out="bad").replace("epochs", "epoch"))
    done = vlar_command("train", folder / "bad.toml")
    assert done.code == 2
    assert "did you mean 'epochs'" in done.advice
    done = vlar_command("adapt", folder / "support", "--method", "tc-clip", "--out", folder / "no")
    assert done.code == 2
    assert "works inside a ViT" in done.advice
    (folder / "there").mkdir()
    (folder / "there" / "vlar.json").write_text("{}")
    (folder / "there.toml").write_text(CONFIG.format(out="there"))
    done = vlar_command("train", folder / "there.toml")
    assert done.code == 2
    assert "--force" in done.advice


@pytest.mark.slow
def test_clips_without_labels_are_enough(vlar_command, tmp_path: Path):
    free = tmp_path / "free"
    free.mkdir()
    for i in range(4):
        videos.make_video(free / f"{i}.mp4", 6, picture=lambda n, i=i: videos.noise(i))
    (tmp_path / "labels.txt").write_text("archery\nbaking cookies\nriding a bike\n")
    (tmp_path / "captions.csv").write_text("path,caption\nfree/0.mp4,A man runs.\n")
    (tmp_path / "maxi.toml").write_text(
        'method = "temporal"\nunlabelled = "free"\nout = "tuned"\nobjectives = ["maxi"]\n'
        '[objective.maxi]\ndictionary = "labels.txt"\ncaptions = "captions.csv"\n'
        "[training]\nepochs = 3\nwarmup_epochs = 1\n"
    )
    done = vlar_command("train", tmp_path / "maxi.toml", "--json")
    assert done.code == 0, done.err
    assert "maxi: 4 of 4 clips are kept" in done.err or "clips are kept" in done.err
    assert done.rows[-1]["recordings"] == 4
    assert done.rows[0]["losses"]["maxi.bags"] > 0
    asked = ("classify", free / "0.mp4", "--model", tmp_path / "tuned", "--json")
    done = vlar_command(*asked, "--labels", "archery, a cat")
    assert done.code == 0
    assert vlar_command(*asked).code == 2  # it answers about any labels, and has none of its own
    wrong = ("adapt", "--out", tmp_path / "x", "--objective", "maxi")
    done = vlar_command(*wrong)
    assert done.code == 2
    assert "nothing to learn from" in done.advice
    done = vlar_command(*wrong, "--unlabelled", free)
    assert "needs a dictionary of actions" in done.advice
    done = vlar_command("adapt", "--out", tmp_path / "x", "--dictionary", "a, b")
    assert "no objective reads one" in done.advice
    done = vlar_command(*wrong, "--unlabelled", free, "--dictionary", "archery, a cat", "--json")
    assert done.code == 0, done.err
    assert done.rows[-1]["training"]["method"] == "temporal"


#: A weight after 24 steps. Sums are taken in another order, and AdamW divides by their size.
TOLERANCE = 5e-4


TWO_PROCESSES = """
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
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, one of them broken, and the model of one process."""
    from tests.unit.encoders.clip import models

    place = tmp_path_factory.mktemp("processes")
    for label, direction in (("left", -1), ("right", 1)):
        (place / "short" / label).mkdir(parents=True)
        for i in range(4):
            draw = moving_bar(direction)
            picture = lambda index, draw=draw, i=i: draw(index + 7 * i)  # noqa: E731
            videos.make_video(place / "short" / label / f"{i}.mp4", 2, picture=picture)
    (place / "short" / "left" / "9.mp4").write_bytes(b"not a video")
    (place / "clip").mkdir()
    models.save_openclip(place / "clip", models.openclip_config(quick_gelu=True))
    return place


def config(place: Path, out: str, method: str = "temporal", epochs: int = 12) -> Path:
    model = "lite" if method == "temporal" else f"openclip:{place / 'clip'}"
    file = place / f"{out}.toml"
    file.write_text(TWO_PROCESSES.format(method=method, model=model, out=out, epochs=epochs))
    return file


def distance(place: Path, one: str, other: str) -> float:
    found = 0.0
    for name in ("adapter.safetensors", "adaptation.safetensors"):
        a, b = (load_file(place / out / name) for out in (one, other))
        assert a.keys() == b.keys()
        found = max(found, *(float(np.abs(a[k].astype(float) - b[k]).max(initial=0)) for k in a))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("method", ["temporal", "ez-clip"])
def test_two_processes_learn_what_one_does(method: str, place: Path, vlar_command):
    outs = [f"{method}-{how}" for how in ("one", "two", "accelerate", "other")]
    one, two, launched, other = (config(place, out, method, 3) for out in outs)
    assert vlar_command("train", one, timeout_s=300).code == 1  # a clip cannot be read
    done = vlar_command("train", two, "--processes", "2", timeout_s=300)
    assert done.code == 1
    assert done.err.count("9.mp4") == 1, done.err
    assert done.out.count("saved to") == 1
    assert distance(place, *outs[:2]) < TOLERANCE
    assert not (place / f"{outs[1]}.training").exists()
    other.write_text(other.read_text().replace("[training]", "seed = 1\n[training]"))
    assert vlar_command("train", other, timeout_s=300).code == 1
    assert distance(place, outs[0], outs[3]) > 2 * TOLERANCE  # the control: another seed
    if method == "temporal":
        command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
        options = ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
        subprocess.run(
            [*command, *options, "-m", "vlar.training", str(launched)], check=False, timeout=300
        )
        assert distance(place, outs[0], outs[2]) < TOLERANCE


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_killed_process_ends_all_and_another_number_goes_on(
    before: int, after: int, place: Path, vlar_command
):
    if not (place / "whole").exists():
        assert vlar_command("train", config(place, "whole"), timeout_s=300).code == 1
    file, out = config(place, f"cut-{before}"), f"cut-{before}"
    steps = place / f"{out}.training" / "steps"
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
    assert distance(place, "whole", out) < TOLERANCE


@pytest.mark.slow
def test_an_error_of_all_processes_is_told_once(place: Path, vlar_command):
    file = config(place, "wrong")
    file.write_text(file.read_text().replace("epochs", "no_such_key"))
    done = vlar_command("train", file, "--processes", "2", timeout_s=100)
    assert done.code == 2
    assert done.err.count("no_such_key") == 1
    relations = config(place, "hyrsm", "hyrsm")
    relations.write_text(relations.read_text().partition("[training]")[0])
    done = vlar_command("train", relations, "--processes", "2", timeout_s=100)
    assert done.code == 2
    assert done.err.count("runs in one process, and 2 were started") == 1
