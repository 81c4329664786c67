"""What a stranger sends ends in one line of advice: no code runs, nothing hangs, nothing leaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vlar
from tests.command_server import CommandServer
from tests.fixtures.models_1 import tiny
from tests.hostile.cases import CASES, Case
from tests.hostile.kit import SECRET, Kit

SECONDS = 20  # of processor time; a busy machine gets three times as long
Run = Callable[[list[str], Path], "Outcome"]


class Outcome:
    """What a command did."""

    def __init__(self, told: dict[str, Any], out: Path, err: Path) -> None:
        self.code, self.late = told["code"], told["late"]
        self.cpu_s, self.peak_mb = told["cpu_s"], told["peak_mb"]
        self.out = out.read_text("utf-8", "replace")
        self.err = err.read_text("utf-8", "replace")

    @property
    def advice(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("vlar: ")]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs a command in a fork of a warm process."""
    server = CommandServer("tests.fixtures.models_1.tiny")

    def ask(arguments: list[str], place: Path) -> Outcome:
        out, err = place / "stdout", place / "stderr"
        answers = place / "answers"  # of a person who says yes to every question
        answers.write_text("y\n" * 9)
        told = server.run(
            arguments, out, err, seconds=SECONDS, limited=True, answers=answers,
            environment={"COLUMNS": "200"},
        )  # fmt: skip
        return Outcome(told, out, err)

    yield ask
    server.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound model folders of today's format."""
    place = tmp_path_factory.mktemp("models")
    stored = Path(tiny.__file__).parent
    for name in ("ridge", "auto", "temporal", "calibrated-adapted"):
        vlar.load(stored / name).save(place / name)
    return place


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.clip(tmp_path_factory.mktemp("clip"), "fall", 5)


@pytest.fixture
def kit(models: Path, clip: Path, tmp_path: Path) -> Kit:
    place = tmp_path / "stranger"
    place.mkdir()
    return Kit(place, models, clip)


def test_there_are_many_cases_and_each_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 60
    assert len({(case.group, case.name) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("name", ["ridge", "auto", "temporal", "calibrated-adapted"])
def test_the_sound_folder_answers(run: Run, kit: Kit, tmp_path: Path, name: str) -> None:
    """The control: what the cases damage works before."""
    done = run(kit.classify(kit.model(name)), tmp_path)
    assert (done.code, done.advice) == (0, [])
    assert "fall" in done.out


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}: {case.name}")
def test_it_ends_in_one_line(run: Run, kit: Kit, tmp_path: Path, case: Case) -> None:
    done = run(case.make(kit), tmp_path)
    assert not done.late, "it hangs"
    assert done.code in (1, 2), f"exit code {done.code}: {done.out}{done.err[-2000:]}"
    assert len(done.advice) == 1, done.err[-2000:]
    (line,) = done.advice
    assert done.err.strip().endswith(line.strip())
    assert "Traceback" not in done.err
    assert "unexpected" not in line, line
    assert "needs the library" not in line, line
    assert re.search(case.says, line), f"{case.says!r} is not in {line!r}"
    assert len(line) <= len("vlar: ") + 500, f"a line of {len(line)} characters"
    assert SECRET not in done.out + done.err
    assert not kit.canary.exists(), "code of a stranger ran"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", done.out + done.err.replace("\r", ""))
    assert not (kit.place / "out").exists()
