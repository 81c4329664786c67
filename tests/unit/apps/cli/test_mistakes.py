"""Mistakes that people make, with the answer that each gets before any model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import invoke
from vlar.apps.cli import inputs
from vlar.model import model as models

SUPPORT = "give a folder with one folder of videos per label"
MISTAKES = {
    "classify none.mp4 --labels a,b": "none.mp4: no such file; check the path",
    "classify none.mp4 b.mp4 --labels a,b": "b.mp4: no such file; check the path",
    "classify none.mp4 --labels none.txt": "the label file 'none.txt' does not exist",
    "classify none.mp4 --label a,b": "did you mean --labels?",
    "adapt none --out m": f"none: no such folder or file; {SUPPORT}",
    "adapt none --out m --quite": "did you mean --quiet?",
    "adapt none --out m --metod ridge": "did you mean --method?",
    "adapt none --out m --epochs 3": "a setting is given by --set epochs=VALUE",
    "evaluate lite none.csv": f"none.csv: no such folder or file; {SUPPORT}",
    "evaluate . lite": "MODEL stands first: vlar evaluate lite .",
    "index add a.vlar none.mp4": "none.mp4: no such file; check the path",
    "index add . lib.vlar": "it stands first: vlar index add lib.vlar PATH",
    "timeline none.mp4 b.mp4 --labels a,b": "b.mp4: no such file; check the path",
    "review lite none.mp4 --labels a,b": "none.mp4: no such file; check the path",
    "calibrate none --out m": f"none: no such folder or file; {SUPPORT}",
    "calibrate lite labelled/": "for a model: vlar calibrate labelled/ --model lite --out FOLDER",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_answered_before_a_model_loads(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(models, "load", load)
    monkeypatch.chdir(tmp_path)
    answer = invoke(command.split())
    assert answer.exit_code == 2
    assert MISTAKES[command] in " ".join(answer.output.split())
    assert "Possible options" not in answer.output


def test_two_needs_of_a_model_are_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "a.mp4").touch()
    monkeypatch.setattr(inputs, "is_installed", lambda module: module != "torch")
    for name in ("clip", "clip+motion"):
        answer = invoke(["classify", str(tmp_path / "a.mp4"), "--labels", "a", "--model", name])
        text = " ".join(answer.output.split())
        assert answer.exit_code == 2
        assert f"{name} needs torch and " in text
        assert "MB of weights" in text
        assert "[clip]' && vlar models get clip" in text
    inputs.require_torch("lite")  # needs none


def test_pictures_that_are_one_clip_are_named(tmp_path: Path, capsys: pytest.CaptureFixture):
    for name in ("IMG_1.jpg", "IMG_2.jpg"):
        (tmp_path / name).touch()
    files, failures = inputs.recordings([str(tmp_path)], "video")
    assert (files, failures) == ([tmp_path], [])
    note = f"{tmp_path}: its 2 numbered pictures are one clip, 25 a second; for photos one by one"
    assert note in capsys.readouterr().err
    inputs.recordings([str(tmp_path / "IMG_1.jpg")], "video")
    (tmp_path / "frames").mkdir()
    for name in ("frame_1.jpg", "frame_2.jpg"):
        (tmp_path / "frames" / name).touch()
    inputs.recordings([str(tmp_path / "frames")], "video")
    assert not capsys.readouterr().err


def test_an_option_like_no_other_gets_no_advice():
    assert "No such option: --xyzzy\n" in invoke(["classify", "a.mp4", "--xyzzy"]).output
