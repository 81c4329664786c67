"""A damaged recording of any sensor is one row about itself; the sound ones next to it are read."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.command_server import CommandServer
from tests.hostile import sensor_cases
from tests.hostile.sensor_cases import SensorCase
from tests.hostile.track_cases import TRACK_CASES
from vlar.library.library import Library
from vlar.media.lookup import reader

pytestmark = pytest.mark.slow  # a minute; ``test_any_bytes`` damages these files too

SENSOR_CASES = [*sensor_cases.SENSOR_CASES, *TRACK_CASES]
SECONDS = 60  # of processor time, for all files of a sensor
LONGEST = 500
SENSORS = sorted({case.sensor for case in SENSOR_CASES})
GOOD = 3


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one run of ``vlar check`` for each sensor gives, by the name of the file."""
    server = CommandServer()
    found: dict[str, dict[str, Any]] = {}
    for sensor in SENSORS:
        place = tmp_path_factory.mktemp(sensor)
        files: list[Path] = []
        for number in range(GOOD):
            (place / f"{number}").mkdir()
            made = reader(sensor).example(place / f"{number}")
            files.append(Path(shutil.move(made, place / f"good-{number}{made.suffix}")))
        for case in SENSOR_CASES:
            if case.sensor == sensor:
                case.make(place / case.name)
                files.append(place / case.name)
        files.sort(key=lambda file: file.name)  # the sound ones lie among the others
        out, err = place / "stdout", place / "stderr"
        told = server.run(
            ["check", *map(str, files), "--json"], out, err, seconds=SECONDS,
            environment={"VLAR_FILE_MEMORY": "1600MB", "VLAR_FILE_TIMEOUT_S": "10"},
        )  # fmt: skip
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert not told["late"], f"{sensor}: it hangs after {len(lines)} of {len(files)} files"
        assert told["code"] == 1, err.read_text()[-2000:]
        assert "Traceback" not in err.read_text()
        assert len(lines) == len(files)
        found[sensor] = {Path(line["path"]).name: line for line in lines}
    server.close()
    return found


def test_there_are_many_cases_and_each_has_a_name_of_its_own() -> None:
    assert len(SENSOR_CASES) >= 150
    assert len({(case.sensor, case.name) for case in SENSOR_CASES}) == len(SENSOR_CASES)


@pytest.mark.parametrize("sensor", SENSORS)
def test_the_sound_recordings_of_the_batch_are_read(
    rows: dict[str, dict[str, Any]], sensor: str
) -> None:
    good = [row for name, row in rows[sensor].items() if name.startswith("good-")]
    assert [row["ok"] for row in good] == [True] * GOOD


@pytest.mark.parametrize("case", SENSOR_CASES, ids=lambda case: f"{case.sensor}: {case.name}")
def test_it_is_one_row_about_itself(rows: dict[str, dict[str, Any]], case: SensorCase) -> None:
    row = rows[case.sensor][case.name]
    line = row["message"]
    assert not row["ok"]
    assert row["kind"] == "decode", line
    assert case.name in line
    assert re.search(case.says, line), f"{case.says!r} is not in {line!r}"
    assert "reading it failed" not in line
    assert len(line.replace(str(Path(row["path"]).parent), "")) <= LONGEST


def test_a_library_takes_the_sound_recordings_and_names_the_others(tmp_path: Path) -> None:
    """The same through ``vlar index add``: three rows, and a failure for each damaged file."""
    bad = [case for case in SENSOR_CASES if case.sensor == "skeleton" and "-keys-" in case.name]
    bad += [
        case for case in SENSOR_CASES if case.name in ("own-no-rate.npz", "coco-200-digits.json")
    ]
    for case in bad:
        case.make(tmp_path / case.name)
    made = reader("skeleton").example(tmp_path)
    files = [shutil.copy(made, tmp_path / f"{name}{made.suffix}") for name in ("a", "m", "z")]
    made.unlink()
    server = CommandServer()
    out, err = tmp_path / "stdout", tmp_path / "stderr"
    names = [*map(str, files), *(str(tmp_path / case.name) for case in bad)]
    arguments = ["index", "add", str(tmp_path / "x.vlar"), *sorted(names), "--model", "skeleton"]
    told = server.run(arguments, out, err, seconds=SECONDS)
    server.close()
    assert told["code"] == 1, err.read_text()[-2000:]
    lines = err.read_text().splitlines()
    for case in bad:
        (line,) = (line for line in lines if case.name in line)
        assert re.search(case.says, line)
    with Library(tmp_path / "x.vlar") as library:
        assert [Path(video.path).stem for video in library.videos()] == ["a", "m", "z"]
