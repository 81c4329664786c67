"""``log`` of a training: a tracker of accelerate by its name, and a line where it is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accelerate.tracking
import pytest
from accelerate.tracking import GeneralTracker
from accelerate.utils import LoggerType

from tests.refusals import refused
from vlar.errors import TrainingError, UnknownNameError, UsageError
from vlar.training.config import TrainConfig
from vlar.training.progress import Epoch
from vlar.training.run import RunCallbacks, _on_epoch, run

SENT: list[tuple[str, Any]] = []


class Recorder(GeneralTracker):
    """Stands in for a tracker whose package is not installed."""

    name = "wandb"
    requires_logging_directory = False

    def __init__(self, project: str, **_: Any) -> None:
        super().__init__()
        SENT.append(("project", project))

    @property
    def tracker(self) -> Any:
        return self

    def start(self) -> None:
        """Nothing to connect to."""

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        SENT.append(("settings", values))

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        SENT.append((f"step {step}", values))

    def finish(self) -> None:
        SENT.append(("finish", None))


class Broken(Recorder):
    def start(self) -> None:
        raise OSError("no account")


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    numbers = {"epochs": 2, "warmup_epochs": 1, "batch": 4}
    return TrainConfig(
        method="lora", train=tmp_path, out=tmp_path / "mine", training=numbers, log="wandb"
    )


def stand_in(monkeypatch: pytest.MonkeyPatch, tracker: type) -> None:
    SENT.clear()
    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", lambda: [LoggerType.WANDB])
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "wandb", tracker)


def epochs(config: TrainConfig) -> list[Epoch]:
    """Reported as by a training."""
    reported: list[Epoch] = []
    progress = RunCallbacks(epoch=lambda epoch, _: reported.append(epoch))
    on_epoch = _on_epoch(config, config.out, progress)
    for number in (1, 2):
        on_epoch(Epoch(number, {"total": 1 / number, "ce": 0.5}, {"accuracy": 0.25}, 1e-3))
    return reported


def test_a_tracker_is_sent_settings_and_curves(config: TrainConfig, monkeypatch: Any):
    stand_in(monkeypatch, Recorder)
    assert [epoch.number for epoch in epochs(config)] == [1, 2]
    assert [name for name, _ in SENT] == ["project", "settings", "step 1", "step 2", "finish"]
    settings = SENT[1][1]
    assert (settings["method"], settings["epochs"], settings["batch"]) == ("lora", 2, 4)
    rows = [values for _, values in SENT[2:4]]
    assert [row["loss/total"] for row in rows] == [1.0, 0.5]
    assert rows[0] == {"loss/total": 1.0, "loss/ce": 0.5, "accuracy": 0.25, "learning_rate": 1e-3}


def test_without_one_nothing_is_sent(config: TrainConfig, monkeypatch: Any):
    stand_in(monkeypatch, Recorder)
    assert len(epochs(config.model_copy(update={"log": "none"}))) == 2
    assert not SENT


def test_a_tracker_that_does_not_start_stops_the_run_in_a_line(
    config: TrainConfig, monkeypatch: Any
):
    stand_in(monkeypatch, Broken)
    refused(TrainingError, r"log = 'wandb' does not start \(no account\)", epochs, config)


def test_names_are_checked_before_anything_is_read(config: TrainConfig, monkeypatch: Any):
    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", list)
    refused(UsageError, "pip install wandb", run, config)
    wrong = config.model_copy(update={"log": "tensorbord"})
    refused(UnknownNameError, "did you mean 'tensorboard'", run, wrong)
