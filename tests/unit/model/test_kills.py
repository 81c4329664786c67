"""A fault or a kill at the n-th call that changes files: the old model or the new one, never none.

n grows until no fault fires, so every call is met. The same command then completes, and nothing
else stays in the folder.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import vlar
from tests.fixtures.models_1 import tiny
from vlar.errors import ModelError
from vlar.files import replacing

FOLDER = Path(tiny.__file__).parent
NAMES = ("replace", "rename")
CALLS = (*NAMES, "open", "write", "fsync", "unlink", "rmdir", "mkdir")
FINE, KILLED, REFUSED = 0, 9, 1

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process")


class Faults:
    """Calls that are counted; the n-th fails or ends the process, before it or after it."""

    def __init__(self, nth: int, how: str) -> None:
        self.left, self.how = nth, how

    def wrapped(self, call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **named: object) -> object:
            self.left -= 1
            if self.left == 0 and self.how == "kill":
                os._exit(KILLED)
            if self.left == 0 and self.how == "fail":
                raise OSError(errno.EIO, "a fault of the disk")
            result = call(*arguments, **named)
            if self.left == 0:
                os._exit(KILLED)  # right after it
            return result

        return counted


def child(
    command: Callable[[], object], nth: int, how: str, calls: tuple[str, ...]
) -> tuple[int, bool]:
    """Exit code of a command in a process of its own, and whether a fault fired."""
    pid = os.fork()
    if pid == 0:
        faults = Faults(nth, how)
        for name in calls:
            setattr(os, name, faults.wrapped(getattr(os, name)))
        replacing._exchange = faults.wrapped(replacing._exchange)
        code = FINE
        try:
            command()
        except ModelError:
            code = REFUSED
        except BaseException:  # noqa: BLE001 - what is not a sentence is a defect
            code = 3
        os._exit(code if faults.left > 0 or code else 100)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return (FINE, True) if code == 100 else (code, code != FINE)


def labels_of(path: Path) -> list[str]:
    return json.loads((path / "vlar.json").read_text())["labels"] or []


@pytest.mark.parametrize(
    "calls", [NAMES, pytest.param(CALLS, marks=pytest.mark.slow)], ids=["names", "all calls"]
)
@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("how", ["fail", "kill", "kill after"])
def test_a_model_that_is_replaced_is_never_lost(
    how: str,
    exchange: bool,
    calls: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    if not exchange:
        monkeypatch.setattr(replacing, "_exchange", lambda *_: False)
    old, new = vlar.load(FOLDER / "ridge"), vlar.load("tiny-for-fixtures")
    target = tmp_path / "models" / "mine"
    old.save(target)
    new.save(target, replace=True)  # whatever a first save imports
    before, after = labels_of(FOLDER / "ridge"), []
    met = 0
    for nth in range(1, 500):
        old.save(target, replace=True)
        code, fired = child(lambda: new.save(target, replace=True), nth, how, calls)
        assert code in (FINE, REFUSED, KILLED), (nth, code)
        if not fired:
            assert labels_of(target) == after
            break
        met += 1
        if target.exists() or exchange:  # without an exchange it is absent for a moment
            assert labels_of(target) in (before, after), nth
            if code == REFUSED:
                assert labels_of(target) == before, nth
        kept = [p.name for p in target.parent.iterdir()]
        if not target.exists():
            (aside,) = target.parent.glob(".vlar-*/replaced/mine")
            assert labels_of(aside) == before
        new.save(target, replace=True)  # the same command
        assert labels_of(target) == after
        assert [p.name for p in target.parent.iterdir()] == ["mine"], (nth, kept)
    else:
        pytest.fail("faults never end")
    assert met > (10 if calls is CALLS else 0)


def test_a_killed_replacement_is_put_back_before_anything_else(tmp_path: Path):
    work = tmp_path / "work"
    (work / "replaced" / "mine").mkdir(parents=True)
    replacing.put_back(work)
    assert (tmp_path / "mine").is_dir()
    (work / "replaced" / "mine").mkdir()
    replacing.put_back(work)  # a new one is there
    assert (work / "replaced" / "mine").is_dir()
