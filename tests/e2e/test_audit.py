"""``vlar doctor --audit``: lines for people, objects for programs, exit codes."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.models_1 import tiny
from tests.hostile.kit import SECRET


def test_sound_dangerous_and_not_usable(vlar_command, tmp_path: Path) -> None:
    sound = Path(tiny.__file__).parent / "ridge"
    done = vlar_command("doctor", "--audit", sound, "--json")
    assert done.code == 0
    assert {row["severity"] for row in done.rows} == {"remark"}
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_text(SECRET)
    (folder / "vlar.json").symlink_to(tmp_path / "secret")
    (folder / "run.sh").write_text("touch /tmp/never")
    done = vlar_command("doctor", "--audit", folder, "--json")
    assert done.code == 1
    assert all(set(row) == {"severity", "file", "problem", "advice"} for row in done.rows)
    assert {row["severity"] for row in done.rows} == {"danger", "damage"}
    assert SECRET not in done.out + done.err
    done = vlar_command("doctor", "--audit", folder)
    assert done.code == 1
    assert done.out.splitlines()[0].startswith("danger  ")
    done = vlar_command("doctor", "--audit", tmp_path / "nowhere")
    assert done.code == 2
    assert "nowhere" in done.advice
