"""Strategies of Flower over the clients of one process, without Ray and without a network."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from vlar import registry
from vlar.errors import UsageError
from vlar.version import pip_install


def run(federation: Any, name: str) -> dict[str, Tensor]:
    """All rounds of a federation by a strategy of ``flwr.serverapp.strategy``.

    Raises:
        UsageError: Flower is not installed.
        UnknownNameError: it has no such strategy.
    """
    try:
        app, server = importlib.import_module("flwr.app"), importlib.import_module("flwr.serverapp")
    except ImportError as error:
        raise UsageError(
            f"strategy {name!r} is one of Flower, which is not installed; install it "
            f"({pip_install('fed')}), or use 'average'"
        ) from error
    strategies = [
        strategy
        for strategy in server.strategy.__all__
        if strategy[:3] == "Fed" and "Xgb" not in strategy
    ]
    if name not in strategies:
        raise registry.unknown_name("strategy of a federation", name, ["average", *strategies])
    names = list(federation.clients)
    least = dict.fromkeys(
        ("min_train_nodes", "min_evaluate_nodes", "min_available_nodes"), len(names)
    )
    averaging = getattr(server.strategy, name)(fraction_evaluate=0.0, **least)

    class Process(server.Grid):
        """A grid whose nodes are the clients; a message is answered where it is sent."""

        def set_run(self, run: Any) -> None:
            pass

        def _unused(self, *given: Any, **how: Any) -> Any:
            raise NotImplementedError

        create_message = push_messages = pull_messages = _unused
        run = property(_unused)

        def get_node_ids(self) -> Iterable[int]:
            return range(1, len(names) + 1)

        def send_and_receive(self, messages: Iterable[Any], *, timeout: Any = None) -> list[Any]:
            return [self._answer(message) for message in messages]

        def _answer(self, message: Any) -> Any:
            client = message.metadata.dst_node_id - 1
            number = int(message.content["config"]["server-round"]) - 1
            received = message.content["arrays"].to_torch_state_dict()
            arrays = app.ArrayRecord(federation.train(names[client], received, number))
            metrics = app.MetricRecord({"num-examples": federation.sizes[client]})
            content = app.RecordDict({"arrays": arrays, "metrics": metrics})
            return app.Message(content, reply_to=message)

    first, rounds = app.ArrayRecord(federation.first), federation.how.rounds
    return averaging.start(Process(), first, num_rounds=rounds).arrays.to_torch_state_dict()
