"""Folders that a training leaves, and those that a kill after its end must not leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kills.training import make_clips
from tests.refusals import refused
from vlar.errors import ModelError
from vlar.training import run as module
from vlar.training.config import TrainConfig


@pytest.mark.parametrize(("finished", "age_s"), [(True, 0), (False, 0), (True, 60)])
def test_steps_of_a_saved_model_go_and_others_stay(tmp_path: Path, finished: bool, age_s: int):
    config = TrainConfig(method="temporal", train=tmp_path, out=tmp_path / "model")
    work = tmp_path / "model.training"
    (work / "steps").mkdir(parents=True)
    (work / "steps" / "step-00000001.pt").touch()
    if finished:
        (work / "finished").touch()
    config.out.mkdir()
    (config.out / "vlar.json").touch()
    time_s = (config.out / "vlar.json").stat().st_mtime - age_s  # of an older model
    os.utime(config.out / "vlar.json", (time_s, time_s))
    refused(ModelError, "already holds a model", module.run, config)
    assert work.exists() == (not finished or age_s > 0)


@pytest.mark.slow  # loads lite and trains
def test_a_kill_after_the_model_was_saved_leaves_nothing_after_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_clips(tmp_path / "clips")
    config = TrainConfig(
        method="temporal", train=tmp_path / "clips", out=tmp_path / "model", model="lite",
        training={"epochs": 1, "batch": 6},
    )  # fmt: skip

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_clean", killed)
        with pytest.raises(KeyboardInterrupt):
            module.run(config)
    assert (tmp_path / "model.training").exists()
    refused(ModelError, "already holds a model", module.run, config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "model"]
