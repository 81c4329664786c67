"""Bundle files that a stranger sends: one line about each, and the sound ones are read."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.e2e.conftest import warm
from tests.hostile.sensor_cases import as_json, data, text
from vlar.media.lookup import reader

SECONDS = 60
IMU, JOINTS = "../good-0/.parts/example.csv", "../good-0/.parts/example.json"
CASES = {
    "empty": (text(""), "the file is empty|not a readable bundle|not JSON|Expecting value"),
    "noise": (data(bytes(range(256)) * 9), "not UTF-8"),
    "list": (as_json([IMU]), "object of 1 to 16 sensors"),
    "no-sensor": (as_json({}), "object of 1 to 16 sensors"),
    "deep": (text('{"imu":' + "[" * 5000 + "]" * 5000 + "}"), "nested|levels deep"),
    "many": (as_json({f"imu{n}": IMU for n in range(999)}), "object of 1 to 16 sensors"),
    "2-MB": (text('{"imu": "' + "a" * 2_000_000 + '"}'), "at most 1 MB"),
    "twice": (text(f'{{"imu": "{IMU}", "imu": "{IMU}"}}'), "the name 'imu' twice"),
    "same-file": (as_json({"skeleton": JOINTS, "imu": JOINTS}), "its part imu"),
    "unknown": (as_json({"radar": IMU}), "'radar' is not a sensor"),
    "itself": (as_json({"imu": "itself.bundle.json"}), "it lists the bundle"),
    "another": (as_json({"bundle": "x.bundle.json"}), "it lists the bundle"),
    "null-byte": (text('{"imu": "a\\u0000b"}'), "the path of 'imu'"),
    "number": (as_json({"imu": 7}), "'imu' is not a path"),
    "long-name": (as_json({"imu": "a" * 5000}), "the path of 'imu'"),
    "gone": (as_json({"imu": "gone.csv"}), "gone.csv"),
    "device": (as_json({"imu": "/dev/zero"}), "its part imu"),
    "folder": (as_json({"video": "/"}), "its part video"),
    "link": (as_json({"imu": "link.csv"}), "a link leads 'link.csv'"),
    "loop": (as_json({"imu": "loop.csv"}), "loop|symbolic links"),
    "link-folder": (as_json({"imu": "away/example.csv"}), "a link leads"),
    "offset-text": (as_json({"imu": {"path": IMU, "offset_s": "1s"}}), "offset_s is 1s"),
    "offset-huge": (as_json({"imu": {"path": IMU, "offset_s": 1e300}}), "offset_s is 1e[+]300"),
    "offset-infinite": (text(f'{{"imu": {{"path": "{IMU}", "offset_s": 1e999}}}}'), "not finite"),
    "apart": (
        as_json({"skeleton": JOINTS, "imu": {"path": IMU, "offset_s": 50}}), "no common span"
    ),
    "both-clocks": (
        as_json({"imu": {"path": IMU, "clock": "share", "offset_s": 1}}), "the clock of 'imu'"
    ),
    "damaged-part": (as_json({"skeleton": JOINTS, "imu": "noise.csv"}), "its part imu.*noise.csv"),
}  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What one run of ``vlar check`` gives, by the name of the file."""
    place = tmp_path_factory.mktemp("bundles")
    files: list[Path] = []
    for number in range(3):
        (place / f"good-{number}").mkdir()
        files.append(reader("bundle").example(place / f"good-{number}"))
    bad = place / "bad"
    bad.mkdir()
    (bad / "link.csv").symlink_to(place / "good-0" / ".parts" / "example.csv")
    (bad / "away").symlink_to(place / "good-0" / ".parts")
    (bad / "loop.csv").symlink_to(bad / "loop.csv")
    (bad / "noise.csv").write_bytes(os.urandom(500))
    for name, (make, _) in CASES.items():
        make(bad / f"{name}.bundle.json")
        files.append(bad / f"{name}.bundle.json")
    out, err = place / "stdout", place / "stderr"
    told = warm().run(["check", *map(str, files), "--json"], out, err, seconds=SECONDS)
    assert not told["late"]
    assert told["code"] == 1
    assert "Traceback" not in err.read_text()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == len(files)
    assert [line["ok"] for line in lines[:3]] == [True] * 3
    return {Path(line["path"]).name.partition(".")[0]: line for line in lines[3:]}


@pytest.mark.parametrize("name", CASES)
def test_it_is_one_line_about_itself(rows: dict[str, dict[str, object]], name: str):
    row, (_, says) = rows[name], CASES[name]
    line = str(row["message"])
    assert not row["ok"]
    assert f"{name}.bundle.json" in line
    assert re.search(says, line), line
    assert "\n" not in line
    assert "reading it failed" not in line
    assert len(line.replace(str(Path(str(row["path"])).parent), "")) <= 600
