"""Every registered learner, by the adapters that name it, on a tiny encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import videos
from tests.unit.training.fakes import FakeEncoder
from vlar import registry
from vlar.heads.support import read_support
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore
from vlar.model.method import AdaptTask, Method
from vlar.model.model import Model
from vlar.training.learners import Learner

LEARNERS = registry.names("learner")
METHODS = {name: registry.get("adapter", name).learner for name in registry.names("adapter")}


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("support")
    for label, value in (("red bar", 250), ("green bar", 5)):
        (folder / label).mkdir()
        for i in range(2):
            picture = np.full((48, 64, 3), 90, np.uint8)
            picture[10 + 5 * i : 30, 10:40] = (value, 255 - value, 60)
            videos.make_video(folder / label / f"{i}.mp4", 8, picture=lambda _, p=picture: p)
    return folder


@pytest.mark.parametrize("name", LEARNERS)
def test_it_is_a_learner_that_some_adapter_names(name: str):
    assert issubclass(registry.get("learner", name), Learner)
    assert name in METHODS.values()


@pytest.mark.parametrize("method", METHODS)
def test_every_adapter_names_a_learner_that_exists(method: str):
    assert METHODS[method] in LEARNERS


@pytest.mark.parametrize("name", [name for name in LEARNERS if METHODS.get("temporal") == name])
def test_it_gives_a_core_and_a_head_and_leaves_the_given_core(name: str, support: Path):
    found = read_support(support)
    core = ModelCore(FakeEncoder())
    calls: list[tuple[int, int | None]] = []

    def progress(count: int = 0, total: int | None = None) -> None:
        calls.append((count, total))

    settings = {"width": 16, "heads": 2, "components": 4, "blocks": ["look"]}
    method = Method.of("temporal", settings=settings)
    task = AdaptTask(method, found, list(found.items), seed=1, progress=progress)
    learner = registry.get("learner", name)()
    adapted, again = (learner.fit(core, task) for _ in range(2))
    assert isinstance(adapted, Adapted)
    assert adapted.head.labels == ("green bar", "red bar")
    assert adapted.report.training is not None
    assert core.encoder.fingerprint == "fake-1"
    assert adapted.core.fingerprint == again.core.fingerprint != core.fingerprint
    assert calls[0][1] == 4  # the examples to read
    totals = [total for _, total in calls if total is not None]
    assert len(calls) > 20  # step by step
    assert totals[1] > 4  # clips that go through training steps
    model = Model.of(adapted)
    answer = model.classify(support / "red bar" / "0.mp4")
    assert 0 <= answer.unknown_probability <= 1
