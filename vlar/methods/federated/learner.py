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
from vlar.adapters.towers import ResidualTower
from vlar.adapters.trainable import Trainable
from vlar.errors import UsageError
from vlar.heads.support import SupportItem, cell
from vlar.methods.federated.averaging import average, proximal, split_state
from vlar.methods.federated.private import LowRank, add_private, keyed, plain_state
from vlar.model.adapt import Adapted
from vlar.model.core import ModelCore
from vlar.model.examples import read_complete
from vlar.model.requests import AdaptRequest
from vlar.registry import register
from vlar.training.batches import Dataset
from vlar.training.data import FeatureLoader, random_for
from vlar.training.fit import FitOptions, answers
from vlar.training.learners import Learner
from vlar.training.loop import Training, buffers
from vlar.training.objectives import Objective, ObjectiveSet, Step
from vlar.training.task import TrainingTask
from vlar.types import Float32

_log = logging.getLogger("vlar")
BY, DIRICHLET = "by:", "dirichlet:"
SHARED = "shared."
_DRAWN_CLIENTS = 6
_CLIENTS = 9  # what a draw is for


@register("learner", "federated", status="in the spirit")
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

    clients: str = "by:site"
    rounds: int = setting(10, at_least=1)
    local_epochs: int = setting(2, at_least=1)
    proximal: float = setting(0.0, at_least=0)
    private: int = setting(0, at_least=0, at_most=64)
    distil: float = setting(0.0, at_least=0)
    words: float = setting(0.0, at_least=0)
    strategy: str = "average"
    keep: str = ""

    def fit(self, core: ModelCore, request: AdaptRequest) -> Adapted:
        """Train over the clients of a support set.

        Raises:
            SupportError: a label is left without any clip that can be read.
            UsageError: clients cannot be told apart, one sends what is not weights of the method,
                there are unlabelled clips, or the method reads pixels.
        """
        if request.support is None or request.unlabelled:
            raise UsageError(
                "clients of a federation have labelled clips alone; give a support set, and leave "
                "unlabelled clips out"
            )
        task = TrainingTask.of_request(core.encoder, request)
        self.groups(request.items, request.seed)  # a wrong column is found before clips are read
        reading = task.reading(core)
        examples = read_complete(reading, request.support, request.items, request.progress)
        found = self.groups(examples.items, request.seed)
        for name, rows in self.groups(request.items, request.seed).items():
            if name not in found and self.clients.startswith(BY):
                _log.warning("client %r is left out: none of its %d clips can be read (%s)",
                             name, len(rows), examples.failed[0].message)  # fmt: skip
        dataset = Dataset.of(request.support.labels, examples.items)
        federation = Federation(self, task, dataset, examples.features, found)
        training = federation.run()
        options = FitOptions(unknown=request.unknown, balance=request.balance)
        return answers(task, training, request.support, examples, options)

    def groups(self, items: Sequence[SupportItem], seed: int) -> dict[str, list[int]]:
        """Numbers of the examples of each client, by name; clients without one are left out.

        Raises:
            UsageError: the setting is neither form, the column is missing, or a cell is empty.
        """
        if self.clients.startswith(DIRICHLET):
            return _drawn(items, self._alpha(), seed)
        column = self.clients.removeprefix(BY)
        if column == self.clients or not column:
            raise self._wrong()
        found: dict[str, list[int]] = {}
        for row, item in enumerate(items):
            name = cell(item, column)
            if not name:
                lacks = "no column" if name is None else "an empty cell in column"
                raise UsageError(f"{item.path}: its table has {lacks} {column!r}, which names the "
                                 "client of each clip; fill it in")  # fmt: skip
            found.setdefault(name, []).append(row)
        return dict(sorted(found.items()))

    def _alpha(self) -> float:
        try:
            alpha = float(self.clients.removeprefix(DIRICHLET))
        except ValueError:
            raise self._wrong() from None
        if not 0 < alpha < float("inf"):
            raise self._wrong()
        return alpha

    def _wrong(self) -> UsageError:
        return UsageError(f"clients is {self.clients!r}; write by:COLUMN, such as by:site, or "
                          "dirichlet:ALPHA, such as dirichlet:0.1")  # fmt: skip


def _drawn(items: Sequence[SupportItem], alpha: float, seed: int) -> dict[str, list[int]]:
    """Examples of each label divided by shares from a symmetric Dirichlet distribution."""
    found: dict[str, list[int]] = {f"client {n + 1}": [] for n in range(_DRAWN_CLIENTS)}
    labels = [item.label for item in items]
    for number, label in enumerate(sorted(set(labels))):
        random = random_for(seed, _CLIENTS, number)
        rows = random.permutation([row for row, each in enumerate(labels) if each == label])
        ends = np.cumsum(random.dirichlet([alpha] * _DRAWN_CLIENTS))[:-1] * len(rows)
        parts = np.split(rows, ends.round().astype(int))
        for name, part in zip(found, parts, strict=True):
            found[name] += part.tolist()
    for name in [name for name, rows in found.items() if not rows]:
        _log.warning("%s is left out: it has no example of any label", name)
    return {name: sorted(rows) for name, rows in found.items() if rows}


class Federation:
    """Clients that train in turn in one adapter; private parts lie in a temporary folder.

    Args:
        how: Settings.
        task: The method around the frozen encoder, which all clients have.
        dataset: n examples of all clients.
        features: (n, T, F) their frame features.
        clients: Numbers of the examples of each client.

    Attributes:
        adapter: The adapter, which holds the weights of one client at a time.
        sizes: Examples of each client.
        n_bytes: Bytes that a client sends in a round.

    Raises:
        UsageError: the method reads pixels, clips show several labels, or no client is ``keep``.
    """

    def __init__(self, how: Federated, task: TrainingTask, dataset: Dataset, features: Float32,
                 clients: Mapping[str, Sequence[int]]) -> None:  # fmt: skip
        adapter = task.attach()
        assert isinstance(adapter, Trainable)
        tower = isinstance(adapter, ResidualTower)
        if adapter.reads != "features" or (not tower and (how.words or how.private)):
            what = "is not a tower" if adapter.reads == "features" else "reads pixels"
            raise UsageError(f"method {task.method!r} {what}, which 'federated' does not train so; "
                             "use a tower on frame features, such as temporal")  # fmt: skip
        dataset.targets.require_single("learner 'federated'")
        if how.keep and how.keep not in clients:
            raise UsageError(f"keep is {how.keep!r}; the clients are {', '.join(clients)}")
        self.how, self.task, self.dataset, self.clients = how, task, dataset, clients
        self.sizes = [len(rows) for rows in clients.values()]
        epochs = how.rounds * how.local_epochs
        self.numbers = task.numbers.replaced(epochs=epochs)
        # Directions of inputs come from one client, and go to all with the first weights.
        largest = max(clients.values(), key=len)
        adapter.fit_inputs(features[list(largest)])
        self.inputs, self.adapter = adapter.training_inputs(features), adapter
        adapter.read_label_parts(*dataset.label_parts())
        adapter.training_classes(dataset.texts)
        if how.private:
            add_private(adapter.module, how.private, task.seed)
        tracked = [*adapter.trainable(), *buffers(adapter.module)]
        self.start = {name: tensor.detach().clone() for name, tensor in tracked}
        self.first, kept = split_state(self._messages(self.start), SHARED)
        self._place = tempfile.TemporaryDirectory(prefix="vlar-")
        for name in clients:
            save_file(kept, self._file(name))
        self.n_bytes = sum(tensor.nbytes for tensor in self.first.values())

    def _file(self, client: str) -> Path:
        return Path(self._place.name) / f"{list(self.clients).index(client)}.safetensors"

    def _messages(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {keyed(name): tensor for name, tensor in state.items()}

    def _training(self, client: str, received: Mapping[str, Tensor]) -> Training:
        """The training of a client that begins with received weights and its private part."""
        rows = list(self.clients[client])
        part = self.dataset.part(rows)
        assert isinstance(self.adapter, Trainable)
        loader = FeatureLoader(self.inputs[rows], part.paths, self.adapter.input_widths)
        objectives = ObjectiveSet(self.task.objectives)
        training = Training(self.adapter, loader, part, self.numbers, seed=self.task.seed,
                            objectives=objectives)  # fmt: skip
        state = {**received, **load_file(self._file(client))}
        training.put({name: state[keyed(name)] for name in self.start})
        training.start = self.start
        return training

    def train(self, client: str, received: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
        """Weights that a client sends after round ``number``, from 0; its private part stays."""
        how, training = self.how, self._training(client, received)
        pull = Pull(how, training, received) if how.proximal or how.distil or how.words else None
        if pull is not None:
            training.objectives.parts = {Pull.name: pull, **training.objectives.parts}
        steps = how.local_epochs * training.steps_per_epoch
        training.step = number * steps
        training.advance(steps)
        if pull is not None:
            pull.close()
        if number == how.rounds - 1:
            training.finish()
        sent, kept = split_state(self._messages(training.parameters()), SHARED)
        save_file(kept, self._file(client))
        return sent

    def run(self) -> Training:
        """All rounds; the adapter then has the shared weights.

        Returns:
            The training of the last client, as what describes the adapter.

        Raises:
            UsageError: a client sends what cannot be averaged, or Flower lacks the strategy.
        """
        state = self.first
        if self.how.strategy != "average":
            from vlar.methods.federated.flower import run

            state = run(self, self.how.strategy)
        else:
            for number in range(self.how.rounds):
                sent = (self.train(name, state, number) for name in self.clients)
                state = average(sent, self.sizes, list(self.clients))
        self.received = state
        return self.merged(self.how.keep)

    def merged(self, client: str = "") -> Training:
        """The adapter with the last shared weights, and the private part of ``client`` if any."""
        training = self._training(client or next(iter(self.clients)), self.received)
        training.step = self.how.rounds * self.how.local_epochs * training.steps_per_epoch
        made = self.task.attach()
        assert isinstance(made, Trainable)
        made.read_label_parts(*self.dataset.label_parts())
        made.training_classes(self.dataset.texts)
        made.load_state_dict(plain_state(self.adapter.module, used=bool(client)))
        described: Any = training
        described.adapter = described.method = made
        return training


class Pull(Objective):
    """Terms that hold a client to the federation: squared distances, and the frozen answers.

    Args:
        how: Weights of the terms.
        training: Of the client, with the received weights.
        received: These.
    """

    name: ClassVar[str] = "federated"

    def __init__(self, how: Federated, training: Training, received: Mapping[str, Tensor]) -> None:
        self.how, self.method = how, training.method
        named = {keyed(name): weight for name, weight in training.named}
        self.shared, self.received = split_state(named, SHARED)[0], received
        block = first_block(training.adapter.module)
        self.frozen = copy.deepcopy(block)
        for part in self.frozen.modules():
            if isinstance(part, LowRank):
                nn.init.zeros_(part.gamma)
        self._hook = block.register_forward_hook(self._note)
        if how.words:
            assert isinstance(self.method, ResidualTower)
            self.texts = torch.from_numpy(self.method.label_vectors(training.dataset.texts))

    def _note(self, block: nn.Module, inputs: Any, output: Any) -> None:
        self.seen = inputs, output

    def close(self) -> None:
        """Leave the network as it was."""
        self._hook.remove()

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The weighted terms of the settings."""
        found: dict[str, Tensor] = {}
        if self.how.proximal:
            found["proximal"] = proximal(self.shared, self.received, self.how.proximal)
        if self.how.distil:
            inputs, output = self.seen
            with torch.no_grad():
                theirs = self.frozen(*inputs)
            pair = [out[0] if isinstance(out, tuple) else out for out in (output, theirs)]
            found["block"] = self.how.distil * F.mse_loss(pair[0], pair[1])
        if self.how.words:
            assert isinstance(self.method, ResidualTower)
            own = self.method.split_inputs(step.batch.inputs)[1][:, 0]
            frozen = self.method.logit_scale * own @ self.texts.T
            logits = step.output.logits.log_softmax(dim=1), frozen.log_softmax(dim=1)
            found["words"] = self.how.words * F.kl_div(
                *logits, reduction="batchmean", log_target=True
            )
        return found


def first_block(module: nn.Module) -> nn.Module:
    """The first block of a network: of its first list of several, else its first layer."""
    for part in module.modules():
        if isinstance(part, (nn.ModuleList, nn.Sequential)) and len(part) > 1:
            return part[0]
    return next(
        m for m in module.modules() if list(m.parameters(recurse=False)) and m is not module
    )
