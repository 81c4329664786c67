"""``vlar eval mteb`` through the real command."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.unit.evaluation import colours

LABELS = ("a red square", "a blue square", "a green square")
HAS_MTEB = find_spec("mteb") is not None


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labelled")
    for at, label in enumerate(LABELS):
        for number in range(2):
            colours.make_clip(root / label / f"{number}.mp4", label, 10 * at + number)
    (root / LABELS[0] / "broken.mp4").write_bytes(b"no video")
    return root


@pytest.mark.skipif(HAS_MTEB, reason="mteb is installed")
def test_without_mteb_the_extra_is_named(vlar_command, labelled: Path):
    done = vlar_command("eval", "mteb", "all", "--data", labelled)
    assert done.code == 2
    assert "'mteb' is not installed; run: pip install" in done.err
    assert not done.out


@pytest.mark.skipif(not HAS_MTEB, reason="mteb is not installed")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["all"], "needs labelled clips"),
        ([], "no task"),
        (["all", "--data", "DATA", "--set", "sampler=half"], "sampler 'half' does not exist"),
        (["all", "--data", "DATA", "--set", "frames=3"], "setting 'frames' does not exist"),
    ],
)
def test_wrong_usage_is_one_line(vlar_command, labelled: Path, arguments: list[str], said: str):
    given = [str(labelled) if word == "DATA" else word for word in arguments]
    done = vlar_command("eval", "mteb", *given)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.skipif(not HAS_MTEB, reason="mteb is not installed")
def test_both_samplers_are_reported_and_a_broken_clip_is_named(vlar_command, labelled: Path):
    done = vlar_command(
        *("eval", "mteb", "zero-shot", "--data", labelled, "--set", "sampler=both", "--json")
    )
    assert done.code == 1
    rows = [row for row in done.rows if "task" in row]
    assert [row["sampler"] for row in rows] == ["vlar", "mteb"]
    assert all(row["n"] == 6 and row["difference"] < 1e-5 for row in rows)
    assert rows[1]["seen"] == pytest.approx(1)
    assert done.err.count("broken.mp4") == 1
