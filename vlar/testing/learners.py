"""The contract of a learner, as a check: it learns two labels from four small videos."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlar import registry
from vlar.heads.support import read_support
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore
from vlar.model.method import AdaptTask, Method
from vlar.model.model import Model
from vlar.testing.contract import name_of, registered, run
from vlar.testing.material import SmallEncoder
from vlar.training.learners import Learner

_TEMPORAL = {"width": 16, "heads": 2, "components": 4, "blocks": ["look"], "epochs": 20}


@dataclass
class LearnerMaterial:
    """A learner and what it is asked for.

    Attributes:
        name: Registered name.
        cls: Its class.
        method: The adapter that it learns.
        settings: Settings of the adapter, the recipe and the learner.
        support: Folder of the examples.
    """

    name: str
    cls: type[Learner]
    method: str
    settings: dict[str, Any]
    support: Path


def check_learner(
    part: Any, *, method: str | None = None, settings: Mapping[str, Any] | None = None
) -> None:
    """Try a learner on four videos of two labels.

    Args:
        part: The learner: a class, or a registered name.
        method: The adapter that it learns, on frame features of pictures; default ``temporal``
            where that names this learner, else the learner learns nothing here.
        settings: Settings of the adapter, the recipe and the learner; default small ones.

    Raises:
        AssertionError: it breaks the contract of ``vlar.training.learners.Learner``.
    """
    part = registry.get("learner", part) if isinstance(part, str) else part
    cls: type[Learner] = part if isinstance(part, type) else type(part)
    name = name_of("learner", cls)
    temporal = registry.get("adapter", "temporal")
    tried = method or ("temporal" if name == temporal.learner else "")
    rows = dict(settings) if settings is not None else dict(_TEMPORAL)
    with tempfile.TemporaryDirectory() as folder, registered("learner", name, cls):
        from vlar.testing.trainables import support_of_videos  # it imports torch

        material = LearnerMaterial(name, cls, tried, rows, Path(folder) / "support")
        run("learner", name, (_class,), material)
        if tried:
            (support_of_videos(material.support) / "red bar" / "broken.mp4").unlink()
            (material.support / "parts.csv").unlink()
            run("learner", name, (_fit,), material)


def _class(m: LearnerMaterial) -> None:
    """A learner is a Learner with a docstring that is made without arguments."""
    assert issubclass(m.cls, Learner)
    assert m.cls.__doc__
    task = AdaptTask(Method.of(m.method or registry.get("adapter", "temporal").method))
    assert isinstance(m.cls.of(task)[0], m.cls)


def _fit(m: LearnerMaterial) -> None:
    """A core and a head of the labels come back, the same again, and the first core stays."""
    support = read_support(m.support)
    core = ModelCore(SmallEncoder())
    calls: list[tuple[int, int | None]] = []

    def progress(count: int = 0, total: int | None = None) -> None:
        calls.append((count, total))

    method = Method.of(m.method, settings=m.settings, learner=m.name)
    task = AdaptTask(method, support, list(support.items), seed=1, progress=progress)
    fits: list[Adapted] = []
    for _ in range(2):
        learner, task_rest = m.cls.of(task)
        fits.append(learner.fit(core, task_rest))
    adapted, again = fits
    assert isinstance(adapted, Adapted)
    assert adapted.head is not None
    assert adapted.head.labels == ("green bar", "red bar")
    assert adapted.report.training is not None
    assert core.encoder.fingerprint == SmallEncoder.fingerprint
    assert adapted.core.fingerprint == again.core.fingerprint != core.fingerprint
    assert calls[0][1] == 4  # the examples to read
    totals = [total for _, total in calls if total is not None]
    assert len(calls) > 20, f"{len(calls)} reports of progress"  # step by step
    assert totals[1] > 4  # clips that go through training steps
    answer = Model.of(adapted).classify(m.support / "red bar" / "0.mp4")
    assert 0 <= answer.unknown_probability <= 1
