"""Strategies of Flower over the clients of one process, without Ray and without a network."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from vlar import registry
from vlar.errors import UsageError


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
            f"strategy {name!r} is one of Flower, which is not installed; install it (pip install "
            "'vlar[fed]'), or use 'average'"
        ) from error
    known = [each for each in server.strategy.__all__ if each.startswith("Fed")]
    if name not in known:
        raise registry.unknown_name("strategy of a federation", name, ["average", *known])
    count = len(federation.clients)
    how: dict[str, Any] = {"fraction_evaluate": 0.0, "min_train_nodes": count}
    how |= {"min_evaluate_nodes": count, "min_available_nodes": count}
    made = getattr(server.strategy, name)(**how)
    first = app.ArrayRecord(federation.first)
    found = made.start(_grid(federation, app, server.Grid), first, num_rounds=federation.how.rounds)
    return found.arrays.to_torch_state_dict()


def _grid(federation: Any, app: Any, base: Any) -> Any:
    """A grid whose nodes are the clients; a message is answered where it is sent."""
    names = list(federation.clients)

    class Process(base):
        def set_run(self, run: Any) -> None:
            pass

        @property
        def run(self) -> Any:
            raise NotImplementedError

        def create_message(self, *given: Any, **how: Any) -> Any:
            raise NotImplementedError

        push_messages = pull_messages = create_message

        def get_node_ids(self) -> Iterable[int]:
            return range(1, len(names) + 1)

        def send_and_receive(
            self, messages: Iterable[Any], *, timeout: float | None = None
        ) -> Iterable[Any]:
            return [self._answer(message) for message in messages]

        def _answer(self, message: Any) -> Any:
            number = message.metadata.dst_node_id - 1
            round_number = int(message.content["config"]["server-round"]) - 1
            received = message.content["arrays"].to_torch_state_dict()
            sent = federation.train(names[number], received, round_number)
            metrics = app.MetricRecord({"num-examples": federation.sizes[number]})
            content = app.RecordDict({"arrays": app.ArrayRecord(sent), "metrics": metrics})
            return app.Message(content, reply_to=message)

    return Process()
