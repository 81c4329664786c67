"""Progress counts many files, and names the work alone for one."""

from __future__ import annotations

from vlar.apps.cli.progress import Progress


def test_a_single_file_is_not_counted():
    shown = Progress()
    shown.stage("classifying", 1)
    assert shown.text() == "classifying"
    shown.stage("classifying", 2)
    assert shown.text() == "classifying: 0 of 2 files"
