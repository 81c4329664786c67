"""A process of its own for tests on the fake device.

The first backward pass of a process decides which devices autograd has threads for, and where it
has any, a fork cannot learn. So tests on the fake device share no process with tests that fork, nor
with those that learned before. It is forked after the collection, when nothing has learned yet.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import pytest
from _pytest.runner import runtestprotocol


def on_device(item: pytest.Item | None) -> bool:
    """Whether the module of a test uses the fake device."""
    return hasattr(getattr(item, "module", None), "fake_device")


class DeviceProcess:
    """Runs tests of this session elsewhere, and gives their reports.

    Args:
        items: All tests of the session.
    """

    def __init__(self, items: list[pytest.Item]) -> None:
        self._numbers = {item.nodeid: number for number, item in enumerate(items)}
        if items:  # made before the fork: the first to ask for the session's folder empties it
            items[0].config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        self._pipe, other = multiprocessing.Pipe()
        if os.fork() == 0:
            self._pipe.close()
            try:
                _serve(items, other)
            finally:
                os._exit(0)
        other.close()

    def run(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Run a test there, and report it here."""
        following = self._numbers[nextitem.nodeid] if nextitem and on_device(nextitem) else None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        self._pipe.send((self._numbers[item.nodeid], following))
        for data in self._pipe.recv():
            hook: Any = item.config.hook
            report = hook.pytest_report_from_serializable(config=item.config, data=data)
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        item.session._setupstate.teardown_exact(nextitem)


def _serve(items: list[pytest.Item], pipe: Any) -> None:
    from tests.fake_device import fake_device

    with fake_device():  # known before the first backward pass
        pass
    while True:
        try:
            number, following = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        item = items[number]
        reports = runtestprotocol(
            item, log=False, nextitem=None if following is None else items[following]
        )
        hook = item.config.hook
        pipe.send(
            [hook.pytest_report_to_serializable(config=item.config, report=r) for r in reports]
        )
