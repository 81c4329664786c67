"""Calls of several threads that go together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from vlar.library.shared_calls import SharedCalls


class Slow:
    """Doubles numbers; the first call waits until the others have come."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.begun.set()
        assert self.goes_on.wait(30)
        if 13 in numbers:
            raise ValueError("13")
        return [2 * number for number in numbers]


def asked(numbers: Sequence[int]) -> tuple[Slow, list[int | Exception]]:
    """Results of numbers, of which all but the first come while the first one is answered."""
    slow = Slow()
    calls = SharedCalls(slow)
    with ThreadPoolExecutor(len(numbers)) as threads:
        first = threads.submit(calls, numbers[0])
        assert slow.begun.wait(30)
        futures = [first, *(threads.submit(calls, number) for number in numbers[1:])]
        while len(calls._waiting) < len(numbers) - 1:
            threading.Event().wait(0.001)
        slow.goes_on.set()
    return slow, [future.exception() or future.result() for future in futures]


def test_a_call_alone_runs_at_once():
    slow = Slow()
    slow.goes_on.set()
    assert SharedCalls(slow)(3) == 6
    assert slow.batches == [[3]]


def test_what_waits_goes_together_and_each_gets_its_own():
    slow, results = asked([1, 2, 3, 4, 5])
    assert results == [2, 4, 6, 8, 10]
    assert [len(batch) for batch in slow.batches] == [1, 4]


def test_an_error_is_that_of_its_own_argument():
    _, results = asked([1, 2, 13, 4])
    assert [results[0], results[1], results[3]] == [2, 4, 8]
    assert isinstance(results[2], ValueError)
