from __future__ import annotations

import asyncio
import threading
import time

import pytest

from vlar.apps.serve.errors import ServeError
from vlar.apps.serve.http import BoundedExecutor


def test_callers_beyond_the_bound_are_refused_at_once_and_others_are_served():
    lane, gate = BoundedExecutor("queries", 1, 2), threading.Event()

    async def ask() -> list:
        callers = [asyncio.create_task(lane.run(5, gate.wait, 5)) for _ in range(6)]
        await asyncio.sleep(0.05)
        assert lane.pending == 3
        gate.set()
        return await asyncio.gather(*callers, return_exceptions=True)

    answers = asyncio.run(ask())
    refused = [each for each in answers if isinstance(each, ServeError)]
    assert answers.count(True) == 3
    assert [(each.status, each.retry_s) for each in refused] == [(503, 1)] * 3
    assert lane.pending == 0
    assert asyncio.run(lane.run(5, int, "7")) == 7


def test_a_caller_is_answered_in_time_and_the_work_keeps_its_place():
    lane, gate = BoundedExecutor("queries", 1, 0), threading.Event()

    async def ask() -> None:
        begin_s = time.monotonic()
        with pytest.raises(ServeError) as problem:
            await lane.run(0.05, gate.wait, 5)
        assert problem.value.status == 504
        assert time.monotonic() - begin_s < 2
        assert lane.pending == 1  # the thread still works: nobody else gets another one
        with pytest.raises(ServeError) as problem:
            await lane.run(1, int, "7")
        assert problem.value.status == 503

    asyncio.run(ask())
    gate.set()
    lane.close()


def test_an_error_of_the_work_is_raised():
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(BoundedExecutor("reads", 1, 1).run(5, int, "x"))
