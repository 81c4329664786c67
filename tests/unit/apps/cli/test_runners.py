from __future__ import annotations

import pytest

from vlar.apps.cli.index import Place, devices_of
from vlar.errors import UsageError
from vlar.library.ingest.runners.processes import ProcessRunner


def test_devices_choose_processes_and_nothing_this_one():
    assert Place().chosen() is None
    assert isinstance(Place(devices="cpu:3").chosen(), ProcessRunner)
    assert isinstance(Place(runner="processes", workers=2).chosen("cuda:1"), ProcessRunner)
    assert devices_of("cpu, cuda:0,cuda:1") == ("cpu", "cuda:0", "cuda:1")


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (Place(runner="rai"), "did you mean 'ray'"),
        (Place(workers=2), "--workers needs --runner"),
        (Place(gpus=0.5), "--gpus-per-worker needs --runner"),
        (Place(devices="cpu:0"), "0 encoders"),
        (Place(devices="cpu:2", address="a:1"), "--address a:1 is not for runner 'processes'"),
        (Place(devices="cpu:2", workers=3), "--workers and --devices both set"),
        (Place(runner="ray", devices="cpu:2"), "is not for runner 'ray'"),
        (Place(runner="ray", gpus=-1.0), "is not a share of a GPU"),
        (Place(runner="local", workers=2), "--workers 2 is not for runner 'local'"),
    ],
)
def test_options_that_do_not_fit_are_refused(place: Place, says: str):
    with pytest.raises(UsageError) as raised:
        place.chosen()
    assert says in raised.value.message
