"""Work below what was asked for is shown by the application, or by one line without one."""

from __future__ import annotations

import time

import pytest

from vlar import progress
from vlar.apps.cli.progress import Progress
from vlar.progress import shown_by, stage


def test_a_stage_inside_of_another_leaves_it_where_it_was():
    shown = Progress()
    shown.stage("classifying", 3)
    shown(1)
    with shown_by(shown.inside), stage("fetching a model", 40, "MB") as count:
        count(7)
        assert shown.text() == "fetching a model: 7 of 40 MB"
    assert shown.text() == "classifying: 1 of 3 files"
    with stage("nobody shows this", 40, "MB"):
        assert shown.text() == "classifying: 1 of 3 files"


def test_an_error_inside_of_a_stage_ends_it():
    shown = Progress()
    shown.stage("classifying", 3)
    with pytest.raises(ValueError, match="broken"), shown_by(shown.inside), stage("encoding"):
        raise ValueError("broken")
    assert shown.text() == "classifying: 0 of 3 files"


@pytest.mark.parametrize(("patience_s", "lines"), [(0.01, ["encoding texts"]), (60.0, [])])
def test_a_script_gets_one_line_of_what_takes_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, patience_s: float,
    lines: list[str],
):  # fmt: skip
    monkeypatch.setattr(progress, "_PATIENCE_S", patience_s)
    with stage("encoding texts"):
        time.sleep(0.2)
    assert [record.message for record in caplog.records] == lines
