"""Views are made once for each state of the library, in the background; no caller is held."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from vlar.apps.serve.library import ServedLibrary
from vlar.apps.serve.workbench import Workbench
from vlar.segments.segment import Segment

from .conftest import Served


def workbench(served: Served) -> Workbench:
    bench, own = served.application.bench, served.application
    made = Workbench(
        own._reads, own.sources, lambda rows: ["a fan"], bench._everyday, bench.removed
    )
    made.wait_s = 20.0
    return made


@pytest.fixture
def counted(served: Served):
    bench, calls = workbench(served), []
    compute = bench._compute["unusual"]

    def unusual(rows):
        calls.append(1)
        return compute(rows)

    bench._compute["unusual"] = unusual
    yield bench, calls
    bench.close()


def test_a_view_is_made_once_until_what_it_shows_changes(served: Served, counted):
    bench, calls = counted
    assert bench.view("unusual", 2) == bench.view("unusual", 2)
    video = served.id_of("moving")
    path = served.application.sources.stored_path(video)
    served.application._reads.set_labels(path, [Segment(path, 0.0, 1.0, "walk")], 0)
    bench.view("unusual", 2)
    assert len(calls) == 1  # labels are not shown by it
    with ServedLibrary(served.library, create=False) as other:  # as another process does
        other.tag({path: {"colour": "red"}})
    hits = bench.view("unusual", 9)["hits"]
    assert len(calls) == 2
    assert any(hit["tags"].get("colour") == "red" for hit in hits)


def test_a_caller_is_answered_while_a_view_is_made(served: Served, counted):
    bench, calls = counted
    go_on, compute = threading.Event(), bench._compute["unusual"]

    def slow(rows):
        assert go_on.wait(20)
        return compute(rows)

    bench._compute["unusual"], bench.wait_s = slow, 0.05
    assert bench.view("unusual", 2) == {"preparing": True, "hits": []}
    assert bench.view("unusual", 2) == {"preparing": True, "hits": []}
    go_on.set()
    bench.wait_s = 20.0
    assert len(bench.view("unusual", 2)["hits"]) == 2
    assert len(calls) == 1  # three callers, made once


def test_the_making_of_views_waits_for_callers_and_ends_with_the_server(counted):
    bench, _ = counted
    bench.has_callers = lambda: True
    begin_s = time.monotonic()
    assert not bench._is_over()
    assert time.monotonic() - begin_s > 0.1
    bench.close()
    assert bench._is_over()


def test_a_view_that_failed_is_made_again(counted):
    bench, _ = counted
    compute = bench._compute["unusual"]

    def failing(rows):
        bench._compute["unusual"] = compute
        raise np.linalg.LinAlgError("no")

    bench._compute["unusual"] = failing
    with pytest.raises(np.linalg.LinAlgError):
        bench.view("unusual", 2)
    assert bench.view("unusual", 2)["hits"]
