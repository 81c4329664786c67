"""``attack``: how often a small malicious change of its inputs fools a trained tower."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from vlar import registry
from vlar.errors import ProtocolError
from vlar.evaluation.attacks.base import Surrogate, acceleration, attack, bone_drift
from vlar.evaluation.features import check_no_empty_class
from vlar.evaluation.protocols.base import Plan, Protocol, Run, RunSplit, chance, check_counts
from vlar.heads.support import SupportItem
from vlar.metrics.figures import Figure, mean_figure
from vlar.model.core import ModelCore
from vlar.model.method import AdaptTask, Method
from vlar.registry import register
from vlar.training.batches import Dataset
from vlar.training.frame_inputs import JointInputs, joint_inputs
from vlar.training.fusion_weights import train_on
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask
from vlar.training.towers import ResidualTower
from vlar.types import Float32, JsonDict

if TYPE_CHECKING:
    import numpy.typing as npt

_CHUNK = 32  # clips that are attacked at once


@register("protocol", "attack")
class AttackRobustness(Protocol):
    """Answers that change when the inputs of a tower are attacked by the gradients of another one.

    Both learn from the training clips, and answer by the texts of the labels next to the vector of
    the frozen encoder, which stays, or by a class head alone (``readout = "classes"`` among the
    settings of a tower). What is moved are the inputs of a frame: of a tower of joints the places
    of seen joints, in lengths of the trunk. Controls that must fail: noise of equal norm, and
    ``eps`` 0. Settings: ``method`` and its ``settings``, ``surrogate`` and
    ``surrogate_settings``, ``names`` (None for all attacks), ``eps`` (a list), ``steps``, ``clips``
    (most that are attacked), ``recipe``, ``seed``.
    """

    name = "attack"
    needs = ("train",)
    defaults: ClassVar[JsonDict] = {
        "method": "skeleton-tower",
        "settings": {},
        "surrogate": "skeleton-tower",
        "surrogate_settings": {},
        "names": None,
        "eps": [0.01],
        "steps": 20,
        "clips": 200,
        "recipe": None,
        "seed": 0,
    }

    def check(self, plan: Plan) -> None:
        settings = plan.settings
        names = _names(settings)
        for name in names:
            registry.get("attack", name)
        for eps in _listed(settings["eps"]):
            if not isinstance(eps, int | float) or not (math.isfinite(eps) and eps >= 0):
                raise ProtocolError(f"eps is {eps!r}; give 0 or more, in the unit of the inputs")
        check_counts(settings, "steps", "clips")
        _check_tower(settings["method"], "the attacked inputs are those of a tower")
        if _needs_surrogate(settings):
            offer = 'it gives no gradients; name a tower, or set names = ["no-box"]'
            _check_tower(settings["surrogate"], offer)
        for part in plan.parts:
            check_no_empty_class(part.train, part.labels, "training")
        plan.counts["conditions"] = len(names) * len(_listed(settings["eps"]))

    def of_split(self, run: Run, part: RunSplit) -> list[Figure]:
        settings, guard = run.settings, run.guard(part.test)
        run.label_texts[f"{len(part.labels)} labels"] = list(part.labels)
        learned = guard.fit_set(part.train.items).items
        drawn = np.random.default_rng(settings["seed"]).permutation(len(part.test.items))
        attacked = [part.test.items[n] for n in sorted(drawn[: settings["clips"]].tolist())]
        victim = _Trained.of(run, part, learned, "method", "settings", settings["seed"])
        features, items = _features(run, victim.adapter, attacked)
        inputs = _Inputs.of(victim.adapter, features)
        truth = np.array([part.labels.index(item.label) for item in items])
        groups = [item.group for item in items]
        before = victim.answers(inputs, inputs.x)
        figures = [mean_figure("top1", before == truth, groups)]
        figures += chance(truth, len(part.labels), len(truth))
        surrogate = None
        if _needs_surrogate(settings):
            surrogate = _Trained.of(
                run, part, learned, "surrogate", "surrogate_settings", settings["seed"] + 1
            )
            other = _Inputs.of(surrogate.adapter, _features(run, surrogate.adapter, items)[0])
            if other.x.shape != inputs.x.shape or not torch.equal(other.small, inputs.small):
                raise ProtocolError(
                    f"{settings['surrogate']!r} and {settings['method']!r} read other inputs; "
                    "give both the same layout, people and normalise"
                )
            right = surrogate.answers(inputs, inputs.x) == truth
            figures.append(mean_figure("top1", right, groups).of(model="surrogate"))
        for name in _names(settings):
            for eps in _listed(settings["eps"]):
                moved = _attacked(surrogate, inputs, truth, name, eps, settings)
                measured = _measured(victim, surrogate, inputs, moved, before, truth, groups)
                figures += [row.of(attack=name, eps=eps) for row in measured]
        return figures


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _names(settings: JsonDict) -> list[str]:
    return _listed(settings["names"] or registry.names("attack"))


def _needs_surrogate(settings: JsonDict) -> bool:
    return any(registry.get("attack", name).needs_loss for name in _names(settings))


def _check_tower(method: str, says: str) -> None:
    adapters = registry.names("adapter")
    if method not in adapters or not issubclass(registry.get("adapter", method), ResidualTower):
        raise ProtocolError(f"method {method!r} is not a tower on frame features: {says}")


@dataclass(frozen=True)
class _Trained:
    """A trained tower, its concepts (C, D), and the inputs and labels (L,) that it learned from."""

    adapter: ResidualTower
    words: Tensor
    learned: _Inputs
    y: Tensor

    @staticmethod
    def of(
        run: Run, part: RunSplit, items: Sequence[SupportItem], method: str, given: str, seed: int
    ) -> _Trained:
        how = Method.of(
            run.settings[method], settings=run.settings[given], recipe=run.settings["recipe"]
        )
        task = TrainingTask.of(run.core.encoder, AdaptTask(how, seed=seed))
        features, read_items = _features(run, task.attach(), items)
        dataset = Dataset.of(part.labels, read_items)
        training = train_on(task, dataset, FeatureSource(features))[0]
        adapter: Any = training.method
        adapter.module.eval().requires_grad_(False)
        adapter.refresh()
        with torch.no_grad():
            words = adapter.network.concepts(training.classes)
        y = torch.tensor([part.labels.index(item.label) for item in read_items])
        return _Trained(adapter, words, _Inputs.of(adapter, features), y)

    def raised(self, inputs: _Inputs, x: Tensor, rows: slice) -> Tensor:
        """Logits (n, C) of changed inputs of some clips, with gradients."""
        network, joined = self.adapter.network, inputs.joined(x, rows)
        if getattr(self.adapter.config, "readout", "") == "classes":  # the sum of the shares
            return network.read(joined).scores.log_softmax(dim=2).logsumexp(dim=0)
        residual = network.residual(joined)
        vectors = F.normalize(inputs.pooled[rows] + residual, dim=-1)
        return self.adapter.logit_scale * vectors @ self.words.T

    def logits(self, inputs: _Inputs, x: Tensor) -> Tensor:
        """Logits (N, C) without gradients."""
        with torch.no_grad():
            parts = [self.raised(inputs, x[rows], rows) for rows in _chunks(len(x))]
        return torch.cat(parts)

    def answers(self, inputs: _Inputs, x: Tensor) -> npt.NDArray[np.int64]:
        """(N,) columns of the answers."""
        return self.logits(inputs, x).argmax(dim=1).numpy()


@dataclass(frozen=True)
class _Inputs:
    """Inputs of N clips: what is attacked, NaN where nothing may move, and the rest.

    Attributes:
        small: (N, T, K) as the tower reads them.
        pooled: (N, D) vectors of the frozen encoder.
        x: (N, T, M, V, 3) places of joints, or ``small`` itself.
        joints: What ``small`` holds; None where it is not joints.
    """

    small: Tensor
    pooled: Tensor
    x: Tensor
    joints: JointInputs | None

    @staticmethod
    def of(adapter: ResidualTower, features: Float32) -> _Inputs:
        small = torch.from_numpy(adapter.small(features))
        pooled, joints = torch.from_numpy(adapter.pooled(features)), joint_inputs(adapter)
        if joints is None:
            return _Inputs(small, pooled, small, None)
        places = small.unflatten(-1, joints.shape)
        x = torch.where(places[..., 3:] > 0, places[..., :3], torch.nan)
        return _Inputs(small, pooled, x, joints)

    def joined(self, x: Tensor, rows: slice) -> Tensor:
        """Changed inputs (n, T, K) of some clips."""
        if self.joints is None:
            return x
        bones = self.small[rows].unflatten(-1, self.joints.shape)[..., 3:]
        return torch.cat([x.nan_to_num(), bones], dim=-1).flatten(-3)


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]


def _features(
    run: Run, adapter: Any, items: Sequence[SupportItem]
) -> tuple[Float32, Sequence[SupportItem]]:
    """Frame features (N, T, F) that a tower reads, of the clips that can be read."""
    clips = run.encoded(ModelCore(adapter.source), items)
    if not clips.items:
        raise ProtocolError(f"none of the {len(items)} clips can be read; check them: vlar check")
    return np.stack([row.features for row in clips.encoded]), clips.items


def _attacked(
    surrogate: _Trained | None,
    inputs: _Inputs,
    truth: npt.NDArray[np.int64],
    name: str,
    eps: float,
    settings: JsonDict,
) -> Tensor:
    how: JsonDict = {"eps": eps, "steps": settings["steps"], "seed": settings["seed"]}
    if surrogate is None or not registry.get("attack", name).needs_loss:
        return attack(name, None, inputs.x, **how)
    learned = surrogate.logits(surrogate.learned, surrogate.learned.x), surrogate.y
    batches: list[Tensor] = []
    for rows in _chunks(len(inputs.x)):

        def logits(x: Tensor, rows: slice = rows, by: _Trained = surrogate) -> Tensor:
            return by.raised(inputs, x, rows)

        loss = Surrogate(logits, torch.from_numpy(truth[rows]), learned)
        batches.append(attack(name, loss, inputs.x[rows], **how))
    return torch.cat(batches)


def _measured(
    victim: _Trained,
    surrogate: _Trained | None,
    inputs: _Inputs,
    moved: Tensor,
    before: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int64],
    groups: Sequence[str],
) -> list[Figure]:
    """Figures of one attack, and of noise that is as long in each clip."""
    away = (moved - inputs.x).nan_to_num().flatten(1)
    numbers = inputs.x.isfinite().flatten(1).sum(dim=1).clamp_min(1)
    size = (away.norm(dim=1) / numbers.sqrt()).reshape(-1, *(1,) * (inputs.x.ndim - 1))
    signs = torch.randint(0, 2, inputs.x.shape, generator=torch.Generator().manual_seed(0))
    noisy = inputs.x + size * (2 * signs - 1)
    figures: list[Figure] = []
    right: list[int] = np.flatnonzero(before == truth).tolist()
    for under, x in ((None, moved), ("noise", noisy)):
        after = victim.answers(inputs, x)
        rows = [mean_figure("fooling", before != after, groups)]
        if len(right):
            lost, groups_right = after[right] != truth[right], [groups[row] for row in right]
            rows.append(mean_figure("right to wrong", lost, groups_right))
        if inputs.joints is not None:
            a, b = inputs.x.numpy(), x.numpy()
            rows.append(Figure("bone drift", bone_drift(a, b, inputs.joints.layout), n=len(a)))
            jerk = acceleration(a.swapaxes(0, 1), b.swapaxes(0, 1))
            rows.append(Figure("acceleration", jerk, n=len(a)))
        figures += [row.of(under=under) for row in rows]
    if surrogate is not None:
        same = surrogate.answers(inputs, inputs.x) == surrogate.answers(inputs, moved)
        figures.append(mean_figure("fooling", ~same, groups).of(model="surrogate"))
    return figures
