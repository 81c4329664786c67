"""A fault at any call that changes files: the old state or the new one, and nothing stays.

Then several processes on one library, call by call from a seed.
``test_calls.py`` runs these in a process of their own: they fork, which libraries that other tests
have loaded (gRPC) do not survive. ``benchmarks/faults.py`` prints the same for all calls.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kills import calls, faults, simulation
from tests.kills.commands import COMMANDS, Command, make_files

pytestmark = pytest.mark.skipif(bool(calls.reason_against()), reason=calls.reason_against())
SEEDS = int(os.environ.get("VLAR_SIMULATED_SEEDS", "60"))
STEP = int(os.environ.get("VLAR_FAULT_STEP", "17"))
SOME = [  # command, fault, first call, step
    ("index add, first", "kill", 12, 90),
    ("index add, first", "torn", 7, 70),
    ("labels of the page", "EIO", 5, 9),
    ("bin, put", "kill", 25, 80),
    ("bin, restore", "kill", 44, 21),
    ("index tag --write-xmp", "kill", 14, 9),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files").resolve()
    make_files(folder)
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLAR_CACHE", "set by the bench")
    monkeypatch.setenv("VLAR_DECODE_WORKERS", "0")
    return tmp_path.resolve()


@pytest.mark.parametrize(("name", "fault", "first", "step"), SOME)
def test_a_fault_at_some_calls(
    name: str, fault: str, first: int, step: int, files: Path, root: Path
):
    met = faults.meet(COMMANDS[name], files, root, [fault], first, step)
    assert not met.wrong
    assert met.faults[fault]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_fault_at_calls_of_every_command(name: str, files: Path, root: Path):
    """Every ``STEP``-th call; ``VLAR_FAULT_STEP=1`` meets all of them, in ten minutes."""
    met = faults.meet(COMMANDS[name], files, root, first=1 + STEP // 2, step=STEP)
    assert not met.wrong
    assert met.calls > 20
    assert met.faults["kill"]


def _in_place(work: Path, _: Path) -> int:
    (work / "a.txt").write_text("the new text")
    (work / "b.tmp").touch()
    (work / "b.tmp").unlink()
    return 0


def test_what_writes_in_place_or_leaves_files_is_found(root: Path):
    """A control: the same bench on a command that holds none of it."""

    def state(work: Path) -> dict[str, str]:
        return {"a": (work / "a.txt").read_text()}

    prepare = lambda work, _: (work / "a.txt").write_text("the old text")  # noqa: E731
    met = faults.meet(Command(prepare, _in_place, state, ()), root, root, ["kill", "torn", "EIO"])
    assert any("neither old nor new: {'a': 'the ne'}" in row for row in met.wrong)
    assert any("neither old nor new: {'a': ''}" in row for row in met.wrong)
    assert any("EIO" in row and "ends with" in row for row in met.wrong)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[simulation.World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLAR_CACHE", "set by the world")
        patch.setenv("VLAR_DECODE_WORKERS", "0")
        yield simulation.World(tmp_path_factory.mktemp("world"))


def test_a_seed_repeats_its_run(world: simulation.World):
    run = world.simulate(35)
    assert not run.wrong
    assert run.faults
    assert run.answers > 10
    assert run.states > 2
    assert world.simulate(35) == run


def test_rows_that_are_kept_for_good_are_found(world: simulation.World):
    with simulation.CONTROLS["rows kept for good"]():
        assert world.simulate(1).wrong


@pytest.mark.slow
def test_two_writers_and_two_readers(world: simulation.World):
    """``VLAR_SIMULATED_SEEDS=300`` takes ten minutes."""
    runs = [world.simulate(seed) for seed in range(100, 100 + SEEDS)]
    assert [row for run in runs for row in run.wrong] == []
    assert {kind for run in runs for kind in run.faults} == {*calls.FAULTS}


@pytest.mark.slow
@pytest.mark.parametrize("name", simulation.CONTROLS)
def test_what_is_taken_out_of_a_library_is_found(name: str, world: simulation.World):
    with simulation.CONTROLS[name]():
        assert any(world.simulate(seed).wrong for seed in range(10))


@pytest.mark.parametrize("fault", calls.FAULTS)
def test_each_call_is_met_once(fault: str, tmp_path: Path):
    root = tmp_path.resolve()

    def command() -> int:
        (root / "sub").mkdir()
        with (root / "sub" / "a").open("wb", 0) as stream:
            stream.write(b"0123456789")
        (root / "sub" / "a").rename(root / "b")
        (root / "sub").rmdir()
        (root / "b").unlink()
        return 0

    places: list[str] = []
    for nth in range(1, 10):
        for path in (root / "sub" / "a", root / "b"):
            path.unlink(missing_ok=True)
        if (root / "sub").exists():
            (root / "sub").rmdir()
        outcome = calls.run(command, root, nth, fault)
        if fault == "torn" and nth == 1:
            assert (root / "sub" / "a").read_bytes() == b"01234"
        if not outcome.fault:
            break
        places.append(outcome.fault)
    every = ["mkdir sub", "open sub/a", "write sub/a", "rename sub/a", "rmdir sub", "unlink b"]
    assert places == [row for row in every if row.split()[0] in calls.FAULTS[fault]]
    assert outcome.code == 0
