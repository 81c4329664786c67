"""``federated``: clients train an adapter apart and send weights; a server averages what they send.

FSAR, Guo et al., "Federated skeleton-based action recognition with adaptive topology structure and
knowledge distillation", ICCV 2023, on any adapter that reads frame features. Class texts are the
head, so clients may lack labels.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from vlar.adapters.settings import setting
from vlar.errors import UsageError
from vlar.heads.support import SupportItem, cell
from vlar.methods.federated.averaging import average, proximal, split_state
from vlar.methods.federated.private import LowRank, add_private, keyed, plain_state
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore
from vlar.model.examples import read_complete
from vlar.model.method import AdaptTask
from vlar.registry import register
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader, random_for
from vlar.training.fit import FitOptions, answers
from vlar.training.learners import Learner
from vlar.training.loop import Training, buffers
from vlar.training.objectives import Objective, ObjectiveSet, Step
from vlar.training.task import TrainingTask
from vlar.training.towers import ResidualTower
from vlar.training.trainable import Trainable
from vlar.types import Float32

_log = logging.getLogger("vlar")
SHARED = "shared."
_DRAWN, _CLIENTS = 6, 9  # clients of a draw, and what the draw is for


@register("learner", "federated", status="null here")
@dataclass(frozen=True)
class Federated(Learner):
    """Rounds of local trainings and averages; the model has the shared weights.

    A client begins a round with the weights it receives and an optimiser of its own. The rate
    follows the recipe's schedule over all ``rounds * local_epochs`` epochs.

    Attributes:
        clients: ``by:COLUMN`` of the support set, or ``dirichlet:ALPHA``: six clients whose shares
            of each label are drawn, the more uneven the smaller ALPHA.
        rounds: Rounds.
        local_epochs: Epochs of each client in a round.
        proximal: mu of the squared distance to the received weights (FedProx).
        private: Rank of what each client adds to the learned graphs, else to the last map, and
            keeps; 0 for none.
        distil: Weight of the squared distance of the first block's features to those that the
            received block gives.
        words: Weight of the divergence from the answers of the frozen encoder.
        strategy: ``average``, or a strategy of Flower such as ``FedMedian`` (extra ``fed``).
        keep: The client whose private part the model has; empty for the shared weights alone.
    """

    from_labels: ClassVar[bool] = False
    clients: str = "by:site"
    rounds: int = setting(10, at_least=1)
    local_epochs: int = setting(2, at_least=1)
    proximal: float = setting(0.0, at_least=0)
    private: int = setting(0, at_least=0, at_most=64)
    distil: float = setting(0.0, at_least=0)
    words: float = setting(0.0, at_least=0)
    strategy: str = "average"
    keep: str = ""

    def fit(self, core: ModelCore, task: AdaptTask) -> Adapted:
        """Train over the clients of a support set.

        Raises:
            SupportError: a label is left without any clip that can be read.
            UsageError: clients cannot be told apart, one sends what is not weights of the method,
                there are unlabelled clips, or the method reads pixels.
        """
        support = task.support
        if support is None or task.unlabelled:
            raise UsageError(
                "clients of a federation learn from labelled clips; give a support "
                "set, and no unlabelled clips"
            )
        plan = TrainingTask.of(core.encoder, task)
        groups = self.groups(task.items, task.seed)  # before clips are read
        examples = read_complete(plan.reading(core), support, task.items, task.progress)
        example_groups = self.groups(examples.items, task.seed)
        for name, rows in groups.items():
            if not example_groups.get(name):
                why = f"none of its {len(rows)} clips can be read" if rows else "it has no example"
                _log.warning("client %r is left out: %s", name, why)
        dataset = Dataset.of(support.labels, examples.items)
        training = Federation(self, plan, dataset, examples.features, example_groups).run()
        options = FitOptions(unknown=task.unknown, balance=task.balance)
        return answers(plan, training, support, examples, options)

    def groups(self, items: Sequence[SupportItem], seed: int) -> dict[str, list[int]]:
        """Numbers of the examples of each client, by name; a drawn client may have none.

        Raises:
            UsageError: the setting is neither form, the column is missing, or a cell is empty.
        """
        form, _, value = self.clients.partition(":")
        if form == "dirichlet" and value.replace(".", "", 1).isdecimal() and float(value) > 0:
            return _drawn([item.label for item in items], float(value), seed)
        if form != "by" or not value:
            raise UsageError(
                f"clients is {self.clients!r}; write by:COLUMN, such as by:site, or "
                "dirichlet:ALPHA, such as dirichlet:0.1"
            )
        groups: dict[str, list[int]] = {}
        for row, item in enumerate(items):
            name = cell(item, value)
            if not name:
                lacks = "no column" if name is None else "an empty cell in column"
                raise UsageError(
                    f"{item.path}: its table has {lacks} {value!r}, which names the "
                    "client of each clip; fill it in"
                )
            groups.setdefault(name, []).append(row)
        return dict(sorted(groups.items()))


def _drawn(y: Sequence[str], alpha: float, seed: int) -> dict[str, list[int]]:
    """Examples of each label divided by shares from a symmetric Dirichlet distribution."""
    groups: dict[str, list[int]] = {f"drawn {n + 1}": [] for n in range(_DRAWN)}
    for number, label in enumerate(sorted(set(y))):
        random = random_for(seed, _CLIENTS, number)
        rows = random.permutation([row for row, clip_label in enumerate(y) if clip_label == label])
        ends = np.cumsum(random.dirichlet([alpha] * _DRAWN))[:-1] * len(rows)
        for rows_of_group, part in zip(
            groups.values(), np.split(rows, ends.round().astype(int)), strict=True
        ):
            rows_of_group.extend(part.tolist())
    return {name: sorted(rows) for name, rows in groups.items()}


class Federation:
    """Clients that train in turn in one adapter; private parts lie in a temporary folder.

    Args:
        how: Settings.
        task: The method around the frozen encoder, which all clients have.
        dataset: n examples of all clients.
        features: (n, T, F) their frame features.
        clients: Numbers of the examples of each client; one without any is left out.

    Attributes:
        sizes: Examples of each client.
        first: Weights of the first message; each message has as many bytes.

    Raises:
        UsageError: the method reads pixels, clips show several labels, or no client is ``keep``.
    """

    def __init__(
        self,
        how: Federated,
        task: TrainingTask,
        dataset: Dataset,
        features: Float32,
        clients: Mapping[str, Sequence[int]],
    ) -> None:
        self.how, self.task, self.dataset = how, task, dataset
        self.clients = {name: list(rows) for name, rows in clients.items() if rows}
        self.sizes = [len(rows) for rows in self.clients.values()]
        self.adapter = adapter = self._start()
        tower = isinstance(adapter, ResidualTower)
        if adapter.reads != "features" or (not tower and (how.words or how.private)):
            what = "is not a tower" if adapter.reads == "features" else "reads pixels"
            raise UsageError(
                f"method {task.method!r} {what}, which 'federated' does not train so; "
                "use a tower on frame features, such as temporal"
            )
        dataset.targets.require_single("learner 'federated'")
        if how.keep and how.keep not in self.clients:
            raise UsageError(f"keep is {how.keep!r}; the clients are {', '.join(self.clients)}")
        self.numbers = task.numbers.replaced(epochs=how.rounds * how.local_epochs)
        # Directions of inputs come from one client, and go to all with the first weights.
        adapter.fit_inputs(features[max(self.clients.values(), key=len)])
        self.inputs = adapter.training_inputs(features)
        if how.private:
            add_private(adapter.module, how.private, task.seed)
        tracked = [*adapter.trainable(), *buffers(adapter.module)]
        self.start = {name: tensor.detach().clone() for name, tensor in tracked}
        self.first, kept_state = split_state({keyed(n): t for n, t in self.start.items()}, SHARED)
        self._place = tempfile.TemporaryDirectory(prefix="vlar-")
        self._files = {name: Path(self._place.name, f"{n}") for n, name in enumerate(self.clients)}
        for file in self._files.values():
            save_file(kept_state, file)

    def _start(self) -> Any:
        """The adapter with the labels of all clients."""
        adapter = self.task.attach()
        assert isinstance(adapter, Trainable)
        adapter.read_label_parts(*self.dataset.label_parts())
        adapter.training_classes(self.dataset.texts)
        return adapter

    def _training(self, client: str, received: Mapping[str, Tensor], number: int) -> Training:
        """The training of a client before a round, with received weights and its private part."""
        rows = self.clients[client]
        part = self.dataset.part(rows)
        loader = FeatureLoader(self.inputs[rows], part.paths, self.adapter.input_widths)
        training = Training(
            self.adapter,
            loader,
            part,
            self.numbers,
            seed=self.task.seed,
            objectives=ObjectiveSet(self.task.objectives),
        )
        state = {**received, **load_file(self._files[client])}
        training.put({name: state[keyed(name)] for name in self.start})
        training.start = self.start
        training.step = number * self.how.local_epochs * training.steps_per_epoch
        return training

    def train(self, client: str, received: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
        """Weights that a client sends after round ``number``, from 0; its private part stays."""
        how, training = self.how, self._training(client, received, number)
        pull = Pull(how, training, received) if how.proximal or how.distil or how.words else None
        if pull is not None:
            training.objectives.parts = {Pull.name: pull, **training.objectives.parts}
        training.advance(how.local_epochs * training.steps_per_epoch)
        if pull is not None:
            pull.hook.remove()
        if number == how.rounds - 1:
            training.finish()
        state = {keyed(name): tensor for name, tensor in training.parameters().items()}
        sent, kept_state = split_state(state, SHARED)
        save_file(kept_state, self._files[client])
        return sent

    def run(self) -> Training:
        """All rounds; then as ``merged`` for the client of the settings.

        Raises:
            UsageError: a client sends what cannot be averaged, or Flower lacks the strategy.
        """
        if self.how.strategy != "average":
            from vlar.methods.federated.flower import run

            self.last = run(self, self.how.strategy)
            return self.merged(self.how.keep)
        self.last = self.first
        for number in range(self.how.rounds):
            sent = (self.train(name, self.last, number) for name in self.clients)
            self.last = average(sent, self.sizes, list(self.clients))
        return self.merged(self.how.keep)

    def merged(self, client: str = "") -> Training:
        """A training at its end whose adapter has the last weights, and a client's part if any."""
        training: Any = self._training(client or min(self.clients), self.last, self.how.rounds)
        training.adapter = training.method = self._start()
        training.adapter.load_state_dict(plain_state(self.adapter.module, used=bool(client)))
        return training


class Pull(Objective):
    """Terms that hold a client to the federation: squared distances, and the frozen answers."""

    name: ClassVar[str] = "federated"

    def __init__(self, how: Federated, training: Training, received: Mapping[str, Tensor]) -> None:
        self.how, self.received, self.method = how, received, training.method
        named = {keyed(name): weight for name, weight in training.named}
        self.shared, _ = split_state(named, SHARED)
        block = first_block(training.adapter.module)
        self.frozen = copy.deepcopy(block)
        for part in self.frozen.modules():
            if isinstance(part, LowRank):
                nn.init.zeros_(part.gamma)
        self.hook = block.register_forward_hook(self._note)
        self.texts = training.dataset.texts

    def _note(self, block: nn.Module, inputs: Any, output: Any) -> None:
        self.seen = inputs, output

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The weighted terms of the settings."""
        how, losses = self.how, dict[str, Tensor]()
        if how.proximal:
            losses["proximal"] = proximal(self.shared, self.received, how.proximal)
        if how.distil:
            inputs, ours = self.seen
            with torch.no_grad():
                theirs = self.frozen(*inputs)
            one, two = (out[0] if isinstance(out, tuple) else out for out in (ours, theirs))
            losses["block"] = how.distil * F.mse_loss(one, two)
        if how.words:
            assert isinstance(self.method, ResidualTower)
            texts = torch.from_numpy(self.method.label_vectors(self.texts))
            vectors = self.method.split_inputs(step.batch.inputs)[1][:, 0]
            frozen = (self.method.logit_scale * vectors @ texts.T).softmax(dim=1)
            log_shares = step.output.logits.log_softmax(dim=1)
            losses["words"] = how.words * F.kl_div(log_shares, frozen, reduction="batchmean")
        return losses


def first_block(module: nn.Module) -> nn.Module:
    """The first block of a network: of its first list of several, else its first layer."""
    for part in module.modules():
        if isinstance(part, (nn.ModuleList, nn.Sequential)) and len(part) > 1:
            return part[0]
    return next(m for m in module.modules() if m is not module and [*m.parameters(recurse=False)])
