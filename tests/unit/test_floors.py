"""``python -m evals.floors``: stored figures hold, and one that does not is found."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from evals import floors
from vlar.toml import read_toml

ENTRIES = read_toml(floors.TABLE.read_text("utf-8"))
SCRIPT = """
import json, sys
from pathlib import Path

calls = Path("calls")
calls.write_text("x" * (len(calls.read_text()) + 1 if calls.exists() else 1))
Path(sys.argv[2]).write_text(json.dumps({"ratio": 4 - len(calls.read_text()), "right": 0.5}))
"""


def told(capsys: pytest.CaptureFixture[str], state: str) -> list[str]:
    """Paths of the figures with a state."""
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    return [row[1] for row in rows if row[-1] == state]


def copied(folder: Path, name: str) -> tuple[Path, dict[str, Any]]:
    """A root with the result of an entry, and its content."""
    file = floors.result_file(name)
    (folder / file).parent.mkdir(parents=True)
    content = json.loads((floors.ROOT / file).read_text("utf-8"))
    (folder / file).write_text(json.dumps(content))
    return folder / file, content


def test_what_is_stored_holds(capsys: pytest.CaptureFixture[str]):
    assert floors.main([]) == 0
    assert "0 of " in capsys.readouterr().out


def test_every_result_of_a_script_in_the_tree_is_in_the_table():
    one_tree_each_row = {"benchmarks/damaged_videos_parts"}
    for file in floors.ROOT.glob("*/results/*.json"):
        name = f"{file.parts[-3]}/{file.stem}"
        script = json.loads(file.read_text("utf-8"))["command"].split()[1]
        if (floors.ROOT / script).exists() and name not in one_tree_each_row:
            assert ENTRIES[name]["command"].startswith(f"python {script} ")
            assert ENTRIES[name]["floors"]


@pytest.mark.parametrize("name", ENTRIES)
def test_a_command_writes_its_file_with_options_of_its_script(name: str):
    command = ENTRIES[name]["command"]
    text = (floors.ROOT / command.split()[1]).read_text("utf-8")
    assert command.endswith("{file}")
    for option in re.findall(r"--([\w-]+)", command):
        flag = option.replace("-", "_")
        assert re.search(rf'"--{option}"|\b{flag}=|"{flag}[!+]?"', text), option


@pytest.mark.parametrize(
    ("path", "value"),
    [("nearest_name_right", 0.84), ("control_as_written", 0.5), ("english_changed", 1)],
)
def test_a_figure_past_its_bound_is_found(
    path: str, value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file, content = copied(tmp_path, "evals/languages")
    assert floors.main(["evals/languages"], root=tmp_path) == 0
    capsys.readouterr()
    file.write_text(json.dumps(content | {path: value}))
    assert floors.main(["evals/languages"], root=tmp_path) == 1
    assert told(capsys, "FELL") == [path]


def test_a_figure_that_is_missing_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file, content = copied(tmp_path, "evals/few_shot_lite")
    rows = [row for row in content["results"] if row["pool"] != "weizmann"]
    file.write_text(json.dumps({"results": rows}))
    assert floors.main(["evals/few_shot_lite"], root=tmp_path) == 1
    assert [path for path in told(capsys, "MISSING") if "weizmann" in path]
    file.unlink()
    assert floors.main(["evals/few_shot_lite"], root=tmp_path) == 1


def test_paths_average_what_they_lead_to():
    content = {"a": {"x": {"v": 1}, "y": {"v": 3}}, "b": [{"n": 1, "v": [2, 6]}, {"n": 2, "v": 9}],
               "gain": "0.2 ± 2.0, 5 seeds"}  # fmt: skip
    for path, value in {
        "a > * > v": 2,
        "b > [n=1] > v": 4,
        "b > [n=2] > v": 9,
        "gain": 0.2,
    }.items():
        assert floors.verdict(content, path, {"least": 0}).value == value
    assert not floors.verdict(content, "b > [n=3] > v", {"least": 0}).holds


@pytest.mark.parametrize(("tries", "status"), [(1, 1), (2, 0)])
def test_a_result_is_made_again_with_what_made_it(tries: int, status: int, tmp_path: Path):
    (tmp_path / "make.py").write_text(SCRIPT)
    table = tmp_path / "floors.toml"
    table.write_text(
        f'["evals/made"]\ncommand = "python make.py --json {{file}}"\ntries = {tries}\n'
        '["evals/made".floors]\nratio = {most = 2}\nright = {least = 0.5}\n'
    )
    out = tmp_path / "out"
    arguments = ["--run", "evals/made", "--out", str(out)]
    assert floors.main(arguments, table, tmp_path) == status
    content = json.loads((out / "evals/results/made.json").read_text("utf-8"))
    assert content["command"] == "python make.py --json evals/results/made.json"
    assert content["environment"]["python"] == sys.version.split()[0]
    assert {"machine", "cores", "threads", "numpy"} <= content["environment"].keys()
    assert "commit" in content
    assert not (tmp_path / "evals").exists()


def test_a_command_that_fails_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table = tmp_path / "floors.toml"
    table.write_text('["evals/a"]\ncommand = "python none.py {file}"\n["evals/a".floors]\n')
    assert floors.main(["--run", "evals/a"], table, tmp_path) == 1
    assert "FAILED" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        floors.main(["evals/b"], table, tmp_path)
    assert "name entries of floors.toml: evals/a" in capsys.readouterr().err
