"""The real command goes on after files on which the decoder crashes or hangs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers need a POSIX system")


@pytest.fixture
def hostile(tmp_path: Path, sparse_clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two good clips and two that the decoder of every process here fails on."""
    folder = tmp_path / "videos"
    folder.mkdir()
    first, second, *_ = sparse_clips.values()
    for name, clip in (("a", first), ("abort", second), ("hang", first), ("z", second)):
        shutil.copy(clip, folder / f"{name}.mp4")
        with (folder / f"{name}.mp4").open("ab") as file:
            file.write(name.encode())  # no two files have one content
    paths = [str(Path(__file__).parents[1] / "faulty_decoder"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("VLAR_FILE_TIMEOUT_S", "3")
    return folder


def test_index_add_names_them_and_skips_them_next_time(vlar_command, hostile: Path, tmp_path: Path):
    library = tmp_path / "l.vlar"
    first = vlar_command("index", "add", library, hostile, "--json")
    assert first.code == 1
    failed = {Path(row["path"]).stem: row["error"] for row in first.rows if "error" in row}
    assert {name: error["kind"] for name, error in failed.items()} == {
        "abort": "crash",
        "hang": "timeout",
    }
    assert "crashed (SIGABRT)" in failed["abort"]["message"]
    assert sorted(Path(r["path"]).stem for r in first.rows if "error" not in r) == ["a", "z"]
    second = vlar_command("index", "add", library, hostile, "--json")
    assert second.code == 1
    assert [row["error"]["kind"] for row in second.rows if "error" in row] == ["crash", "timeout"]
    assert second.err.count("skipped, its reading failed before") == 2


def test_classify_and_check_answer_for_the_others(vlar_command, hostile: Path):
    done = vlar_command("classify", hostile, "--labels", "riding a bike, cooking", "--json")
    assert done.code == 1
    kinds = [row["error"]["kind"] if "error" in row else "answer" for row in done.rows]
    assert kinds == ["answer", "crash", "timeout", "answer"]
    done = vlar_command("check", hostile, "--json")
    assert done.code == 1
    assert [row["kind"] for row in done.rows] == ["ok", "crash", "timeout", "ok"]
    assert done.rows[1]["reason"].startswith("its decoder crashed (SIGABRT)")
    assert done.rows[1]["readable"] == 0
